"""What goes wrong in another process, told as words, so that it can be raised again where somebody waits."""

from ipt_platform.errors import (
    CheckpointError,
    DataError,
    InfrastructureError,
    IptError,
    NotFoundError,
    PackError,
    UsageError,
)

_KINDS: dict[str, type[IptError]] = {
    kind.__name__: kind for kind in (DataError, NotFoundError, UsageError, InfrastructureError, CheckpointError, PackError)
}

EXPECTED = tuple(_KINDS.values())
"""Errors of the data, of models, or of where they lie: their words say everything, a traceback would add nothing."""


def tell(error: IptError) -> tuple[str, str]:
    """Kind and words of one of the `EXPECTED` errors."""
    return next(name for name, kind in _KINDS.items() if isinstance(error, kind)), str(error)


def retell(kind: str, words: str) -> IptError:
    """The error again."""
    return _KINDS[kind](words)
