"""Packing pairs: two folders of pictures, degraded and clean, into shards that hold both halves side by side."""

import re
from pathlib import Path

from ipt_platform.data.atomic import new_folder, refuse_full
from ipt_platform.data.bad import Bad, names_in_lines
from ipt_platform.data.folder import Source, list_pictures
from ipt_platform.data.match import Half, Matching, halves_of_one_folder, match
from ipt_platform.data.ordered import ordered_map
from ipt_platform.data.pack import SHARD_SIZE, PackReport, PictureWriter, Progress, read_picture
from ipt_platform.errors import BadPictureError, DataError


def pack_pairs(
    degraded: Path,
    clean: Path,
    out: Path,
    pattern: re.Pattern[str] | None = None,
    shard_size: int = SHARD_SIZE,
    skip_bad: bool = False,
    threads: int = 2,
    progress: Progress = lambda done, total: None,
) -> tuple[PackReport, dict[str, int]]:
    """Pack pairs into `out/000000.tar` and on as `key.degraded.png` and `key.clean.png` (or .jpg, .webp), in the order of keys.

    Names say what belongs together (`data.match`); where both folders are the same one, also which half a picture is. A pair's
    key is that of its degraded picture. Bytes, decoding and `out` are as in `pack`.

    Args:
        degraded: Where the degraded pictures are.
        clean: Where the clean ones are; may be the same folder.
        out: Folder to make; must not exist, or be empty.
        pattern: Names belong together whose groups are equal, instead of the rules of `data.match`.
        shard_size: A shard is closed once it holds this many bytes; it always ends with a whole pair.
        skip_bad: Leave out what cannot be used, or has no partner, instead of refusing to pack.
        threads: How many pairs are read and decoded at a time.
        progress: Told (pairs done, pairs in all) after each one.

    Returns:
        What was packed (`images` counts pairs), and by which rule how many pairs were found.

    Raises:
        NotFoundError: There is no such folder.
        DataError: Pictures without a partner, halves of two sizes, pictures that do not decode, two files of one key; all of
            them are named.
        RefusedError: `out` exists and is not empty.
    """
    refuse_full(out)
    matching, bad, ignored = _matched(degraded, clean, pattern)
    total = len(matching.pairs) + len(bad)
    with new_folder(out) as temporary, PictureWriter(temporary, "", shard_size) as writer:
        checked = ordered_map(_checked, matching.pairs, threads=threads, ahead=2 * threads)
        for done, (pair, outcome) in enumerate(zip(matching.pairs, checked, strict=True), 1):
            if isinstance(outcome, BadPictureError):
                bad.append(Bad.of(outcome, str(pair[0].path)))
            elif skip_bad or not bad:
                writer.write_pair(*pair, outcome)
            progress(done, len(matching.pairs))
        if bad and not (skip_bad and writer.images):
            raise DataError(_refusal(degraded, clean, bad, total, skip_bad))
    report = PackReport([out / name for name in writer.names], writer.images, writer.bytes, bad, ignored)
    return report, matching.rules


def _matched(degraded: Path, clean: Path, pattern: re.Pattern[str] | None) -> tuple[Matching, list[Bad], list[str]]:
    """The pairs, what has no partner or is no plain picture (by its path), and files left alone."""
    if degraded.resolve() == clean.resolve():
        found = list_pictures(degraded)
        one, other, rest = halves_of_one_folder(degraded, found.pictures)
        if not (one.pictures and other.pictures):
            raise DataError(
                f"{degraded}: by the words in their paths (rain and norain, blur and sharp, low and high ...) it holds "
                f"{len(one.pictures)} degraded and {len(other.pictures)} clean pictures. Name two folders, one for each half."
            )
        listings, rest = {degraded: found}, [str(degraded / name) for name in rest]
    else:
        listings, rest = {folder: list_pictures(folder) for folder in (degraded, clean)}, []
        one = Half(degraded, _outside(clean, degraded, listings[degraded].pictures))
        other = Half(clean, _outside(degraded, clean, listings[clean].pictures))
    bad = [each._replace(name=str(folder / each.name)) for folder, listing in listings.items() for each in listing.refused]
    ignored = [str(folder / name) for folder, listing in listings.items() for name in listing.ignored]
    matching = match(one, other, pattern)
    return matching, bad + matching.alone, ignored + rest


def _outside(inner: Path, folder: Path, pictures: list[Source]) -> list[Source]:
    """The pictures of a folder without those of another that lies in it, as `Rain100L/rainy` in `Rain100L`."""
    if not inner.resolve().is_relative_to(folder.resolve()):
        return pictures
    return [source for source in pictures if not source.path.resolve().is_relative_to(inner.resolve())]


def _checked(pair: tuple[Source, Source]) -> tuple[bytes, bytes] | BadPictureError:
    read = []
    for half, source in zip(("degraded", "clean"), pair, strict=True):
        try:
            read.append(read_picture(source.path))
        except BadPictureError as error:
            return BadPictureError(error.kind, f"its clean half {source.path}: {error}") if half == "clean" else error
    (degraded, size), (clean, clean_size) = read
    if size != clean_size:
        sizes = "{}x{} pixels, its clean half {} has {}x{}".format(*size, pair[1].path, *clean_size)
        return BadPictureError("sizes-differ", f"has {sizes}.")
    return degraded, clean


def _refusal(degraded: Path, clean: Path, bad: list[Bad], total: int, skip_bad: bool) -> str:
    lines = names_in_lines(bad)
    if skip_bad:
        return f"{degraded}, {clean}: no pair can be used:\n{lines}"
    return (
        f"{degraded}, {clean}: {len(bad)} of {total} pairs or pictures cannot be used, nothing was written:\n{lines}\n"
        "Mend or remove them, say with --match what belongs together, or leave them out with --skip-bad."
    )
