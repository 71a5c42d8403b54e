"""What searches and analyses name beyond their file is looked for before there is a run."""

from pathlib import Path

import pytest

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.cluster.submit import prepare_run
from ipt_platform.errors import SpecError
from ipt_platform.model.build import build_backbone
from ipt_platform.spec.load import load_job
from ipt_platform.tune.beyond import check_beyond
from tests.unit.compound_files import line_of

SEARCH = """\
apiVersion: ipt/v1
kind: tune
name: search
base:
  kind: finetune
  backbone: general
  task: derain
  data: {shards: shards/*.tar}
  train: {stages: [{steps: 30, patch: 48, images: 2}]}
  evaluate: {every: 10, sets: [test]}
search:
  space: {bias.rank: {choices: [1, 8]}}
  prior: []
  trials: 2
"""
VARIANTS = """\
apiVersion: ipt/v1
kind: analyze
what: comparison
name: sides
base:
  kind: train
  model: {backbone: iptv2-nano}
  tasks: [denoise]
  data: {shards: shards/*.tar}
  train: {stages: [{steps: 30, patch: 48, images: 2}]}
  evaluate: {sets: [test]}
variants:
  fresh: {}
  again: {start: general}
"""


@pytest.fixture
def here(base, tmp_path, monkeypatch) -> Path:
    for name in ("shards", "test"):
        (tmp_path / name).symlink_to(base / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(here: Path, text: str) -> str:
    (here / "job.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        prepare_run(load_job("job.yaml"), "r", Path())
    assert not (here / "runs" / "r").exists()
    return str(caught.value)


@pytest.mark.parametrize(("text", "where"), [(SEARCH, "backbone:"), (VARIANTS, "again:")], ids=["search", "comparison"])
def test_weights_that_are_not_there_are_told_on_the_line_that_names_them(here, text, where):
    said = refused(here, text)

    assert f"job.yaml:{line_of(text, where)}: " in said
    assert "no run 'general' in runs" in said


def test_a_prior_that_is_not_there_is_told_on_its_line(here):
    write_backbone(here / "general", build_backbone("iptv2-nano"), "iptv2-nano", {}, "now")
    text = SEARCH.replace("prior: []", "prior: [which-layers]")

    said = refused(here, text)

    assert said.startswith(f"job.yaml:{line_of(text, 'prior:')}: search.prior.0: no run 'which-layers'")


@pytest.mark.parametrize("text", [SEARCH, VARIANTS], ids=["search", "comparison"])
def test_what_is_there_is_found(here, text):
    write_backbone(here / "general", build_backbone("iptv2-nano"), "iptv2-nano", {}, "now")
    (here / "job.yaml").write_text(text)

    check_beyond(load_job("job.yaml"), Path())
