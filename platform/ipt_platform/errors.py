"""The one tree of errors, and the exit code each of them ends a command with.

An error says what was found, where, what was expected and the next step. Commands print the message without a traceback.
"""

import errno
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args


class ExitCode:
    """Exit codes of every command (documented in docs/cli.md)."""

    OK = 0
    BUG = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    JOB_FAILED = 5
    INFRASTRUCTURE = 6
    CANCELLED = 7
    OUT_OF_MEMORY = 8
    HANG = 9
    PREEMPTED = 10
    STILL_RUNNING = 11


class FailureClass(StrEnum):
    """Of which kind a failure is; it says whether trying again can help (docs/architecture.md, "When something fails")."""

    USER = "user"
    OUT_OF_MEMORY = "out-of-memory"
    INFRASTRUCTURE = "infrastructure"
    PREEMPTION = "preemption"
    HANG = "hang"


class IptError(Exception):
    """Base of all errors a user can meet."""

    exit_code = ExitCode.JOB_FAILED
    failure = FailureClass.USER


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: where it stands, what is wrong, what to do."""

    message: str
    file: str = ""
    line: int = 0
    path: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        key = f"{self.path}: " if self.path else ""
        return f"{where}{key}{self.message}"


class SpecError(IptError):
    """A job, task or dataset file is wrong; carries every problem found, not only the first."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UsageError(IptError):
    """A command was called with something it cannot use."""

    exit_code = ExitCode.USAGE


class DataError(IptError):
    """A picture, shard or index cannot be used."""

    exit_code = ExitCode.USAGE


BadKind = Literal[
    "cut-off",
    "damaged",
    "other-format",
    "too-large",
    "not-a-file",
    "bad-name",
    "unreadable",
    "half-missing",
    "sizes-differ",
    "changed",
    "not-restored",
]
"""By what kind of fault a picture is counted that cannot be used; docs/formats.md says what each one means."""

BAD_KINDS: tuple[BadKind, ...] = get_args(BadKind)


class BadPictureError(DataError):
    """One picture or pair cannot be used; those beside it can, so it may be counted by its `kind`, named and passed over."""

    def __init__(self, kind: BadKind, message: str):
        self.kind: BadKind = kind
        super().__init__(kind, message)

    def __str__(self) -> str:
        return self.args[1]


class PackError(IptError):
    """A bias pack or a backbone pack is damaged, of another format, or made for another backbone."""

    exit_code = ExitCode.USAGE


class NotFoundError(IptError):
    """A run, checkpoint, task or file that was named does not exist."""

    exit_code = ExitCode.NOT_FOUND


class RefusedError(IptError):
    """The platform declines: the change would lose or falsify something."""

    exit_code = ExitCode.REFUSED


class CheckpointError(IptError):
    """A checkpoint is incomplete or damaged."""

    exit_code = ExitCode.NOT_FOUND


class TrainingError(IptError):
    """The job itself went wrong (a non-finite loss, too many bad samples); retrying would not help."""

    exit_code = ExitCode.JOB_FAILED


class NotFiniteError(TrainingError):
    """A loss or a gradient was not finite; nothing was updated."""


class OutOfMemoryError(TrainingError):
    """The job needs more memory than there is; the message says what to change in it."""

    exit_code = ExitCode.OUT_OF_MEMORY
    failure = FailureClass.OUT_OF_MEMORY


class InfrastructureError(IptError):
    """Machines, processes or storage failed more often than the job allows."""

    exit_code = ExitCode.INFRASTRUCTURE
    failure = FailureClass.INFRASTRUCTURE


class NoRoomError(InfrastructureError):
    """A disk or a store takes no more; trying again at once would not help."""


class HangError(InfrastructureError):
    """Training stood still more often than the job allows."""

    exit_code = ExitCode.HANG
    failure = FailureClass.HANG


class PreemptedError(InfrastructureError):
    """A machine is about to be taken away, or was taken away more often than the job allows."""

    exit_code = ExitCode.PREEMPTED
    failure = FailureClass.PREEMPTION


class CancelledRunError(IptError):
    """The run was stopped by its user, after committing a checkpoint."""

    exit_code = ExitCode.CANCELLED


class StillRunningError(IptError):
    """Somebody waited for a run as long as they wanted to, and it goes on."""

    exit_code = ExitCode.STILL_RUNNING


ERROR_OF: dict[FailureClass, type[IptError]] = {
    error.failure: error for error in (TrainingError, OutOfMemoryError, InfrastructureError, PreemptedError, HangError)
}
"""The error that a failure of each class ends a job with."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What the operating system says of a disk that takes no more."""


def storage_failed(error: OSError, where: object = "") -> InfrastructureError:
    """What a person is told when the operating system refuses to read or write.

    Args:
        error: what it said.
        where: the place, where the error itself names none.
    """
    place, why = error.filename or where, error.strerror or str(error)
    kind = NoRoomError if error.errno in NO_ROOM else InfrastructureError
    return kind(f"{place}: storage failed: {why}" if place else f"storage failed: {why}")
