"""What two versions differ in: ranges as ranges, steps by their names, and nothing where nothing differs."""

from pathlib import Path
from typing import Any

import yaml

from ipt_platform.registry.catalogue import ABOUT_PACK, VERDICT, Version
from ipt_platform.registry.compare import compare
from ipt_platform.registry.record import FrozenSet, Signature, TaskRecord, resolved, signature_of
from ipt_platform.registry.store import open_registry
from ipt_platform.spec.task import parse_task

TASK = {"apiVersion": "ipt/v1", "kind": "task", "name": "mine", "description": "Mine.", "stage": "downstream"}
RAIN = {"name": "rain", "density": {"min": 0.001, "max": 0.02}}


def versions(folder: Path, *tasks: dict[str, Any], **contents: dict[str, bytes]) -> tuple[Any, list[Version]]:
    registry = open_registry(folder, None)
    found = []
    for number, changes in enumerate(tasks, 1):
        sets = changes.pop("frozen", ())
        task = resolved(parse_task(yaml.safe_dump({**TASK, **changes}), "mine.yaml"))
        record = TaskRecord(
            id=f"{number:032x}", name="mine", version=number, owner=task.owner or "anna", created="2026-01-02T00:00:00+00:00",
            signature=signature_of(task), task=task, sets=sets, pairs=None,
        )  # fmt: skip
        found.append(registry.add_version(record, contents.get(f"of{number}", {})))
    return registry.catalogue, found


def told(folder: Path, before: dict[str, Any], after: dict[str, Any], **contents: dict[str, bytes]) -> list[str]:
    catalogue, (old, new) = versions(folder, before, after, **contents)
    return [str(each) for each in compare(catalogue, old, new)]


def test_the_same_said_in_other_words_is_no_difference(tmp_path):
    assert told(tmp_path, {"degradation": "rain"}, {"degradation": {"name": "rain", "spread": 40}}) == []


def test_ranges_numbers_and_choices(tmp_path):
    after = {"degradation": {"name": "rain", "density": 0.01, "directions": {"choices": [1, 3]}}, "evaluate": {"density": 0.02}}

    assert told(tmp_path, {"degradation": RAIN}, after) == [
        "degradation.density: 0.001 to 0.02 -> 0.01",
        "degradation.directions: 1 -> one of 1, 3",
        "evaluate.density: (absent) -> 0.02",
    ]


def test_steps_go_by_their_names_wherever_they_stand(tmp_path):
    before = {"degradation": [RAIN, {"name": "jpeg", "quality": 50}]}
    after = {"degradation": [{"name": "gaussian-noise", "sigma": 5}, RAIN, {"name": "jpeg", "quality": 40}]}

    assert told(tmp_path, before, after) == [
        "degradation.steps in order: rain, jpeg -> gaussian-noise, rain, jpeg",
        "degradation.steps.jpeg.quality: 50 -> 40",
        "degradation.steps.gaussian-noise.name: (absent) -> gaussian-noise",
        "degradation.steps.gaussian-noise.sigma: (absent) -> 5",
    ]


def test_sets_gates_words_and_scale(tmp_path):
    small = {"name": "low-resolution", "scale": 2}
    frozen = FrozenSet(name="a", digest="0" * 64, pictures=2)
    before = {"degradation": small, "sets": ["a"], "gates": ["psnr >= 30"], "instructions": ["enlarge"], "frozen": (frozen,)}
    after = {
        **before,
        "degradation": {**small, "scale": 3},
        "gates": ["psnr >= 31", "ssim >= 0.9"],
        "instructions": ["make it larger"],
        "frozen": (frozen.model_copy(update={"pictures": 3, "digest": "1" * 64}),),
        "margin": 0.1,
    }

    assert told(tmp_path, before, after) == [
        "scale: 2 -> 3",
        "degradation.scale: 2 -> 3",
        "set a: 2 pictures, 0000000000000000 -> 3 pictures, 1111111111111111",
        "gate psnr: >= 30 -> >= 31",
        "margin: 0.05 dB -> 0.1 dB",
        "instruction 'enlarge': there -> (absent)",
        "gate ssim: (absent) -> >= 0.9",
        "instruction 'make it larger': (absent) -> there",
    ]


def test_a_pack_and_its_numbers(tmp_path):
    about = (
        b'{"sha256": "%s", "lineage": {"run": "one", "attempt": 1, "step": 7}, "rank": 4, "parameters": 1234, '
        b'"backbone": {"name": "iptv2-tiny", "fingerprint": "sha256:0123456789abcdef0123"}, "targets": ["ffn"]}' % (b"ab" * 32)
    )
    verdict = b'{"passed": true, "numbers": [{"set": "a", "psnr": null, "psnr_input": 20.0, "ssim": 1.0}]}'
    contents = {ABOUT_PACK: about, VERDICT: verdict}

    said = told(tmp_path, {"degradation": "rain"}, {"degradation": "rain"}, of2=contents)

    assert "pack: (absent) -> abababababababab" in said
    assert "pack of run: (absent) -> one, attempt 1, step 7" in said
    assert "psnr on a: (absent) -> infinite" in said
    assert len(said) == 9


def test_a_record_says_how_much_larger_pictures_become():
    task = parse_task(yaml.safe_dump({**TASK, "degradation": {"name": "low-resolution", "scale": 4}}), "mine.yaml")

    assert signature_of(task) == Signature(scale=4)
