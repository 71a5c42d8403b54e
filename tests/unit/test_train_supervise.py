"""What follows from failures, by the statuses that Ray's controller looks at; its processes are in tests/chaos."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.exceptions import ActorUnavailableError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.execution.worker_group.poll import WorkerGroupPollStatus, WorkerStatus
from ray.train.v2.api.exceptions import PreemptionError
from ray.train.v2.api.preemption import PreemptionInfo

from ipt_platform.errors import (
    CancelledRunError,
    HangError,
    InfrastructureError,
    IptError,
    OutOfMemoryError,
    PreemptedError,
    TrainingError,
)
from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.process import this_process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.observe.teller import Voice
from ipt_platform.spec.job import LearningJob
from ipt_platform.train.driver import _failure
from ipt_platform.train.failures import MakingRoomError
from ipt_platform.train.memory import memory_advice
from ipt_platform.train.retry import pause_seconds
from ipt_platform.train.submission import Submission
from ipt_platform.train.supervise import Supervisor
from tests.jobs import small_job

LOST = ActorUnavailableError("The actor is unavailable.", None)
TAKEN = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"ab": [0]})


def job_of(train: dict[str, Any] | None = None, **cluster: Any) -> LearningJob:
    return small_job(train, cluster=cluster)


class Workers:
    """What the supervisor asks of a worker group that has started."""

    def get_workers(self) -> list[Any]:
        return []


def status(*errors: Exception | None, notice: PreemptionInfo | None = None) -> WorkerGroupPollStatus:
    workers = {rank: WorkerStatus(error is None, error, preemption_info=notice) for rank, error in enumerate(errors)}
    return WorkerGroupPollStatus(worker_statuses=workers)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return create(tmp_path, "failing")


def supervisor(run: RunDir, job: LearningJob) -> Supervisor:
    return Supervisor(job, Submission.of(run, this_process()), ("small", False))


def fail(watch: Supervisor, run: RunDir, found: WorkerGroupPollStatus) -> None:
    """Another attempt that comes to this."""
    watch.after_worker_group_start(Workers())
    run.new_attempt()
    watch.after_worker_group_poll_status(found)


def commit(run: RunDir, step: int) -> None:
    (run.checkpoints / f"step-{step}").mkdir(parents=True)
    (run.checkpoints / f"step-{step}" / "COMMIT").write_text("{}")


def losses(run: RunDir) -> list[dict[str, Any]]:
    return [event for event in read_events(run) if event["type"] == "worker-lost"]


def test_lost_workers_are_replaced_after_longer_and_longer_pauses_until_the_budget_is_spent(run):
    watch = supervisor(run, job_of(max_failures=3))
    for _ in range(3):
        fail(watch, run, status(LOST))

    with pytest.raises(InfrastructureError, match=r"more often than cluster\.max_failures allows \(3\) without a new checkpoi"):
        fail(watch, run, status(LOST))

    told = losses(run)
    assert [(each["attempt"], each["class"], each["exit_code"]) for each in told] == [
        (number, "infrastructure", 6) for number in range(1, 5)
    ]
    rng = random.Random(f"{run.id} 0")
    assert [each.get("retry_seconds") for each in told] == [
        *(pytest.approx(pause_seconds(number, rng), abs=1e-3) for number in (1, 2, 3)),
        None,
    ]
    assert told[0]["reason"].startswith("worker 0: The actor ")


def test_every_checkpoint_gives_a_new_budget_and_short_pauses(run):
    watch = supervisor(run, job_of(max_failures=1))
    for step in range(1, 4):
        fail(watch, run, status(LOST))
        commit(run, step)

    assert [each["retry_seconds"] for each in losses(run)] == [0, 0, 0]
    fail(watch, run, status(LOST))
    with pytest.raises(InfrastructureError):
        fail(watch, run, status(LOST))


class Told(Voice):
    """A voice that remembers."""

    def __init__(self) -> None:
        super().__init__(None, "small")
        self.words: list[tuple[str, float | str]] = []

    def set(self, name: str, value: float, **labels: str) -> None:
        self.words.append((name, value))

    def add(self, name: str, value: float, **labels: str) -> None:
        self.words.append((name, labels["reason"]))


def test_the_exporter_is_told_of_workers_and_why_they_were_started_anew(run):
    watch = supervisor(run, job_of(max_failures=9))
    watch.voice = told = Told()
    fail(watch, run, status(LOST))
    watch.before_worker_group_shutdown(Workers())
    watch.after_worker_group_start(Workers())
    # there is room for more: nothing has failed
    watch.before_worker_group_shutdown(Workers())
    watch.after_worker_group_start(Workers())

    count = len(Workers().get_workers())
    workers, restarts = "ipt_train_workers", "ipt_train_restarts_total"
    assert told.words == [
        *[(workers, count), (workers, 0)],
        *[(workers, count), (restarts, "infrastructure"), (workers, 0)],
        *[(workers, count), (restarts, "resized")],
    ]


def test_a_job_that_waits_for_room_is_told_to_have_no_workers(run):
    watch = supervisor(run, job_of())
    watch.voice = told = Told()
    watch.before_worker_group_start(None)

    assert told.words == [("ipt_train_workers", 0)]


def test_a_loss_that_ray_looks_at_twice_is_one(run):
    watch = supervisor(run, job_of(max_failures=1))
    fail(watch, run, status(LOST, None))
    watch.after_worker_group_poll_status(status(LOST, LOST))

    assert len(losses(run)) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [(TrainingError("the loss is not finite"), TrainingError), (KeyError("a"), TrainingError),
     (torch.OutOfMemoryError("CUDA out of memory."), OutOfMemoryError)],
)  # fmt: skip
def test_what_would_fail_again_ends_the_job_at_once(run, error, kind):
    watch = supervisor(run, job_of(max_failures=9, gpus_per_worker=1))

    with pytest.raises(kind) as raised:
        fail(watch, run, status(error))

    assert type(raised.value) is kind
    (lost,) = losses(run)
    assert (lost["class"], lost["exit_code"]) == (kind.failure, kind.exit_code)
    assert "retry_seconds" not in lost
    if kind is OutOfMemoryError:
        assert str(raised.value).startswith(
            "out of GPU memory: worker 0: CUDA out of memory; the job takes 4 images of 32 x 32"
        )


def test_who_makes_room_with_notice_costs_nothing(run):
    watch = supervisor(run, job_of(max_failures=0))
    watch.after_worker_group_start(Workers())
    append_event(run, "preempted", run.new_attempt(), step=3, reason="node ab goes")
    watch.after_worker_group_poll_status(status(MakingRoomError("node ab goes"), None, notice=TAKEN))
    watch.after_worker_group_poll_status(status(MakingRoomError("node ab goes"), LOST, notice=TAKEN))

    assert losses(run) == []
    assert watch.pause == 0


def test_workers_left_alone_by_a_machine_that_goes_are_preempted_too(run):
    watch = supervisor(run, job_of(max_failures=0))
    fail(watch, run, status(None, RuntimeError("Connection closed by peer"), notice=TAKEN))

    (lost,) = losses(run)
    assert (lost["class"], lost["exit_code"]) == ("preemption", 10)


def test_silence_is_a_hang_that_new_workers_end(run):
    watch = supervisor(run, job_of(max_failures=1, hang_seconds=5))
    fail(watch, run, status(None))
    assert watch.silence
    watch.silence.every, watch.silence.seconds = 0, 6

    with pytest.raises(WorkerGroupError, match=r"no step was made for more than 5 s \(cluster\.hang_seconds\); logs/1 hold"):
        watch.after_worker_group_poll_status(status(None))

    assert [(each["class"], each["exit_code"]) for each in losses(run)] == [("hang", 9)]
    fail(watch, run, status(None))
    watch.silence.every, watch.silence.seconds = 0, 6
    with pytest.raises(HangError, match="training stood still more often than"):
        watch.after_worker_group_poll_status(status(None))


def test_who_asks_for_a_stop_in_a_pause_need_not_wait_for_its_end(run):
    watch = supervisor(run, job_of())
    fail(watch, run, status(LOST))
    watch.pause = 3600
    run.request_stop("enough for today")

    with pytest.raises(CancelledRunError, match="enough for today"):
        watch.before_worker_group_start(None)


def test_a_request_to_stop_an_earlier_submission_stops_no_later_one(run):
    run.new_attempt()
    run.request_stop("enough for today")
    watch = supervisor(run, job_of())
    watch.pause = 0.01

    watch.before_worker_group_start(None)


ENDINGS = [TrainingError("x"), OutOfMemoryError("x"), InfrastructureError("x"), HangError("x"), PreemptedError("x")]


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: error.failure)
def test_the_ending_and_the_status_say_what_the_command_ends_with(run, error: IptError):
    submission = Submission.of(run, this_process())
    run.new_attempt()

    found = _failure(ControllerError(error), job_of())
    submission.tell_ending(found)

    (event,) = read_events(run)
    assert type(found) is type(error)
    assert (event["type"], event["class"], event["exit_code"], event["reason"]) == (
        "failed",
        error.failure,
        error.exit_code,
        "x",
    )
    assert (run_status(run).state, run_status(run).failure) == ("failed", error.failure)


def test_a_stop_is_no_failure(run):
    submission = Submission.of(run, this_process())
    run.new_attempt()
    submission.tell_ending(_failure(ControllerError(CancelledRunError("enough")), job_of()))

    (event,) = read_events(run)
    assert (event["type"], event["exit_code"]) == ("cancelled", 7)
    assert "class" not in event
    assert run_status(run).failure == ""


def test_what_ends_ray_train_itself_is_told_as_what_it_is():
    """A rendezvous that nobody comes to, and a controller that is gone."""
    late = ControllerError(RuntimeError("timed out after 5 s waiting for clients"))
    gone = ActorUnavailableError("The actor is unavailable.", None)

    assert (type(_failure(late, job_of())), str(_failure(late, job_of()))) == (
        HangError,
        f"Ray failed: {late.controller_failure}",
    )
    assert type(_failure(gone, job_of())) is InfrastructureError
    assert str(_failure(gone, job_of())).startswith("Ray failed: the process that controls the workers ended: ")
    assert type(_failure(ControllerError(AttributeError("no")), job_of())) is InfrastructureError


def test_more_preemptions_than_allowed_end_the_job():
    ending = _failure(PreemptionError(TAKEN), job_of(max_preemptions=2))

    assert type(ending) is PreemptedError
    assert str(ending).startswith(
        "machines were taken away more often than cluster.max_preemptions allows (2); the last time: "
    )


@pytest.mark.parametrize(
    ("train", "cluster", "on_host", "named", "not_named"),
    [
        ({}, {}, True, ("train.accumulate (now 1)", "activation_checkpointing", "data.prefetch (now 4)"), ("bf16",)),
        ({}, {"gpus_per_worker": 1}, False, ("bf16", "cluster.workers", "train.sharding: fsdp"), ("prefetch",)),
        ({"sharding": "fsdp"}, {"gpus_per_worker": 1, "workers": 2}, False, ("bf16",), ("sharding",)),
        ({"precision": "bf16", "activation_checkpointing": True}, {"gpus_per_worker": 1}, False, ("accumulate",),
         ("bf16", "activation_checkpointing")),
        ({"accumulate": 2}, {"workers": 2}, True, ("a smaller patch",), ("accumulate", "workers,")),
    ],
)  # fmt: skip
def test_only_knobs_that_can_be_turned_further_are_named(train, cluster, on_host, named, not_named):
    advice = memory_advice(job_of(train, **cluster), on_host)

    assert [word for word in named if word not in advice] == []
    assert [word for word in not_named if word in advice] == []
