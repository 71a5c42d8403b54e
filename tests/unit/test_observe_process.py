"""Processes by name and number, seen through /proc."""

import os
import subprocess
import sys
import time

import pytest

from ipt_platform.observe.process import children, living, process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

TREE = "sleep 60 > /dev/null & echo $!; wait"


@pytest.fixture
def tree():
    """A shell in a session of its own, and the number of the `sleep` that it has started."""
    with subprocess.Popen(["/bin/sh", "-c", TREE], stdout=subprocess.PIPE, text=True, start_new_session=True) as shell:
        assert shell.stdout is not None
        sleep = int(shell.stdout.readline())
        while living(shell.pid)[sleep] != "sleep":  # a copy of the shell, at first
            time.sleep(0.01)
        yield shell.pid, sleep
        os.killpg(shell.pid, 9)


def test_a_session_holds_children_and_theirs_by_number(tree):
    shell, sleep = tree

    assert living(shell) == {shell: "sh", sleep: "sleep"}


def test_only_what_a_process_has_started_itself_is_its_child(tree):
    shell, sleep = tree

    assert children(shell) == {sleep: "sleep"}
    assert children(os.getpid())[shell] == "sh"
    assert sleep not in children(os.getpid())


def test_what_was_killed_is_neither_living_nor_alive_while_its_parent_has_not_seen_it(tree):
    shell, sleep = tree
    own = process(shell)
    assert own.alive()

    os.kill(shell, 9)
    os.waitid(os.P_PID, shell, os.WEXITED | os.WNOWAIT)  # a zombie: its end is known, and it is still listed

    assert not own.alive()
    assert living(shell) == {sleep: "sleep"}
    assert shell not in children(os.getpid())
