"""A folder of photographs: which files are pictures, and under which keys they go into shards."""

import os
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.data.bad import Bad
from ipt_platform.data.scan import PICTURE_SUFFIXES
from ipt_platform.errors import DataError, NotFoundError


@dataclass(frozen=True)
class Source:
    """A picture file and the key and suffix it is packed under."""

    key: str
    suffix: str
    path: Path


@dataclass(frozen=True)
class Listing:
    """What a folder holds: pictures in the order of their keys, other files, which are left alone, and what is refused."""

    pictures: list[Source]
    ignored: list[str]
    refused: list[Bad]


def list_pictures(folder: Path) -> Listing:
    """List the pictures below a folder, at any depth.

    Links are not followed: they could lead anywhere, and in circles. Hidden files are ignored.

    Raises:
        NotFoundError: There is no such folder.
        DataError: No picture in it, or two pictures of one key; all of them are named.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: there is no such folder.")
    pictures: list[Source] = []
    ignored: list[str] = []
    files, refused = _files(folder)
    for path in files:
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in PICTURE_SUFFIXES or path.name.startswith("."):
            ignored.append(name)
        elif path.is_symlink() or not path.is_file():
            refused.append(Bad(name, "not-a-file", "a link or special file; only regular files are packed"))
        elif not name.isprintable():  # which undecodable bytes and line breaks are not
            refused.append(Bad(name, "bad-name", "the file name holds unprintable characters; rename it"))
        else:
            pictures.append(Source(key_of_file(name), path.suffix.lower().removeprefix("."), path))
    pictures.sort(key=lambda source: source.key)
    _refuse_shared_keys(folder, pictures)
    if not pictures and not refused:
        raise DataError(f"{folder}: holds no picture ({_found(ignored)}). Pictures are {_suffixes()} files.")
    return Listing(pictures, ignored, refused)


def key_of_file(name: str) -> str:
    """Key of a file by its name relative to the packed folder.

    A WebDataset key ends at the first dot and a slash would make folders, so both become underscores.
    """
    return name.rpartition(".")[0].replace("/", "_").replace(".", "_")


def _files(folder: Path) -> tuple[list[Path], list[Bad]]:
    """Files below a folder, sorted, and the folders that are not looked into, with the reason."""
    found: list[Path] = []
    refused: list[Bad] = []

    def closed(error: OSError) -> None:
        refused.append(Bad(str(error.filename), "unreadable", f"a folder that cannot be looked into: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=closed, followlinks=False):
        links = [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        told = "a link to a folder; links are not followed"
        refused += [Bad(link.relative_to(folder).as_posix(), "not-a-file", told) for link in links]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names]
    return sorted(found), refused


def _refuse_shared_keys(folder: Path, pictures: list[Source]) -> None:
    by_key: dict[str, list[str]] = {}
    for source in pictures:
        by_key.setdefault(source.key, []).append(source.path.relative_to(folder).as_posix())
    shared = [f"{key}: {' and '.join(names)}" for key, names in by_key.items() if len(names) > 1]
    if shared:
        raise DataError(
            f"{folder}: {len(shared)} keys belong to more than one file (a key is the name without its suffix, "
            "with / and . written as _). Rename or remove one of each:\n" + "\n".join(shared)
        )


def _found(ignored: list[str]) -> str:
    if not ignored:
        return "it is empty"
    kinds = sorted({Path(name).suffix.lower() or "no suffix" for name in ignored})
    return f"it holds {len(ignored)} other files: {', '.join(kinds[:8])}"


def _suffixes() -> str:
    return ", ".join(sorted(PICTURE_SUFFIXES))
