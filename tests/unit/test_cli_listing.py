"""`ipt-platform --help` and the commands that only look: what they say, and what they must not import."""

import subprocess
import sys

import pytest
import typer

from ipt_platform.cli.listing import summary
from ipt_platform.cli.main import COMMANDS, app
from ipt_platform.observe.events import append_event
from ipt_platform.observe.storage import create

HEAVY = ["torch", "ray", "cv2", "scipy", "matplotlib", "pandas"]
"""What takes a second or more to import."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(name):
    group = typer.main.get_command(app)
    context = typer.Context(group)

    said = group.get_command(context, name).help

    assert said
    assert summary(COMMANDS[name]) == said


def imported_by(*words: str) -> tuple[str, list[str]]:
    """What a command prints, and which heavy modules it has imported at its end."""
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        "from ipt_platform.cli.main import main\n"
        "main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, *words], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()


def test_the_list_of_commands_names_all_of_them_and_imports_none():
    said, heavy = imported_by("--help")

    assert [name for name in COMMANDS if f" {name} " not in said] == []
    assert heavy == []


@pytest.mark.parametrize("words", [["ls"], ["status", "demo"], ["logs", "demo"], ["metrics", "demo"]], ids=lambda each: each[0])
def test_what_only_looks_at_runs_imports_nothing_heavy(words, tmp_path):
    run = create(tmp_path, "demo")
    append_event(run, "started", run.new_attempt(), step=0)
    run.logs(1, 0).write_text("first\n")

    said, heavy = imported_by(*words, "--storage", str(tmp_path))

    assert said
    assert heavy == []
