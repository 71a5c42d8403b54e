"""The state of each run of a storage on S3, as its owner last knew it, in the names of objects: one listing tells all of them.

    .summaries/<run-id>/<number>/<payload>     payload: JSON, zlib, base64 for URLs, cut by slashes

The object holds the same JSON for people. A newer one is written before the older ones are removed; the highest number counts:
milliseconds, or one more than that of the one before where a clock was set back.
"""

import base64
import binascii
import json
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from ipt_platform.observe.mirror import Mirror
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import Status, run_status
from ipt_platform.storage.paths import MAX_KEY_BYTES
from ipt_platform.storage.prefix import Prefix, prefix_at

FOLDER = ".summaries"
_CUT = 200
"""Characters between two slashes; some stores keep keys as names of files."""

_LEFT_OUT = ("samples", "data_wait_share", "images_per_second", "psnr", "loss", "reason")
"""What a name that would be too long does without, in this order."""

_FIELDS = {field.name for field in fields(Status)}


def publish(run: RunDir, clock: Callable[[], float] = time.time) -> None:
    """Tell the state of a run on S3 to those who list its storage; does nothing for a run on a disk.

    Args:
        run: the run.
        clock: seconds.

    Raises:
        InfrastructureError: the store fails.
    """
    if not (mirror := run.mirror):
        return
    status, leader = run_status(run), run.attempt(run.current_attempt(fresh=False)).process
    facts = {name: value for name, value in asdict(status).items() if value not in (None, "", 0)}
    if leader:
        facts["process"] = asdict(leader)
    _put(mirror, run.id, facts, int(1000 * clock()))


def _put(mirror: Mirror, run_id: str, facts: dict[str, Any], moment: int) -> None:
    storage = prefix_at(mirror.about.storage)
    older = list(storage.entries(f"{FOLDER}/{run_id}"))
    numbers = (name.split("/")[2] for name in older)
    last = max((int(number) for number in numbers if number.isdecimal()), default=0)
    head = f"{FOLDER}/{run_id}/{max(last + 1, moment):015d}"
    name = _name(head, facts, MAX_KEY_BYTES - len(str(storage.root.key)) - 1)
    storage.put(name, json.dumps(facts, indent=1).encode() + b"\n")
    storage.remove(each for each in older if each < name)


def read_all(storage: Prefix) -> dict[str, tuple[Status, Process | None, datetime]]:
    """The last known state of every run that has one, who leads it, and when S3 was told so, by run id."""
    found: dict[str, tuple[Status, Process | None, datetime]] = {}
    for name, entry in storage.entries(FOLDER).items():  # in the order of names, so that the newest of a run comes last
        _, run_id, *rest = name.split("/")
        if facts := _decode("".join(rest[1:])):
            process = facts.pop("process", None)
            known = {key: value for key, value in facts.items() if key in _FIELDS} | {"run_id": run_id}
            status = Status(**{"state": "created", "reason": "", **known})
            found[run_id] = status, Process(**process) if process else None, entry.modified
    return found


def _name(head: str, facts: dict[str, Any], room: int) -> str:
    facts, name = {key: value for key, value in facts.items() if key != "run_id"}, ""
    for left_out in ("", *_LEFT_OUT):
        facts.pop(left_out, None)
        data = zlib.compress(json.dumps(facts, separators=(",", ":")).encode(), 9)
        text = base64.urlsafe_b64encode(data).decode().rstrip("=")
        name = "/".join([head, *re.findall(f".{{1,{_CUT}}}", text)])
        if len(name) <= room:
            break
    return name


def _decode(text: str) -> dict[str, Any]:
    try:
        value = json.loads(zlib.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
    except (ValueError, binascii.Error, zlib.error):
        return {}  # not one of ours
    return value if isinstance(value, dict) else {}
