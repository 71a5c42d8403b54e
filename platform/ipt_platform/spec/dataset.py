"""The dataset card: where pictures are, whose they are and under which licence; and how a test set is found by name."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from ipt_platform.data.shards import expand_shards
from ipt_platform.errors import InfrastructureError, IptError, Problem, SpecError
from ipt_platform.spec.base import Many, Name, Spec, Text, Texts
from ipt_platform.spec.problems import problems_of
from ipt_platform.spec.source import load_yaml
from ipt_platform.spec.words import did_you_mean
from ipt_platform.storage.paths import AnyPath

CARDS = "datasets"


class Credit(Spec):
    """Who made a picture and what others may do with it."""

    file: Text = Field(description="Name of the picture's file.")
    author: Text = Field(description="Who made it.")
    licence: Text = Field(description="What others may do with it.")
    source: Text = Field(description="Where it was published.")


class DatasetCard(Spec):
    """A set of clean pictures with its origin and licence."""

    apiVersion: Literal["ipt/v1"] = Field(description="Version of this format: ipt/v1.")  # noqa: N815 (as Kubernetes spells it)
    kind: Literal["dataset"] = Field(description="dataset.")
    name: Name = Field(description="What jobs call the set; the name of the card's file.")
    description: Text = Field(description="One sentence about what is in it.")
    shards: Texts = Field(
        min_length=1,
        description="The set's shards: a path or a glob, relative to this card, one on S3 (s3://bucket/prefix/*.tar), or a "
        "list of those.",
    )
    task: Name | None = Field(default=None, description="What the pairs of a paired set are for, where that is one task.")
    source: Text = Field(description="Where the pictures come from.")
    licence: Text = Field(description="What others may do with the set as a whole.")
    credits: Many[Credit] = Field(default=(), description="Picture by picture, where authors or licences differ.")
    prepare: Text | None = Field(default=None, description="Command that makes the shards where they are missing.")


def load_card(path: Path) -> DatasetCard:
    """Read a dataset card.

    Raises:
        NotFoundError: No such file.
        SpecError: Not a dataset card; every problem found.
    """
    document = load_yaml(path)
    try:
        return DatasetCard.model_validate(document.value)
    except ValidationError as error:
        raise SpecError(problems_of(error, DatasetCard, document)) from error


def resolve_set(name_or_path: str, base: Path) -> Sequence[AnyPath]:
    """The shards of a set, or the one folder that holds its pictures as files.

    A path or glob that exists wins; else the card `datasets/NAME.yaml` says where the shards are.

    Args:
        name_or_path: A set's name, a folder, a shard, a glob of shards (also on S3), or a card.
        base: What relative paths and `datasets/` are relative to: the directory the command runs in.

    Raises:
        SpecError: No such set, or its shards are missing.
    """
    if card := _card_of(name_or_path, base):
        return _shards_of(card)
    path = base / name_or_path
    if path.is_dir():
        return sorted(path.glob("*.tar")) or [path]
    if path.is_file():
        return [path]
    if _is_glob(name_or_path):
        return find_shards((name_or_path,), base)
    known = [found.stem for found in sorted((base / CARDS).glob("*.yaml"))]
    hint = did_you_mean(name_or_path, known)
    raise SpecError(
        [Problem(f"unknown set '{name_or_path}': no such path, and no card {CARDS}/{name_or_path}.yaml here{hint}")]
    )


def task_of_set(name_or_path: str, base: Path) -> str | None:
    """The task that the card of a paired set names; None without card or task.

    Raises:
        SpecError: The card is wrong.
    """
    card = _card_of(name_or_path, base)
    return load_card(card).task if card else None


def _card_of(name_or_path: str, base: Path) -> Path | None:
    """The card of a set, where it has one: a path or glob wins over a card of that name."""
    path = base / name_or_path
    if path.is_file():
        return path if path.suffix in {".yaml", ".yml"} else None
    card = base / CARDS / f"{name_or_path}.yaml"
    return card if card.is_file() and not path.exists() and not _is_glob(name_or_path) else None


def _is_glob(name: str) -> bool:
    return "://" in name or any(character in name for character in "*?[{")


def find_shards(patterns: tuple[str, ...], base: Path) -> list[AnyPath]:
    """All shards that the patterns name, each once, in order.

    Raises:
        SpecError: A pattern names no shard; every such pattern.
        InfrastructureError: S3 did not answer.
    """
    shards: dict[AnyPath, None] = {}
    problems: list[Problem] = []
    for pattern in patterns:
        whole = "://" in pattern or Path(pattern).is_absolute() or base == Path()
        rooted = pattern if whole else f"{glob.escape(str(base))}/{pattern}"
        try:
            shards |= dict.fromkeys(expand_shards(rooted))
        except InfrastructureError:
            raise
        except IptError as error:
            problems.append(Problem(str(error)))
    if problems:
        raise SpecError(problems)
    return list(shards)


def _shards_of(path: Path) -> list[AnyPath]:
    card = load_card(path)
    try:
        return find_shards(card.shards, path.parent)
    except SpecError as error:
        how = f"; make them with `{card.prepare}`" if card.prepare else f": {error}"
        raise SpecError([Problem(f"the shards of set '{card.name}' are missing{how}")]) from error
