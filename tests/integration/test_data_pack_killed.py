"""Real packers that are killed, interrupted or overtaken: there is never half an output."""

import signal
import subprocess
import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from ipt_platform.data.pack import pack
from ipt_platform.data.shards import verify

# packs, and waits in the middle: after the third of six pictures, the first shards being written and closed
PACKER = """
import sys
from pathlib import Path
from ipt_platform.data.pack import pack
from ipt_platform.errors import IptError

def wait(done, total):
    if done == 3:
        print("half", flush=True)
        sys.stdin.readline()

try:
    pack(Path(sys.argv[1]), Path(sys.argv[2]), shard_size=1, progress=wait)
except IptError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((20, 20, 3), i, np.uint8))
    return folder


@contextmanager
def halfway(photos, out):
    command = [sys.executable, "-c", PACKER, str(photos), str(out)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as packer:
        assert packer.stdout.readline() == "half\n"
        yield packer
        packer.kill()


def temporary(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".out.tmp-")]


def test_a_killed_packer_leaves_no_output_and_the_next_one_cleans_up(photos, tmp_path):
    out = tmp_path / "out"
    with halfway(photos, out) as packer:
        assert len(temporary(tmp_path)) == 1
        assert len(list(temporary(tmp_path)[0].glob("*.tar"))) == 3
        packer.kill()
        packer.wait()

    assert not out.exists()
    assert len(temporary(tmp_path)) == 1
    report = pack(photos, out)
    assert verify(report.shards).problems == []
    assert temporary(tmp_path) == []


def test_an_interrupted_packer_leaves_nothing(photos, tmp_path):
    with halfway(photos, tmp_path / "out") as packer:
        packer.send_signal(signal.SIGINT)
        packer.wait()

    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_of_two_packers_one_wins_and_the_other_says_so(photos, tmp_path):
    out = tmp_path / "out"
    with halfway(photos, out) as packer:
        report = pack(photos, out)
        _, said = packer.communicate("go on\n")

    assert packer.returncode == 1
    assert "RefusedError" in said
    assert "appeared while it was being written" in said
    assert len(report.shards) == 1
    assert verify(report.shards).problems == []
    assert temporary(tmp_path) == []


def test_a_full_disk_leaves_nothing_and_says_so(photos, tmp_path):
    # the kernel refuses to let a file of this process grow beyond 4000 bytes, as a full disk would
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n" + PACKER.replace("== 3", "== -1")
    packer = subprocess.run(
        [sys.executable, "-c", limited, str(photos), str(tmp_path / "out")], capture_output=True, text=True, check=False
    )

    assert packer.returncode == 1
    assert f"InfrastructureError: {tmp_path / 'out'}: cannot be written: File too large" in packer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
