"""What more than one test file uses."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import typer
import yaml
from hypothesis import settings
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.state import state_files
from ipt_platform.cli.main import app
from ipt_platform.data.pack import pack
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from tests.processes import kill

# How long an example takes says nothing of whether the code is right: machines are slow at times.
settings.register_profile("ipt", deadline=None)
settings.load_profile("ipt")

GRACE = 90  # seconds within which what belongs to an ended command must have ended by itself
SHORT = 0.003  # seconds between two looks at what lasts for moments
GLANCE = 0.5  # seconds between two looks at all processes
HANG = 600  # seconds after which what should happen is taken for hanging; a machine takes long when others are at work


@pytest.fixture(scope="session")
def commands() -> dict[tuple[str, ...], Any]:
    """Every command that does something, by its words: `("data", "pack")`."""
    found = {}

    def walk(command: Any, words: tuple[str, ...]) -> None:
        if not hasattr(command, "list_commands"):
            found[words] = command
            return
        context = typer.Context(command)
        for name in command.list_commands(context):
            walk(command.get_command(context, name), (*words, name))

    walk(typer.main.get_command(app), ())
    return found


# The slow tests in two processes (`make test-slow`)

ALONE = "tests/chaos/"
"""Where one thing must happen before another is over: these have a process to themselves, and others give way to them."""
GIVES_WAY = 5  # as `nice` counts


class Shares(LoadScopeScheduling):
    """Files of ALONE go to one process and other files to the other one, until those of its own kind have run out."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        own = node is self.nodes[0]
        if scope := next((each for each in self.workqueue if each.startswith(ALONE) is own), None):
            self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Who gets which tests (pytest-xdist's hook)."""
    return Shares(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give way to those that depend on how fast something is."""
    if item.get_closest_marker("slow") and not item.nodeid.startswith(ALONE) and "PYTEST_XDIST_WORKER" in os.environ:
        os.nice(max(0, GIVES_WAY - os.nice(0)))


# Jobs as people run them: `ipt-platform` as a process, with a Ray of its own

TINY_JOB = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "tiny",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 4}},
    "tasks": {"denoise": {"params": {"sigma": 25}}, "deblur": None},
    "data": {"shards": "shards/*.tar", "carrier": "local"},  # Ray Data takes seconds to start; the batches are the same
    "train": {
        "stages": [{"steps": 6, "patch": 48, "images": 2}, {"steps": 24, "patch": 64, "images": 2}],
        "schedule": {"warmup": 2},
        "log_every": 1,
        "samples": 1,
    },
    "evaluate": {"sets": ["test"]},
    "checkpoint": {"every": 3},
}


class Command:
    """`ipt-platform ...` as a real process, and every process that it starts, directly or not."""

    def __init__(self, place: "Workplace", number: int, *arguments: str):
        self.out, self.err = (place.folder / f"{number}.{stream}" for stream in ("out", "err"))
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = psutil.Popen(
                [place.program, *arguments],
                cwd=place.folder,
                env=place.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # a process group, as a shell makes one: Ctrl-C goes to all of it
            )
        self.seen: set[psutil.Process] = {self.process}
        self._due = 0.0

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def glance(self) -> None:
        """Look, if it is time to: to look through all processes of a machine costs more than to wait."""
        if time.monotonic() >= self._due:
            self.look()
            self._due = time.monotonic() + GLANCE

    def look(self) -> None:
        """Remember who is there; a process that lost its parent could not be found later."""
        if self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            self.seen.update(self.process.children(recursive=True))

    def process_of(self, words: str) -> psutil.Process:
        """A process of it whose command line holds these words."""
        self.look()
        for each in filter(_lives, self.seen):
            with contextlib.suppress(psutil.Error):
                if words in " ".join(each.cmdline()):
                    return each
        raise AssertionError(f"no process {words}:\n{self.stderr}")

    def worker(self) -> psutil.Process:
        """The process that trains."""
        return self.process_of("ray::RayTrainWorker")

    def until(self, true: Callable[[], Any], pause: float = 0.05) -> Any:
        """Wait for something to become true while the command runs; returns what it became."""
        end = time.monotonic() + HANG
        while not (value := true()):
            self.glance()
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.stderr}"
            assert time.monotonic() < end, f"nothing happened for {HANG} s:\n{self.stderr}"
            time.sleep(pause)
        self.look()
        return value

    def wait(self) -> int:
        """The exit code."""
        end = time.monotonic() + HANG
        while self.process.poll() is None:
            self.glance()
            assert time.monotonic() < end, f"it did not end within {HANG} s:\n{self.stderr}"
            time.sleep(0.1)
        return self.process.returncode

    def interrupt(self) -> None:
        """What a terminal does at Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def left(self, grace: float = 0) -> list[str]:
        """Who of all its processes is still there after some seconds."""
        _, alive = psutil.wait_procs([each for each in self.seen if _lives(each)], grace)
        return [f"{each.pid} {each.name()}" for each in alive if _lives(each)]

    def close(self) -> None:
        """End what a failed test has left."""
        self.look()
        kill(filter(_lives, self.seen))


class Workplace:
    """A folder with shards, test pictures and job.yaml, in which commands run."""

    program = Path(sys.executable).with_name("ipt-platform")

    def __init__(self, folder: Path, temporary: Path):
        self.folder, self.temporary = folder, temporary
        # Settings of whoever runs the tests are not ours; one thread each makes numbers repeat.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "OMP_", "MKL_", "XDG_"))}
        self.environment = own | {"TMPDIR": str(temporary), "HOME": str(folder)}
        self.commands: list[Command] = []
        for seed in range(4):
            draw_photograph(folder / "photos" / f"p{seed}.png", seed)
        for seed in range(2):
            draw_photograph(folder / "test" / f"t{seed}.png", 9 + seed, 40, 48)
        pack(folder / "photos", folder / "shards")
        (folder / "job.yaml").write_text(yaml.safe_dump(TINY_JOB, sort_keys=False))

    def start(self, *arguments: str) -> Command:
        """Start `ipt-platform ARGUMENTS`."""
        command = Command(self, len(self.commands), *arguments)
        self.commands.append(command)
        return command

    def do(self, *arguments: str) -> Command:
        """Run `ipt-platform ARGUMENTS` to its end."""
        command = self.start(*arguments)
        command.wait()
        return command

    def submit(self, run: str, *changes: str, wait: bool = True) -> Command:
        """Submit job.yaml under a run id, with `--set` for each change that does not begin with a dash."""
        words = [word for change in changes for word in (("--set", change) if change[0] != "-" else (change,))]
        return (self.do if wait else self.start)("submit", "job.yaml", "--run", run, *words)

    @contextlib.contextmanager
    def configured(self, text: str) -> Iterator[None]:
        """With this as the user's configuration, and without it for whoever comes next."""
        folder = self.folder / ".config" / "ipt-platform"
        folder.mkdir(parents=True)
        try:
            (folder / "config.toml").write_text(text)
            yield
        finally:
            shutil.rmtree(folder)

    def ray_folders(self) -> list[Path]:
        """What embedded Rays have left in the folder for temporary files."""
        return list(self.temporary.glob("ipt-*"))

    def run(self, name: str) -> RunDir:
        return RunDir(self.folder / "runs" / name)

    def close(self) -> None:
        for command in self.commands:
            command.close()


@pytest.fixture(scope="session")
def workplace(tmp_path_factory) -> Iterator[Workplace]:
    """Where jobs run; none of their processes outlives the tests."""
    temporary = Path(tempfile.mkdtemp(prefix="t"))  # short: Ray's sockets lie below it
    place = Workplace(tmp_path_factory.mktemp("workplace"), temporary)
    try:
        yield place
    finally:
        place.close()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="session")
def weights() -> Callable[[RunDir, int], dict[str, bytes]]:
    """All tensors of a checkpoint as they lie on the disk: model, biases, averages, optimizer, generators."""

    def read(run: RunDir, step: int) -> dict[str, bytes]:
        checkpoint = run.checkpoints / f"step-{step}"
        return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*.safetensors")}

    return read


@pytest.fixture(scope="session")
def write_trained() -> Callable[[Path], Path]:
    """Writes the run "trained" into a storage, with biases for denoise and deblur that differ; gives its checkpoint."""

    def write(storage: Path) -> Path:
        torch.manual_seed(0)
        backbone = build_backbone("iptv2-nano")
        backbone.output.weight.data.normal_(0, 0.02)
        biases = {task: TaskBias(backbone, {"output.weight": 2}) for task in ("denoise", "deblur")}
        biases["deblur"].factor("output.weight", "B1").data.normal_(0, 0.05)
        model = BiasedModel(backbone, biases)
        run = create(storage, "trained")
        run.new_attempt()
        files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=3, backbone="iptv2-nano", progress={})
        return commit(run.checkpoints, 3, files, contextlib.nullcontext)

    return write


@pytest.fixture(scope="session")
def photograph() -> Callable[..., None]:
    """Draws and saves a picture; see `draw_photograph`."""
    return draw_photograph


def draw_photograph(path: Path, seed: int, height: int = 72, width: int = 88) -> None:
    """A picture of smooth colours with an edge and some grain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 20
    waves = [127 + 60 * np.sin(rows * a + b) + 50 * np.cos(columns * c) for a, b, c in rng.uniform(0.5, 2, (3, 3))]
    pixels = np.dstack(waves) + 40 * (columns > rows)[..., None] + rng.normal(0, 4, (height, width, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch computes with one thread: models as small as these are slower with more, and numbers repeat."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


GROUPS = Path("/sys/fs/cgroup")


@pytest.fixture
def memory_group() -> Iterator[Callable[[int], Path]]:
    """Makes a memory cgroup of so many bytes, where this machine lets us make one."""
    v1 = (GROUPS / "memory").is_dir()
    group = (GROUPS / "memory" if v1 else GROUPS) / f"ipt-test-{os.getpid()}"

    def make(limit: int) -> Path:
        try:
            group.mkdir()
            (group / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
            if not v1:
                (group / "memory.swap.max").write_text("0")
        except OSError as error:
            pytest.skip(f"this machine gives no rights to bound memory: {error}")
        return group

    yield make
    if group.is_dir():
        group.rmdir()
