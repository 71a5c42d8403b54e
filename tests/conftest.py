"""What more than one test file uses."""

from typing import Any

import pytest
import typer

from ipt_platform.cli.main import app


@pytest.fixture(scope="session")
def commands() -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its words: `("data", "pack")`."""
    found = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if not hasattr(command, "list_commands"):
            found[words] = command
            return
        context = typer.Context(command)
        for name in command.list_commands(context):
            walk(command.get_command(context, name), (*words, name))

    walk(typer.main.get_command(app), ())
    return found
