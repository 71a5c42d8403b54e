"""What torch.compile has made, kept on a machine for the next attempt and the next run.

Compiled graphs are pickles and native code: who can write them can run code as whoever reads them. So they never lie in a run's
storage, which many can write to, but in a folder of the user whose workers train, and nothing of another owner is read. The
compiler works in a private folder of the process. What it has made there is kept as one file with a digest, written in one move
after a step that used it, so neither a kill nor a bad disk gives a later attempt half of it.

Source: torch 2.13, `_inductor/codecache.py`: graphs are unpickled, and libraries loaded as they are. `load_cache_artifacts` of
`torch.compiler` leads to the same unpickling, and `save_cache_artifacts` leaves out the libraries that a CPU runs.
"""

import hashlib
import io
import json
import logging
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import RefusedError
from ipt_platform.observe.process import Process, this_process
from ipt_platform.spec.job import LearningJob

log = logging.getLogger(__name__)

VARIABLE = "IPT_COMPILE_CACHE"
"""Names the folder that is used in the place of the user's own."""

NEWEST = 16
"""So many files are kept: one for each kind of job that is compiled on the machine."""

_MAGIC = b"ipt-compiled/1 "
_PRIVATE = "ipt-compile-"
_BORN = re.compile(_PRIVATE + r"[0-9a-f]{8}-([0-9]+)-([0-9]+)-\w+")


def compiled_folder(environment: Mapping[str, str]) -> Path:
    """Where compiled graphs of this user are kept on this machine.

    Args:
        environment: as `os.environ`.
    """
    own = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".cache"
    return Path(environment.get(VARIABLE) or Path(own) / "ipt-platform" / "compiled")


def compiled_name(job: LearningJob, workers: int, device: torch.device) -> str:
    """The name of the file for jobs that compile to the same: of one torch, device, network and size of sub-batches."""
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    train = job.train.model_dump(
        mode="json", include={"stages", "precision", "accumulate", "mode", "loss", "activation_checkpointing"}
    )
    network = job.model_dump(mode="json", include={"kind", "model", "backbone", "bias"})
    tasks = {task: use.weight for task, use in job.tasks.items()}
    known = json.dumps([torch.__version__, torch.version.cuda, on, train, network, tasks, workers], sort_keys=True)
    return f"torch-{torch.__version__}-{device.type}-{hashlib.sha256(known.encode()).hexdigest()[:16]}"


@contextmanager
def kept_compiled(folder: Path, name: str, told: Callable[[str], None], keeps: bool = True) -> Iterator[Callable[[], None]]:
    """Within the block torch.compile finds what was kept under a name; what it gives, called after a step, keeps what is new.

    What cannot be read or written is told and left: then everything is compiled, as without this.

    Args:
        folder: made if it is missing; of this user alone.
        name: of the file in it.
        told: is told a sentence of what could not be done.
        keeps: whether this process writes; one of a machine is enough.
    """
    file = folder / name
    private = _private_folder()
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(private)
    try:
        try:
            _take(file, private)
        except (OSError, RefusedError, tarfile.TarError) as error:
            shutil.rmtree(private)
            private.mkdir(mode=0o700)
            told(f"what torch.compile had made before is not used, and everything compiled anew: {error}")
        had, refused = _graphs(private), False

        def keep() -> None:
            nonlocal had, refused
            if not keeps or refused or (has := _graphs(private)) == had:
                return
            had = has
            try:
                _keep(private, file)
            except (OSError, RefusedError) as error:
                refused = True
                told(f"what torch.compile made cannot be kept for the next attempt: {error}")

        yield keep
    finally:
        os.environ.pop("TORCHINDUCTOR_CACHE_DIR", None)
        if before is not None:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
        shutil.rmtree(private, ignore_errors=True)


def _graphs(private: Path) -> int:
    """How many graphs the compiler has in its folder."""
    return sum(1 for path in (private / "fxgraph").glob("*/*/*") if path.is_file())


def _take(file: Path, private: Path) -> None:
    """Unpack a file, if it is there, after a look at whose it is and whether it is whole."""
    _own_folder(file.parent)
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as opened:
        _own(os.fstat(opened.fileno()), file)
        head, data = opened.readline(128), opened.read()
    if head != _head(data):
        raise RefusedError(f"{file} is damaged: its digest is not that of its content; it may be removed")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        tar.extractall(private, filter="data")
    log.info("compiled graphs of %s: %d bytes", file, len(data))


def _keep(private: Path, file: Path) -> None:
    _own_folder(file.parent)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:") as tar:
        for path in sorted(private.rglob("*")):
            if path.is_file() and path.suffix not in (".lock", ".tmp"):
                tar.add(path, path.relative_to(private))
    packed = data.getvalue()
    replace_file(file, _head(packed) + packed)
    kept = sorted(file.parent.glob("torch-*"), key=lambda path: path.stat().st_mtime)
    for old in kept[:-NEWEST]:
        old.unlink(missing_ok=True)


def _head(data: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n"


def _own_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _own(folder.lstat(), folder)


def _own(found: os.stat_result, path: Path) -> None:
    """See that nobody else can have written it.

    Raises:
        RefusedError: it belongs to somebody else, or others may write it.
    """
    if found.st_uid != os.geteuid():
        raise RefusedError(
            f"{path} belongs to user {found.st_uid}, expected {os.geteuid()}; set {VARIABLE} to a folder of your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RefusedError(f"{path} can be written by others, who could run code here; take that right away (chmod go-w)")


def _private_folder() -> Path:
    """A folder for this process alone; those of processes that were killed are removed."""
    place, own = Path(tempfile.gettempdir()), this_process()
    space = hashlib.sha256(own.space.encode()).hexdigest()[:8]
    for path in place.glob(f"{_PRIVATE}{space}-*"):
        born = _BORN.fullmatch(path.name)
        if born and Process(own.host, int(born[1]), own.space, int(born[2])).alive() is False:
            shutil.rmtree(path, ignore_errors=True)  # what is not ours stays
    return Path(tempfile.mkdtemp(prefix=f"{_PRIVATE}{space}-{own.pid}-{own.born}-"))
