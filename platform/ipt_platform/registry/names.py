"""How tasks, versions and aliases are named: `my-derain`, `my-derain@3`, `my-derain@prod`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ipt_platform.errors import UsageError
from ipt_platform.spec.words import did_you_mean

NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
"""Names of tasks and of aliases; a folder has such a name, so nothing else can be one."""

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Reference:
    """What a person names: a task, and of it a version, an alias, or neither.

    Attributes:
        task: its name.
        version: number of a version.
        alias: name of an alias.
    """

    task: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        which = self.version or self.alias
        return f"{self.task}@{which}" if which else self.task


def parse_reference(text: str) -> Reference:
    """`NAME`, `NAME@VERSION` or `NAME@ALIAS`.

    Raises:
        UsageError: it is none of these.
    """
    task, at, which = text.partition("@")
    if not NAME.fullmatch(task):
        raise UsageError(f"{task!r} cannot be the name of a task: expected small letters, digits and dashes, a letter first")
    if not at:
        return Reference(task)
    if _VERSION.fullmatch(which):
        return Reference(task, version=int(which))
    if not NAME.fullmatch(which):
        raise UsageError(f"{text!r}: expected a version or an alias after the @, as in {task}@3 or {task}@prod")
    return Reference(task, alias=which)


def parse_versioned(text: str) -> Reference:
    """`NAME@VERSION` and nothing else.

    Raises:
        UsageError: it is not.
    """
    reference = parse_reference(text)
    if reference.version is None:
        raise UsageError(f"{text!r}: name one version, as in {reference.task}@3; `ipt-platform task show` lists them")
    return reference


def check_alias(name: str) -> str:
    """The name of an alias.

    Raises:
        UsageError: it cannot be one.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be an alias: expected small letters, digits and dashes, a letter first")
    return name


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest known word, or all of them; "." where there is nothing to name."""
    return did_you_mean(word, known) or "."
