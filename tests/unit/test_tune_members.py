"""The jobs of a compound one: in the order of their chains, some at a time, stopped together, and none of them twice."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.errors import CancelledRunError, InfrastructureError, IptError, RefusedError, SpecError, TrainingError
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.load import load_job
from ipt_platform.spec.members import Chain, MemberFile
from ipt_platform.spec.source import Document
from ipt_platform.tune.members import Crew, Outcome, Train, give_run
from ipt_platform.tune.whole import Whole, attempt_at
from tests.conftest import HANG


@pytest.fixture
def base(tmp_path) -> Path:
    """A working directory with shards; only their names matter here."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    return tmp_path


@pytest.fixture
def run(base) -> RunDir:
    return create(base / "runs", "whole")


def member(run: RunDir, name: str, **changes: Any) -> MemberFile:
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": name,
        "storage": str(run.members),
        "seed": 0,
        "model": {"backbone": "iptv2-nano"},
        "tasks": ["denoise"],
        "data": {"shards": "shards/*.tar"},
        "train": {"stages": [{"steps": 5, "patch": 48, "images": 2}]},
    }
    return MemberFile(name, Document({**job, **changes}, {}, "job.yaml"), 0, name)


def chains_of(run: RunDir, *names: str) -> list[Chain]:
    """A chain for each word; its letters are the jobs."""
    return [tuple(member(run, letter) for letter in name) for name in names]


class Trainer:
    """In the place of Ray: leaves what a training leaves, and remembers what it was asked for.

    Args:
        meanwhile: what happens during a training, by job; what it raises the training ends with.
    """

    def __init__(self, **meanwhile: Callable[[RunDir], None]):
        self.meanwhile = meanwhile
        self.asked: list[str] = []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, job: LearningJob, run: RunDir) -> None:
        with self.lock:
            self.asked.append(job.name)
            self.now += 1
            self.most = max(self.most, self.now)
        attempt = run.new_attempt()
        append_event(run, "started", attempt, step=0)
        try:
            self.meanwhile.get(job.name, lambda run: None)(run)
            append_event(run, "finished", attempt, step=5)
        except IptError as error:
            append_event(run, "cancelled" if isinstance(error, CancelledRunError) else "failed", attempt, reason=str(error))
            raise
        finally:
            with self.lock:
                self.now -= 1


@contextlib.contextmanager
def whole_of(run: RunDir, total: int = 9) -> Iterator[Whole]:
    with attempt_at(run, run.path.parents[1], None, total) as whole:
        yield whole


def worked(run: RunDir, train: Train, chains: list[Chain], at_a_time: int = 2) -> list[Outcome]:
    with whole_of(run, sum(map(len, chains))) as whole:
        return Crew(whole, train, at_a_time).work(chains)


def told(run: RunDir) -> list[tuple[str, str]]:
    """What the whole says of its jobs."""
    return [(event["job"], event["state"]) for event in read_events(run) if event["type"] == "job"]


def asked_to_stop(run: RunDir) -> None:
    """A training that goes on until somebody asks it to stop."""
    attempt = run.current_attempt()
    for _ in range(HANG * 100):
        if reason := run.stop_requested(attempt):
            raise CancelledRunError(reason)
        threading.Event().wait(0.01)
    raise AssertionError("nobody asked it to stop")


def fails(run: RunDir) -> None:
    raise TrainingError(f"the loss of {run.id} is not finite")


# Order


def test_jobs_of_a_chain_go_one_after_another(run):
    trainer = Trainer()

    outcomes = worked(run, trainer, chains_of(run, "abc", "de"), at_a_time=2)

    assert sorted(trainer.asked) == [*"abcde"]
    for chain in ("abc", "de"):
        assert [name for name in trainer.asked if name in chain] == [*chain]
    assert [(outcome.member.id, outcome.failure) for outcome in outcomes] == [(name, "") for name in "abcde"]
    assert [outcome.run for outcome in outcomes] == [RunDir(run.members / name) for name in "abcde"]
    assert all(run_status(outcome.run).state == "finished" for outcome in outcomes)


def test_chains_go_beside_each_other_as_many_as_there_is_room_for(run):
    """Three at a time wait for each other: they would for ever if fewer were let in."""
    together = threading.Barrier(3)
    trainer = Trainer(**{name: lambda run: (together.wait(HANG), None)[1] for name in "abcdef"})

    worked(run, trainer, chains_of(run, *"abcdef"), at_a_time=3)

    assert trainer.most == 3


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_never_more_than_that_go_at_a_time(run, at_a_time):
    trainer = Trainer(**{name: lambda run: (threading.Event().wait(0.02), None)[1] for name in "abcdef"})

    worked(run, trainer, chains_of(run, "ab", *"cdef"), at_a_time=at_a_time)

    assert trainer.most <= at_a_time
    assert at_a_time > 1 or trainer.asked == [*"abcdef"]


def test_the_whole_says_how_far_it_is(run):
    worked(run, Trainer(b=fails), chains_of(run, "a", "bc"), at_a_time=1)

    assert told(run) == [("a", "running"), ("a", "finished"), ("b", "running"), ("b", "failed")]
    assert [(line["step"], line["steps"]) for line in read_metrics(run)] == [(1, 3), (2, 3), (3, 3)]
    assert run_status(run).state == "finished"


# Failures


def test_a_job_that_fails_leaves_the_others_and_ends_its_chain(run):
    trainer = Trainer(b=fails)

    outcomes = worked(run, trainer, chains_of(run, "abc", "de"))

    assert {*trainer.asked} == {*"abde"}
    assert {outcome.member.id: outcome.failure for outcome in outcomes} == {
        "a": "",
        "b": "the loss of b is not finite",
        "c": "the job before it in its chain failed",
        "d": "",
        "e": "",
    }


def test_a_job_that_cannot_be_given_a_run_fails_alone(run):
    wrong = (member(run, "a", start="none/such"),)

    outcomes = worked(run, Trainer(), [wrong, *chains_of(run, "b")])

    assert [outcome.failure for outcome in outcomes][1] == ""
    assert "start: " in outcomes[0].failure
    assert ("a", "failed") in told(run)


def test_where_ray_fails_all_are_stopped_and_that_is_the_reason(run):
    """The job that was running beside it has only been stopped, whichever of the two stands first."""

    def ray_fails(run: RunDir) -> None:
        raise InfrastructureError("Ray failed: its raylet ended")

    with pytest.raises(InfrastructureError, match="its raylet ended"):
        worked(run, Trainer(a=asked_to_stop, b=ray_fails), chains_of(run, "a", "b", "c"))

    assert run_status(RunDir(run.members / "a")).state == "cancelled"
    assert "its raylet ended" in run_status(RunDir(run.members / "a")).reason
    assert run_status(run).state == "failed"
    assert "its raylet ended" in run_status(run).reason


def test_a_mistake_of_ours_is_raised_as_it_is(run):
    def breaks(run: RunDir) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        worked(run, Trainer(a=breaks), chains_of(run, "a"))


# Stops


def test_a_request_to_stop_is_passed_on_to_all_that_run_and_nothing_more_begins(run):
    """It comes when both jobs are under way."""
    both = threading.Barrier(2, action=lambda: (run.request_stop("stopped by Ctrl-C"), None)[1])

    def until_asked(own: RunDir) -> None:
        both.wait(HANG)
        asked_to_stop(own)

    trainer = Trainer(a=until_asked, b=until_asked)

    with pytest.raises(CancelledRunError, match="stopped by Ctrl-C"):
        worked(run, trainer, chains_of(run, "ad", "b", "c"))

    assert {*trainer.asked} == {"a", "b"}
    assert all(run_status(RunDir(run.members / name)).reason.startswith("stopped by Ctrl-C") for name in "ab")
    assert (run_status(run).state, run_status(run).attempt) == ("cancelled", 1)


def test_what_was_stopped_goes_on_and_what_was_finished_is_not_trained_again(run):
    def stop(own: RunDir) -> None:
        run.request_stop("enough")
        asked_to_stop(own)

    with pytest.raises(CancelledRunError, match="enough"):
        worked(run, Trainer(b=stop), chains_of(run, "abc"), at_a_time=1)
    before = {path: path.read_bytes() for path in (run.members / "a").rglob("*") if path.is_file()}
    trainer = Trainer()

    outcomes = worked(run, trainer, chains_of(run, "abc"), at_a_time=1)

    assert trainer.asked == ["b", "c"]
    assert [outcome.failure for outcome in outcomes] == ["", "", ""]
    assert {path: path.read_bytes() for path in (run.members / "a").rglob("*") if path.is_file()} == before
    assert RunDir(run.members / "b").current_attempt() == 2
    assert [event["type"] for event in read_events(run) if event["type"] != "job"] == [
        *("started", "cancelled", "resumed", "finished"),
    ]


def test_an_attempt_that_was_overtaken_stops_its_jobs_and_writes_no_ending(run):
    def overtaken(own: RunDir) -> None:
        run.new_attempt()
        asked_to_stop(own)

    with pytest.raises(IptError) as caught:
        worked(run, Trainer(a=overtaken), chains_of(run, "ab"))

    assert "attempt 1 no longer owns run whole" in str(caught.value)
    assert "attempt 1 no longer owns run whole" in run_status(RunDir(run.members / "a")).reason
    assert [event["type"] for event in read_events(run) if event["type"] != "job"] == ["started"]


# Runs of jobs


def test_a_job_is_given_a_run_with_its_resolved_job(base, run):
    own = RunDir(run.members / "a")

    job = give_run(member(run, "a").document, own, base)

    assert load_job(own.job, base=base).job == job
    assert (job.name, job.storage) == ("a", str(run.members))
    assert run_status(own).state == "created"


def test_a_run_that_was_begun_stays_as_it_is(base, run):
    own = RunDir(run.members / "a")
    give_run(member(run, "a").document, own, base)
    before = own.job.read_bytes(), own.events.read_bytes()

    give_run(member(run, "a").document, own, base)

    assert (own.job.read_bytes(), own.events.read_bytes()) == before


def test_a_changed_job_is_refused_with_what_changed(base, run):
    own = RunDir(run.members / "a")
    give_run(member(run, "a").document, own, base)

    with pytest.raises(RefusedError, match=r"was begun with another job:\n  seed: 0 -> 4\n"):
        give_run(member(run, "a", seed=4).document, own, base)


def test_where_a_job_was_changed_nothing_is_trained(base, run):
    give_run(member(run, "a").document, RunDir(run.members / "a"), base)
    trainer = Trainer()

    with pytest.raises(RefusedError, match="seed: 0 -> 4"):
        worked(run, trainer, [(member(run, "a", seed=4),)])

    assert trainer.asked == []


def test_a_wrong_job_leaves_no_run(base, run):
    with pytest.raises(SpecError, match="unknown task"):
        give_run(member(run, "a", tasks=["denoize"]).document, RunDir(run.members / "a"), base)

    assert not (run.members / "a").exists()


def test_what_a_job_begins_with_is_kept_in_its_run_also_where_the_first_try_was_cut_off(base, run):
    torch.manual_seed(1)
    backbone = build_backbone("iptv2-nano")
    write_backbone(base / "general", backbone, "iptv2-nano", {}, "now")
    own, document = RunDir(run.members / "a"), member(run, "a", start="general").document
    give_run(document, own, base)
    for path in own.beginning.iterdir():
        path.unlink()
    own.beginning.rmdir()

    give_run(document, own, base)

    kept, info = load_backbone(own.beginning)
    assert info.name == "iptv2-nano"
    assert all(torch.equal(one, other) for one, other in zip(kept.parameters(), backbone.parameters(), strict=True))
