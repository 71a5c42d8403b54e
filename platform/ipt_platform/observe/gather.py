"""What others have written of a run on S3 comes into its working folder: events, metrics and logs.

`events.jsonl` and `metrics.jsonl` of a working folder only grow, so that whoever follows them goes on; lines that come together
come in the order of attempt and time, and those of one process always as it wrote them. `.gathered.json` says what has been
read: `{name: [tag, bytes]}`.
"""

import json
import secrets
import time
from collections import Counter
from pathlib import Path

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.observe.journal import attempt_of, whole_lines, written_in
from ipt_platform.observe.jsonl import append_bytes
from ipt_platform.observe.lock import locked
from ipt_platform.observe.mirror import LOOK_SECONDS, Mirror
from ipt_platform.storage.prefix import Entry

_SEEN = ".gathered.json"
_LOCK = ".gathered.lock"
KINDS = ("events", "metrics")


def gather(mirror: Mirror, now: bool = False) -> None:
    """Append the lines of others that came since the last look; does nothing `LOOK_SECONDS` after it, unless `now`.

    Raises:
        InfrastructureError: the store fails.
    """
    if not now and time.monotonic() - mirror.gathered < LOOK_SECONDS:
        return
    listed = {kind: mirror.remote.entries(kind) for kind in KINDS}
    with locked(mirror.folder / _LOCK):
        seen = _read_seen(mirror.folder)
        for kind in KINDS:
            _gather_kind(mirror, kind, listed[kind], seen)
        replace_file(mirror.folder / _SEEN, json.dumps(seen).encode())
    mirror.gathered = time.monotonic()


def append_missing(folder: Path, kind: str, line: bytes) -> None:
    """Append a line that S3 has to a working folder, unless somebody who gathered was faster."""
    path = folder / f"{kind}.jsonl"
    with locked(folder / _LOCK):
        if line not in _lines_of(path):
            append_bytes(path, line, sync=True)


def fetch_logs(mirror: Mirror, attempt: int) -> None:
    """Bring the logs of an attempt that other machines have sent, as far as they changed.

    Raises:
        InfrastructureError: the store fails.
    """
    listed = mirror.remote.entries(f"logs/{attempt}")
    with locked(mirror.folder / _LOCK):
        seen = _read_seen(mirror.folder)
        for name, entry in listed.items():
            path = mirror.folder / name
            # One that is written here is ahead of what was sent of it.
            if seen.get(name, [""])[0] == entry.tag or (path.is_file() and path.stat().st_size >= entry.size):
                continue
            temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
            mirror.remote.fetch(name, temporary)
            _extend(path, temporary)
            seen[name] = [entry.tag, entry.size]
        replace_file(mirror.folder / _SEEN, json.dumps(seen).encode())


def _gather_kind(mirror: Mirror, kind: str, listed: dict[str, Entry], seen: dict[str, list]) -> None:
    path = mirror.folder / f"{kind}.jsonl"
    found: list[tuple[int, str, bytes]] = []
    latest: dict[str, str] = {}
    for name, entry in listed.items():
        tag, size = seen.get(name, ["", 0])
        # Metrics are written here before they are sent; an event after that, so that a process killed between leaves none out.
        if tag == entry.tag or (kind == "metrics" and written_in(name, mirror.about.folder)):
            continue
        data = mirror.remote.read(name)
        writer = name.rsplit(".", 2)[0]
        for line in whole_lines(data[size:]):
            # Of a clock that was set back, lines count as of its latest moment until it has caught up.
            latest[writer] = max(latest.get(writer, ""), _time(line))
            found.append((attempt_of(name), latest[writer], line))
        seen[name] = [entry.tag, len(data)]
    if found:
        here = _lines_of(path) if kind == "events" else Counter()
        new = [each for each in found if not _take(here, each[2])]
        new.sort(key=lambda each: each[:2])
        if new:
            append_bytes(path, b"".join(line for _, _, line in new), sync=True)


def _take(here: Counter[bytes], line: bytes) -> bool:
    """Whether a line stands there already; each that does answers for one."""
    if here[line] <= 0:
        return False
    here[line] -= 1
    return True


def _lines_of(path: Path) -> Counter[bytes]:
    return Counter(whole_lines(path.read_bytes())) if path.is_file() else Counter()


def _time(line: bytes) -> str:
    try:
        return str(json.loads(line).get("time", ""))
    except (ValueError, AttributeError):
        return ""


def _read_seen(folder: Path) -> dict[str, list]:
    try:
        return json.loads((folder / _SEEN).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


def _extend(path: Path, whole: Path) -> None:
    """Append what a log has more than before, so that whoever follows it goes on."""
    with whole.open("rb") as new, path.open("ab") as log:
        new.seek(log.tell())
        while data := new.read(1 << 20):
            log.write(data)
    whole.unlink()
