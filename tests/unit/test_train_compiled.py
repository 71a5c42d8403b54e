"""What torch.compile has made: kept for the next process, and never taken from somebody else nor damaged."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from ipt_platform.train.compiled import NEWEST, compiled_folder, compiled_name, kept_compiled
from tests.jobs import small_job

NAME = "torch-x"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where things are kept; private folders are made beside it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    return tmp_path / "kept"


def use(folder: Path, made: dict[str, bytes], keeps: bool = True, name: str = NAME) -> tuple[dict[str, bytes], list[str]]:
    """What a process finds that then makes some files as the compiler does, and what it is told."""
    told: list[str] = []
    with kept_compiled(folder, name, told.append, keeps) as keep:
        private = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
        found = {str(path.relative_to(private)): path.read_bytes() for path in private.rglob("*") if path.is_file()}
        for file, content in made.items():
            (private / file).parent.mkdir(parents=True, exist_ok=True)
            (private / file).write_bytes(content)
        keep()
    return found, told


FIRST = {"fxgraph/aa/key/graph": b"a graph", "cd/kernel.so": b"\x7fELF", "locks/x.lock": b""}
KEPT = {name: content for name, content in FIRST.items() if not name.endswith(".lock")}
SECOND = {"fxgraph/bb/key/graph": b"another"}


def test_a_process_finds_what_those_before_it_made_and_leaves_nothing_else(folder):
    assert use(folder, FIRST) == ({}, [])
    assert use(folder, SECOND) == (KEPT, [])
    assert use(folder, {}, name="torch-y") == ({}, [])
    assert use(folder, {}) == (KEPT | SECOND, [])
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_it_is_written_only_where_a_graph_is_new_and_only_by_who_keeps(folder):
    use(folder, FIRST, keeps=False)
    assert list(folder.iterdir()) == []
    use(folder, FIRST)
    before = (folder / NAME).stat()

    use(folder, {"cd/other.so": b""})

    assert (folder / NAME).stat().st_ino == before.st_ino


@pytest.mark.parametrize("where", [0, 20, 70, 3000, -1])
def test_a_damaged_file_is_told_and_left_out(folder, where):
    use(folder, FIRST)
    data = bytearray((folder / NAME).read_bytes())
    data[where] ^= 1
    (folder / NAME).write_bytes(data)

    found, (told,) = use(folder, SECOND)

    assert found == {}
    assert "everything compiled anew: " in told
    assert "is damaged" in told
    assert use(folder, {}) == (SECOND, [])  # and it has been replaced


def test_half_a_file_is_damaged_too(folder):
    use(folder, FIRST)
    os.truncate(folder / NAME, 1000)

    assert "is damaged" in use(folder, {})[1][0]


def test_what_others_could_have_written_is_not_read(folder, tmp_path):
    use(folder, FIRST)
    (folder / NAME).chmod(0o660)
    assert "can be written by others, who could run code here" in use(folder, {})[1][0]
    (folder / NAME).chmod(0o600)
    folder.chmod(0o777)
    found, told = use(folder, SECOND)
    assert found == {}
    assert len(told) == 2  # neither read nor written
    folder.chmod(0o700)
    assert use(folder, {}) == (KEPT, [])

    (folder / NAME).rename(tmp_path / "elsewhere")
    (folder / NAME).symlink_to(tmp_path / "elsewhere")
    assert use(folder, {})[0] == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_somebody_else_is_not_read(folder):
    use(folder, FIRST)
    os.chown(folder / NAME, 12345, -1)

    found, (told,) = use(folder, {})

    assert found == {}
    assert "belongs to user 12345, expected 0; set IPT_COMPILE_CACHE to a folder of your own" in told


def test_a_place_that_cannot_be_written_costs_nothing_but_the_keeping(folder):
    folder.write_text("a file")

    found, told = use(folder, FIRST)

    assert found == {}
    assert len(told) == 2


def test_the_private_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(folder):
    code = (
        "import os, sys; from pathlib import Path; from ipt_platform.train.compiled import kept_compiled\n"
        f"with kept_compiled(Path({str(folder)!r}), 'torch-x', print): print('here', flush=True); sys.stdin.read(); os._exit(9)"
    )
    place = Path(tempfile.gettempdir())
    environment = os.environ | {"TMPDIR": str(place)}
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    assert other.stdout
    assert other.stdout.readline() == "here\n"
    use(folder, {})
    assert len(list(place.iterdir())) == 1

    other.communicate("")
    use(folder, {})

    assert list(place.iterdir()) == []


def test_the_newest_are_kept(folder):
    for number in range(NEWEST + 2):
        use(folder, FIRST, name=f"torch-{number}")
        os.utime(folder / f"torch-{number}", (number, number))
    use(folder, FIRST, name="torch-last")

    assert len(list(folder.iterdir())) == NEWEST
    assert {"torch-last", f"torch-{NEWEST + 1}"} < {path.name for path in folder.iterdir()}


def test_it_lies_where_the_operator_says_or_with_the_user():
    assert compiled_folder({"HOME": "/home/a"}) == Path("/home/a/.cache/ipt-platform/compiled")
    assert compiled_folder({"HOME": "/home/a", "XDG_CACHE_HOME": "/c"}) == Path("/c/ipt-platform/compiled")
    assert compiled_folder({"HOME": "/home/a", "IPT_COMPILE_CACHE": "/volume"}) == Path("/volume")


def test_jobs_that_compile_to_other_graphs_have_other_files():
    cpu = torch.device("cpu")
    name = compiled_name(small_job(), 2, cpu)

    assert compiled_name(small_job({"optimizer": {"lr": 0.5}, "ema": None}), 2, cpu) == name
    assert len({name, compiled_name(small_job({"precision": "bf16"}), 2, cpu), compiled_name(small_job(), 4, cpu)}) == 3
    assert name.startswith(f"torch-{torch.__version__}-cpu-")


COMPILE = """
import sys
from pathlib import Path
import torch
from torch._dynamo.utils import counters
from ipt_platform.train.compiled import kept_compiled
with kept_compiled(Path(sys.argv[1]), "torch-x", print) as keep:
    print(float(torch.compile(lambda x: torch.sin(x).sum() + 1)(torch.ones(64))))
    keep()
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


COMPILER = shutil.which("g++") or shutil.which("c++")


@pytest.mark.slow
@pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler for the CPU")
def test_the_second_process_compiles_nothing(folder, tmp_path):
    counting = tmp_path / "g++"
    counting.write_text(f'#!/bin/sh\necho "$@" >> "$0.calls"\nexec {COMPILER} "$@"\n')
    counting.chmod(0o755)
    environment = os.environ | {"CXX": str(counting), "OMP_NUM_THREADS": "1"}

    def run() -> tuple[list[str], int]:
        """What it prints, and how often the compiler was given a source."""
        command = [sys.executable, "-c", COMPILE, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        calls = Path(f"{counting}.calls")
        sources = sum(".cpp" in call for call in calls.read_text().splitlines())
        calls.unlink()
        return done.stdout.splitlines(), sources

    (value, counts), sources = run()

    assert counts == "0 1"
    assert sources > 0
    assert run() == ([value, "1 0"], 0)
