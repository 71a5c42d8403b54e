"""Whatever bit of a checkpoint changes is noticed; whatever is damaged, pruning keeps the newest usable one."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ipt_platform.checkpoint.files import commit, newest, prune, verify
from ipt_platform.errors import CheckpointError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"model.safetensors": {"w": torch.arange(5.0)}, "biases/a.safetensors": {}, "state.json": {"step": 4}}
    return commit(tmp_path_factory.mktemp("run"), 4, files, nullcontext)


@settings(max_examples=150)
@given(data=st.data())
def test_no_changed_bit_and_no_cut_goes_unnoticed(checkpoint: Path, data: st.DataObject):
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(paths))
    original = path.read_bytes()
    position = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    if data.draw(st.booleans(), "cut"):
        del changed[position:]
    else:
        changed[position] ^= data.draw(st.integers(1, 255))

    path.write_bytes(changed)
    try:
        with pytest.raises(CheckpointError) as caught:
            verify(checkpoint)
    finally:
        path.write_bytes(original)

    assert path.relative_to(checkpoint).as_posix() in str(caught.value) or path.name in ("COMMIT", "MANIFEST.json")
    verify(checkpoint)


@st.composite
def fleets(draw: st.DrawFn) -> dict[int, str]:
    states = st.sampled_from(["good", "uncommitted", "damaged"])
    return draw(st.dictionaries(st.integers(0, 20), states, max_size=7))


def written(run: Path, states: dict[int, str]) -> Iterator[int]:
    for step, state in states.items():
        path = commit(run / "checkpoints", step, {"state.json": {"step": step}}, nullcontext)
        if state == "uncommitted":
            (path / "COMMIT").unlink()
        elif state == "damaged":
            (path / "state.json").write_text("{}")
        else:
            yield step


@settings(max_examples=20)
@given(states=fleets(), keep=st.integers(1, 4), best=st.sets(st.integers(0, 20), max_size=2))
def test_prune_keeps_what_a_resume_needs(states: dict[int, str], keep: int, best: set[int]):
    run = Path(tempfile.mkdtemp())
    try:
        usable = sorted(written(run, states), reverse=True)
        before = newest(run)

        removed = {int(path.name.removeprefix("step-")) for path in prune(run, keep, best)}

        assert newest(run) == before
        assert removed.isdisjoint({*usable[:keep], *best})
        assert removed >= set(usable[keep:]) - best
        left = {path.name for path in (run / "checkpoints").glob("*")}
        assert left == {f"step-{step}" for step in states.keys() - removed}
        assert prune(run, keep, best) == []
    finally:
        shutil.rmtree(run)
