"""What is remembered of the Ray of this machine; a real one is in tests/integration/cluster."""

import json
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from ipt_platform.cluster.head import find_head, start_head, stop_head
from ipt_platform.cluster.local import TRIES
from ipt_platform.cluster.target import state_path
from ipt_platform.errors import InfrastructureError, NotFoundError
from ipt_platform.observe.process import process


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def remember(token: str | None) -> Path:
    """What is remembered of a Ray whose first process is this one."""
    folder = state_path() / "local" / socket.gethostname()
    folder.mkdir(parents=True)
    known = {"address": "http://127.0.0.1:1", "process": asdict(process(os.getpid())), "folder": str(folder / "none")}
    (folder / "cluster.json").write_text(json.dumps(known))
    if token:
        (folder / "token").write_text(token)
    return folder


def test_a_machine_that_shares_the_home_folder_has_a_ray_of_its_own(monkeypatch):
    remember("planted-0123456789")
    here = find_head()
    assert here is not None

    monkeypatch.setattr(socket, "gethostname", lambda: "another-machine")

    assert find_head() is None
    monkeypatch.undo()


def test_a_ray_whose_token_is_gone_is_not_ended_without_force():
    folder = remember(None)

    with pytest.raises(
        NotFoundError, match=rf"{folder}/token, where the token .* should be: No such file .*down --force` ends it"
    ):
        stop_head()
    assert (folder / "cluster.json").exists()


@pytest.fixture
def fails(tmp_path, monkeypatch):
    """Makes the first so many starts fail; gives the file with a line for each start."""
    short = tempfile.mkdtemp(prefix="h")  # Ray's sockets lie below it
    monkeypatch.setattr(tempfile, "tempdir", short)
    starts, program = tmp_path / "starts", tmp_path / "python"

    def make(times: int) -> Path:
        count = f"echo start >>{starts}; if [ $(wc -l <{starts}) -le {times} ]; then echo 'no such luck' >&2; exit 1; fi"
        program.write_text(f'#!/bin/sh\n{count}\nexec {sys.executable} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return starts

    yield make
    shutil.rmtree(short)


def test_what_never_starts_is_told_in_its_own_words_and_leaves_nothing(fails):
    starts = fails(9)

    with pytest.raises(InfrastructureError, match="Ray did not start on this machine: no such luck"):
        start_head(1, 0, 0)

    assert len(starts.read_text().splitlines()) == TRIES
    assert find_head() is None
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


@pytest.mark.slow
def test_a_start_that_fails_once_is_tried_again(fails):
    fails(1)

    head, new = start_head(1, 0, 0)
    try:
        assert new
        assert find_head() == head
        assert list(Path(tempfile.gettempdir()).iterdir()) == [head.folder]
    finally:
        stop_head()
    assert not head.folder.exists()
