"""Where restored pictures go: a folder or a prefix on S3. An output is there whole, or not at all."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ipt_platform.checkpoint.durable import sync_folder, write_durable
from ipt_platform.storage.files import find, s3
from ipt_platform.storage.paths import AnyPath, S3Path, any_path


class Outputs:
    """The outputs of a run.

    Args:
        output: folder or prefix.
        run: the run's id, in the names of files that are being written; they are hidden, and taken away when the run goes on
            or finishes.
    """

    def __init__(self, output: AnyPath, run: str):
        self.output, self.run = output, run

    @classmethod
    def of(cls, output: str, run: str, base: Path) -> "Outputs":
        """The outputs that a job names; `base` is what a relative path is relative to."""
        path = any_path(output)
        return cls(path if isinstance(path, S3Path) else (base / path).absolute(), run)

    def names(self) -> set[str]:
        """The names of all that is there; leavings of this run's killed processes are removed.

        Raises:
            NotFoundError: there is no such bucket.
            InfrastructureError: the store failed as often as it was tried.
        """
        if isinstance(self.output, S3Path):
            below = f"{self.output.key}/" if self.output.key else ""
            return {path.key.removeprefix(below) for path, _ in s3().list(S3Path(self.output.bucket, below), deep=True)}
        return {path.relative_to(self.output).as_posix() for path in self._files(self.output)}

    def tidy(self) -> None:
        """Remove what this run's killed processes were writing, in a folder; a store takes an object whole or not at all."""
        if not isinstance(self.output, S3Path):
            for _ in self._files(self.output):
                pass

    def _files(self, folder: Path) -> Iterator[Path]:
        leaving = re.compile(rf"\.{re.escape(self.run)}-[0-9a-f]{{8}}\.tmp")
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if leaving.fullmatch(name):
                    path.unlink(missing_ok=True)
                else:
                    yield path

    def has(self, name: str) -> bool:
        """Whether an output is there."""
        return find(self.at(name)) is not None

    def at(self, name: str) -> AnyPath:
        """Where an output lies, or will."""
        return self.output / name

    def put(self, name: str, data: bytes) -> None:
        """Write an output; one that came meanwhile stays as it is.

        Raises:
            OSError: the disk is full or refuses.
            InfrastructureError: the store failed as often as it was tried.
        """
        path = self.at(name)
        if isinstance(path, S3Path):
            s3().put(path, data, new=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{self.run}-{secrets.token_hex(4)}.tmp")
        try:
            write_durable(temporary, data)
            if not path.exists():
                temporary.rename(path)
        finally:
            with suppress(FileNotFoundError):  # which it is after a success
                temporary.unlink()
        sync_folder(path.parent)
