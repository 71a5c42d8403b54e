"""The commands of the pages, given one after the other as a reader gives them."""

import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HANG, Command, draw_photograph
from tests.docs_blocks import ROOT, RUN, Block, blocks_of

pytestmark = pytest.mark.slow

"""Seconds after which the commands of a block are taken for hanging: some of them train."""


class Reader:
    """Somebody with a clone, photographs and a shell in an empty home."""

    program = "bash"

    def __init__(self, folder: Path, temporary: Path):
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        (programs / "ipt-platform").write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -c "from ipt_platform.cli.main import main; main()" "$@"\n'
        )
        (programs / "ipt-platform").chmod(0o755)
        # Neither the Ray nor the configuration of whoever runs the tests.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "IPT_", "XDG_"))}
        place = {"TMPDIR": str(temporary), "HOME": str(folder), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        self.environment = own | place
        shutil.copytree(ROOT / "jobs", folder / "jobs")
        shutil.copytree(ROOT / "datasets", folder / "datasets", ignore=lambda *_: ["sample"])
        for name in ("photo.png", "holiday/pier.png", "photos/dune.png", "photos/lamp.png"):
            draw_photograph(folder / name, len(name), 96, 112)
        self.commands: list[Command] = []

    def give(self, block: Block) -> Command:
        """The commands of a block, to their end or to the first that fails."""
        text = block.text
        if block.order == "run with":
            text = re.sub(r"^(ipt-platform submit [^#\n]*)", rf"\1 {block.words} ", text, flags=re.MULTILINE)
        command = Command(self, len(self.commands), "-euo", "pipefail", "-c", text)
        self.commands.append(command)
        end = time.monotonic() + HANG
        while command.process.poll() is None:
            command.look()
            assert time.monotonic() < end, f"{block} did not end within {HANG} s:\n{block.text}\n{command.stderr}"
            time.sleep(0.1)
        return command


@pytest.fixture
def reader(tmp_path) -> Iterator[Reader]:
    temporary = Path(tempfile.mkdtemp(prefix="t"))  # short: Ray's sockets lie below it
    reader = Reader(tmp_path, temporary)
    try:
        yield reader
    finally:
        for command in reader.commands:
            command.close()
        shutil.rmtree(temporary, ignore_errors=True)


def test_the_commands_of_the_pages_work_in_their_order(reader):
    for page in RUN:
        for block in blocks_of(page):
            if block.order == "file":
                (reader.folder / block.words).write_text(block.text)
            elif block.language == "sh" and block.order != "not run":
                given = reader.give(block)
                assert given.process.returncode == 0, f"{block}\n{block.text}\n{given.stdout}\n{given.stderr}"
                assert given.left(grace=20) == [], block

    there = ["runs/first/report.json", "restored/photo.png", "sharp/pier.png", "dry/photo.png", "pairs.png", "first.tar.gz"]
    assert [name for name in there if not (reader.folder / name).is_file()] == []
