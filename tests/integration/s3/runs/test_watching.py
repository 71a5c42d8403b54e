"""Those who only look at a run on S3: while the store lets nobody in, or is gone for a moment, and for the first time."""

import itertools
import json

import typer
from typer.testing import CliRunner

from ipt_platform.cli.live import LiveLine, RunWatch
from ipt_platform.cli.metrics import metrics
from ipt_platform.observe import mirror
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.heartbeat import Heartbeat, Silence, read_beat
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import this_process
from ipt_platform.train.submission import Submission
from ipt_platform.train.supervise import Supervisor
from tests.integration.s3.runs.trainings import job


def test_who_is_not_let_in_any_more_goes_on_looking(machines, store):
    """The training ends at its next checkpoint, and says why; who watches must not end it before."""
    run = machines.new("here")
    Heartbeat(run, run.new_attempt(), every=0)()
    silence = Silence(run, limit=0.001, every=0)
    with LiveLine(12) as live:
        watch = RunWatch(run, live)
        store.proxy.fault = lambda request: "denied"
        watch.poll()

    assert read_beat(run) is None
    assert [silence.too_long() for _ in range(3)] == [False] * 3
    store.proxy.fault = lambda request: ""
    assert read_beat(run) == (1, 1)


def test_who_watches_over_workers_is_patient_from_the_first_question_on(machines, store, monkeypatch):
    monkeypatch.setattr(mirror, "PAUSE", 0.0)
    run = machines.new("here")
    attempt = run.new_attempt()
    append_event(run, "preempted", attempt, reason="a machine goes")
    submission = Submission.of(run, this_process())
    assert submission.run.mirror

    def gone_for_a_while() -> None:
        """Longer than a request is sent again, and shorter than the run is patient."""
        left = itertools.count()
        store.proxy.fault = lambda request: "error" if next(left) < 12 else ""

    gone_for_a_while()
    watch = Supervisor(job(patience=60), submission, ("small", False))
    gone_for_a_while()
    assert watch._made_room()
    assert [event["type"] for event in read_events(run)] == ["preempted"]


def test_what_a_run_has_reported_is_seen_from_a_machine_that_never_saw_it(machines):
    here = machines.new("here")
    append_metrics(here, {"attempt": here.new_attempt(), "step": 10, "steps": 20, "loss": {"denoise": 0.05}})
    machines.on("there")
    app = typer.Typer()
    app.command()(metrics)

    shown = CliRunner().invoke(app, [f"{machines.storage}/far", "--json"], catch_exceptions=False, standalone_mode=False)

    assert [each["step"] for each in json.loads(shown.stdout)["reports"]] == [10]
