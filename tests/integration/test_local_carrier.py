"""The local carrier with real processes: bytes and order, memory that is used again, errors, and nobody who stays behind."""

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from PIL import Image

from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker, TaskDraw
from ipt_platform.data.plan import Plan, Schedule, Stage
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import InfrastructureError
from tests.conftest import HANG

# Sizes grow and shrink at the boundaries, so slots are used for batches larger and smaller than the ones before.
SCHEDULE = Schedule((Stage(9, patch=24, images=2), Stage(7, patch=64, images=6), Stage(8, patch=16, images=4)))
TOTAL = SCHEDULE.total_steps
DRAWS = (
    TaskDraw("denoise", 2, build_degradation({"name": "gaussian-noise", "sigma": 25})),
    TaskDraw("deblur", 1, build_degradation({"name": "motion-blur"}), quantize=True),
)


@pytest.fixture(scope="module")
def maker(tmp_path_factory) -> BatchMaker:
    folder = tmp_path_factory.mktemp("local") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in range(7):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((60 + number, 72), Image.Resampling.BICUBIC).save(folder / f"p{number}.png")
    pack(folder, folder.with_name("shards"), shard_size=10_000)
    shards = ShardSet.open(sorted(folder.with_name("shards").glob("*.tar")))
    return BatchMaker(shards=shards, plan=Plan(3, shards.images), schedule=SCHEDULE, draws=DRAWS, seed=3)


def packed(batch: Batch) -> tuple[bytes, list[bytes]]:
    return batch.head(), [array.tobytes() for pair in batch.tasks.values() for array in pair]


@pytest.mark.parametrize(
    ("processes", "prefetch", "start"),
    [
        pytest.param(1, 1, 0, id="one-process-one-step-ahead"),
        pytest.param(2, 4, 5, id="two-processes-from-the-middle"),
        pytest.param(3, 40, TOTAL - 2, id="fewer-steps-than-processes"),
    ],
)
def test_processes_give_the_bytes_that_are_made_here_in_order(maker, processes, prefetch, start):
    stream = local_stream(maker, start, TOTAL, processes, prefetch)
    here = local_stream(maker, start, TOTAL, processes=0)

    assert [packed(batch) for batch in stream] == [packed(batch) for batch in here]


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_batches_stay_as_they_are_while_somebody_has_them(maker, kept):
    want = [packed(maker.make(step)) for step in range(TOTAL)]
    batches = list(local_stream(maker, 0, TOTAL))[::kept]  # all at once: more than there are slots
    some = []
    for batch in local_stream(maker, 0, TOTAL, prefetch=2):
        batch.tasks["deblur"][1][:] = 0  # a slot is written to by whoever has its batch
        if batch.step % 3 < kept:
            some.append(batch.tasks["denoise"])  # arrays alone keep the slot, too

    assert [packed(batch) for batch in batches] == want[::kept]
    for pair, step in zip(some, [step for step in range(TOTAL) if step % 3 < kept], strict=True):
        assert [array.tobytes() for array in pair] == want[step][1][:2]


def test_a_stream_that_is_left_early_leaves_nothing_behind(maker):
    me = psutil.Process()
    before, files = me.children(recursive=True), me.num_fds()
    stream = local_stream(maker, 0, TOTAL)
    assert me.children(recursive=True) == before  # nothing is started before it is asked for

    batch = next(stream)
    assert len(me.children(recursive=True)) == len(before) + 2
    stream.close()

    assert me.children(recursive=True) == before
    assert packed(batch) == packed(maker.make(0))
    del batch  # memory is there for as long as somebody has a batch in it
    assert me.num_fds() == files


def test_a_process_that_is_killed_is_an_error_in_words(maker):
    before = set(psutil.Process().children())
    stream = local_stream(maker, 0, TOTAL, processes=1, prefetch=1)
    next(stream)
    (process,) = set(psutil.Process().children()) - before
    process.send_signal(signal.SIGSTOP)  # so that it is at work on the next step for certain
    process.kill()

    with pytest.raises(InfrastructureError, match="ended by SIGKILL"):
        list(stream)
    assert not process.is_running()


def test_an_error_that_nobody_foresaw_comes_with_its_traceback(maker):
    steps = []

    with pytest.raises(RuntimeError, match=rf"(?s)step {TOTAL} could not be made.*Traceback.*outside the schedule of {TOTAL}"):
        steps.extend(batch.step for batch in local_stream(maker, TOTAL - 2, TOTAL + 1))

    assert steps == [TOTAL - 2, TOTAL - 1]


TRAINER = """
import os, pickle, sys
from ipt_platform.data.carrier import local_stream
from tests.conftest import HANG
maker = pickle.loads(bytes.fromhex(sys.stdin.readline()))
stream = local_stream(maker, 0, 24, processes=2, prefetch=2)
next(stream)
print("ready", flush=True)
sys.stdin.readline()
"""


def test_processes_end_when_the_trainer_is_killed(maker):
    words = [sys.executable, "-c", TRAINER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdin
        assert trainer.stdout
        trainer.stdin.write(pickle.dumps(maker).hex() + "\n")
        trainer.stdin.flush()
        assert trainer.stdout.readline() == "ready\n"
        crew = psutil.Process(trainer.pid).children()
        os.kill(trainer.pid, signal.SIGKILL)

    assert len(crew) == 2
    _, alive = psutil.wait_procs(crew, timeout=HANG)
    assert alive == []
