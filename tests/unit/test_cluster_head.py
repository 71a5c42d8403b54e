"""What is remembered of the Ray of this machine; a real one is in tests/integration/cluster."""

import json
import os
import socket
from dataclasses import asdict
from pathlib import Path

import pytest

from ipt_platform.cluster.head import find_head, stop_head
from ipt_platform.cluster.target import state_path
from ipt_platform.errors import NotFoundError
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
