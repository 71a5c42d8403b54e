"""docs/formats.md names what the code writes."""

import json
import re
from pathlib import Path

import torch

from ipt_platform.checkpoint.backbone import FORMAT as BACKBONE_FORMAT
from ipt_platform.checkpoint.backbone import BackboneInfo
from ipt_platform.checkpoint.state import FORMAT, state_files
from ipt_platform.cluster.restore import Tally
from ipt_platform.cluster.restore import make_report as restore_report
from ipt_platform.data.bad import Bad
from ipt_platform.data.index import MemberEntry, ShardIndex
from ipt_platform.data.scan import half_of
from ipt_platform.errors import BAD_KINDS
from ipt_platform.evaluate.report import make_report
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.observe.events import EVENT_TYPES
from ipt_platform.registry.about import FACTORIZATION, BiasInfo, Lineage, Measured, OnBackbone
from ipt_platform.registry.about import FORMAT as BIAS_FORMAT
from ipt_platform.registry.archive import Manifest
from ipt_platform.registry.catalogue import COMMIT, PACK, RECORD, SHEET, VERDICT, Seal
from ipt_platform.registry.history import FORMAT as CHANGE_FORMAT
from ipt_platform.registry.history import Change, file_of
from ipt_platform.registry.record import FORMAT as RECORD_FORMAT
from ipt_platform.registry.record import TaskRecord
from ipt_platform.registry.store import FORMAT as REGISTRY_FORMAT
from ipt_platform.registry.trained import VERDICT_FORMAT
from ipt_platform.restore.models import FORMAT as CHOSEN_FORMAT
from ipt_platform.restore.models import Chosen
from ipt_platform.restore.route.blind import FORMAT as BLIND_FORMAT
from ipt_platform.restore.route.blind import BlindModel, BlindRouter, save_blind_router
from ipt_platform.restore.route.known import KnownTask
from ipt_platform.restore.route.lexicon import Words
from ipt_platform.restore.route.text import FORMAT as TEXT_FORMAT
from ipt_platform.restore.route.text import text_router
from ipt_platform.restore.work import Work
from ipt_platform.spec.job import RestoreJob

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text()


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `([^|`]+)`", text, re.MULTILINE)


def example(title: str, number: int = 0) -> str:
    return re.findall(r"^```json\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)[number]


def test_the_event_types_are_those_of_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .*\|$", section("events.jsonl").partition("| type |")[2], re.MULTILINE)

    assert dict(rows) == EVENT_TYPES


def test_the_kinds_of_bad_pictures_are_those_of_the_code():
    assert first_column(section("events.jsonl").partition("### Bad pictures")[2]) == list(BAD_KINDS)


def test_the_index_shown_is_one():
    index = ShardIndex.model_validate_json(example("Shards"))

    assert index.members[0].key == "astronaut"


def test_the_pair_shown_is_one():
    entry = MemberEntry.model_validate_json(example("Shards", 1))

    assert entry.degraded
    assert [half_of(file.name) for file in entry.files] == ["clean", "degraded"]
    assert entry.degraded.offset == entry.offset + -(-entry.size // 512) * 512 + 512  # the next block but one


def test_the_report_has_the_keys_of_the_page():
    scores = {"psnr": 1.0, "psnr_input": 1.0, "ssim": 1.0, "n": 1}
    report = make_report("rgb-uint8", {"set": {"denoise": scores}}, 1, {"denoise": 1}, 1, 1.0, 1.0, 0.0)
    shown = json.loads(example("report.json"))

    assert list(report) == first_column(section("report.json")) == list(shown)
    assert list(shown["sets"]["sample-test"]["denoise"]) == list(scores)
    assert shown["parameters"].keys() == report["parameters"].keys()


def test_the_report_of_a_job_that_restores_has_the_keys_of_the_page():
    rules = [{"match": "rainy/*", "task": "derain"}, {"task": "denoise"}]
    job = RestoreJob.model_validate(
        {"apiVersion": "ipt/v1", "kind": "restore", "name": "r", "input": "i", "output": "o", "tasks": rules}
    )
    chosen = {"derain": Chosen("derain", 1, version="derain@3"), "denoise": Chosen("denoise", 1, version="denoise@1")}
    refused = [Bad("rainy/017.jpg", "cut-off", "reason"), Bad("page.png", "other-format", "reason")]
    work = Work({}, 38, 0, 12, refused, {"derain": 400, "denoise": 798})
    title = "report.json of a job that restores"

    report, shown = restore_report(job, chosen, Tally(work, None, 0.0, restored=1160), 1.0), json.loads(example(title))

    keys = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.+?) \|", section(title), re.MULTILINE)))
    assert list(report) == keys == list(shown)
    assert all(report[key] == shown[key] for key in ("pictures", "restored", "found", "unmatched", "ignored", "models"))
    assert {kind: [[*bad] for bad in found] for kind, found in report["bad"].items()} == {
        kind: [[*bad] for bad in found] for kind, found in shown["bad"].items()
    }
    assert CHOSEN_FORMAT in section("models.json")
    assert all(f"`{field}`" in section("models.json") for field in Chosen.__dataclass_fields__)


def test_a_checkpoint_holds_the_files_of_the_page():
    backbone = torch.nn.Linear(2, 2)
    model = BiasedModel(backbone, {"denoise": TaskBias(backbone, {"weight": 1})})
    optimizer = torch.optim.AdamW(model.parameters())
    files = state_files(model, model, optimizer, step=0, backbone="iptv2-tiny", progress={})

    text = section("checkpoints/step-N")
    own = {name.replace("denoise", "<task>") for name in files if not name.startswith("average/")}
    assert own | {"average/...", "MANIFEST.json", "COMMIT"} == set(first_column(text))
    state = files["state.json"]
    assert all(f"`{key}`" in text for key in state)
    assert all(f"`{key}`" in text for key in state["model"])
    assert FORMAT in text


def test_the_keys_of_a_bias_pack_are_those_of_the_page():
    text = section("Bias packs")
    rows = re.findall(r"^\| (`.+?`) \| (.*) \|$", text.partition("| key of bias.json |")[2], re.MULTILINE)
    keys = {key: meaning for keys, meaning in rows for key in re.findall(r"`(\w+)`", keys)}

    assert list(keys) == list(BiasInfo.model_fields)
    for key, model in {"backbone": OnBackbone, "metrics": Measured, "lineage": Lineage}.items():
        assert all(f"`{name}`" in keys[key] for name in model.model_fields), key
    assert f"`{BIAS_FORMAT}`" in keys["format"]
    assert f"`{FACTORIZATION}`" in keys["factorization"]


def test_the_keys_of_a_backbone_pack_are_those_of_the_page():
    text = section("Backbone packs")

    assert all(f"`{field}`" in text for field in BackboneInfo.__dataclass_fields__)
    assert f"`{BACKBONE_FORMAT}`" in text


def test_the_registry_is_the_one_of_the_page():
    files, *tables = re.split(r"^\| key of .*$", section("The registry"), flags=re.MULTILINE)

    assert [first_column(table) for table in tables] != []
    record, change = (
        re.findall(r"`([a-z]+)`", " ".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE))) for table in tables
    )
    assert record == list(TaskRecord.model_fields)
    assert change == list(Change.model_fields)
    for name in (RECORD, SHEET, VERDICT, COMMIT, file_of(1), f"{PACK}/"):
        assert f"/{name}`" in files
    for known in (REGISTRY_FORMAT, RECORD_FORMAT, VERDICT_FORMAT, CHANGE_FORMAT, Seal(files={}).format):
        assert f"`{known}`" in files
    assert f"`{Manifest(task='a', version=1, files={}).format}`" in section("Exported tasks")


def test_the_routers_are_those_of_the_page(tmp_path):
    tasks = [KnownTask("denoise", Words(things=("noise",)), Words(), ("gaussian-noise",), True)]
    model = BlindModel(3, 2)
    save_blind_router(tmp_path / "blind", BlindRouter(["denoise"], model), "some photographs")
    text_router(tmp_path / "text", tasks)
    (text,) = (tmp_path / "text").glob("*/router.json")

    keys = [*json.loads(text.read_bytes()), *json.loads((tmp_path / "blind/router.json").read_bytes())]

    assert set(first_column(section("Routers"))) == set(keys)
    assert f"`{TEXT_FORMAT}` or `{BLIND_FORMAT}`" in section("Routers")
