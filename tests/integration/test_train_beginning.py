"""What a training begins with and what of it stays: weights of another run, and weights that each task has for itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ipt_platform.checkpoint.backbone import load_backbone, write_backbone
from ipt_platform.checkpoint.files import newest
from ipt_platform.checkpoint.state import load_biased_model
from ipt_platform.data.batch import Batch
from ipt_platform.data.carrier import local_stream
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import BatchMaker
from ipt_platform.errors import NotFoundError, SpecError
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.build import build_backbone
from ipt_platform.model.groups import layer_groups
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.spec.job import JOB, TrainJob
from ipt_platform.spec.load import dump_job, load_job
from ipt_platform.spec.source import dump_yaml
from ipt_platform.train.given import begin_run, keeper
from ipt_platform.train.group import ALONE
from ipt_platform.train.place import Place
from ipt_platform.train.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")

JOB_FILE: dict[str, Any] = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "beginning",
    "model": {"backbone": "iptv2-nano", "bias": {"rank": 2, "targets": ["qkv", "ffn"], "replace": ["output", "norm"]}},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": "shards/*.tar", "carrier": "local"},
    "train": {
        "stages": [{"steps": 4, "patch": 32, "images": 1}],
        "optimizer": {"lr": 0.01, "bias_lr": 0.01, "weight_decay": 0.1},
        "schedule": {"final_lr_ratio": 1},
        "ema": None,
    },
}


@pytest.fixture(scope="module")
def base(tmp_path_factory, photograph) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for seed in range(2):
        photograph(folder / "photos" / f"p{seed}.png", seed)
    pack(folder / "photos", folder / "shards")
    torch.manual_seed(7)
    write_backbone(folder / "general", build_backbone("iptv2-nano"), "iptv2-nano", {}, "now")
    write_backbone(folder / "larger", build_backbone("iptv2-tiny"), "iptv2-tiny", {}, "now")
    return folder


def made_here(maker: BatchMaker, start: int, stop: int) -> Iterator[Batch]:
    return local_stream(maker, start, stop, processes=0)


def session(job: TrainJob, run: RunDir, base: Path) -> Session:
    return Session(job, Place(run, run.new_attempt(), base, ALONE, torch.device("cpu")), made_here)


def given(base: Path, name: str, **changes: Any) -> tuple[TrainJob, RunDir]:
    """A job and its run, as a submission leaves them."""
    (base / "job.yaml").write_text(dump_yaml({**JOB_FILE, **changes}))
    loaded, run = load_job(base / "job.yaml", (), base), create(base / "runs", name)
    assert isinstance(loaded.job, TrainJob)
    begin_run(loaded.job, run, keeper(loaded, run, base))
    return loaded.job, run


def weights(model: BiasedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.backbone.named_parameters()}


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> dict[str, bool]:
    assert one.keys() == other.keys()
    return {name: torch.equal(one[name], other[name]) for name in one}


@pytest.fixture(scope="module")
def trained(base) -> tuple[dict[str, torch.Tensor], Session]:
    """Weights before, and a session that has trained."""
    done = session(*given(base, "replaced"), base)
    before = weights(done.state.model)
    done.train()
    return before, done


def test_replaced_weights_stay_as_they_began_and_all_others_move(trained):
    before, done = trained
    groups = layer_groups(done.state.model.backbone)

    stayed = alike(before, weights(done.state.model))

    assert {name for name, same in stayed.items() if same} == {name for name in groups if groups[name] in ("output", "norm")}


def test_each_task_has_weights_of_its_own_in_their_place(trained):
    before, done = trained
    groups, model = layer_groups(done.state.model.backbone), done.state.model

    merged = {task: bias.merged(model.backbone) for task, bias in model.all_biases()}

    for name in (name for name in groups if groups[name] in ("output", "norm")):
        kinds = [before[name], merged["denoise"][name], merged["deblur"][name]]
        assert all(kind.shape == before[name].shape for kind in kinds)
        different = [not torch.equal(one, other) for one in kinds for other in kinds if one is not other]
        assert all(different), name


def test_a_checkpoint_holds_what_was_replaced(trained, base):
    _, done = trained
    (checkpoint, damaged) = newest(done.place.run.path)
    assert checkpoint is not None
    assert not damaged

    read = load_biased_model(checkpoint)
    again = session(done.job, done.place.run, base).state.model

    want = done.state.model.state_dict()
    for model in (read, again):
        found = model.state_dict()
        assert found.keys() == want.keys()
        assert all(torch.equal(found[name], want[name]) for name in want)


def test_a_training_begins_with_exactly_the_weights_that_it_names(base):
    job, run = given(base, "started", start="general")

    found = weights(session(job, run, base).state.model)

    backbone, _ = load_backbone(base / "general")
    assert all(alike(dict(backbone.named_parameters()), found).values())


def test_a_beginning_changes_nothing_else_of_what_is_drawn(base):
    """Biases are drawn as without it."""
    plain, started = (session(*given(base, name, **start), base) for name, start in (("p", {}), ("s", {"start": "general"})))

    assert all(
        torch.equal(value, started.state.model.biases.state_dict()[name])
        for name, value in plain.state.model.biases.state_dict().items()
    )
    assert not all(alike(weights(plain.state.model), weights(started.state.model)).values())


def test_the_beginning_cannot_change_under_a_run(base, tmp_path):
    write_backbone(tmp_path / "own", load_backbone(base / "general")[0], "iptv2-nano", {}, "now")
    job, run = given(base, "kept", start=str(tmp_path / "own"))
    for path in (tmp_path / "own").iterdir():
        path.unlink()

    found = weights(session(job, run, base).state.model)

    assert all(alike(dict(load_backbone(base / "general")[0].named_parameters()), found).values())


@pytest.mark.parametrize("named", ["replaced", "runs/replaced"])
def test_a_run_by_id_or_folder_is_a_beginning(base, trained, named):
    _, done = trained
    job, run = given(base, f"from-{named.replace('/', '-')}", start=named)

    found = weights(session(job, run, base).state.model)

    assert all(alike(weights(done.state.model), found).values())


def test_what_was_trained_on_goes_on_from_its_own_checkpoint(base):
    job, run = given(base, "resumed", start="general")
    session(job, run, base).train()

    again = session(job, run, base)

    assert again.state.step == 4
    backbone, _ = load_backbone(base / "general")
    assert not all(alike(dict(backbone.named_parameters()), weights(again.state.model)).values())


def test_a_job_with_a_beginning_is_its_dump(base):
    job, run = given(base, "dumped", start="general")

    assert load_job(run.job, base=base).job == job == JOB.validate_python({**JOB_FILE, "start": "general"})
    assert "start: general" in dump_job(job)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("larger", "it is of the kind iptv2-tiny, and the job trains iptv2-nano; name that as model.backbone"),
        ("nowhere", "nowhere"),
        ("photos", "photos"),
    ],
)
def test_a_beginning_that_cannot_be_used_is_told_with_its_line(base, named, said):
    line = 1 + [*JOB_FILE].index("name") + 1
    values = {**{key: JOB_FILE[key] for key in ("apiVersion", "kind", "name")}, "start": named}
    (base / "job.yaml").write_text(dump_yaml({**values, **JOB_FILE}))
    loaded = load_job(base / "job.yaml", (), base)

    with pytest.raises(SpecError) as caught:
        keeper(loaded, create(base / "runs", "none"), base)

    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.path) == (str(base / "job.yaml"), line, "start")
    assert said in problem.message


def test_a_run_without_the_beginning_that_its_job_names_is_an_error(base):
    job, run = given(base, "lost", start="general")
    for path in run.beginning.iterdir():
        path.unlink()
    run.beginning.rmdir()

    with pytest.raises(NotFoundError):
        session(job, run, base)
