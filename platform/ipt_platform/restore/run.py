"""Restoring files and folders: which output belongs to which input, and one bad picture does not stop the others."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ipt_platform.errors import DataError, NotFoundError, RefusedError, UsageError
from ipt_platform.restore.imageio import FORMATS, check_fits, encode_picture, format_of, read_picture

OnTile = Callable[[int, int], None]
RestoreFn = Callable[[np.ndarray, OnTile], np.ndarray]
"""float32 `[H, W, 3]` -> float32 `[H, W, 3]`; tells (tiles done, tiles in all) as it goes."""


@dataclass(frozen=True)
class Work:
    """One picture to restore: where it is and where it goes."""

    source: Path
    target: Path


@dataclass
class RestoreReport:
    """What was restored, and what could not be, with the reason."""

    done: list[Work] = field(default_factory=list)
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
    work: Sequence[Work],
    restore_fn: RestoreFn,
    on_progress: Callable[[Work, int, int], None] | None = None,
    upscale: int = 1,
) -> RestoreReport:
    """Restore one picture after the other; each output appears whole under its name or not at all.

    Args:
        work: what `plan_restore` gave.
        restore_fn: the model.
        on_progress: told (picture, tiles done, tiles in all) after each tile; (picture, 0, 0) when one could not be
            restored.
        upscale: how many times longer each side of a picture becomes before the model sees it.

    Returns:
        What was done and what could not be. A file that is no picture, or one that the disk refuses, is among the
        latter, and the rest are restored all the same.
    """
    report = RestoreReport()
    for each in work:
        try:
            _restore_one(each, restore_fn, on_progress, upscale)
        except (DataError, OSError) as error:
            report.failed.append((each.source, _reason(error)))
            if on_progress:
                on_progress(each, 0, 0)
        else:
            report.done.append(each)
    return report


def _restore_one(work: Work, restore_fn: RestoreFn, on_progress: Callable[[Work, int, int], None] | None, upscale: int) -> None:
    format_of(work.target.suffix)
    picture = read_picture(work.source)
    height, width = picture.rgb.shape[:2]
    check_fits(height * upscale, width * upscale, work.target.suffix)
    picture = picture.enlarged(upscale)

    def told(done: int, total: int) -> None:
        if on_progress:
            on_progress(work, done, total)

    restored = restore_fn(picture.rgb, told)
    broken = int((~np.isfinite(restored)).sum())
    if broken:
        raise DataError(f"the model gave {broken} values that are not finite; restore from another checkpoint")
    data = encode_picture(picture.with_rgb(restored), work.target.suffix)
    work.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = work.target.with_name(f".{work.target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(work.target)
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
