"""A run as an archive for whoever is asked for help: what it said and how it stands, without weights, pictures or secrets.

    <run-id>/contents.json          what is in it, and of what only the end
    <run-id>/status.json            `status --json`
    <run-id>/machine.json, packages.json      where the archive was made
    <run-id>/run/...                files of the run as they lie there
    <run-id>/run/runs/<id>/...      of a search or an analysis: the same of its jobs, and less of it

The same run gives the same bytes, once it has ended.
"""

import contextlib
import gzip
import io
import json
import os
import secrets as random
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ipt_platform.checkpoint.manifest import COMMIT, MANIFEST, steps
from ipt_platform.errors import RefusedError, storage_failed
from ipt_platform.observe.events import read_events
from ipt_platform.observe.machine import machine_facts, package_versions
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import list_runs

ATTEMPTS = 3
MEMBERS = 50
RAY_LOGS = 200
"""Logs of so many attempts, jobs, and logs of Ray's own for each attempt, at the most; the last of them."""

WHOLE = ("job.yaml", "report.json", "report.md", "stop.json", "models.json", "best.yaml", "proposal.yaml")
"""Files of a run that are in it as far as they go, like its events, metrics and logs by the bytes of `Bounds`."""


@dataclass(frozen=True)
class Bounds:
    """How many bytes of a file there may be, counted from its end."""

    lines: int = 4 << 20
    log: int = 1 << 20
    ray: int = 256 << 10


OF_A_MEMBER = Bounds(lines=256 << 10, log=128 << 10, ray=0)


def write_bundle(run: RunDir, out: Path, redact: Callable[[str], str]) -> list[dict[str, Any]]:
    """Write the archive of a run; it appears whole or not at all.

    Args:
        run: the run.
        out: the file to make, `.tar.gz`.
        redact: takes secrets out of a text.

    Returns:
        Its contents: `name`, `bytes` as they are in it, and `of`, the bytes of the file that it is the end of.

    Raises:
        RefusedError: there is such a file.
        InfrastructureError: the disk refuses.
    """
    if out.is_symlink() or out.exists():
        raise _exists(out)
    temporary = out.with_name(f".{out.name}-{random.token_hex(4)}")
    try:
        with temporary.open("xb") as raw:
            contents = _write(run, raw, redact)
            raw.flush()
            os.fsync(raw.fileno())
        _take_name(temporary, out)
    except OSError as error:
        raise storage_failed(error, out) from error
    finally:
        temporary.unlink(missing_ok=True)
    return contents


def _write(run: RunDir, raw: IO[bytes], redact: Callable[[str], str]) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    folder = run.path.resolve().name  # also of a run that was named as "."
    with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:

        def add(name: str, text: str, size: int | None = None) -> None:
            data = redact(text).encode(errors="replace")
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
            contents.append({"name": name, "bytes": len(data), "of": len(data) if size is None else size})

        for name, value in _facts(run).items():
            add(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        for name, path, most in sorted(_files(run)):
            with contextlib.suppress(FileNotFoundError):  # the run may be under way, and clear a checkpoint away
                text, size = _end_of(path, most)
                add(f"run/{name}", text, size if size > most else None)
        add("contents.json", json.dumps(contents, indent=1) + "\n")
    return contents


def _facts(run: RunDir) -> dict[str, Any]:
    run.fetch()
    status = {**run_status(run).to_dict(), "path": str(run.path), "events": read_events(run, tail=8)}
    return {"machine.json": machine_facts(), "packages.json": package_versions(), "status.json": status}


def _files(run: RunDir) -> Iterator[tuple[str, Path, int]]:
    """Name, path and bytes at the most of every file of a run and of its jobs; regular files alone, no link is followed."""
    members = list_runs(run.members)[-MEMBERS:]
    for each, bounds in ((run, Bounds()), *((member, OF_A_MEMBER) for member in members)):
        for path, most in _files_of(each, bounds):
            if most and path.is_file() and not path.is_symlink():
                yield path.relative_to(run.path).as_posix(), path, most


def _files_of(run: RunDir, bounds: Bounds) -> Iterator[tuple[Path, int]]:
    lines = (run.events, run.metrics, run.path / "trials.jsonl", run.path / "trials.csv")
    yield from ((path, bounds.lines) for path in (*lines, *(run.path / name for name in WHOLE)))
    attempts = sorted((path for path in run.attempts.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name))
    yield from ((path, bounds.lines) for path in attempts)
    for attempt in range(run.current_attempt() + 1, 0, -1)[: ATTEMPTS + 1]:  # one that has not begun may have a log already
        yield from ((path, bounds.log) for path in run.log_files(attempt).values())
        yield from ((path, bounds.ray) for path in _ray_logs(run.path / "logs" / str(attempt) / "ray"))
    for _, path in steps(run.checkpoints):
        yield from ((path / name, bounds.lines) for name in (MANIFEST, COMMIT))


def _ray_logs(folder: Path) -> Iterable[Path]:
    """Ray's own logs that an attempt has kept, the last ones: those of a run that has ended do not change."""
    return sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)[-RAY_LOGS:]


def _end_of(path: Path, most: int) -> tuple[str, int]:
    """The last whole lines of a file, and its size in bytes."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most))
        data = file.read(most)
    if size > most:
        data = data.partition(b"\n")[2]
    return data.decode(errors="replace"), size


def _take_name(temporary: Path, out: Path) -> None:
    """Give the file its name, unless something has it by now."""
    try:
        out.hardlink_to(temporary)
    except FileExistsError as error:
        raise _exists(out) from error
    except OSError:  # a storage without hard links
        if out.exists():
            raise _exists(out) from None
        temporary.rename(out)


def _exists(out: Path) -> RefusedError:
    return RefusedError(f"{out}: exists, and nothing is written over. Name another file.")
