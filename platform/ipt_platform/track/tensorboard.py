"""Event files for TensorBoard, below `tensorboard/` of the run: a function of its metrics.jsonl, its samples and its job.

    tensorboard/events.out.tfevents.000000.000000             the job, as text
    tensorboard/events.out.tfevents.000002.000000             the first LINES lines of attempt 2, then the next, ...
    tensorboard/pictures/events.out.tfevents.000000002000     the triptychs of step 2000

The same lines always give the same bytes. So whoever goes on begins with the last file that is there, on whatever machine, and
two who write at once write the same. TensorBoard reads the files of a folder in the order of their names; an attempt that does
steps again begins with the event by which TensorBoard forgets what the one before it had told of them.
"""

import importlib
import io
import re
import struct
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.observe.rundir import RunDir
from ipt_platform.track.reports import Line, Place, Reports, measures, scalars

FOLDER = "tensorboard"
LINES = 1000
"""Of metrics.jsonl in each file: on S3 a file is written anew whenever it has grown."""

SEND_SECONDS = 20.0
WATCHED = 2
"""Of so many last evaluations the triptychs are looked for again: those of other workers may come later."""

_NAME = re.compile(r"events\.out\.tfevents\.(\d{6})\.(\d{6})")


class TensorBoard:
    """The feed of one run to TensorBoard."""

    name, rest = "TensorBoard", "ipt-platform track --to tensorboard"

    def __init__(self, run: RunDir):
        self.run = run
        self._reports: Reports | None = None
        self._file: tuple[Path, int] | None = None
        self._sent = float("-inf")
        self._evaluated: dict[int, tuple[dict[str, Any], frozenset[str]]] = {}

    def turn(self, last: bool) -> None:
        """As `Feed.turn`.

        Raises:
            OSError, IptError: the storage takes nothing.
        """
        self.run.refresh(now=last)
        reports = self._reports or self._begin()
        try:
            while lines := reports.more():
                for line in lines:
                    self._take(line)
                self._write(lines)
            self._follow_up(last)
        except BaseException:
            self._reports = self._file = None  # what was read and not written is read again
            raise
        self._reports = reports

    def _begin(self) -> Reports:
        """Read from the beginning of the newest file on, which is written anew as far as it is wrong."""
        folder = self.run.path / FOLDER
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self._publish(folder / _name(0, 0), _job_text(self.run.job.read_text()))
        names = {path.name for path in folder.iterdir()}
        if mirror := self.run.mirror:
            names |= {name.rpartition("/")[2] for name in mirror.remote.entries(FOLDER)}
        newest = max(((int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(name))), default=(0, 0))
        return Reports(self.run, Place(newest[0], newest[1] * LINES))

    def _take(self, line: Line) -> None:
        if measures(line.report):
            self._evaluated[line.report["step"]] = (line.report, frozenset())
            for step in sorted(self._evaluated)[:-WATCHED]:
                self._write_step(step)
                del self._evaluated[step]

    def _write(self, lines: list[Line]) -> None:
        pieces: dict[Path, list[Line]] = {}
        for line in lines:
            name = _name(line.place.attempt, (line.place.number - 1) // LINES)
            pieces.setdefault(self.run.path / FOLDER / name, []).append(line)
        for path, some in pieces.items():
            data = b"".join(map(_events, some))
            if self._file and self._file[0] == path:
                with path.open("r+b") as file:
                    file.seek(self._file[1])
                    file.write(data)
                self._file = path, self._file[1] + len(data)
                continue
            if self._file:
                self.run.keep(self._file[0])
            data = _record(some[0].report, file_version="brain.Event:2") + data
            if not (path.is_file() and path.read_bytes().startswith(data)):
                replace_file(path, data)
            self._file, self._sent = (path, len(data)), float("-inf")

    def _follow_up(self, last: bool) -> None:
        """Send the file that grows, and write the pictures that have come; on S3 not every time."""
        if self.run.mirror and not last and time.monotonic() - self._sent < SEND_SECONDS:
            return
        if self._file:
            self.run.keep(self._file[0])
        for step in self._evaluated:
            self._write_step(step)
        self._sent = time.monotonic()

    def _write_step(self, step: int) -> None:
        report, written = self._evaluated[step]
        names = frozenset(_pictures(self.run, step))
        if names == written:
            return
        data = _record(report, file_version="brain.Event:2")
        for name in sorted(names):
            data += _picture(report, name.removesuffix(".png"), _read(self.run, step, name))
        self._publish(self.run.path / FOLDER / "pictures" / f"events.out.tfevents.{step:012d}", data)
        self._evaluated[step] = report, names

    def _publish(self, path: Path, data: bytes) -> None:
        if not path.is_file() or path.read_bytes() != data:
            replace_file(path, data)
            self.run.keep(path)


def _name(attempt: int, number: int) -> str:
    return f"events.out.tfevents.{attempt:06d}.{number:06d}"


def _pictures(run: RunDir, step: int) -> set[str]:
    """The names of the triptychs of a step."""
    names = {path.name for path in run.samples(step).glob("*.png")}
    if mirror := run.mirror:
        names |= {name.rpartition("/")[2] for name in mirror.remote.entries(f"samples/step-{step}") if name.endswith(".png")}
    return names


def _read(run: RunDir, step: int, name: str) -> bytes:
    path = run.samples(step) / name
    if run.mirror and not path.is_file():
        return run.mirror.remote.read(path.relative_to(run.path).as_posix())
    return path.read_bytes()


def _events(line: Line) -> bytes:
    """The records of a line."""
    summary, report = _proto("summary"), line.report
    values = [summary.Summary.Value(tag=name, simple_value=value) for name, value in scalars(report).items()]
    data = _record(report, summary=summary.Summary(value=values))
    if line.place.attempt > 1 and line.place.number == 1:
        # Of the step that is only measured, what was trained still holds.
        again = report["step"] + measures(report)
        data = (
            _record(report | {"step": again}, session_log=_proto("event").SessionLog(status=_proto("event").SessionLog.START))
            + data
        )
    return data


def _picture(report: dict[str, Any], name: str, png: bytes) -> bytes:
    """The record of a picture, which stays encoded as it is."""
    summary = _proto("summary")
    width, height = struct.unpack(">II", png[16:24])
    image = summary.Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
    return _record(report, summary=summary.Summary(value=[summary.Summary.Value(tag=name, image=image)]))


def _job_text(job: str) -> bytes:
    """The records of the job, as a text that TensorBoard shows."""
    summary, shape = _proto("summary"), _proto("tensor_shape")
    report = {"time": "1970-01-01T00:00:00+00:00", "step": 0}
    text = _proto("tensor").TensorProto(
        dtype=_proto("types").DT_STRING,
        string_val=[f"```yaml\n{job}```".encode()],
        tensor_shape=shape.TensorShapeProto(dim=[shape.TensorShapeProto.Dim(size=1)]),
    )
    metadata = summary.SummaryMetadata(plugin_data=summary.SummaryMetadata.PluginData(plugin_name="text"))
    value = summary.Summary.Value(tag="job.yaml", tensor=text, metadata=metadata)
    return _record(report, file_version="brain.Event:2") + _record(report, summary=summary.Summary(value=[value]))


def _record(report: dict[str, Any], **what: Any) -> bytes:
    """An event of the time and step of a report, as TensorBoard's files have it."""
    writer = importlib.import_module("tensorboard.summary.writer.record_writer").RecordWriter
    event = _proto("event").Event(wall_time=datetime.fromisoformat(report["time"]).timestamp(), step=report["step"], **what)
    out = io.BytesIO()
    writer(out).write(event.SerializeToString())
    return out.getvalue()


def _proto(name: str) -> Any:
    """A module of TensorBoard's messages, which are generated and have no types."""
    return importlib.import_module(f"tensorboard.compat.proto.{name}_pb2")
