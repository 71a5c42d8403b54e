"""Crops on which losses are measured: the same at every call, and none that the training has begun with."""

import pytest
import torch
from torch import nn

from ipt_platform.data.pack import pack
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.train.batches import batch_maker
from ipt_platform.train.step import batch_tensors
from ipt_platform.tune.crops import CPU, crops_of, loss_on

STEPS = 6


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph):
    folder = tmp_path_factory.mktemp("base")
    for seed in range(3):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    pack(folder / "photos", folder / "shards")
    return folder


def job(**changes) -> TrainJob:
    value = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "some",
        "seed": 4,
        "model": {"backbone": "iptv2-nano"},
        "tasks": {"denoise": 2, "jpeg": 1},
        "data": {"shards": ["shards/*.tar"], "carrier": "local"},
        "train": {"stages": [{"steps": STEPS, "patch": 32, "images": 5}]},
    }
    made = JOB.validate_python({**value, **changes})
    assert isinstance(made, TrainJob)
    return made


def crops(base, made: TrainJob, tasks=(), images=5, patch=32):
    return crops_of(made, tasks, images, patch, base, RunDir(base / "none").tasks)


def test_each_task_gets_its_crops_of_each_photograph(base):
    found = crops(base, job(), images=5, patch=48)

    assert {task: (tuple(degraded.shape), tuple(clean.shape)) for task, (degraded, clean) in found.items()} == {
        "denoise": ((10, 3, 48, 48),) * 2,
        "jpeg": ((5, 3, 48, 48),) * 2,
    }
    for degraded, clean in found.values():
        assert degraded.dtype == clean.dtype == torch.float32
        assert 0 <= float(clean.min()) < float(clean.max()) <= 1
        assert not torch.equal(degraded, clean)


def test_only_the_tasks_that_are_asked_for(base):
    assert crops(base, job(), tasks=["jpeg"]).keys() == {"jpeg"}
    assert crops(base, job(), tasks=["jpeg", "denoise"]).keys() == {"denoise", "jpeg"}


def test_they_are_the_same_at_each_call_and_others_for_another_seed(base):
    one, again, other = crops(base, job()), crops(base, job()), crops(base, job(seed=5))

    for task, pair in one.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, again[task], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(pair, other[task], strict=True))


def test_they_do_not_depend_on_how_the_job_was_trained(base):
    """Weights before and after, of one seed, are measured alike."""
    one = crops(base, job())
    other = crops(base, job(train={"mode": "mixed", "stages": [{"steps": 1, "patch": 64, "images": 1}]}))

    assert all(torch.equal(a, b) for task in one for a, b in zip(one[task], other[task], strict=True))


def test_none_of_them_is_one_that_the_training_has_seen(base):
    """Neither the place of a crop nor what degraded it."""
    maker = batch_maker(job(), base, 0, 1)
    batches = [batch_tensors(maker.make(step), CPU) for step in range(STEPS)]

    found = crops(base, job())

    for task, pair in found.items():
        for side, tensors in enumerate(pair):
            seen = {each.numpy().tobytes() for batch in batches for each in batch[task][side]}
            assert len(seen) == STEPS * len(tensors)
            assert not seen & {each.numpy().tobytes() for each in tensors}


@pytest.mark.parametrize(("kind", "of_error"), [("l1", torch.abs), ("charbonnier", lambda x: (x**2 + 1e-6).sqrt())])
def test_the_loss_is_the_mean_over_tasks_of_their_means(kind, of_error):
    """Also where there are more crops than are given to the model at once."""
    torch.manual_seed(0)
    pairs = {task: (torch.rand(n, 3, 8, 8), torch.rand(n, 3, 8, 8)) for task, n in (("one", 37), ("other", 2))}
    model = nn.Conv2d(3, 3, 3, padding=1)

    found = loss_on(pairs, kind)(model)

    with torch.no_grad():
        want = [float(of_error(model(degraded) - clean).mean()) for degraded, clean in pairs.values()]
    assert found == pytest.approx(sum(want) / 2, rel=1e-5)


def test_a_model_without_error_has_no_loss():
    pairs = {"one": (torch.ones(3, 3, 8, 8), torch.ones(3, 3, 8, 8))}

    assert loss_on(pairs, "l1")(nn.Identity()) == 0
