"""The command line of the platform, run as a user runs it: as a process of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipt_platform.errors import InfrastructureError

PROGRAM = Path(sys.executable).with_name("ipt-platform")
TAIL = 20


def run_command(*words: str, during: Callable[[subprocess.Popen], None] = lambda process: None) -> Any:
    """Run `ipt-platform WORDS... --json` to its end.

    Args:
        words: the command and its arguments.
        during: called once it runs; what it does happens beside the command.

    Returns:
        What the command printed.

    Raises:
        InfrastructureError: it ended with an error; its last words are named.
    """
    line = [str(PROGRAM), *words, "--json"]
    # files and not pipes, which fill up while nobody reads them
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(line, stdout=out, stderr=err)
        try:
            during(process)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        out.seek(0)
        err.seek(0)
        if code:
            last = "\n".join(err.read().splitlines()[-TAIL:])
            raise InfrastructureError(f"`{' '.join(line)}` ended with code {code}:\n{last}")
        return json.loads(out.read())
