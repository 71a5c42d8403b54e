"""Runs whose storage is a bucket, seen from several machines: each machine is a cache folder of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ipt_platform.checkpoint import uploads
from ipt_platform.checkpoint.files import commit
from ipt_platform.data.pack import pack
from ipt_platform.observe import gather, mirror
from ipt_platform.observe.checkpoints import newest_usable
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create, find_run
from tests.integration.s3.runs.trainings import job, train, weights

JOB = b"apiVersion: ipt/v1\nkind: train\nname: far\n"


class Machines:
    """Opens runs of a storage as machines do that share nothing but that storage."""

    def __init__(self, storage: str, folder: Path, setenv: Callable[[str, str], None]):
        self.storage, self.folder, self.setenv = storage, folder, setenv

    def on(self, machine: str) -> None:
        """What follows happens on this machine."""
        self.setenv("XDG_CACHE_HOME", str(self.folder / machine))

    def new(self, machine: str, run_id: str = "far", job: bytes = JOB) -> RunDir:
        """A run that is submitted from this machine."""
        self.on(machine)
        run = create(self.storage, run_id)
        if not run.job.exists():
            run.write_job(job)
        return run

    def find(self, machine: str, run_id: str = "far") -> RunDir:
        self.on(machine)
        return find_run(self.storage, run_id)


@pytest.fixture(scope="session")
def newest() -> Callable[[RunDir], Path]:
    """The newest usable checkpoint of a run that has one."""

    def get(run: RunDir) -> Path:
        path, _ = newest_usable(run)
        assert path
        return path

    return get


@pytest.fixture
def machines(store, tmp_path, monkeypatch) -> Machines:
    """Machines that look at S3 anew whenever they are asked."""
    for module in (mirror, gather):
        monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return Machines(store.url("runs"), tmp_path, monkeypatch.setenv)


@pytest.fixture
def checkpoint() -> Callable[..., Path]:
    """Commits a small checkpoint of a run on its machine."""

    def write(
        run: RunDir, step: int, attempt: int = 1, fence: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> Path:
        files = {"state.json": {"step": step, "by": attempt}, "weights.bin": bytes([step % 256]) * 4000}
        return commit(run.checkpoints, step, files, fence, attempt)

    return write


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    """A folder with shards to train on and to measure with."""
    folder = tmp_path_factory.mktemp("base")
    for part, seeds in (("train", range(4)), ("test", range(9, 10))):
        (folder / part).mkdir()
        for seed in seeds:
            pixels = np.random.default_rng(seed).integers(0, 256, (40, 44, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{part}/p{seed}.png")
        pack(folder / part, folder / f"{part}-set")
    return folder


@pytest.fixture
def quick(monkeypatch, one_thread) -> None:
    """Short pauses between attempts to send a checkpoint, and one thread."""
    monkeypatch.setattr(uploads, "PAUSE", 0.01)


@pytest.fixture(scope="session")
def near(base, tmp_path_factory) -> dict[str, bytes]:
    """The weights of an undisturbed training on a disk."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = create(tmp_path_factory.mktemp("near"), "near")
    train(run, base, job())
    torch.set_num_threads(threads)
    assert len(weights(run)) > 2
    return weights(run)
