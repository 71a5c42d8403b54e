"""The process that drives a run ends with the one that started it, however that one went."""

import signal
import socket
import subprocess
import sys
import textwrap

import pytest

DRIVER = textwrap.dedent(
    """
    import socket, sys
    from ipt_platform.cluster.drive import _end_with

    end = socket.socket(fileno=int(sys.argv[1]))
    end.sendall(b"a word that nobody reads")
    print("told", flush=True)
    _end_with(end, None)
    """
)


@pytest.mark.parametrize("read", [True, False])
def test_it_ends_when_the_other_end_is_gone_also_with_words_unread(read):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [sys.executable, "-P", "-c", DRIVER, str(theirs.fileno())]
        child = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, text=True, start_new_session=True
        )  # it kills its whole session
        assert child.stdout
        assert child.stdout.readline() == "told\n"
        if read:
            ours.recv(1 << 10)

    assert child.wait(60) == -signal.SIGKILL
    child.stdout.close()
