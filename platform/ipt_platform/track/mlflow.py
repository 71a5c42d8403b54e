"""The feed of a run to MLflow. What has been told stands in a tag of the MLflow run, so whoever goes on asks the server.

    ipt.identity     the run's id, and when it was made: by it the MLflow run is found again
    ipt.told         attempt, number of the last line in it, last step trained and last step measured: "2 137 2000 1500"

A step that an attempt does again is told once: MLflow cannot forget, and what is done again from a checkpoint is the same.
"""

import functools
import logging
import os
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ipt_platform.errors import UsageError
from ipt_platform.observe.events import ENDINGS, identity_of, read_events
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.load import leaves
from ipt_platform.track.reports import BEGINNING, Line, Place, Reports, measures, scalars

log = logging.getLogger(__name__)

ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # A turn that failed is made again, with longer and longer pauses.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}

# What MLflow takes in one request, and in one value.
_METRICS, _PARAMETERS, _CHARACTERS, _KEY = 900, 100, 5000, 250

_ENDS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "FAILED", "cancelled": "KILLED"}


class Told(NamedTuple):
    """Up to where MLflow has been told."""

    place: Place = BEGINNING
    trained: int = -1
    measured: int = -1

    @classmethod
    def parse(cls, text: str) -> "Told":
        """What `str` gave."""
        attempt, number, trained, measured = map(int, text.split())
        return cls(Place(attempt, number), trained, measured)

    def __str__(self) -> str:
        return f"{self.place.attempt} {self.place.number} {self.trained} {self.measured}"

    def with_line(self, line: Line) -> tuple["Told", bool]:
        """What has been told with one more line, and whether that is news."""
        step = line.report["step"]
        if measures(line.report):
            return Told(line.place, self.trained, max(self.measured, step)), step > self.measured
        return Told(line.place, max(self.trained, step), self.measured), step > self.trained


def address() -> str:
    """Where MLflow is, as the environment says.

    Raises:
        UsageError: it does not say, or with a login in it.
    """
    uri = os.environ.get(ADDRESS_VARIABLE, "").strip()
    if not uri:
        raise UsageError(
            f"track.mlflow: the environment has no {ADDRESS_VARIABLE}; set it to the address of your MLflow server, as in "
            "https://mlflow.example, where the run is led (a job file cannot choose where data and credentials go)"
        )
    if "@" in urlsplit(uri).netloc:
        # Not shown: it may be a login.
        raise UsageError(
            f"track.mlflow: {ADDRESS_VARIABLE} holds a login; leave it out, and set MLFLOW_TRACKING_TOKEN, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    return uri


class Mlflow:
    """The feed of one run to MLflow.

    Args:
        run: the run.
        job: its job.
        experiment: where it stands on the server.
        uri: of the server (`address`).
    """

    name, rest = "MLflow", "ipt-platform track --to mlflow"

    def __init__(self, run: RunDir, job: LearningJob, experiment: str, uri: str):
        self.run, self.job, self.experiment, self.uri = run, job, experiment, uri
        self._id = ""
        self._told, self._reports = Told(), Reports(run)

    def turn(self, last: bool) -> None:
        """As `Feed.turn`.

        Raises:
            Exception: as MLflow's client says; the next turn asks the server what has arrived.
        """
        self.run.refresh(now=last)
        try:
            if not self._id:
                self._open()
            while lines := self._reports.more():
                self._tell(lines)
            if last:
                self._end()
        except BaseException:
            self._id = ""
            raise

    @functools.cached_property
    def _client(self) -> Any:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        return MlflowClient(self.uri)

    def _open(self) -> None:
        """Find the MLflow run, or make it, and see what it has been told."""
        found, identity = self._find(), identity_of(self.run)
        if found is None:
            tags = {"ipt.identity": identity, "ipt.run": self.run.id, "ipt.place": self.run.place, "ipt.kind": self.job.kind}
            start = int(1000 * datetime.fromisoformat(identity.split()[-1]).timestamp()) if " " in identity else None
            found = self._client.create_run(self._experiment_id(), start_time=start, tags=tags, run_name=self.run.id)
        self._id = found.info.run_id
        if found.info.status != "RUNNING":
            self._client.update_run(self._id, status="RUNNING")
        told = found.data.tags.get("ipt.told")
        if told is None:
            self._describe()
        self._told = Told.parse(told) if told else Told()
        self._reports = Reports(self.run, self._told.place)

    def _find(self) -> Any:
        identity = identity_of(self.run).replace("'", "")
        found = self._client.search_runs([self._experiment_id()], f"tags.`ipt.identity` = '{identity}'", max_results=1)
        return found[0] if found else None

    def _experiment_id(self) -> str:
        if known := self._client.get_experiment_by_name(self.experiment):
            return known.experiment_id
        from mlflow.exceptions import MlflowException

        try:
            return self._client.create_experiment(self.experiment)
        except MlflowException:
            if known := self._client.get_experiment_by_name(self.experiment):  # somebody was faster
                return known.experiment_id
            raise

    def _describe(self) -> None:
        """Tell the job: its values as parameters, and its file."""
        from mlflow.entities import Param

        values = leaves(self.job.model_dump(mode="json", exclude={"track"}))
        parameters = [Param(_name(key), _text(value)) for key, value in values.items()]
        for some in _batches(parameters, _PARAMETERS):
            self._client.log_batch(self._id, params=some)
        try:
            self._client.log_artifact(self._id, str(self.run.job))
        except Exception:  # artifacts may lie where this machine must not write; numbers do not wait for that
            log.warning("MLflow takes no %s of run %s", self.run.job.name, self.run.id, exc_info=True)

    def _tell(self, lines: Sequence[Line]) -> None:
        from mlflow.entities import Metric

        metrics: list[Any] = []
        for line in lines:
            told, news = self._told.with_line(line)
            moment = int(1000 * datetime.fromisoformat(line.report["time"]).timestamp())
            own = [Metric(_name(key), value, moment, line.report["step"]) for key, value in scalars(line.report).items()]
            if metrics and len(metrics) + len(own) > _METRICS:
                self._send(metrics)
                metrics = []
            metrics += own if news else []
            self._told = told
        self._send(metrics)

    def _send(self, metrics: list[Any]) -> None:
        """Tell numbers, and with the last of them up to where."""
        from mlflow.entities import RunTag

        tags = [RunTag("ipt.told", str(self._told)), RunTag("ipt.attempt", str(self._told.place.attempt))]
        *before, rest = _batches(metrics, _METRICS) or [[]]
        for some in before:
            self._client.log_batch(self._id, metrics=some)
        self._client.log_batch(self._id, metrics=rest, tags=tags)

    def _end(self) -> None:
        """Tell how the run stands, if it is over."""
        status = run_status(self.run)
        self._client.set_tag(self._id, "ipt.state", status.state)
        self._client.set_tag(self._id, "ipt.reason", status.reason[:_CHARACTERS])
        if end := _ENDS.get(status.state):
            own = (event for event in reversed(read_events(self.run, tail=50)) if event.get("attempt") == status.attempt)
            # an attempt that was cut off has no ending, and those before it had theirs earlier
            time = next((event["time"] for event in own if event.get("type") in ENDINGS), status.updated)
            self._client.set_terminated(self._id, end, int(1000 * datetime.fromisoformat(time).timestamp()) if time else None)


def _batches(values: Sequence[Any], most: int) -> list[list[Any]]:
    return [list(values[start : start + most]) for start in range(0, len(values), most)]


def _name(key: str) -> str:
    """A name that MLflow takes: letters, digits and some signs, no path that leads elsewhere."""
    clean = re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)
    parts = [part if part.strip(".") else part.replace(".", "_") for part in clean.split("/") if part]
    return "/".join(parts)[:_KEY]


def _text(value: Any) -> str:
    return ("null" if value is None else str(value))[:_CHARACTERS]
