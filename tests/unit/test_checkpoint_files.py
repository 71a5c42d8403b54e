"""Checkpoints: what is written is what is read, and what cannot be trusted is named and passed over."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext as allow
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ipt_platform.checkpoint.files import (
    Verified,
    commit,
    list_checkpoints,
    newest,
    prune,
    read_json,
    read_tensors,
    verify,
)
from ipt_platform.errors import CheckpointError, RefusedError


def write(run: Path, step: int, attempt: int = 1, mark: int = 0) -> Path:
    files = {
        "model.safetensors": {"body.weight": torch.full((3, 2), float(step)), "scale": torch.tensor(2.5)},
        "biases/denoise.safetensors": {"B1": torch.zeros(4, 1), "B2": torch.arange(6.0).reshape(1, 6)},
        "state.json": {"step": step, "mark": mark},
    }
    return commit(run / "checkpoints", step, files, allow, attempt)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_is_committed_is_what_is_read(tmp_path: Path):
    checkpoint = write(tmp_path, 7)

    assert checkpoint == tmp_path / "checkpoints" / "step-7"
    assert torch.equal(read_tensors(checkpoint / "model.safetensors")["body.weight"], torch.full((3, 2), 7.0))
    assert read_tensors(checkpoint / "model.safetensors")["scale"].shape == ()
    assert torch.equal(read_tensors(checkpoint / "biases/denoise.safetensors")["B2"], torch.arange(6.0).reshape(1, 6))
    assert read_json(checkpoint / "state.json") == {"step": 7, "mark": 0}
    assert newest(tmp_path) == (checkpoint, [])


def test_tensors_keep_dtype_and_bits(tmp_path: Path):
    odd = {
        "bf16": torch.tensor([1.0, -0.0, float("inf"), float("nan")], dtype=torch.bfloat16),
        "uint8": torch.arange(256, dtype=torch.uint8),
        "float64": torch.tensor([0.1, 5e-324], dtype=torch.float64),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "needs-grad": torch.ones(2, requires_grad=True),
        "empty": torch.zeros(0, 4),
    }

    read = read_tensors(commit(tmp_path, 0, {"x.safetensors": odd}, allow) / "x.safetensors")

    assert read.keys() == odd.keys()
    for name, tensor in odd.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert safetensors.torch.save({"": read[name]}) == safetensors.torch.save({"": tensor.detach().contiguous()})


def test_manifest_and_commit_can_be_checked_by_other_tools(tmp_path: Path):
    checkpoint = write(tmp_path, 1)
    manifest = (checkpoint / "MANIFEST.json").read_bytes()

    files = json.loads(manifest)["files"]

    assert files.keys() == {"model.safetensors", "biases/denoise.safetensors", "state.json"}
    for name, entry in files.items():
        data = (checkpoint / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    assert json.loads((checkpoint / "COMMIT").read_bytes()) == {"manifest": hashlib.sha256(manifest).hexdigest()}


def flip(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 16
    path.write_bytes(data)


def truncate(checkpoint: Path) -> None:
    path = checkpoint / "biases/denoise.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def forge_digest(checkpoint: Path) -> None:
    path = checkpoint / "MANIFEST.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"]["state.json"]["sha256"] = "0" * 64
    data = json.dumps(manifest).encode()
    path.write_bytes(data)
    (checkpoint / "COMMIT").write_bytes(b'{"manifest": "' + hashlib.sha256(data).hexdigest().encode() + b'"}\n')


def link(checkpoint: Path) -> None:
    (checkpoint / "state.json").rename(checkpoint.parent / "elsewhere.json")
    (checkpoint / "state.json").symlink_to(checkpoint.parent / "elsewhere.json")


def escape(checkpoint: Path) -> None:
    data = json.dumps({"step": 2, "attempt": 1, "files": {"../step-1/state.json": {"sha256": "0" * 64, "bytes": 1}}})
    (checkpoint / "MANIFEST.json").write_text(data)
    (checkpoint / "COMMIT").write_text(f'{{"manifest": "{hashlib.sha256(data.encode()).hexdigest()}"}}\n')


def rename(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.with_name("step-1"), checkpoint)


DAMAGES = {
    "a flipped bit": (flip, "model.safetensors has sha256"),
    "a truncated file": (truncate, "biases/denoise.safetensors has"),
    "a missing file": (lambda folder: (folder / "state.json").unlink(), "state.json is missing"),
    "an extra file": (lambda folder: (folder / "biases/new.json").write_text("{}"), "biases/new.json stands there"),
    "a wrong digest": (forge_digest, f"state.json has sha256 .*MANIFEST.json says {'0' * 64}"),
    "a link": (link, "state.json is a link"),
    "a name that leaves the folder": (escape, "plain file names"),
    "no manifest": (lambda folder: (folder / "MANIFEST.json").unlink(), "MANIFEST.json is missing"),
    "another manifest": (lambda folder: (folder / "MANIFEST.json").write_text("{}"), "MANIFEST.json has sha256"),
    "no COMMIT": (lambda folder: (folder / "COMMIT").unlink(), "never committed"),
    "an empty COMMIT": (lambda folder: (folder / "COMMIT").write_bytes(b""), "COMMIT says b''"),
    "another step's folder": (rename, "it holds step 1"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_and_the_checkpoint_before_it_is_used(tmp_path: Path, kind: str):
    damage, message = DAMAGES[kind]
    good, bad = write(tmp_path, 1), write(tmp_path, 2)
    damage(bad)

    path, damaged = newest(tmp_path)

    assert path == good
    assert [each for each, _ in damaged] == [bad]
    assert str(bad) in damaged[0][1]
    assert re.search(message, damaged[0][1])


def test_a_changed_file_is_reported_with_both_digests(tmp_path: Path):
    checkpoint = write(tmp_path, 1)
    before = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    flip(checkpoint)
    after = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()

    with pytest.raises(CheckpointError, match=f"model.safetensors has sha256 {after}, MANIFEST.json says {before}"):
        verify(checkpoint)


def test_nothing_usable_gives_none_and_every_reason(tmp_path: Path):
    assert newest(tmp_path) == (None, [])
    for step in (1, 2):
        (write(tmp_path, step) / "COMMIT").unlink()

    path, damaged = newest(tmp_path)

    assert path is None
    assert [each.name for each, _ in damaged] == ["step-2", "step-1"]


def test_other_names_are_no_checkpoints(tmp_path: Path):
    write(tmp_path, 10)
    write(tmp_path, 9)
    for name in ("step-", "step-07", "step-8.bak", "step--1", "best", ".tmp-step-11-ab"):
        (tmp_path / "checkpoints" / name).mkdir()

    assert [info.step for info in list_checkpoints(tmp_path)] == [10, 9]


def test_the_same_attempt_gets_back_what_it_committed(tmp_path: Path):
    first = write(tmp_path, 3, attempt=1, mark=1)
    inode = first.stat().st_ino

    again = write(tmp_path, 3, attempt=1, mark=2)

    assert again == first
    assert again.stat().st_ino == inode
    assert read_json(again / "state.json")["mark"] == 1


@pytest.mark.parametrize("damage", [flip, lambda folder: (folder / "COMMIT").unlink()])
def test_a_damaged_or_uncommitted_step_is_written_anew(tmp_path: Path, damage):
    damage(write(tmp_path, 3, attempt=1, mark=1))

    checkpoint = write(tmp_path, 3, attempt=1, mark=2)

    assert read_json(checkpoint / "state.json")["mark"] == 2
    assert newest(tmp_path) == (checkpoint, [])
    prune(tmp_path, keep=2)
    assert names(tmp_path / "checkpoints") == {"step-3"}


def test_a_step_of_another_attempt_gives_way_to_the_owner(tmp_path: Path):
    write(tmp_path, 3, attempt=1, mark=1)

    checkpoint = write(tmp_path, 3, attempt=2, mark=2)

    assert read_json(checkpoint / "state.json")["mark"] == 2
    assert verify(checkpoint).attempt == 2


@contextmanager
def closed() -> Iterator[None]:
    """The fence of an attempt that another one has overtaken."""
    raise RefusedError("a newer attempt owns the run")
    yield


def test_a_fenced_attempt_commits_nothing_and_harms_nothing(tmp_path: Path):
    kept = write(tmp_path, 3, attempt=2, mark=2)

    with pytest.raises(RefusedError, match="newer attempt"):
        commit(tmp_path / "checkpoints", 3, {"state.json": {"mark": 1}}, closed, attempt=1)
    with pytest.raises(RefusedError, match="newer attempt"):
        commit(tmp_path / "checkpoints", 4, {"state.json": {"mark": 1}}, closed, attempt=1)

    assert names(tmp_path / "checkpoints") == {"step-3"}
    assert newest(tmp_path) == (kept, [])
    assert read_json(kept / "state.json")["mark"] == 2


def test_a_fenced_attempt_removes_nothing(tmp_path: Path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    (tmp_path / "checkpoints/.tmp-step-4-mine").mkdir()

    with pytest.raises(RefusedError, match="newer attempt"):
        prune(tmp_path, keep=1, fence=closed)

    assert names(tmp_path / "checkpoints") == {"step-1", "step-2", "step-3", ".tmp-step-4-mine"}


def test_a_fenced_attempt_whose_folder_was_cleared_away_hears_why(tmp_path: Path):
    fenced = False

    @contextmanager
    def fence() -> Iterator[None]:
        nonlocal fenced
        if fenced:
            raise RefusedError("a newer attempt owns the run")
        fenced = True
        prune(tmp_path, keep=1)  # what the newer attempt does
        yield

    with pytest.raises(RefusedError, match="newer attempt"):
        commit(tmp_path / "checkpoints", 1, {"state.json": {}}, fence)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../x.json", {}, "no name for a file"),
        ("/x.json", {}, "no name for a file"),
        ("a//x.json", {}, "no name for a file"),
        ("COMMIT", b"", "no name for a file"),
        ("MANIFEST.json", {}, "no name for a file"),
        ("x.pt", {}, "must be bytes"),
        ("x.safetensors", {"step": 3}, "'step' is a int"),
        ("x.json", {"loss": float("nan")}, "not JSON compliant"),
    ],
)
def test_what_cannot_be_stored_leaves_nothing_behind(tmp_path: Path, name: str, content, message: str):
    with pytest.raises(ValueError, match=message):
        commit(tmp_path, 1, {"first.json": {}, name: content}, allow)

    assert names(tmp_path) == set()


def test_files_that_are_no_checkpoint_files_are_refused_by_name(tmp_path: Path):
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"\xff" * 64)

    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_tensors(broken)
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        read_tensors(tmp_path / "gone.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_json(broken)


def test_prune_keeps_the_newest_and_the_best(tmp_path: Path):
    for step in range(1, 8):
        write(tmp_path, step)
    flip(tmp_path / "checkpoints/step-7")
    flip(tmp_path / "checkpoints/step-5")
    (tmp_path / "checkpoints/.tmp-step-9-dead/biases").mkdir(parents=True)

    removed = prune(tmp_path, keep=2, best={2})

    assert {path.name for path in removed} == {"step-1", "step-3", "step-5"}
    assert names(tmp_path / "checkpoints") == {"step-2", "step-4", "step-6", "step-7"}
    with pytest.raises(ValueError, match="at least the newest"):
        prune(tmp_path, keep=0)


OPENED: list[list[str]] = []
"""Lists that are told the name of each file that this process opens."""

sys.addaudithook(lambda event, arguments: [each.append(str(arguments[0])) for each in OPENED] if event == "open" else None)


def models_read(run: Path, verified: Verified) -> list[str]:
    """The steps whose model is read by a prune that keeps three."""
    opened: list[str] = []
    OPENED.append(opened)
    try:
        prune(run, keep=3, verified=verified)
    finally:
        OPENED.remove(opened)
    return [Path(name).parent.name for name in opened if name.endswith("model.safetensors")]


def test_a_prune_reads_no_checkpoint_but_the_new_one(tmp_path: Path):
    verified = Verified()
    for step in (1, 2, 3):
        write(tmp_path, step)

    assert models_read(tmp_path, verified) == ["step-3", "step-2", "step-1"]
    assert models_read(tmp_path, verified) == []
    write(tmp_path, 4)
    assert models_read(tmp_path, verified) == ["step-4"]
    assert names(tmp_path / "checkpoints") == {"step-2", "step-3", "step-4"}


def test_one_that_was_just_written_is_not_read_again_until_somebody_touches_it(tmp_path: Path):
    verified = Verified()
    path = write(tmp_path, 1)
    verified.remember(path)

    assert models_read(tmp_path, verified) == []
    flip(path)
    assert not list_checkpoints(tmp_path, verified)[0].usable


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_after_a_checkpoint_was_verified_is_seen(tmp_path: Path, kind: str):
    verified = Verified()
    write(tmp_path, 1), write(tmp_path, 2)
    before = list_checkpoints(tmp_path, verified)
    assert [info.usable for info in before] == [True, True]

    DAMAGES[kind][0](before[0].path)

    after = list_checkpoints(tmp_path, verified)
    assert [info.usable for info in after] == [False, True]
    assert after == list_checkpoints(tmp_path)


def test_damage_that_keeps_size_and_time_of_a_file_is_seen(tmp_path: Path):
    verified = Verified()
    path = write(tmp_path, 1) / "model.safetensors"
    assert list_checkpoints(tmp_path, verified)[0].usable
    before = path.stat()

    flip(path.parent)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert not list_checkpoints(tmp_path, verified)[0].usable
