"""Runs on S3 that are told to trackers and hooks from several machines: each goes on where the one before stood."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipt_platform.notify.hooks import OCCASIONS, Hook
from ipt_platform.notify.notifier import Notifier
from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.spec.load import dump_job, read_job
from ipt_platform.spec.track import TrackSpec
from ipt_platform.track import tensorboard
from ipt_platform.track.tensorboard import TensorBoard
from ipt_platform.track.trackers import keep_tracking, tracking_of
from tests.jobs import small_job
from tests.receiver import KEY, Receiver, insist
from tests.tracked_runs import pictures, report

JOB = dump_job(small_job()).encode()


def test_event_files_lie_in_the_bucket_whole_whoever_wrote_them(machines, store, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorboard, "LINES", 3)
    run = machines.new("here", job=JOB)
    for step in range(1, 6):
        append_metrics(run, report(run.new_attempt() if step == 1 else 1, step))
    for name in pictures(run, 5, ["set-denoise-a"]):
        run.keep(run.samples(5) / f"{name}.png")
    TensorBoard(run).turn(last=True)

    there = machines.find("there")
    attempt = there.new_attempt()
    append_metrics(there, {"attempt": attempt, "step": 5, "evaluation": {"set": {"denoise": {"psnr": 28.5}}}})
    for step in (6, 7):
        append_metrics(there, report(attempt, step))
    feed = TensorBoard(there)
    feed.turn(last=False)
    append_metrics(there, report(attempt, 8))
    feed.turn(last=True)

    remote, folder = there.mirror.remote, tmp_path / "read"
    for name in remote.entries("tensorboard"):
        remote.fetch(name, folder / name)
    seen = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [each.step for each in seen.Scalars("lr")] == list(range(1, 9))
    assert [each.step for each in seen.Scalars("psnr/set/denoise")] == [5]
    shown = EventAccumulator(str(folder / "tensorboard" / "pictures")).Reload()
    assert shown.Images("set-denoise-a")[0].step == 5


def test_another_machine_knows_what_a_hook_was_told(machines):
    receiver = Receiver()
    try:
        hook = Hook("chat", receiver.url, KEY, frozenset(OCCASIONS))
        run = machines.new("here", job=JOB)
        append_event(run, "created", 0, kind="train", steps=100)
        append_event(run, "started", run.new_attempt(), step=0)
        insist(Notifier(run, hook))
        there = machines.find("there")
        append_event(there, "finished", 1, step=100)
        insist(Notifier(there, hook, since=2))

        assert receiver.types() == ["run.started", "run.finished"]
    finally:
        receiver.close()


def test_the_trackers_of_the_last_submission_count_on_every_machine(machines):
    run = machines.new("here", job=JOB)
    keep_tracking(run, small_job(track={"tensorboard": True}))

    there = machines.find("there")
    assert tracking_of(there, read_job(there.job)) == TrackSpec(tensorboard=True)
    keep_tracking(there, small_job())
    assert tracking_of(machines.find("here"), read_job(run.job)) == TrackSpec()
