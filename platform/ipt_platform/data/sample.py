"""The sample set: a few free photographs that travel inside scikit-image and scikit-learn, so that no network is
needed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ipt_platform.data.atomic import new_folder
from ipt_platform.data.folder import Source
from ipt_platform.data.pack import PictureWriter, read_picture_file
from ipt_platform.data.shards import verify
from ipt_platform.errors import NotFoundError, RefusedError, UsageError

PHOTOGRAPHS = {
    "train": (
        ("skimage", "astronaut.png"),
        ("skimage", "coffee.png"),
        ("skimage", "rocket.jpg"),
        ("skimage", "motorcycle_left.png"),
        ("sklearn", "china.jpg"),
        ("sklearn", "flower.jpg"),
    ),
    "test": (
        ("skimage", "chelsea.png"),
        ("skimage", "hubble_deep_field.jpg"),
    ),
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


@dataclass(frozen=True)
class SampleReport:
    """The shards of the sample set, its pictures, and whether they were made now (or found whole)."""

    train: Path
    test: Path
    images: int
    made: bool


def build_sample(out: Path) -> SampleReport:
    """Make `out/train-000000.tar` and `out/test-000000.tar`, or find that they are there and whole.

    Raises:
        UsageError: The packages that hold the photographs are not installed.
        NotFoundError: They are installed, but a photograph is missing.
        RefusedError: `out` holds something else, or a damaged sample set.
    """
    report = SampleReport(
        train=out / "train-000000.tar",
        test=out / "test-000000.tar",
        images=sum(map(len, PHOTOGRAPHS.values())),
        made=False,
    )
    if report.train.exists() and report.test.exists():
        problems = verify([report.train, report.test]).problems
        if not problems:
            return report
        found = "\n".join(map(str, problems))
        raise RefusedError(f"{out}: holds a damaged sample set; remove it and run this again:\n{found}")
    sources = {part: [_photograph(*where) for where in photographs] for part, photographs in PHOTOGRAPHS.items()}
    with new_folder(out) as temporary:
        for part, photographs in sources.items():
            with PictureWriter(temporary, f"{part}-", shard_size=1 << 30) as writer:
                for source in photographs:
                    writer.write(source, read_picture_file(source.path))
    return SampleReport(report.train, report.test, report.images, made=True)


def _photograph(package: str, name: str) -> Source:
    spec = find_spec(package)  # finds the files without importing the package
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f'The sample photographs are in {package}, which is not installed: pip install "ipt-platform[sample]".'
        )
    path = Path(spec.submodule_search_locations[0], FOLDERS[package], name)
    if not path.is_file():
        raise NotFoundError(f"{path}: this version of {package} does not hold the photograph. Install the pinned version.")
    return Source(path.stem, path.suffix.removeprefix("."), path)
