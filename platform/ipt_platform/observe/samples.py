"""What a run has restored on its way, `samples/step-N/NAME.png`, on a disk or on S3: listed, and read by listed names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ipt_platform.errors import NotFoundError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.storage.files import read_bytes
from ipt_platform.storage.paths import AnyPath

_STEP = re.compile(r"step-(0|[1-9]\d{0,15})")
_PICTURE, _PARAMS = ".png", ".json"
MAX_PICTURE_BYTES = 32 << 20
MAX_PARAMS_BYTES = 1 << 20


@dataclass(frozen=True)
class Sample:
    """A triptych of a run.

    Attributes:
        step: steps that were trained before it.
        name: `<set>-<task>-<key>`.
        tag: other bytes have another one; of letters and digits.
    """

    step: int
    name: str
    tag: str


def list_samples(run: RunDir) -> list[Sample]:
    """All triptychs of a run by step and name; of a run on S3, those that have been sent.

    Raises:
        InfrastructureError, UsageError: as S3 says.
    """
    return sorted(_found(run, "samples"), key=lambda sample: (sample.step, sample.name))


def find_sample(run: RunDir, step: int, name: str) -> Sample:
    """The triptych of this step and name, as it is now.

    Raises:
        NotFoundError: none of those that are listed has this name.
        InfrastructureError, UsageError: as S3 says.
    """
    found = next((each for each in _found(run, f"samples/step-{step}") if each.name == name), None)
    if not found:
        raise NotFoundError(f"run {run.id} has no picture {name!r:.200} of step {step}; its page lists those that it has")
    return found


def read_picture(run: RunDir, sample: Sample) -> bytes:
    """The PNG of a triptych.

    Raises:
        NotFoundError: it is gone.
        DataError: it has more than `MAX_PICTURE_BYTES`.
        InfrastructureError, UsageError: as S3 says.
    """
    return read_bytes(_place(run, sample, _PICTURE), MAX_PICTURE_BYTES)


def read_params(run: RunDir, sample: Sample) -> bytes | None:
    """The JSON of the parameters that made its degraded picture; None: there is none.

    Raises:
        DataError: it has more than `MAX_PARAMS_BYTES`.
        InfrastructureError, UsageError: as S3 says.
    """
    try:
        return read_bytes(_place(run, sample, _PARAMS), MAX_PARAMS_BYTES)
    except NotFoundError:
        return None


def _found(run: RunDir, below: str) -> Iterator[Sample]:
    """The samples below a folder of a run: `samples`, or that of one step."""
    for name, tag in _on_s3(run, below) if run.mirror else _on_disk(run, below):
        folder, _, file = name.rpartition("/")
        step = _STEP.fullmatch(folder.removeprefix("samples/"))
        if step and file.endswith(_PICTURE) and not file.startswith("."):
            yield Sample(int(step[1]), file.removesuffix(_PICTURE), tag)


def _on_disk(run: RunDir, below: str) -> Iterator[tuple[str, str]]:
    for path in (run.path / below).glob("*.png" if "/" in below else "*/*.png"):
        if path.is_symlink() or not path.is_file():  # a link may lead out of the run
            continue
        status = path.stat()
        yield path.relative_to(run.path).as_posix(), f"{status.st_mtime_ns:x}{status.st_size:x}"


def _on_s3(run: RunDir, below: str) -> Iterator[tuple[str, str]]:
    assert run.mirror
    for name, entry in run.mirror.remote.entries(below).items():
        yield name, re.sub(r"[^0-9A-Za-z]", "", entry.tag)


def _place(run: RunDir, sample: Sample, suffix: str) -> AnyPath:
    name = f"samples/step-{sample.step}/{sample.name}{suffix}"
    return run.mirror.remote.at(name) if run.mirror else run.path / name
