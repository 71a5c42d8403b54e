"""The path of an engineer, command by command, with real pictures, a real backbone and real packs."""

import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.evaluate.protocols import to_uint8
from ipt_platform.model.bias import BiasedModel
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.registry.store import open_registry
from ipt_platform.registry.trained import Trained, register_pack
from ipt_platform.restore.model import restorers
from ipt_platform.restore.route import text as text_module

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHARDS = ("--shards", "shards/*.tar")


def trained(place, strength: float, run: str, storage: str = "runs", **more) -> Trained:
    """What a finetune does at its end."""
    found = register_pack(
        open_registry(storage, None),
        place.pack(strength, run),
        place.backbone,
        Path(),
        restorers(torch.device("cpu")),
        NOW,
        **more,
    )
    assert found
    return found


def test_a_task_is_registered_looked_at_and_changed(place, do):
    code, first, _ = do("task", "register", place.task(), *SHARDS)
    assert (code, first["version"], first["new"]) == (0, 1, True)
    sheet = np.asarray(Image.open(first["sheet"]))
    assert sheet.shape[0] > 300
    assert first["record"]["sets"][0]["pictures"] == 2
    assert first["record"]["task"]["degradation"] == {"name": "gaussian-noise", "sigma": {"min": 5.0, "max": 15.0}}

    assert do("task", "register", place.task(), *SHARDS)[1]["new"] is False
    changes = {"degradation": {"name": "gaussian-noise", "sigma": 12}, "gates": ["psnr >= 21"], "owner": "ben"}
    assert do("task", "register", place.task("other.yaml", **changes), *SHARDS)[1]["version"] == 2

    differences = do("task", "diff", "mine@1", "mine@2")[1]["differences"]
    assert [(each["what"], each["before"], each["after"]) for each in differences] == [
        ("owner", "anna", "ben"),
        ("degradation.sigma", "5 to 15", "12"),
        ("gate psnr", ">= 20", ">= 21"),
        ("gate gain", ">= -1", "(absent)"),
    ]
    (listed,) = do("task", "ls")[1]
    assert (listed["task"], listed["versions"], listed["trained"], listed["owner"]) == ("mine", [1, 2], [], "ben")
    assert do("task", "verify", "mine")[0] == 0
    assert len(do("task", "show", "mine")[1]["versions"]) == 2
    assert do("task", "show", "mine@1")[1]["record"] == first["record"]


def version_of(document: dict) -> str:
    """What restored the first picture."""
    return document["restored"][0]["steps"][0]["version"]


def test_a_trained_version_is_promoted_served_and_rolled_back(place, do):
    do("task", "register", place.task(), *SHARDS)
    assert do("restore", "test/0.png", "-o", "out.png", "--task", "mine")[0] == 3

    first = trained(place, 0, "one")
    assert (str(first.version), first.judgement.passed) == ("mine@2", True)
    assert trained_again(place, "one").version == first.version
    code, said, _ = do("restore", "test/0.png", "-o", "out.png", "--task", "mine")
    assert (code, version_of(said), said["checkpoint"]) == (0, "mine@2", None)

    second = trained(place, 0.01, "two")
    assert str(second.version) == "mine@3"
    assert do("task", "promote", "mine@2", "--as", "prod")[0] == 0
    assert version_of(do("restore", "test/0.png", "-o", "a.png", "--task", "mine")[1]) == "mine@2"
    assert do("task", "promote", "mine@3", "--as", "staging")[1]["change"]["forced"] is False
    assert version_of(do("restore", "test/0.png", "-o", "b.png", "--task", "mine@staging")[1]) == "mine@3"

    expected = restored_by(place, place.folder / "pack-two", "test/0.png")
    difference = np.abs(np.asarray(Image.open("b.png")).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3
    assert not np.array_equal(np.asarray(Image.open("a.png")), np.asarray(Image.open("b.png")))

    assert do("task", "rm", "mine@2")[0] == 4
    assert do("task", "rm", "mine@prod")[0] == 4
    assert do("task", "rollback", "mine", "--as", "staging")[0] == 4
    assert do("task", "rm", "mine@staging")[0] == 0
    assert do("task", "rm", "mine@3", "--reason", "halos")[0] == 0
    shown = do("task", "show", "mine")[1]
    assert shown["aliases"] == {"prod": 2}
    assert [change["action"] for change in shown["history"]] == ["promote", "promote", "drop", "remove"]
    assert shown["history"][-1]["reason"] == "halos"
    assert str(trained(place, 0.001, "three").version) == "mine@4"


def test_a_registered_task_is_asked_for_by_its_own_words_from_then_on(place, do, monkeypatch):
    monkeypatch.setattr(text_module, "SENTENCES", {"single": 250, "instead": 60, "several": 150, "nothing": 150})
    words = ("restore", "test/0.png", "-o", "out.png", "--say", "please take my murk away")

    do("task", "register", place.task(instructions=["take my murk away"]), *SHARDS)
    code, _, said = do(*words)
    assert code == 3
    assert "has no model for mine; it has models for: no task" in said

    trained(place, 0.01, "one")
    code, document, said = do(*words)
    assert (code, version_of(document)) == (0, "mine@2")
    assert "asked for: mine" in said


def trained_again(place, run: str) -> Trained:
    found = register_pack(
        open_registry("runs", None), place.folder / f"pack-{run}", place.backbone, Path(), restorers(torch.device("cpu")), NOW
    )
    assert found
    assert not found.new
    return found


def restored_by(place, pack: Path, picture: str) -> np.ndarray:
    """A picture restored without any registry, the long way."""
    backbone, _ = load_backbone(place.backbone)
    model = merged_for(BiasedModel(backbone, {"mine": load_bias(read_pack(pack), backbone)}), "mine")
    x = torch.from_numpy(np.asarray(Image.open(picture)) / np.float32(255)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return to_uint8(model(x)[0].permute(1, 2, 0).numpy()).astype(int)


def test_gates_are_kept_forced_with_a_reason_and_remembered(place, do):
    do("task", "register", place.task(), *SHARDS)
    trained(place, 0, "good")
    bad = trained(place, 1, "bad")
    assert [said.partition(" is missed")[0] for said in bad.judgement.missed] == ["psnr >= 20", "gain >= -1"]
    do("task", "promote", "mine@2", "--as", "prod")
    assert version_of(do("restore", "test/0.png", "-o", "out.png", "--task", "mine")[1]) == "mine@2"

    code, _, err = do("task", "promote", "mine@3", "--as", "prod")
    assert code == 4
    assert "psnr >= 20 is missed on test" in err
    assert "test gets worse" in err
    assert do("task", "promote", "mine@3", "--as", "prod", "--force")[0] == 2
    change = do("task", "promote", "mine@3", "--as", "prod", "--force", "--reason", "a demonstration")[1]["change"]

    assert (change["forced"], change["reason"], change["previous"]) == (True, "a demonstration", 2)
    assert len(change["missed"]) == 3
    (numbers,) = change["numbers"]
    assert numbers["psnr"] < 20 < numbers["psnr_before"]
    assert do("task", "rollback", "mine", "--as", "prod")[1]["change"]["version"] == 2
    assert version_of(do("restore", "test/0.png", "-o", "again.png", "--task", "mine")[1]) == "mine@2"


def test_a_version_that_is_a_little_worse_is_refused_only_beyond_the_margin(place, do):
    do("task", "register", place.task(gates=[], margin=0.0), *SHARDS)
    before, after = (trained(place, strength, run).judgement.numbers[0]["psnr"] for strength, run in ((0, "a"), (0.03, "b")))
    assert 0.1 < before - after < 3
    do("task", "promote", "mine@2", "--as", "prod")

    code, _, err = do("task", "promote", "mine@3", "--as", "prod")

    assert code == 4
    assert f"{before - after:.2f} dB more; at most 0 dB may be lost" in err
    do("task", "register", place.task(gates=[], margin=before - after + 0.01), *SHARDS)
    found = register_pack(
        open_registry("runs", None), place.pack(0.03, "c"), place.backbone, Path(), restorers(torch.device("cpu")), NOW
    )
    assert found
    (numbers,) = do("task", "promote", str(found.version), "--as", "prod")[1]["change"]["numbers"]
    assert (numbers["psnr"], numbers["psnr_before"]) == (after, before)


def test_a_test_set_that_has_changed_cannot_be_judged_on(place, do):
    do("task", "register", place.task(), *SHARDS)
    trained(place, 0, "one")
    Image.fromarray(np.full((40, 48, 3), 99, np.uint8)).save("test/2.png")

    code, _, err = do("task", "promote", "mine@2", "--as", "prod")

    assert code == 4
    assert "test set test is not the one that mine@2 was registered with" in err
    assert "(3 pictures)" in err
    Path("test/2.png").unlink()
    assert do("task", "promote", "mine@2", "--as", "prod")[0] == 0


def test_what_cannot_be_served_at_all_is_neither_registered_nor_forced(place, do):
    do("task", "register", place.task(), *SHARDS)
    assert (
        register_pack(
            open_registry("runs", None),
            place.pack(0, "elsewhere", task="unheard-of"),
            place.backbone,
            Path(),
            restorers(torch.device("cpu")),
            NOW,
        )
        is None
    )
    trained(place, 0, "one")
    tensors = Path("runs/registry/tasks/mine/2/pack/bias.safetensors")
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)

    code, _, err = do("task", "promote", "mine@2", "--as", "prod", "--force", "--reason", "because")

    assert code == 4
    assert "does not load in a fresh process" in err
    code, found, _ = do("task", "verify", "mine")
    assert code == 2
    assert [len(each["problems"]) for each in found["versions"]] == [0, 1]
    assert "bias.safetensors" in found["versions"][1]["problems"][0]


def test_an_export_is_one_plain_tar_that_another_registry_takes_once(place, do):
    do("task", "register", place.task(), *SHARDS)
    trained(place, 0, "one")
    do("task", "promote", "mine@2", "--as", "prod")

    assert do("task", "export", "mine@prod", "mine.tar")[0] == 0
    assert do("task", "export", "mine@prod", "mine.tar")[0] == 4
    do("task", "export", "mine@2", "again.tar")
    assert Path("mine.tar").read_bytes() == Path("again.tar").read_bytes()
    with tarfile.open("mine.tar") as tar:
        assert all(member.isreg() for member in tar)
        assert {"MANIFEST.json", "version/pack/bias.safetensors", "backbone/model.safetensors"} <= set(tar.getnames())

    code, said, _ = do("task", "import", "mine.tar", "--storage", "other")
    assert (code, said["version"], said["exported_as"], said["verdict"]["passed"]) == (0, 1, "mine@2", True)
    assert do("task", "import", "mine.tar", "--storage", "other")[1]["new"] is False
    assert do("task", "import", "mine.tar")[1] | {"verdict": None} == do("task", "import", "again.tar")[1]
    assert do("task", "verify", "mine", "--storage", "other")[0] == 0
    do("restore", "test/0.png", "-o", "here.png", "--task", "mine")
    do("restore", "test/0.png", "-o", "there.png", "--task", "mine", "--storage", "other")
    assert Path("here.png").read_bytes() == Path("there.png").read_bytes()


def test_without_its_test_sets_an_import_counts_as_not_passed(place, do, tmp_path, monkeypatch):
    do("task", "register", place.task(), *SHARDS)
    trained(place, 0, "one")
    do("task", "export", "mine@2", "mine.tar")
    tar = Path("mine.tar").absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    verdict = do("task", "import", tar)[1]["verdict"]

    assert not verdict["passed"]
    assert "unknown set 'test'" in verdict["missed"][0]
    code, _, err = do("restore", place.folder / "test/0.png", "-o", "x.png", "--task", "mine")
    assert code == 3
    assert "no version of mine has passed its gates" in err
    assert do("restore", place.folder / "test/0.png", "-o", "x.png", "--task", "mine@1")[0] == 0


def test_the_words_for_people(place, capsys, do):
    from ipt_platform.cli.main import main

    do("task", "register", place.task(), *SHARDS)
    trained(place, 0, "one")
    do("task", "promote", "mine@2", "--as", "prod")
    said = {}
    for words in (
        "task ls",
        "task show mine",
        "task show mine@2",
        "task diff mine@1 mine@2",
        "task verify mine",
        "registry rebuild",
    ):
        with pytest.raises(SystemExit):
            main(words.split())
        said[words] = capsys.readouterr().out

    assert "prod=2" in said["task ls"]
    assert "prod -> 2" in said["task show mine"]
    assert "restored dB" in said["task show mine@2"]
    assert "pack of run" in said["task diff mine@1 mine@2"]
    assert "2 versions of mine: all whole" in said["task verify mine"]
    assert "2 versions of 1 tasks in the index" in said["registry rebuild"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "2x"}, "begins with no letter"),
        ({"name": "derain"}, "ships with the platform"),
        ({"sets": ["test", "tset"]}, "unknown set 'tset'"),
        ({"gates": ["psrn >= 1"]}, "did you mean 'psnr'"),
        ({"degradation": {"name": "gaussian-noise", "sigma": 900}}, "between 0 and 255"),
        ({"degradation": None, "evaluate": None, "pairs": "nowhere/*.tar"}, "nowhere/*.tar"),
        ({"names": ["a"]}, "unknown key 'names'"),
    ],
)
def test_a_wrong_task_file_is_told_by_line_and_stores_nothing(place, do, changes, told):
    code, _, err = do("task", "register", place.task(**changes), *SHARDS)

    assert code in (2, 3)
    assert told in err
    assert "mine.yaml:" in err
    assert do("task", "ls")[1] == []


@pytest.mark.parametrize(
    "words", ["task promote mine@1 --as prod", "task rollback mine --as prod", "task rm mine@1", "registry rebuild"]
)
def test_where_nothing_was_registered_nothing_is_made_by_asking(place, do, words):
    assert do("task", "ls", "--storage", "nowhere")[:2] == (0, [])
    code, _, err = do(*words.split(), "--storage", "nowhere")

    assert code == 3
    assert "task register FILE" in err
    assert not Path("nowhere").exists()


def test_a_task_that_ships_has_versions_and_gates_of_its_own(place, do):
    ships = {
        "name": "denoise",
        "degradation": {"name": "gaussian-noise", "sigma": {"min": 0, "max": 50}},
        "evaluate": {"sigma": 25},
    }

    assert do("task", "register", place.task(**ships), *SHARDS)[1]["task"] == "denoise"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("task show nine", 3, "did you mean 'mine'"),
        ("task show mine@9", 3, "there is no mine@9"),
        ("task show mine@prdo", 3, "has no alias 'prdo'"),
        ("task show ../mine", 2, "cannot be the name of a task"),
        ("task promote mine --as prod", 2, "name one version"),
        ("task promote mine@1 --as 3", 2, "cannot be an alias"),
        ("task promote mine@1 --as prod", 3, "without a pack"),
        ("task rollback mine@1 --as prod", 2, "name the task alone"),
        ("task rollback mine --as prod", 3, "has no alias 'prod'"),
        ("task import nowhere.tar", 3, "no such file"),
        ("task import mine.yaml", 2, "mine.yaml"),
        ("task ls --storage ftp://x", 2, "s3://"),
    ],
)
def test_every_mistake_is_told_in_a_sentence(place, do, words, code, told):
    do("task", "register", place.task(), *SHARDS)

    found, _, err = do(*words.split())

    assert found == code, err
    assert told in err
    assert err.startswith("error: ")
    assert json.dumps(err)
