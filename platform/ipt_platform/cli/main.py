"""`ipt-platform`: every command, and what an error looks like.

Commands are thin: they parse, call one service, print. Nothing heavy is imported before the command that needs it runs.
"""

import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from ipt_platform import __version__
from ipt_platform.cli.listing import summary
from ipt_platform.cli.output import console, say
from ipt_platform.errors import NO_ROOM, CancelledRunError, ExitCode, IptError, storage_failed

COMMANDS = {
    "submit": "ipt_platform.cli.submit:submit",
    "validate": "ipt_platform.cli.job:validate",
    "plan": "ipt_platform.cli.job:plan",
    "schema": "ipt_platform.cli.job:schema",
    "job": "ipt_platform.cli.jobs:app",
    "render": "ipt_platform.cli.render:render",
    "ls": "ipt_platform.cli.runs:ls",
    "status": "ipt_platform.cli.runs:status",
    "logs": "ipt_platform.cli.logs:logs",
    "metrics": "ipt_platform.cli.metrics:metrics",
    "track": "ipt_platform.cli.track:track",
    "hooks": "ipt_platform.cli.hooks:app",
    "checkpoint": "ipt_platform.cli.steer:checkpoint",
    "cancel": "ipt_platform.cli.steer:cancel",
    "resume": "ipt_platform.cli.steer:resume",
    "wait": "ipt_platform.cli.steer:wait",
    "gc": "ipt_platform.cli.gc:gc",
    "bundle": "ipt_platform.cli.bundle:bundle",
    "cluster": "ipt_platform.cli.cluster:app",
    "doctor": "ipt_platform.cli.doctor:doctor",
    "evaluate": "ipt_platform.cli.evaluate:evaluate",
    "restore": "ipt_platform.cli.restore:restore",
    "route": "ipt_platform.cli.route:app",
    "export": "ipt_platform.cli.export:export",
    "import": "ipt_platform.cli.export:import_adapter",
    "data": "ipt_platform.cli.data:app",
    "task": "ipt_platform.cli.task:app",
    "registry": "ipt_platform.cli.registry:app",
    "dashboard": "ipt_platform.cli.dashboard:dashboard",
    "user": "ipt_platform.cli.user:app",
}
"""Every command, and the function or typer app that it is."""

_STOPPED = "stopped by Ctrl-C"


class _Lazy(TyperGroup):
    """A group that imports a command's module when the command is asked for, and none to list them all."""

    _listing = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=summary(COMMANDS[cmd_name]))
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            command = typer.main.get_command(found)
        else:
            single = typer.Typer(add_completion=False)
            single.command(name=cmd_name)(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            # typer would end with 130, which no table of ours names
            raise CancelledRunError(_STOPPED) from error


app = typer.Typer(cls=_Lazy, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"ipt-platform {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Train one image-restoration backbone for many tasks, and restore pictures with it."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; ends the process with a code of `errors.ExitCode`."""
    try:
        with _terminated_in_words():
            app(arguments, prog_name="ipt-platform")
    except IptError as error:
        # who stops a run knows that it was no error
        _explain(str(error) if isinstance(error, CancelledRunError) else f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _explain(_STOPPED)
        sys.exit(ExitCode.CANCELLED)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _explain(f"error: {storage_failed(error)}")
        sys.exit(ExitCode.INFRASTRUCTURE)


@contextlib.contextmanager
def _terminated_in_words() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that it clears up; a command may have a better answer of its own."""

    def stop(number: int, frame: object) -> None:
        raise CancelledRunError("stopped by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _explain(message: str) -> None:
    """The message on stderr, line by line: `say` writes out the line ends of what it prints."""
    to = console(stderr=True)
    for line in message.split("\n"):
        say(to, line)
