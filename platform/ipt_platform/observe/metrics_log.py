"""What training reports: one line each in metrics.jsonl.

A training line holds `time, attempt, step, steps, stage, loss {task: float}, lr, grad_norm, bias_grad_norm,
images_per_second, data_wait_share` (0 to 1), `samples {"seen": n, "bad": {kind: n}}`, `seconds` (since the attempt began) and
`eta_seconds`.
An evaluation line holds `time, attempt, step` and `evaluation {set: {task: {"psnr": dB, ...}}}`; a PSNR of null is infinite.
"""

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from ipt_platform.observe import said
from ipt_platform.observe.events import utc_now
from ipt_platform.observe.jsonl import append_line, line_of, newest_with, read_lines
from ipt_platform.observe.rundir import RunDir

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def append_metrics(run: RunDir, fields: Mapping[str, Any], *, clock: Callable[[], datetime] = utc_now) -> dict[str, Any]:
    """Append one report; its time is added. Of a run on S3, it is there some seconds later.

    Returns:
        The line as it was written.
    """
    line = {"time": clock().isoformat(timespec="milliseconds"), **fields}
    append_line(run.metrics, line)
    if mirror := run.mirror:
        mirror.journal("metrics", line.get("attempt", 0)).add(line_of(line))
        if not mirror.followed:
            mirror.send(("metrics",))
    return line


def read_metrics(run: RunDir, tail: int | None = None) -> list[dict[str, Any]]:
    """The reports in order ([] before the first), without lines torn by a kill; `tail` reads only the last ones.

    After a resume the same step can stand there twice: the later line is the one that counts.
    """
    run.refresh()
    return [revive(line) for line in read_lines(run.metrics, tail)]


def last_reports(run: RunDir, keys: Collection[str], reach: int | None = None) -> dict[str, dict[str, Any]]:
    """For each key (`steps`, `evaluation`) the newest report that has it; a key that none has is left out.

    Args:
        run: the run.
        keys: what to look for.
        reach: how many bytes from the end are looked through; None is all of them.
    """
    return {key: revive(line) for key, line in newest_with(run.metrics, keys, reach).items()}


def psnr_of(line: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """PSNR in dB by test set and task in a line ({}: it is no evaluation); infinite where a set was restored perfectly."""
    return {
        name: {
            task: value
            for task, measured in said.table(tasks).items()
            if "psnr" in (told := said.table(measured)) and (value := said.psnr(told["psnr"])) is not None
        }
        for name, tasks in said.table(line.get("evaluation")).items()
    }


def revive(value: Any) -> Any:
    """Turn the strings that stand for not-a-number and infinity in a line back into floats."""
    match value:
        case str():
            return _NUMBERS.get(value, value)
        case dict():
            return {key: revive(each) for key, each in value.items()}
        case list():
            return [revive(each) for each in value]
        case _:
            return value
