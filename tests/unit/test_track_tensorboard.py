"""Event files of a run, read back by TensorBoard itself."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipt_platform.observe.events import append_event
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.track import tensorboard
from ipt_platform.track.tensorboard import TensorBoard
from ipt_platform.track.trackers import Members
from tests.tracked_runs import made_run, pictures, report


@pytest.fixture
def run(tmp_path) -> RunDir:
    return made_run(tmp_path)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def curve(run: RunDir, tag: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in read(run.path / "tensorboard").Scalars(tag)]


def files(run: RunDir) -> dict[str, bytes]:
    folder = run.path / "tensorboard"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_number_of_a_report_is_a_curve(run):
    for step in (10, 20):
        append_metrics(run, report(1, step, loss=step / 80))
    append_metrics(run, {"attempt": 1, "step": 20, "evaluation": {"set": {"denoise": {"psnr": 28.5, "ssim": 0.8, "n": 2}}}})

    TensorBoard(run).turn(last=True)

    assert curve(run, "loss/denoise") == [(10, 0.125), (20, 0.25)]
    assert curve(run, "samples/bad/cut-off") == [(10, 1), (20, 1)]
    assert curve(run, "psnr/set/denoise") == [(20, 28.5)]
    assert set(read(run.path / "tensorboard").Tags()["scalars"]) == {
        *("loss/denoise", "lr", "grad_norm", "images_per_second", "samples/seen", "samples/bad/cut-off"),
        *("psnr/set/denoise", "ssim/set/denoise"),
    }


def test_a_loss_that_is_no_number_is_shown_as_one_that_is_none(run):
    append_metrics(run, report(1, 10, loss=math.nan))

    TensorBoard(run).turn(last=True)

    assert math.isnan(curve(run, "loss/denoise")[0][1])


def test_steps_that_are_done_again_are_seen_once(run):
    for step in (10, 20, 30):
        append_metrics(run, report(1, step, loss=1.0))
    feed = TensorBoard(run)
    feed.turn(last=False)
    for step in (20, 30, 40):
        append_metrics(run, report(2, step, loss=2.0))
    feed.turn(last=True)

    assert curve(run, "loss/denoise") == [(10, 1.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_an_evaluation_that_begins_an_attempt_keeps_what_was_trained(run):
    append_metrics(run, report(1, 10, loss=1.0))
    append_metrics(run, {"attempt": 2, "step": 10, "evaluation": {"set": {"denoise": {"psnr": 28.5}}}})

    TensorBoard(run).turn(last=True)

    assert curve(run, "loss/denoise") == [(10, 1.0)]
    assert curve(run, "psnr/set/denoise") == [(10, 28.5)]


def test_the_files_are_the_same_however_often_who_writes_them_was_killed(run, monkeypatch, tmp_path):
    monkeypatch.setattr(tensorboard, "LINES", 4)
    whole, pieces = made_run(tmp_path / "whole"), made_run(tmp_path / "pieces")
    feed = TensorBoard(pieces)
    for number in range(1, 14):
        for each in (whole, pieces):
            append_metrics(each, report(1, number, loss=number), clock=_clock(number))
        if number % 3 == 0:
            feed = TensorBoard(pieces)  # another process goes on
        feed.turn(last=False)
        if number == 7:
            newest = max((pieces.path / "tensorboard").glob("events*"))
            newest.write_bytes(newest.read_bytes()[:-5])  # torn
            feed = TensorBoard(pieces)
    TensorBoard(whole).turn(last=True)

    assert files(pieces) == files(whole)
    assert len(files(whole)) == 1 + 4  # the job, and thirteen lines by fours
    assert [step for step, _ in curve(pieces, "loss/denoise")] == list(range(1, 14))


def test_what_comes_while_the_storage_takes_nothing_is_written_later(run):
    feed = TensorBoard(run)
    append_metrics(run, report(1, 10))
    feed.turn(last=False)
    (path,) = (run.path / "tensorboard").glob("events*.000001.*")
    kept = path.read_bytes()
    path.unlink()
    path.mkdir()  # nothing can be written there, whoever runs the test
    append_metrics(run, report(1, 20))
    with pytest.raises(OSError):  # noqa: PT011 - of which kind depends on the system
        feed.turn(last=False)
    path.rmdir()
    path.write_bytes(kept)

    feed.turn(last=True)

    assert [step for step, _ in curve(run, "loss/denoise")] == [10, 20]


def test_pictures_are_shown_with_their_step_and_come_when_they_are_there(run):
    first = pictures(run, 10, ["set-denoise-a"])
    append_metrics(run, {"attempt": 1, "step": 10, "evaluation": {"set": {"denoise": {"psnr": 28.5}}}})
    feed = TensorBoard(run)
    feed.turn(last=False)
    later = pictures(run, 10, ["set-denoise-b"])  # of another worker
    feed.turn(last=True)

    shown = read(run.path / "tensorboard" / "pictures")
    assert set(shown.Tags()["images"]) == {"set-denoise-a", "set-denoise-b"}
    (image,) = shown.Images("set-denoise-b")
    assert (image.step, image.width, image.height) == (10, 24, 8)
    assert image.encoded_image_string == later["set-denoise-b"]
    assert shown.Images("set-denoise-a")[0].encoded_image_string == first["set-denoise-a"]


def test_the_job_is_shown_as_text(run):
    TensorBoard(run).turn(last=True)

    (text,) = read(run.path / "tensorboard").Tensors("job.yaml")
    assert run.job.read_text() in text.tensor_proto.string_val[0].decode()


def test_the_jobs_of_a_search_are_told_each_in_its_run_also_those_that_go_on(tmp_path):
    whole = RunDir(tmp_path / "search")
    runs = [made_run(whole.members, name, track={"tensorboard": True}) for name in ("trial-1", "trial-2")]
    untold = made_run(whole.members, "trial-3")
    feed = Members(whole)
    for run in runs:
        append_metrics(run, report(run.new_attempt(), 10))
    append_event(runs[0], "cancelled", 1, reason="stopped", exit_code=7)
    feed.turn(last=False)

    append_metrics(runs[0], report(runs[0].new_attempt(), 20))  # a search that goes on goes on with it
    append_metrics(runs[1], report(1, 20))
    feed.turn(last=False)
    append_metrics(runs[0], report(2, 30))
    feed.turn(last=True)

    assert [step for step, _ in curve(runs[0], "lr")] == [10, 20, 30]
    assert [step for step, _ in curve(runs[1], "lr")] == [10, 20]
    assert not (untold.path / "tensorboard").exists()


def test_lines_that_come_in_their_thousands_are_read_piece_by_piece(run):
    for step in range(1, 2501):
        append_metrics(run, report(1, step))

    TensorBoard(run).turn(last=True)

    assert [step for step, _ in curve(run, "lr")] == list(range(1, 2501))


def _clock(number: int):
    from datetime import UTC, datetime, timedelta

    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
