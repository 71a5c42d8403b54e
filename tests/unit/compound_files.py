"""Files of compound jobs that tests change, and what reading them says."""

from pathlib import Path

import pytest

from ipt_platform.errors import SpecError
from ipt_platform.spec.job import AnalyzeJob, CompoundJob
from ipt_platform.spec.load import LoadedJob, load_job
from ipt_platform.spec.source import Document, parse_yaml

COMPARISON = """\
apiVersion: ipt/v1
kind: analyze
what: comparison
name: table3
scales:
  cpu: {seeds: [0, 1, 2], base: {train: {stages: [{steps: 12, patch: 48, images: 2}]}}}
  a100:
    base:
      model: {backbone: iptv2-base}
      train: {stages: [{steps: 1200, patch: 128, images: 32}]}
base:
  kind: train
  model: {backbone: iptv2-nano, bias: {rank: 4}}
  tasks: [denoise, deblur]
  data: {shards: shards/*.tar, carrier: local}
  train:
    ema: 0.9
    stages: [{steps: 30, patch: 48, images: 2}, {steps: 10, patch: 64, images: 1}]
  evaluate: {sets: [test]}
variants:
  mixed: {train: {mode: mixed}}
  synchronous: {}
"""

TUNE = """\
apiVersion: ipt/v1
kind: tune
name: search
scale: small
scales:
  small: {search: {trials: 3}, cluster: {max_concurrent: 1}}
base:
  kind: train
  model: {backbone: iptv2-nano}
  tasks: [denoise]
  data: {shards: shards/*.tar}
  train: {stages: [{steps: 30, patch: 48, images: 2}]}
  evaluate: {every: 10, sets: [test]}
search:
  space: {model.bias.rank: {min: 2, max: 8}}
  trials: 40
"""


def loaded(base: Path, text: str, *overrides: str) -> LoadedJob:
    (base / "job.yaml").write_text(text)
    return load_job(base / "job.yaml", overrides, base)


def compound(base: Path, text: str, *overrides: str) -> CompoundJob:
    job = loaded(base, text, *overrides).job
    assert isinstance(job, CompoundJob)
    return job


def comparison(base: Path, *overrides: str) -> AnalyzeJob:
    job = compound(base, COMPARISON, *overrides)
    assert isinstance(job, AnalyzeJob)
    return job


def problems(base: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loaded(base, text, *overrides)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


def line_of(text: str, words: str) -> int:
    """The number of the one line that holds these words."""
    (line,) = [number for number, line in enumerate(text.splitlines(), 1) if words in line]
    return line


def document(text: str) -> Document:
    return parse_yaml(text, "job.yaml")
