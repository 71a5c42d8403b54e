"""`evaluate` and `restore` from the command line, on a checkpoint written by the real writer, with a real model."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from ipt_platform.checkpoint.files import commit
from ipt_platform.checkpoint.load import load_model
from ipt_platform.checkpoint.state import state_files
from ipt_platform.cli.main import main
from ipt_platform.data.degradations.resize import imresize
from ipt_platform.data.pack import pack
from ipt_platform.data.pairs import TaskDraw
from ipt_platform.data.reader import ShardSet
from ipt_platform.errors import SpecError
from ipt_platform.evaluate.protocols import to_uint8
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.model.build import build_backbone
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.storage import create
from ipt_platform.restore.model import upscale_of
from ipt_platform.restore.route import text as text_module
from ipt_platform.restore.route.blind import load_blind_router, save_blind_router
from ipt_platform.restore.route.teach import teach
from ipt_platform.spec.task import load_task


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Path:
    """A run whose denoise bias differs from its deblur bias, with one usable checkpoint and a newer torn one; and a run of
    super-resolution, whose checkpoint came without the job.
    """
    folder = tmp_path_factory.mktemp("storage")
    run = write_run(folder, "a-run", ("denoise", "deblur"))
    (run.checkpoints / "step-4").mkdir()
    write_run(folder, "larger", ("sr4", "sr2"))
    return folder


def write_run(folder: Path, name: str, tasks: tuple[str, ...]) -> RunDir:
    """A run with the checkpoint step-3 of an untrained model, in which the first task's bias is not zero."""
    torch.manual_seed(0)
    backbone = build_backbone("iptv2-nano")
    backbone.output.weight.data *= 0.02
    biases = {task: TaskBias(backbone, {"output.weight": 2}) for task in tasks}
    biases[tasks[0]].factor("output.weight", "B1").data.normal_(0, 0.002)
    model = BiasedModel(backbone, biases)
    run = create(folder, name)
    run.new_attempt()
    files = state_files(model, None, torch.optim.AdamW(model.parameters()), step=3, backbone="iptv2-nano", progress={})
    commit(run.checkpoints, 3, files, nullcontext)
    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(skimage.data.chelsea()[:70, :90]).save(folder / "cat.png")
    Image.fromarray(skimage.data.coffee()[:60, :60]).save(folder / "cup.png")
    return folder


def call(capsys, *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def evaluated(capsys, storage, *arguments) -> dict:
    code, out, err = call(capsys, "evaluate", "a-run", "--storage", storage, "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_evaluate_says_what_was_measured_on_what(capsys, storage, photos, tmp_path):
    data = evaluated(
        capsys, storage, "--set", photos, "--task", "denoise", "--param", "sigma=50", "--samples", tmp_path / "drawn"
    )

    numbers = data["sets"][str(photos)]["denoise"]
    assert data["protocol"] == "rgb-uint8"
    assert data["params"] == {"denoise": {"sigma": 50}}
    assert data["checkpoint"].endswith("step-3")
    assert set(numbers) == {"psnr", "psnr_input", "ssim", "n"}
    assert numbers["n"] == 2
    assert 13 < numbers["psnr_input"] < 17
    assert len(list((tmp_path / "drawn").glob("*-denoise-cat.png"))) == 1


def test_folder_shards_run_and_checkpoint_agree(capsys, storage, photos, tmp_path):
    pack(photos, tmp_path / "shards")
    checkpoint = storage / "a-run" / "checkpoints" / "step-3"

    by_folder = evaluated(capsys, storage, "--set", photos, "--protocol", "rgb-float")
    code, out, _ = call(
        capsys, "evaluate", checkpoint, "--set", tmp_path / "shards" / "*.tar", "--protocol", "rgb-float", "--json"
    )

    assert code == 0
    by_shards = json.loads(out)
    assert list(by_folder["sets"][str(photos)]) == ["deblur", "denoise"]
    assert list(by_folder["sets"].values()) == list(by_shards["sets"].values())
    assert list(by_folder["digests"].values()) == list(by_shards["digests"].values())


def test_evaluate_as_a_table(capsys, storage, photos):
    code, out, err = call(
        capsys, "evaluate", "a-run", "--storage", storage, "--set", photos, "--task", "deblur", "--protocol", "y-uint8"
    )

    assert code == 0
    assert "input dB" in out
    assert "protocol y-uint8" in out
    assert "passed over" in err
    assert "step-4" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "denoise", "--param", "sigmma=25"], 2, "did you mean 'sigma'"),
        (["--task", "denoise", "--param", "sigma=900"], 2, "between 0 and 255"),
        (["--task", "denoise", "--param", "sigma"], 2, "KEY=VALUE"),
        (["--param", "sigma=25"], 2, "name one with --task"),
        (["--task", "denoize"], 2, "did you mean 'denoise'"),
        (["--task", "derain"], 3, "no bias for task 'derain'"),
        (["--protocol", "rgb"], 2, "expected one of rgb-float"),
        (["--device", "abacus"], 2, "no device 'abacus'"),
        (["--tile", "100"], 2, "nearest tile"),
    ],
)
def test_evaluate_refuses_by_name(capsys, storage, photos, arguments, code, message):
    found, _, err = call(capsys, "evaluate", "a-run", "--storage", storage, "--set", photos, *arguments)

    assert found == code
    assert message in err


def test_unknown_runs_and_sets_are_not_found(capsys, storage, photos):
    assert call(capsys, "evaluate", "a-rum", "--storage", storage, "--set", photos)[0] == 3
    assert call(capsys, "evaluate", "a-run", "--storage", storage, "--set", "no-such-set", "--task", "denoise")[0] == 2


def test_restore_gives_what_the_task_s_model_gives(capsys, storage, photos, tmp_path):
    code, out, err = call(
        capsys, "restore", photos, "-o", tmp_path, "--run", "a-run", "--task", "denoise", "--storage", storage, "--json"
    )

    assert code == 0, err
    assert sorted(Path(each["output"]).name for each in json.loads(out)["restored"]) == ["cat.png", "cup.png"]
    model = load_model(storage / "a-run" / "checkpoints" / "step-3", "denoise")
    image = torch.from_numpy(np.asarray(Image.open(photos / "cat.png")) / np.float32(255)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = to_uint8(model(image)[0].permute(1, 2, 0).numpy())
    restored = np.asarray(Image.open(tmp_path / "cat.png"))
    # The command's process may add up in another order: a value that lies on the edge of two levels may fall to either.
    difference = np.abs(restored.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert not np.array_equal(restored, np.asarray(Image.open(photos / "cat.png")))


def test_restore_names_what_is_no_picture_and_goes_on(capsys, storage, photos, tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")

    code, out, err = call(
        capsys,
        "restore",
        tmp_path / "notes.txt",
        photos / "cat.png",
        "-o",
        tmp_path / "out",
        "--run",
        storage / "a-run",
        "--task",
        "deblur",
    )

    assert code == 2
    assert "1 of 2 restored" in out
    assert "notes.txt" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cat.png"]
    again = call(capsys, "restore", photos / "cat.png", "-o", tmp_path / "out", "--run", storage / "a-run", "--task", "deblur")
    assert again[0] == 4
    assert "--overwrite" in again[2]


def test_tiled_equals_whole_through_the_windows_and_grids_of_the_backbone(capsys, storage, tmp_path):
    Image.fromarray(np.tile(skimage.data.coffee()[:64], (1, 1, 1))[:, :600]).save(tmp_path / "wide.png")
    outputs = []
    for tile in (448, 704):
        out = tmp_path / f"{tile}.png"
        code, _, err = call(
            capsys,
            *("restore", tmp_path / "wide.png", "-o", out, "--tile", str(tile)),
            *("--run", "a-run", "--task", "denoise", "--storage", storage),
        )
        assert code == 0, err
        outputs.append(np.asarray(Image.open(out)).astype(int))

    assert np.abs(outputs[0] - outputs[1]).max() <= 1
    assert (outputs[0] != outputs[1]).mean() < 0.02


def test_super_resolution_gives_a_picture_four_times_as_large(capsys, storage, photos, tmp_path):
    out = tmp_path / "cat.png"

    code, said, err = call(
        capsys,
        *("restore", photos / "cat.png", "-o", out, "--run", "larger", "--task", "sr4", "--storage", storage, "--json"),
    )

    assert code == 0, err
    assert json.loads(said)["restored"][0]["steps"][0]["scale"] == 4
    restored = np.asarray(Image.open(out))
    assert restored.shape == (280, 360, 3)
    model = load_model(storage / "larger" / "checkpoints" / "step-3", "sr4")
    enlarged = imresize(np.asarray(Image.open(photos / "cat.png")) / np.float32(255), 4)
    with torch.inference_mode():
        expected = to_uint8(model(torch.from_numpy(enlarged).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy())
    difference = np.abs(restored.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert (restored != to_uint8(enlarged)).mean() > 0.01


def test_every_task_enlarges_by_its_own_scale_and_says_so(capsys, storage, photos, tmp_path):
    for run, task, scale in (("larger", "sr2", 2), ("a-run", "denoise", 1)):
        arguments = ("restore", photos / "cup.png", "-o", tmp_path / task, "--run", run, "--task", task, "--storage", storage)

        code, said, _ = call(capsys, *arguments)

        assert code == 0
        assert ("2 times as wide and high" in said) == (scale == 2)
        assert Image.open(tmp_path / task / "cup.png").size == (60 * scale, 60 * scale)


def test_the_job_that_trained_a_task_says_how_much_it_enlarges(storage):
    run = write_run(storage, "thrice", ("sr4", "denoise", "gone"))
    job = {"apiVersion": "ipt/v1", "kind": "train", "name": "thrice", "model": {"backbone": "iptv2-nano"}}
    job |= {"tasks": {"sr4": {"params": {"scale": 3}}, "denoise": 1}, "data": {"shards": "moved/*.tar"}}
    job |= {"train": {"stages": [{"steps": 1, "patch": 32, "images": 1}]}}
    run.job.write_text(json.dumps(job))
    checkpoint = run.checkpoints / "step-3"

    assert [upscale_of(checkpoint, task) for task in ("sr4", "denoise", "sr2", "gone")] == [3, 1, 2, 1]

    run.job.write_text(json.dumps(job | {"kind": "knit"}))
    with pytest.raises(SpecError, match=r"job\.yaml.*not a job of this version"):
        upscale_of(checkpoint, "sr4")


def test_the_user_s_own_tasks_enlarge_as_their_files_say(storage, tmp_path, monkeypatch):
    (tmp_path / "tasks").mkdir()
    task = {"apiVersion": "ipt/v1", "kind": "task", "description": "Mine.", "stage": "downstream"}
    made = {"postage-stamps": {"degradation": {"name": "low-resolution", "scale": 8}}, "scans": {"pairs": ["scans/*.tar"]}}
    for name, what in made.items():
        (tmp_path / "tasks" / f"{name}.yaml").write_text(json.dumps(task | {"name": name} | what))
    monkeypatch.chdir(tmp_path)

    checkpoint = storage / "larger" / "checkpoints" / "step-3"
    assert [upscale_of(checkpoint, name) for name in (*made, "sr3", "unheard-of")] == [8, 1, 3, 1]


def steps_of(document: str) -> list[dict]:
    return json.loads(document)["restored"][0]["steps"]


FEW = {"single": 250, "instead": 60, "several": 150, "nothing": 150}


@pytest.fixture
def few_sentences(monkeypatch) -> None:
    """Routers that learn from fewer sentences: what these tests say is easy."""
    monkeypatch.setattr(text_module, "SENTENCES", FEW)


def test_what_is_said_becomes_a_chain_of_tasks_and_names_that_chain_give_the_same(
    capsys, few_sentences, storage, photos, tmp_path
):
    picture, run = photos / "cat.png", ("--run", "a-run", "--storage", storage)

    said = call(capsys, "restore", picture, "-o", tmp_path / "a.png", "--say", "get the noise and the blur out", *run, "--json")
    named = call(capsys, "restore", picture, "-o", tmp_path / "b.png", "--task", "denoise", "--task", "deblur", *run, "--json")

    assert (said[0], named[0]) == (0, 0), said[2]
    assert [step["task"] for step in steps_of(said[1])] == ["denoise", "deblur"]
    assert all(0.5 <= step["share"] <= 1 for step in steps_of(said[1]))
    assert [step["share"] for step in steps_of(named[1])] == [1, 1]
    assert "asked for: denoise" in said[2]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (storage / "routers").is_dir()

    for text, code, words in (
        ("take the raindrops off my window shot", 3, "run a-run has no model for raindrop; it has models for: deblur, denoise"),
        ("what is the time in paris", 2, "asks for nothing that a task does"),
    ):
        found, out, err = call(capsys, "restore", picture, "-o", tmp_path / "c.png", "--say", text, *run)

        assert (found, out) == (code, "")
        assert words in err
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ((), "in one way"),
        (("--task", "denoise", "--say", "denoise it"), "in one way"),
        (("--task", "denoise", "--auto"), "in one way"),
        (("--task", "denoise", "--mix"), "--mix mixes what --auto sees"),
    ],
)
def test_tasks_are_chosen_in_one_way(capsys, storage, photos, tmp_path, ways, message):
    code, _, err = call(capsys, "restore", photos, "-o", tmp_path, "--run", "a-run", "--storage", storage, *ways)

    assert code == 2
    assert message in err


@pytest.fixture(scope="module")
def router_for_pictures(storage, tmp_path_factory) -> None:
    """A router beside the runs that knows noise and blur."""
    folder = tmp_path_factory.mktemp("router")
    Image.fromarray(skimage.data.astronaut()).save(folder / "a.png")
    Image.fromarray(skimage.data.coffee()).save(folder / "c.png")
    photographs = ShardSet.open(pack(folder, folder / "shards").shards)
    draws = [TaskDraw(task, 1, load_task(task).training({})) for task in ("deblur", "denoise")]
    save_blind_router(storage / "routers/blind", teach(photographs, draws, pictures=16), "two photographs")


@pytest.fixture
def two_pictures(tmp_path) -> Path:
    """A noisy picture and a clean one."""
    folder = tmp_path / "two"
    folder.mkdir()
    cat = skimage.data.chelsea()[:256, :256]
    noise = np.random.default_rng(0).normal(0, 40, cat.shape)
    Image.fromarray(np.clip(cat + noise, 0, 255).astype(np.uint8)).save(folder / "noisy.png")
    Image.fromarray(skimage.data.astronaut()[:256, :256]).save(folder / "clean.png")
    return folder


@pytest.mark.usefixtures("router_for_pictures")
def test_every_picture_chooses_its_task_or_is_left_as_it_is(capsys, storage, two_pictures, tmp_path):
    run = ("--run", "a-run", "--storage", storage)

    code, said, err = call(capsys, "restore", two_pictures, "-o", tmp_path / "auto", "--auto", *run, "--json")
    assert code == 0, err
    document = json.loads(said)
    assert call(capsys, "restore", two_pictures / "noisy.png", "-o", tmp_path / "named.png", "--task", "denoise", *run)[0] == 0

    assert [[step["task"] for step in each["steps"]] for each in document["restored"]] == [["denoise"]]
    assert [(Path(each["input"]).name, each["reason"]) for each in document["left"]] == [("clean.png", "nothing to do")]
    assert sum(share["share"] for share in document["left"][0]["seen"]) == pytest.approx(1, abs=1e-4)
    assert [path.name for path in (tmp_path / "auto").iterdir()] == ["noisy.png"]
    assert (tmp_path / "auto/noisy.png").read_bytes() == (tmp_path / "named.png").read_bytes()

    code, said, _ = call(capsys, "restore", two_pictures, "-o", tmp_path / "mixed", "--auto", "--mix", *run)
    assert code == 0
    assert "noisy.png: denoise 0." in said
    assert "clean.png: nothing to do 0." in said
    assert "1 of 2 restored" in said


def test_who_lets_pictures_choose_needs_a_router(capsys, photos, tmp_path):
    write_run(tmp_path / "runs", "a-run", ("denoise",))

    code, _, err = call(capsys, "restore", photos, "-o", tmp_path, "--run", "a-run", "--storage", tmp_path / "runs", "--auto")

    assert code == 3
    assert "`ipt-platform route train` makes one" in err


def test_a_router_for_pictures_is_trained_by_a_command(capsys, photos, tmp_path):
    pack(photos, tmp_path / "shards")

    code, said, err = call(
        capsys,
        *("route", "train", "--shards", tmp_path / "shards/*.tar", "--pictures", "4", "--storage", tmp_path / "runs", "--json"),
    )

    assert code == 0, err
    document = json.loads(said)
    assert document["photographs"] == 2
    assert {"denoise", "raindrop"} <= {*document["tasks"]}
    assert "sr2" not in document["tasks"]
    assert load_blind_router(tmp_path / "runs/routers/blind").tasks == tuple(document["tasks"])
