"""`data pack`, `index`, `verify`, `sample` and `preview`: photographs to shards, whether those are whole, what they give."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.cli.output import Json, console, emit, pairs, say
from ipt_platform.cli.progress import progress_bar
from ipt_platform.data.bad import Bad, count_kinds, in_order, kinds_in_words
from ipt_platform.data.pack import PackReport
from ipt_platform.data.pack import pack as pack_shards
from ipt_platform.data.paired import pack_pairs
from ipt_platform.data.pairs import TaskDraw
from ipt_platform.data.sample import build_sample
from ipt_platform.data.scan import ensure_index
from ipt_platform.data.shards import expand_shards
from ipt_platform.data.shards import verify as verify_shards
from ipt_platform.data.upload import staged, upload_shards
from ipt_platform.errors import DataError, ExitCode, InfrastructureError, NotFoundError, UsageError
from ipt_platform.evaluate.preview import open_photographs
from ipt_platform.evaluate.preview import preview as preview_pairs
from ipt_platform.evaluate.sheet import contact_sheet
from ipt_platform.spec.draws import draw_of
from ipt_platform.spec.task import task_names
from ipt_platform.storage.paths import AnyPath, S3Path, any_path

app = typer.Typer(name="data", no_args_is_help=True, add_completion=False)

Shards = Annotated[
    list[str],
    typer.Argument(metavar="SHARDS...", help="Tars, folders of tars, 'globs*.tar' or '{000000..000127}.tar'; also s3://."),
]
SHOWN = 10
MAX_SHEET = 1 << 25
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(text: str) -> int:
    """Bytes of `256MB` (powers of ten), `256MiB` (powers of two) or a plain number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    size = int(float(match[1]) * UNITS.get(match[2].upper(), 0)) if match else 0
    if size < 1:
        raise typer.BadParameter(f"found {text!r}; write a size such as 256MB, 1.5GB or 512MiB")
    return size


def parse_pattern(text: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise typer.BadParameter(f"{text!r} is no regular expression: {error}") from error


@app.callback()
def _data() -> None:
    """Pack clean photographs into shards, check them, and look at the pairs they give."""
    # every bad picture is named by us; OpenCV would add a line of its own about some of them
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of photographs (JPEG, PNG, WebP), at any depth.")],
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="Folder to make; must not exist, or be empty. Or s3://BUCKET/PREFIX.")
    ],
    shard_size: Annotated[
        int, typer.Option("--shard-size", parser=parse_size, metavar="SIZE", help="Close a shard once it holds so much.")
    ] = "256MB",  # pyright: ignore[reportArgumentType] - typer parses the default as it parses an argument
    degraded: Annotated[
        Path | None,
        typer.Option(
            "--pairs", metavar="DEGRADED", help="Pack pairs: folder of degraded pictures whose clean ones are in DIR."
        ),
    ] = None,
    pattern: Annotated[
        re.Pattern[str] | None,
        typer.Option("--match", parser=parse_pattern, metavar="REGEX", help="Pairs are names with equal groups: '(\\d+)'."),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out pictures that cannot be used.")] = False,
    as_json: Json = False,
) -> None:
    """Pack photographs, or pairs, into WebDataset shards with an index beside each; all of it, or nothing."""
    if pattern and not degraded:
        raise UsageError("--match says which pictures are pairs: name the folder of the degraded ones with --pairs")
    rules: dict[str, int] = {}

    def packed(place: Path) -> PackReport:
        with progress_bar("packing pairs" if degraded else "packing pictures") as progress:
            if not degraded:
                return pack_shards(folder, place, shard_size, skip_bad, threads=_threads(), progress=progress)
            report, found = pack_pairs(degraded, folder, place, pattern, shard_size, skip_bad, _threads(), progress)
            rules.update(found)
            return report

    target = any_path(out)
    shards: Sequence[AnyPath]
    if isinstance(target, S3Path):
        with staged(target) as place:
            report = packed(place)
            with progress_bar("uploading shards") as progress:
                shards = upload_shards(report.shards, target, progress)
    else:
        report = packed(target)
        shards = report.shards

    def render(to: Console) -> None:
        say(to, f"{out}: {report.images} {'pairs' if degraded else 'pictures'} in {len(shards)} shards")
        found = ", ".join(f"{rule} {count}" for rule, count in rules.items())
        pairs(to, [("bytes", f"{report.bytes:,}"), ("pairs found by", found), ("left alone", _some(report.ignored))])
        _left_out(to, report.bad)

    data = {
        "shards": [str(shard) for shard in shards],
        "images": report.images,
        "bytes": report.bytes,
        "bad": [_plain(bad) for bad in report.bad],
        "ignored": report.ignored,
        **({"pairs": report.images, "matched": rules} if degraded else {}),
    }
    emit(data, as_json, render)


@app.command()
def index(
    shards: Shards,
    force: Annotated[bool, typer.Option("--force", help="Index anew, also where an index is there.")] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Decode every picture, and leave out those that cannot be used.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Index tars that were packed elsewhere, so that their pictures can be read by range."""
    made: list[str] = []
    found: list[str] = []
    wrong: list[str] = []
    bad: list[Bad] = []
    for shard in expand_shards(shards):
        here: list[Bad] = []
        try:
            (made if ensure_index(shard, force, here if skip_bad else None, _threads()) else found).append(str(shard))
        except (DataError, NotFoundError) as error:
            wrong.append(str(error))
        bad += [each._replace(shard=str(shard)) for each in here]
    if wrong:
        remedy = "" if skip_bad else " Leave out what cannot be used with --skip-bad."
        ending = f"{len(made)} indexes were made, {len(wrong)} shards cannot be indexed.{remedy}"
        raise DataError("\n".join([*wrong, *(f"left out: {_named(each)}" for each in bad), ending]))

    def render(to: Console) -> None:
        say(to, f"{len(made)} indexes made, {len(found)} were there and match")
        _left_out(to, bad)

    emit({"made": made, "found": found, "bad": [{"shard": each.shard, **_plain(each)} for each in bad]}, as_json, render)


@app.command()
def verify(shards: Shards, as_json: Json = False) -> None:
    """Check shards wholly: index against tar, every picture's digest, and that it decodes."""
    paths = expand_shards(shards)
    with progress_bar("verifying shards") as progress:
        report = verify_shards(paths, threads=_threads(), progress=progress)

    def render(to: Console) -> None:
        for problem in report.problems:
            say(to, str(problem))
        kinds = kinds_in_words(in_order(Counter(problem.kind for problem in report.problems if problem.kind)))
        verdict = f"{len(report.problems)} problems{f' ({kinds})' if kinds else ''}" if report.problems else "all whole"
        paired = f" ({report.pairs} of them pairs)" if report.pairs else ""
        say(to, f"{report.shards} shards, {report.images} pictures{paired}, {report.bytes:,} bytes: {verdict}")

    data = {
        "shards": report.shards,
        "images": report.images,
        "pairs": report.pairs,
        "bytes": report.bytes,
        "problems": [
            {"shard": str(each.shard), "member": each.member, "kind": each.kind, "reason": each.reason}
            for each in report.problems
        ],
    }
    emit(data, as_json, render)
    if report.problems:
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")] = Path("datasets/sample"),
    as_json: Json = False,
) -> None:
    """Build the sample set from the photographs in scikit-image and scikit-learn; needs no network."""
    report = build_sample(out)
    how = "made" if report.made else "already there and whole"
    data = {"train": str(report.train), "test": str(report.test), "images": report.images, "made": report.made}
    emit(data, as_json, lambda to: say(to, f"{out}: sample set of {report.images} photographs, {how}"))


@app.command()
def preview(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="SHEET", help="Picture to write: sheet.png.")],
    tasks: Annotated[list[str] | None, typer.Option("--task", metavar="TASK", help="Task to show; repeatable.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every task that ships.")] = False,
    shards: Annotated[
        list[str] | None, typer.Option("--shards", metavar="SHARDS", help="Clean photographs; default: the sample set.")
    ] = None,
    count: Annotated[int, typer.Option("--pairs", min=1, max=1000, help="Pairs of each task.")] = 6,
    patch: Annotated[int, typer.Option("--patch", min=16, max=4096, help="Side of each picture, pixels.")] = 160,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the job whose pairs are shown.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a contact sheet of the pairs that training would draw: degraded beside clean, with the parameters."""
    asked: list[str] = [*(tasks or []), *(task_names() if every else [])]
    names = list(dict.fromkeys(asked))
    if not names:
        raise UsageError(f"name what to show with --task, or --all; known tasks: {', '.join(task_names())}")
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UsageError(f"{out}: the sheet is a PNG; name a file, as in -o sheet.png")
    if len(names) * count * patch**2 > MAX_SHEET:
        raise UsageError(
            f"{len(names) * count} pairs of {patch}x{patch} pixels are too much for one sheet (at most {MAX_SHEET:,} pixels of "
            "each half): show fewer tasks, --pairs, or a smaller --patch"
        )
    draws = [draw_of(name, 1, {}) for name in names]
    photographs = open_photographs(shards) if any(isinstance(draw, TaskDraw) for draw in draws) else None
    made = preview_pairs(draws, photographs, seed, count, patch)
    for bad in made.bad:
        say(console(stderr=True), f"passed over: {bad.name}: {bad.reason}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, contact_sheet(made.pairs, columns=count if len(names) > 1 and count > 1 else None))
    except OSError as error:
        raise InfrastructureError(f"{out}: cannot be written: {error.strerror or error}.") from error
    data = {
        "sheet": str(out),
        "seed": seed,
        "patch": patch,
        "shards": [str(shard) for shard in photographs.shards] if photographs else [],
        "pairs": [pair.params for pair in made.pairs],
        "bad": [{"key": bad.name, "kind": bad.kind, "reason": bad.reason} for bad in made.bad],
    }
    emit(data, as_json, lambda to: say(to, f"{out}: {len(made.pairs)} pairs of {', '.join(names)}"))


def _left_out(to: Console, found: Sequence[Bad]) -> None:
    for bad in found:
        say(to, f"  left out: {_named(bad)}")
    if found:
        say(to, f"{len(found)} left out: {kinds_in_words(count_kinds(found))}")


def _named(bad: Bad) -> str:
    return ": ".join(filter(None, (bad.shard, bad.name, bad.reason))) if bad.name else bad.reason


def _plain(bad: Bad) -> dict[str, str]:
    return {"name": bad.name, "kind": bad.kind, "reason": bad.reason}


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} other files: {', '.join(names[:SHOWN])}{more}"
