"""`dashboard` and `user` as commands: where they listen, what they refuse, how they end."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ipt_platform.cli import dashboard as command
from ipt_platform.cli.user import app as user_app
from ipt_platform.errors import InfrastructureError, RefusedError, UsageError
from ipt_platform.web.security.users import read_users
from ipt_platform.web.serve import listen
from ipt_platform.web.settings import Settings
from tests.integration.web.conftest import write_run

RUN = "from ipt_platform.cli.main import main; main()"


def test_the_command_serves_until_it_is_told_to_end(storage):
    write_run(storage, "demo")
    words = ["dashboard", "--storage", str(storage), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen([sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout
            address = json.loads("".join(iter(page.stdout.readline, "}\n")) + "}")["address"]
            with urllib.request.urlopen(f"{address}runs") as answer:
                assert b"/runs/demo" in answer.read()
            page.send_signal(signal.SIGTERM)
            assert page.wait(60) == 0
        finally:
            page.kill()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])
def test_an_address_that_others_reach_needs_users(host, storage):
    with pytest.raises(RefusedError, match="--users"):
        listen(Settings(str(storage), host), 0)


def test_users_that_are_none_let_nobody_listen(storage, tmp_path):
    with pytest.raises(UsageError, match="has no users"):
        listen(Settings(str(storage), "0.0.0.0", users=tmp_path / "users.toml"), 0)


def test_a_port_that_is_taken_is_said(storage):
    with listen(Settings(str(storage)), 0) as first, pytest.raises(InfrastructureError, match="another page"):
        listen(Settings(str(storage)), first.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:8260", ("::1", 8260)), ("lab:0", ("lab", 0))]
)
def test_addresses_are_read(text, address):
    assert command._address(text) == address


@pytest.mark.parametrize("text", ["8260", ":8260", "lab:", "lab:x", "lab:70000", ""])
def test_addresses_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="HOST:PORT"):
        command._address(text)


@pytest.mark.parametrize(
    "words",
    [
        {"certificate": Path("none.pem")},
        {"key": Path("none.pem")},
        {"certificate": Path("none.pem"), "key": Path("none.pem")},
        {"prometheus": "localhost:9090"},
    ],
)
def test_options_that_cannot_be_used_are_refused(words, storage):
    with pytest.raises(UsageError):
        command.dashboard(storage=str(storage), listen_on="127.0.0.1:0", **words)


def test_users_are_added_listed_and_removed(tmp_path):
    path = tmp_path / "users.toml"

    def call(*words: str) -> str:
        result = CliRunner().invoke(user_app, [*words, "--users", str(path)], catch_exceptions=False, standalone_mode=False)
        if result.exception:
            raise result.exception
        return result.stdout

    token = call("add", "ann", "--role", "runner", "--days", "1").strip()
    assert token.startswith("ipt_")
    assert token not in path.read_text()
    lasting = read_users(path)["ann"].expires
    assert lasting
    assert 0 < lasting.timestamp() - time.time() <= 86400
    assert json.loads(call("ls", "--json"))[0]["role"] == "runner"
    assert "ann" in call("ls")
    call("rm", "ann")
    assert "no users" in call("ls")
