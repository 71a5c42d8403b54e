"""The data commands: what they print, and what they end with."""

import io
import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from ipt_platform.cli.data import app, parse_size
from ipt_platform.data.index import index_path
from ipt_platform.errors import DataError, InfrastructureError, NotFoundError, RefusedError, SpecError, UsageError
from ipt_platform.spec.task import task_names


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(4):
        buffer = io.BytesIO()
        Image.fromarray(np.full((20, 20, 3), i, np.uint8)).save(buffer, "PNG")
        (folder / f"{i}.png").write_bytes(buffer.getvalue())
    (folder / "notes.txt").touch()
    return folder


def run(*arguments):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def as_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def test_pack_verify_and_index_go_together(photos, tmp_path):
    packed = as_json("pack", photos, tmp_path / "out", "--shard-size", "1B")

    assert packed["shards"] == [str(tmp_path / f"out/{i:06d}.tar") for i in range(4)]
    assert (packed["images"], packed["bad"], packed["ignored"]) == (4, [], ["notes.txt"])
    assert as_json("verify", tmp_path / "out")["problems"] == []
    assert as_json("index", tmp_path / "out") == {"made": [], "found": packed["shards"], "bad": []}
    index_path(tmp_path / "out/000002.tar").unlink()
    assert as_json("index", tmp_path / "out")["made"] == [str(tmp_path / "out/000002.tar")]
    assert as_json("index", tmp_path / "out", "--force")["found"] == []


def test_people_are_told_in_words(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"x")
    said = run("pack", photos, tmp_path / "out", "--skip-bad")

    assert said.stderr == ""
    assert f"{tmp_path / 'out'}: 4 pictures in 1 shards" in said.stdout
    assert "left out: bad.png: Not a PNG" in said.stdout
    assert "1 other files: notes.txt" in said.stdout
    assert "1 shards, 4 pictures" in run("verify", tmp_path / "out/*.tar").stdout


@pytest.fixture
def pairs(tmp_path):
    for number in range(3):
        for name, value in ((f"rainy/rain-{number}.png", 9), (f"clean/norain-{number}.png", number)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((20, 20, 3), value, np.uint8)).save(tmp_path / name)
    return tmp_path


def test_pairs_are_packed_verified_and_indexed(pairs):
    out = pairs / "out"
    packed = as_json("pack", pairs / "clean", out, "--pairs", pairs / "rainy")

    assert (packed["pairs"], packed["images"], packed["matched"]) == (3, 3, {"word": 3})
    verified = as_json("verify", out)
    assert (verified["images"], verified["pairs"], verified["problems"]) == (3, 3, [])
    assert as_json("index", out, "--force")["made"] == packed["shards"]
    assert "3 pictures (3 of them pairs)" in run("verify", out).stdout
    said = run("pack", pairs / "clean", pairs / "again", "--pairs", pairs / "rainy", "--match", r"-(\d)").stdout
    assert "again: 3 pairs in 1 shards" in said
    assert "pairs found by  pattern 3" in said


def test_what_is_wrong_with_pairs_is_said(pairs):
    (pairs / "clean/norain-1.png").unlink()
    with pytest.raises(DataError, match=r"rain-1\.png: no clean picture belongs to it") as caught:
        run("pack", pairs / "clean", pairs / "out", "--pairs", pairs / "rainy")
    assert "1 of 3 pairs or pictures cannot be used, nothing was written" in str(caught.value)
    assert "say with --match what belongs together, or leave them out with --skip-bad" in str(caught.value)
    assert as_json("pack", pairs / "clean", pairs / "out", "--pairs", pairs / "rainy", "--skip-bad")["pairs"] == 2
    with pytest.raises(UsageError, match="--match says which pictures are pairs"):
        run("pack", pairs / "clean", pairs / "new", "--match", "x")
    wrong = run("pack", pairs / "clean", pairs / "new", "--pairs", pairs / "rainy", "--match", "(x")
    assert wrong.exit_code == 2
    assert "no regular expression" in wrong.stderr
    assert not (pairs / "new").exists()


def test_verify_ends_with_a_code_of_its_own_where_something_is_wrong(photos, tmp_path):
    run("pack", photos, tmp_path / "out")
    shard = tmp_path / "out/000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1024])
    plain, machine = run("verify", shard), run("verify", shard, "--json")

    assert (plain.exit_code, machine.exit_code) == (2, 2)
    assert "no longer matches" in plain.stdout
    assert "1 problems" in plain.stdout
    assert json.loads(machine.stdout)["problems"][0]["shard"] == str(shard)


def test_errors_pass_on_to_whoever_prints_them(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"x")
    with pytest.raises(DataError, match="leave them out with --skip-bad"):
        run("pack", photos, tmp_path / "out")
    run("pack", photos, tmp_path / "out", "--skip-bad")
    with pytest.raises(RefusedError):
        run("pack", photos, tmp_path / "out", "--skip-bad")
    with pytest.raises(NotFoundError):
        run("verify", tmp_path / "none*.tar")
    (tmp_path / "torn.tar").write_bytes((tmp_path / "out/000000.tar").read_bytes()[:1000])
    with pytest.raises(DataError, match="0 indexes were made, 1 shards cannot be indexed"):
        run("index", tmp_path / "torn.tar", tmp_path / "out")


def test_the_sample_set_is_made_once_and_then_found(tmp_path):
    out = tmp_path / "deep/sample"
    made = as_json("sample", out)

    assert made == {"train": f"{out}/train-000000.tar", "test": f"{out}/test-000000.tar", "images": 8, "made": True}
    assert as_json("sample", out)["made"] is False
    (out / "test-000000.tar").write_bytes(b"")
    with pytest.raises(RefusedError, match="damaged sample set"):
        run("sample", out)


@pytest.fixture
def sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("sample")
    return tmp_path


def test_preview_draws_what_training_would_draw(sample):
    told = as_json(
        "preview", "--task", "derain", "--task", "denoise", "--pairs", 2, "--patch", 96, "--seed", 5, "-o", "deep/sheet.png"
    )

    with Image.open(sample / "deep/sheet.png") as sheet:
        assert sheet.size == (12 + 2 * (2 * 96 + 2 + 12), sheet.height)  # a row of two pairs for each task
    assert (told["sheet"], told["seed"], told["patch"], told["bad"]) == ("deep/sheet.png", 5, 96, [])
    assert told["shards"] == [str(sample / "datasets/sample/train-000000.tar")]
    assert [(pair["task"], pair["sample"]) for pair in told["pairs"]] == [
        ("derain", 0),
        ("derain", 1),
        ("denoise", 0),
        ("denoise", 1),
    ]
    assert all({"key", "crop", "turn", "degradation"} <= pair.keys() for pair in told["pairs"])
    before = (sample / "deep/sheet.png").read_bytes()
    again = as_json(
        "preview", "--task", "derain", "--task", "denoise", "--pairs", 2, "--patch", 96, "--seed", 5, "-o", "deep/sheet.png"
    )
    assert again == told
    assert (sample / "deep/sheet.png").read_bytes() == before
    other = as_json(
        "preview", "--task", "derain", "--pairs", 2, "--seed", 6, "-o", "other.png", "--shards", "datasets/sample/test-*.tar"
    )
    assert {pair["key"] for pair in other["pairs"]} <= {"chelsea", "hubble_deep_field"}


def test_preview_shows_every_task_and_the_users_own(sample, pairs):
    run("pack", pairs / "clean", sample / "own", "--pairs", pairs / "rainy")
    (sample / "tasks").mkdir()
    (sample / "tasks/mine.yaml").write_text(
        "{apiVersion: ipt/v1, kind: task, name: mine, description: d, stage: downstream, pairs: own/*.tar}"
    )
    said = run("preview", "--all", "--task", "mine", "--pairs", 1, "--patch", 32, "-o", "all.png").stdout
    assert said.startswith(f"all.png: {len(task_names()) + 1} pairs of mine, deblur, ")
    (sample / "datasets/sample/train-000000.tar").unlink()
    assert as_json("preview", "--task", "mine", "-o", "mine.png")["shards"] == []  # its pairs are all that it needs


def test_preview_says_what_is_wrong(sample):
    for arguments, error, said in [
        (["--task", "derian", "-o", "x.png"], SpecError, r"unknown task 'derian'; did you mean 'derain'\?"),
        (["-o", "x.png"], UsageError, "name what to show with --task, or --all; known tasks: deblur, "),
        (["--task", "derain", "-o", "x.jpg"], UsageError, r"x\.jpg: the sheet is a PNG; name a file, as in -o sheet\.png"),
        (["--task", "derain", "-o", "datasets"], UsageError, "the sheet is a PNG"),
        (["--task", "derain", "-o", "."], UsageError, "the sheet is a PNG"),
        (["--task", "derain", "-o", "/dev/null/x.png"], InfrastructureError, r"/dev/null/x\.png: cannot be written: "),
        (["--task", "derain", "-o", "x.png", "--shards", "no/*.tar"], NotFoundError, r"No shards: no/\*\.tar"),
        (["--all", "-o", "x.png", "--patch", 2048], UsageError, "are too much for one sheet"),
    ]:
        with pytest.raises(error, match=said):
            run("preview", *arguments)
    assert run("preview", "--task", "derain", "-o", "x.png", "--pairs", 0).exit_code == 2
    (sample / "datasets/sample/train-000000.tar").unlink()
    with pytest.raises(
        NotFoundError, match=r"the sample set is not here. `ipt-platform data sample` makes it; or name --shards"
    ):
        run("preview", "--task", "derain", "-o", "x.png")
    assert not (sample / "x.png").exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MB", 256_000_000), ("1.5gb", 1_500_000_000), ("512MiB", 2**29), ("1 kib", 1024), ("77", 77), ("9B", 9)],
)
def test_sizes_are_read_as_they_are_written(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1MB", "3Q", "MB", "1e9", "0.1B"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(typer.BadParameter, match="write a size such as 256MB"):
        parse_size(text)
