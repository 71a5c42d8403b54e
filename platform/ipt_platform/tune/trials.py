"""The trials of a search, read from its files: which were suggested, and what became of each.

<run>/trials.jsonl     one line per suggestion: {"trial": "t001", "values": {path: value}, "source": who suggested it}
<run>/runs/t001/       the run of its job
"""

from dataclasses import dataclass, field
from typing import Any

from ipt_platform.checkpoint.backbone import read_backbone
from ipt_platform.evaluate.report import read_report
from ipt_platform.model.bias import layout_parameters
from ipt_platform.model.build import build_backbone
from ipt_platform.model.counts import count_parameters
from ipt_platform.observe.events import read_events
from ipt_platform.observe.jsonl import append_line, read_lines
from ipt_platform.observe.metrics_log import read_metrics
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import JOB, FinetuneJob, LearningJob, TrainJob
from ipt_platform.spec.source import load_yaml
from ipt_platform.train.evaluation import SetScores, mean_psnr
from ipt_platform.train.given import total_steps
from ipt_platform.train.layout import bias_layout

STOPPED = "stopped by the search"
"""How the reason begins for which a run was stopped that was not among the best."""


@dataclass(frozen=True)
class Suggestion:
    """What a trial tries: its name, values by dotted path, and who suggested them."""

    trial: str
    values: dict[str, Any]
    source: str


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Attributes:
        suggestion: what it tries.
        run: the run of its job.
        state: "finished", "stopped" (by the search), "failed", or how far it came.
        reason: why it failed or was stopped.
        curve: mean dB over sets and tasks, by step.
        scores: of the last measurement, `{set: {task: {"psnr", ...}}}`.
        steps: of the whole job.
        parameters: of one task bias. backbone: parameters of the backbone.
        seconds: of training.
    """

    suggestion: Suggestion
    run: RunDir
    state: str
    reason: str = ""
    curve: dict[int, float] = field(default_factory=dict)
    scores: SetScores = field(default_factory=dict)
    steps: int = 0
    parameters: int = 0
    backbone: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The name of the trial."""
        return self.suggestion.trial

    @property
    def step(self) -> int:
        """The step at which it was last measured."""
        return max(self.curve, default=0)

    @property
    def psnr(self) -> float | None:
        """dB, the last that was measured."""
        return self.curve.get(self.step)


def suggest(run: RunDir, suggestion: Suggestion, attempt: int) -> None:
    """Write a suggestion of an attempt down, before anything comes of it.

    Raises:
        RefusedError: another attempt has taken the run over.
    """
    line = {"trial": suggestion.trial, "values": suggestion.values, "source": suggestion.source}
    with run.fence(attempt)():
        append_line(run.path / "trials.jsonl", line, sync=True)


def suggestions(run: RunDir) -> list[Suggestion]:
    """What was suggested, in order."""
    return [Suggestion(line["trial"], line["values"], line["source"]) for line in read_lines(run.path / "trials.jsonl")]


def read_trials(run: RunDir) -> list[Trial]:
    """What became of everything that was suggested."""
    return [read_trial(suggestion, RunDir(run.members / suggestion.trial)) for suggestion in suggestions(run)]


def read_trial(suggestion: Suggestion, run: RunDir) -> Trial:
    """What became of a trial."""
    if not run.job.is_file():
        return Trial(suggestion, run, "failed" if failed(run) else "created", failed(run))
    job = load_job_of(run)
    status = run_status(run)
    curve, scores = evaluations(run)
    state = "stopped" if status.state == "cancelled" and status.reason.startswith(STOPPED) else status.state
    seconds = max((line["seconds"] for line in read_metrics(run) if "seconds" in line), default=0.0)
    if state == "finished":
        seconds = read_report(run.report)["seconds"]
    parameters, backbone = sizes(job, run)
    told = failed(run) or status.reason
    reason = "" if state == "finished" else told
    return Trial(suggestion, run, state, reason, curve, scores, total_steps(job), parameters, backbone, seconds)


def load_job_of(run: RunDir) -> LearningJob:
    """The job of a run, as it was resolved; what it names need not be there any more."""
    job = JOB.validate_python(load_yaml(run.job).value)
    assert isinstance(job, LearningJob)
    return job


def evaluations(run: RunDir) -> tuple[dict[int, float], SetScores]:
    """Mean dB by step, and the last scores of a run; what was measured twice counts once."""
    lines = {line["step"]: line["evaluation"] for line in read_metrics(run) if line.get("evaluation")}
    curve = {step: psnr for step in sorted(lines) if (psnr := mean_psnr(lines[step])) is not None}
    return curve, lines[max(lines)] if lines else {}


def failed(run: RunDir) -> str:
    """Why a run failed; "" if it did not."""
    telling = ("failed", "finished", "started", "resumed")
    last = next((event for event in reversed(read_events(run)) if event["type"] in telling), None)
    return str(last.get("reason", "")) or "no reason was recorded" if last and last["type"] == "failed" else ""


def sizes(job: LearningJob, run: RunDir) -> tuple[int, int]:
    """Parameters of one task bias of a job, and of its backbone."""
    name = read_backbone(run.backbone).name if isinstance(job, FinetuneJob) else job.model.backbone
    bias = job.bias if isinstance(job, FinetuneJob) else job.model.bias
    backbone = build_shape(name)
    plain = isinstance(job, TrainJob) and job.train.mode == "mixed"
    return 0 if plain else layout_parameters(backbone, bias_layout(backbone, bias)), count_parameters(backbone)


def build_shape(name: str) -> Any:
    """A backbone with shapes and without memory."""
    import torch

    with torch.device("meta"):
        return build_backbone(name)
