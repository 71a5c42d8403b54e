"""Of which class a failure is, from what Ray, torch and Python say of it."""

import errno
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ray.exceptions import OutOfMemoryError as NodeOutOfMemoryError
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.train.v2._internal.exceptions import (
    CollectiveTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.train.v2.api.exceptions import PreemptionError

from ipt_platform.errors import ERROR_OF, FailureClass, InfrastructureError, IptError, NoRoomError

MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What Python raises where code or what it was given is wrong: it will be wrong again."""

_ALLOCATION_FAILED = ("can't allocate memory", "out of memory")
_KILLED_BY_RAY = "running low on memory"
_TIMED_OUT = ("timed out", "timeout")

_ORDER = (
    FailureClass.PREEMPTION,
    FailureClass.OUT_OF_MEMORY,
    FailureClass.USER,
    FailureClass.HANG,
    FailureClass.INFRASTRUCTURE,
)
"""Which of several workers' failures is the cause: those who are left alone fail too, as lost connections or in waiting."""


class MakingRoomError(RayActorError):
    """What a worker ends with that has committed a checkpoint because its machines are taken away.

    Ray counts workers that ended so as preempted (`max_preemption_failures`), not as failed.
    """

    def __init__(self, reason: str):
        super().__init__(error_msg=reason, preempted=True)


@dataclass(frozen=True)
class Failure:
    """What became of the workers of an attempt.

    Attributes:
        kind: its class.
        reason: one sentence.
        final: whether another attempt would come to the same end.
        on_host: of one out of memory: whether it was the machine's memory.
        own: what a worker itself has to say to people ("": nothing).
    """

    kind: FailureClass
    reason: str
    final: bool
    on_host: bool = False
    own: str = ""

    def error(self, before: str = "", after: str = "") -> IptError:
        """The error that ends the job.

        Args:
            before: what to say before the reason.
            after: what to say after it.
        """
        reason = self.own or self.reason
        return ERROR_OF[self.kind](f"{before}{reason.rstrip('.') if after else reason}{after}")


def classify(error: BaseException, oom_killed: bool = False) -> Failure:
    """Of which class one error is.

    Args:
        error: what a worker raised, or what Ray says of a worker that is gone.
        oom_killed: whether the kernel's OOM killer ended a process on that worker's machine.
    """
    reason = first_line(error)
    match error:
        case PreemptionError():
            return Failure(FailureClass.PREEMPTION, reason, final=False)
        case RayActorError() if error.preempted:
            return Failure(FailureClass.PREEMPTION, reason, final=False)
        case RayActorError() | InfrastructureError() if oom_killed and not isinstance(error, NoRoomError):
            killed = "the kernel's OOM killer has ended a process on its machine"
            return Failure(FailureClass.OUT_OF_MEMORY, f"{reason} ({killed})", final=True, on_host=True)
        case IptError():
            passing = isinstance(error, InfrastructureError) and not isinstance(error, NoRoomError)
            return Failure(error.failure, reason, final=not passing, own=str(error))
        case WorkerHealthCheckFailedError():
            inner = classify(error.health_check_failure, oom_killed)
            return Failure(inner.kind, f"{reason} {inner.reason}", inner.final, inner.on_host)
        case RayTaskError() if isinstance(error.cause, Exception):
            return classify(error.cause)
        case _ if _is_torch_out_of_memory(error):
            return Failure(FailureClass.OUT_OF_MEMORY, reason, final=True)
        case WorkerHealthCheckTimeoutError() | CollectiveTimeoutError():
            return Failure(FailureClass.HANG, reason, final=False)
        case _ if _is_out_of_memory(error):
            return Failure(FailureClass.OUT_OF_MEMORY, reason, final=True, on_host="CUDA" not in str(error))
        case RayError() | OSError():
            return Failure(FailureClass.INFRASTRUCTURE, reason, final=False)
        case _ if isinstance(error, MISTAKES):
            return Failure(FailureClass.USER, f"{type(error).__name__}: {reason}", final=True)
        case RuntimeError() if any(words in str(error).lower() for words in _TIMED_OUT):
            return Failure(FailureClass.HANG, reason, final=False)
        case _:  # a lost connection between workers, or an accelerator that fails, is a plain RuntimeError
            return Failure(FailureClass.INFRASTRUCTURE, reason, final=False)


def cause_of(failures: Mapping[int, BaseException], oom_killed: Collection[int] = ()) -> Failure:
    """Of which class the failures of several workers are, taken together.

    Args:
        failures: by rank.
        oom_killed: the ranks on whose machine the kernel's OOM killer has ended a process.

    Returns:
        The class of what must have come first; the reason names every worker.
    """
    found = {rank: classify(error, rank in oom_killed) for rank, error in sorted(failures.items())}
    cause = min(found.values(), key=lambda failure: (_ORDER.index(failure.kind), not failure.final))
    reason = "; ".join(f"worker {rank}: {failure.reason}" for rank, failure in found.items())
    return replace(cause, reason=reason)


def first_line(error: BaseException) -> str:
    """What an error says; Ray's go on for pages."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _is_torch_out_of_memory(error: BaseException) -> bool:
    """Whether it is torch's own error; where one is, so is torch, and where none is, it need not be imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _is_out_of_memory(error: BaseException) -> bool:
    match error:
        case MemoryError() | NodeOutOfMemoryError() | OSError(errno=errno.ENOMEM):
            return True
        case RayActorError():
            return _KILLED_BY_RAY in str(error)
        case RuntimeError():
            return any(words in str(error) for words in _ALLOCATION_FAILED)
    return False
