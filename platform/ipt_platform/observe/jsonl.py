"""Append-only files of one JSON object per line, written by several processes and cut short by kills.

A line is one `write` to a file opened for appending: the kernel puts each whole line behind the others. A writer that
is killed in the middle can leave a torn line; readers pass over it, and the next writer starts on a line of its own.
"""

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from ipt_platform.errors import NoRoomError

_BLOCK = 1 << 16
_parse = json.JSONDecoder().decode  # as json.loads does it, which looks first what it was given


def append_line(path: Path, value: dict[str, Any], sync: bool = False) -> None:
    """Append one object as one line.

    Numbers that JSON does not know are written as the strings "NaN", "Infinity" and "-Infinity".

    Args:
        path: the file; created if missing.
        value: what json.dumps can write.
        sync: wait until the disk has it.

    Raises:
        NoRoomError: only a part of the line could be written (the disk is full).
    """
    append_bytes(path, line_of(value), sync)


def line_of(value: dict[str, Any]) -> bytes:
    """An object as one line, with its line end."""
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False).encode() + b"\n"


def append_bytes(path: Path, line: bytes, sync: bool = False) -> None:
    """Append complete lines, as `append_line` does one.

    Raises:
        InfrastructureError: as `append_line`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        if _torn(descriptor):
            line = b"\n" + line
        written = os.write(descriptor, line)
        if written != len(line):
            raise NoRoomError(f"{path}: wrote {written} of {len(line)} bytes of a line; is the disk full?")
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path, tail: int | None = None) -> list[dict[str, Any]]:
    """The objects of a file in order, without torn lines; [] if there is no file.

    Args:
        path: the file.
        tail: only the last so many lines; the file is then read from its end.
    """
    if not path.is_file():
        return []
    if tail is None:
        return list(objects_of(path.read_bytes().split(b"\n")))
    return list(objects_of(last_lines(path, tail)))


def last_lines(path: Path, count: int, end: int | None = None) -> list[bytes]:
    """The last `count` lines of a file that are not empty, in order, without reading what stands before them.

    Args:
        path: the file.
        count: how many.
        end: look only at the first so many bytes (where a Follower stands), not at the whole file.
    """
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END) if end is None else end
        data = b""
        while position > 0 and len(_full(data)) <= count:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            data = file.read(size) + data
    return _full(data)[-count:] if count > 0 else []


def read_ends(path: Path, reach: int) -> list[dict[str, Any]]:
    """The objects in the first and the last `reach` bytes of a file, in order; all of them where it is no longer than both.

    Args:
        path: the file; [] if there is none.
        reach: bytes; the last ones are more where a single line is longer.
    """
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        first = file.read(reach).split(b"\n")[:-1]
        while 2 * reach < size:
            file.seek(size - reach)
            if last := list(objects_of(file.read().split(b"\n")[1:])):
                return [*objects_of(first), *last]
            reach *= 2
    return read_lines(path)


def newest_with(path: Path, keys: Collection[str], reach: int | None = None) -> dict[str, dict[str, Any]]:
    """For each key the newest object of a file that has it; a key that none has is left out.

    Args:
        path: the file, read from its end; {} if there is none.
        keys: what to look for.
        reach: how many bytes from the end are looked through; None is all of them.
    """
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    for lines in _backwards(path, reach):
        missing = [key for key in keys if key not in found]
        if not missing:
            break
        for key in missing:
            if (word := json.dumps(key).encode()) in lines:
                holders = [line for line in lines.split(b"\n") if word in line]
                if newest := next((each for each in objects_of(reversed(holders)) if key in each), None):
                    found[key] = newest
    return found


class Follower:
    """Hands out the complete lines that a growing file got since the last look; the file may not exist yet.

    `position` is the byte it stands at: always the beginning of a line.
    """

    def __init__(self, path: Path, from_end: bool = False):
        self.path = path
        self.position = _end_of_lines(path) if from_end and path.is_file() else 0

    def poll(self, reach: int = -1) -> list[bytes]:
        """The new complete lines, without line ends; a line that is still being written waits for the next look.

        Args:
            reach: bytes that are read at most, and what is left of the last line; -1: all.
        """
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self.position)
            data = file.read(reach)
            if reach >= 0:
                data += file.readline()
        complete = data[: data.rfind(b"\n") + 1]
        self.position += len(complete)
        return complete.split(b"\n")[:-1]

    def poll_objects(self, reach: int = -1) -> list[dict[str, Any]]:
        """The objects in the new complete lines, without torn ones; `reach` as in `poll`."""
        return list(objects_of(self.poll(reach)))


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value


def _torn(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _end_of_lines(path: Path) -> int:
    """The byte after the last line end of a file."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - _BLOCK)
            file.seek(start)
            if (found := file.read(position - start).rfind(b"\n")) >= 0:
                return start + found + 1
            position = start
    return 0


def _backwards(path: Path, reach: int | None) -> Iterator[bytes]:
    """The lines of a file in pieces, the last piece first; no line is cut but the first, by `reach`."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        least = max(0, position - reach) if reach is not None else 0
        rest: list[bytes] = []  # of a line that began further up, its pieces in order
        block = _BLOCK >> 4  # what is looked for is often near the end
        while position > least:
            size = min(block, position - least)
            position, block = position - size, min(2 * block, _BLOCK)
            file.seek(position)
            head, end, lines = file.read(size).partition(b"\n")
            if not end:
                rest.insert(0, head)
                continue
            yield lines + b"".join(rest)
            rest = [head]
        yield b"".join(rest)


def _full(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip()]


def objects_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects in lines, without torn ones."""
    for line in lines:
        try:
            value = _parse(line.decode())
        except (ValueError, RecursionError):
            continue  # torn by a kill, or empty
        if isinstance(value, dict):
            yield value
