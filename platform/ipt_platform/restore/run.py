"""Restoring files and folders: which output belongs to which input, and one bad picture does not stop the others."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ipt_platform.errors import DataError, NotFoundError, RefusedError, UsageError
from ipt_platform.restore.imageio import FORMATS, Picture, check_fits, encode_picture, format_of, read_picture

OnTile = Callable[[int, int], None]
RestoreFn = Callable[[np.ndarray, OnTile], np.ndarray]
"""float32 `[H, W, 3]` -> float32 `[H, W, 3]`; tells (tiles done, tiles in all) as it goes."""


@dataclass(frozen=True)
class Work:
    """One picture to restore: where it is and where it goes."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Step:
    """What is done to a picture for one task.

    Attributes:
        restore_fn: the model.
        upscale: how many times longer each side of the picture becomes before the model sees it.
    """

    restore_fn: RestoreFn
    upscale: int = 1


Choose = Callable[[Work, np.ndarray], Sequence[Step]]
"""What is done to a picture, float32 `[H, W, 3]`, in this order; nothing: it stays as it is, and is not written."""


@dataclass
class RestoreReport:
    """What was restored, what was left as it is, and what could not be restored, with the reason."""

    done: list[Work] = field(default_factory=list)
    left: list[Work] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


def plan_restore(inputs: Sequence[Path], out: Path, overwrite: bool = False) -> list[Work]:
    """Find the pictures and name the outputs, before anything is restored.

    A folder is taken with all below it, and its tree is kept under `out`; hidden files and `out` itself are passed over.
    A single file may be given an output file (an `out` with a picture's suffix that is no folder); else `out` is a folder.

    Args:
        inputs: files and folders.
        out: where the outputs go.
        overwrite: whether outputs that exist are replaced.

    Raises:
        NotFoundError: inputs that do not exist; all of them are named.
        UsageError: there is nothing to restore.
        RefusedError: two inputs would have one output, an output would be one of the inputs, or outputs exist and
            `overwrite` was not given; all of them are named.
    """
    missing = [str(path) for path in inputs if not path.exists()]
    if missing:
        raise NotFoundError(f"no such file or folder: {', '.join(missing)}")
    if len(inputs) == 1 and inputs[0].is_file() and out.suffix.lower() in FORMATS and not out.is_dir():
        work = [Work(inputs[0], out)]
    else:
        work = [work for path in inputs for work in _work_of(path, out)]
    if not work:
        raise UsageError(f"nothing to restore: no files in {', '.join(map(str, inputs))}")
    if out.exists() and not out.is_dir() and work[0].target != out:
        raise RefusedError(f"{out} is a file: name a folder for the outputs")
    _refuse_collisions(work, overwrite)
    return work


def restore_paths(
    work: Sequence[Work], choose: Choose, on_progress: Callable[[Work, int, int], None] | None = None
) -> RestoreReport:
    """Restore one picture after the other; each output appears whole under its name or not at all.

    Args:
        work: what `plan_restore` gave.
        choose: says what is done to each picture.
        on_progress: told (picture, tiles done, tiles in all) after each tile; (picture, 0, 0) when one was left as it is, or
            could not be restored.

    Returns:
        What was done and what could not be. A file that is no picture, or one that the disk refuses, is among the
        latter, and the rest are restored all the same.
    """
    report = RestoreReport()
    for each in work:
        try:
            done = _restore_one(each, choose, on_progress)
        except (DataError, OSError) as error:
            report.failed.append((each.source, _reason(error)))
            done = False
        else:
            (report.done if done else report.left).append(each)
        if on_progress and not done:
            on_progress(each, 0, 0)
    return report


def _restore_one(work: Work, choose: Choose, on_progress: Callable[[Work, int, int], None] | None) -> bool:
    """Whether there was something to do."""
    format_of(work.target.suffix)
    picture = read_picture(work.source)
    steps = choose(work, picture.rgb)
    picture = apply_steps(
        picture, steps, work.target.suffix, lambda done, total: on_progress and on_progress(work, done, total)
    )
    if steps:
        _write(picture, work.target)
    return bool(steps)


def apply_steps(picture: Picture, steps: Sequence[Step], suffix: str, on_tile: OnTile) -> Picture:
    """A picture after all steps, one after the other.

    Args:
        picture: what is restored.
        steps: what is done to it.
        suffix: of the file that it goes to.
        on_tile: told (tiles done, tiles in all); of a chain, as if every step had as many tiles.

    Raises:
        DataError: what comes out does not fit into such a file, or has values that are not finite.
    """
    height, width = picture.rgb.shape[:2]
    scale = math.prod(step.upscale for step in steps)
    check_fits(height * scale, width * scale, suffix)
    for number, step in enumerate(steps):
        if number:
            # the next task's model knows values of pictures alone
            picture = picture.with_rgb(np.clip(picture.rgb, 0, 1))
        picture = picture.enlarged(step.upscale)

        def told(done: int, total: int, number: int = number) -> None:
            on_tile(number * total + done, len(steps) * total)

        restored = step.restore_fn(picture.rgb, told)
        broken = int((~np.isfinite(restored)).sum())
        if broken:
            raise DataError(f"the model gave {broken} values that are not finite; restore from another checkpoint")
        picture = picture.with_rgb(restored)
    return picture


def _write(picture: Picture, target: Path) -> None:
    data = encode_picture(picture, target.suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):  # which it is after a success
            temporary.unlink()


def _work_of(path: Path, out: Path) -> Iterator[Work]:
    if not path.is_dir():
        yield Work(path, out / path.name)
        return
    # What an earlier run left in an output folder below the input folder is no input.
    results = out.resolve() if path.resolve() in out.resolve().parents else None
    for found in sorted(path.rglob("*")):
        below = found.relative_to(path)
        hidden = any(part.startswith(".") for part in below.parts)
        if found.is_file() and not hidden and not (results and found.resolve().is_relative_to(results)):
            yield Work(found, out / below)


def _refuse_collisions(work: Sequence[Work], overwrite: bool) -> None:
    by_target: dict[Path, list[Path]] = {}
    for each in work:
        by_target.setdefault(each.target.resolve(), []).append(each.source)
    shared = [f"{' and '.join(map(str, sources))} -> {target}" for target, sources in by_target.items() if len(sources) > 1]
    if shared:
        raise RefusedError("two inputs have one output; restore them into different folders:\n" + "\n".join(shared))
    own = [str(each.source) for each in work if each.source.resolve() in by_target]
    if own:
        raise RefusedError("an output would replace an input; name another output folder:\n" + "\n".join(own))
    existing = [str(target) for target in by_target if target.exists()]
    if existing and not overwrite:
        raise RefusedError("these outputs exist; --overwrite replaces them:\n" + "\n".join(existing))


def _reason(error: DataError | OSError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
