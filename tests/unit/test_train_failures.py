"""The class of every failure, from the exceptions that Ray, torch, Python and we raise themselves."""

import errno
import importlib
import itertools
import os
import pickle
from datetime import timedelta
from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayActorError, RayTaskError
from ray.exceptions import OutOfMemoryError as NodeOutOfMemoryError
from ray.train.v2._internal.exceptions import (
    BroadcastCollectiveTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2._internal.execution.worker_group.poll import WorkerGroupPollStatus, WorkerStatus
from ray.train.v2.api.exceptions import PreemptionError
from ray.train.v2.api.preemption import PreemptionInfo
from torch import distributed

from ipt_platform.errors import (
    DataError,
    ExitCode,
    FailureClass,
    HangError,
    InfrastructureError,
    OutOfMemoryError,
    PreemptedError,
    TrainingError,
    storage_failed,
)
from ipt_platform.train.failures import MakingRoomError, cause_of, classify

MESSAGES: Any = importlib.import_module("ray.core.generated.common_pb2")

USER, MEMORY, INFRA, PREEMPTION, HANG = (
    FailureClass.USER,
    FailureClass.OUT_OF_MEMORY,
    FailureClass.INFRASTRUCTURE,
    FailureClass.PREEMPTION,
    FailureClass.HANG,
)


def raised(act) -> Exception:
    try:
        act()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def died(reason: int = MESSAGES.NodeDeathInfo.UNSPECIFIED, message: str = "The actor is dead.") -> ActorDiedError:
    context = MESSAGES.ActorDiedErrorContext(
        class_name="RayTrainWorker",
        actor_id=os.urandom(16),
        error_message=message,
        node_death_info=MESSAGES.NodeDeathInfo(reason=reason),
    )
    return ActorDiedError(context)


def unhealthy(error: Exception) -> WorkerHealthCheckFailedError:
    """How Ray Train tells of a worker that is gone."""
    return WorkerHealthCheckFailedError("A worker health check failed.\nWorker info: ...", failure=error)


def in_a_task(error: Exception) -> Exception:
    """How Ray gives back what a task of its own raised."""
    return RayTaskError("f", "Traceback ...", error).as_instanceof_cause()


TAKEN = MESSAGES.NodeDeathInfo.AUTOSCALER_DRAIN_PREEMPTED
OF_RAY = "2 worker(s) were killed due to the node running low on memory. Refer to ..."
CASES = {
    "a loss that is not finite": (TrainingError("step 3: the loss is not finite"), USER, True),
    "a picture": (DataError("0.tar: a.png does not decode"), USER, True),
    "a mistake": (raised(lambda: {}["a"]), USER, True),
    "a mistake in a task": (in_a_task(ValueError("no")), USER, True),
    "not implemented": (NotImplementedError("bf16 on this CPU"), USER, True),
    "a GPU is full": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), MEMORY, True),
    "torch on the CPU": (raised(lambda: torch.empty(1 << 50)), MEMORY, True),
    "Python": (raised(lambda: bytearray(1 << 62)), MEMORY, True),
    "the operating system": (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY, True),
    "killed by Ray": (unhealthy(NodeOutOfMemoryError(OF_RAY)), MEMORY, True),
    "killed by Ray, told of as dead": (unhealthy(died(message=OF_RAY)), MEMORY, True),
    "a worker died": (unhealthy(died()), INFRA, False),
    "a worker is out of reach": (ActorUnavailableError("The actor is unavailable.", None), INFRA, False),
    "a node died": (NodeDiedError("gone"), INFRA, False),
    "the disk failed": (OSError(errno.EIO, "Input/output error"), INFRA, False),
    "the disk is full": (storage_failed(OSError(errno.ENOSPC, "No space left on device")), INFRA, True),
    "a store that is gone": (InfrastructureError("s3://b/0.tar: http://127.0.0.1:9 does not answer"), INFRA, False),
    "an accelerator": (RuntimeError("CUDA error: uncorrectable ECC error encountered"), INFRA, False),
    "a lost connection": (RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:4242"), INFRA, False),
    "a node is taken away": (unhealthy(died(TAKEN)), PREEMPTION, False),
    "a node went idle": (unhealthy(died(MESSAGES.NodeDeathInfo.AUTOSCALER_DRAIN_IDLE)), INFRA, False),
    "machines were taken away": (PreemptionError(PreemptionInfo(None, {"ab": [0]})), PREEMPTION, False),
    "a worker has made room": (MakingRoomError("node ab is about to be taken away"), PREEMPTION, False),
    "a health check hangs": (WorkerHealthCheckTimeoutError("A worker health check has been hanging"), HANG, False),
    "a barrier of Ray's": (BroadcastCollectiveTimeoutError(5.0, [1], 5.0), HANG, False),
}


@pytest.mark.parametrize("case", CASES)
def test_every_failure_has_its_class(case):
    error, kind, final = CASES[case]

    failure = classify(error)

    assert (failure.kind, failure.final) == (kind, final)
    assert failure.reason
    assert "\n" not in failure.reason


def test_workers_that_wait_in_vain_for_each_other_hang(tmp_path):
    """What gloo itself says when its time is over; and, for a store, torch."""
    store = distributed.FileStore(str(tmp_path / "store"), 2)
    alone = raised(
        lambda: distributed.init_process_group("gloo", store=store, rank=0, world_size=2, timeout=timedelta(milliseconds=50))
    )

    assert classify(alone).kind is HANG


@pytest.mark.parametrize("error", [died(), unhealthy(died()), InfrastructureError("a process was killed by SIGKILL")])
def test_who_dies_while_the_kernel_kills_for_memory_was_out_of_memory(error):
    failure = classify(error, oom_killed=True)

    assert (failure.kind, failure.final, failure.on_host) == (MEMORY, True, True)
    assert "the kernel's OOM killer" in failure.reason


@pytest.mark.parametrize("case", ["the disk is full", "a node is taken away", "a loss that is not finite", "a lost connection"])
def test_the_kernels_kills_explain_no_other_failure(case):
    error, kind, _ = CASES[case]

    assert classify(error, oom_killed=True).kind is kind


def test_of_several_workers_the_cause_counts_whoever_it_met():
    """Those left alone lose their connection, or wait: in whatever order, that is not what happened."""
    errors = [CASES[case][0] for case in ("a lost connection", "a health check hangs", "a GPU is full")]
    for order in itertools.permutations(errors):
        failure = cause_of(dict(enumerate(order)))

        assert (failure.kind, failure.final) == (MEMORY, True)
        assert [failure.reason.count(f"worker {rank}: ") for rank in range(3)] == [1, 1, 1]

    with_a_node = cause_of({0: errors[0], 1: CASES["a node is taken away"][0]})
    assert with_a_node.kind is PREEMPTION
    full_disk = cause_of({0: CASES["the disk is full"][0], 1: errors[0]})
    assert (full_disk.kind, full_disk.final) == (INFRA, True)


def test_only_machines_with_a_kill_for_memory_explain_their_workers():
    assert cause_of({0: died(), 1: died()}, oom_killed=[]).kind is INFRA
    assert cause_of({0: died(), 1: died()}, oom_killed=[1]).kind is MEMORY


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        (USER, TrainingError, ExitCode.JOB_FAILED),
        (MEMORY, OutOfMemoryError, ExitCode.OUT_OF_MEMORY),
        (INFRA, InfrastructureError, ExitCode.INFRASTRUCTURE),
        (PREEMPTION, PreemptedError, ExitCode.PREEMPTED),
        (HANG, HangError, ExitCode.HANG),
    ],
)
def test_each_class_ends_a_job_with_an_error_and_a_code_of_its_own(kind, error, code):
    failure = next(classify(each) for each, of, _ in CASES.values() if of is kind)

    ending = failure.error("before: ", "; after")

    assert type(ending) is error
    assert (ending.failure, ending.exit_code) == (kind, code)
    assert str(ending) == f"before: {(failure.own or failure.reason).rstrip('.')}; after"


def test_ray_counts_a_worker_that_made_room_as_preempted():
    """By the very question that its controller asks, of an error that has travelled to it."""
    error = pickle.loads(pickle.dumps(MakingRoomError("node ab is about to be taken away")))
    status = WorkerGroupPollStatus(worker_statuses={0: WorkerStatus(running=False, error=error)})

    assert status.has_preempted_worker()
    assert str(error) == "node ab is about to be taken away"
    assert isinstance(error, RayActorError)
