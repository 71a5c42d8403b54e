"""The sections of a job file, one model each; `job.py` puts them together.

Every field says in its description what it means and in which unit: that text is the JSON Schema, the editor's help and
the reference in the docs.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import AfterValidator, BeforeValidator, Field, Strict, field_validator, model_validator

from ipt_platform.spec.base import Many, Name, Replacements, Spec, Text, Texts
from ipt_platform.spec.words import Allocation, Backbone, Carrier, LayerGroup, Loss, Mode, Precision, Protocol, Sharding
from ipt_platform.spec.workers import WorkersSpec

NO_S3 = "the jobs of a search or an analysis are kept on a disk; give a local path (a mounted file system works)"


class BiasSpec(Spec):
    """The low-rank task bias `B1 @ B2` that each task adds to the weights of the named layer groups."""

    rank: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="Inner dimension r of B1 [n_out, r] and B2 [r, n_in]; capped at each layer's full rank.",
    )
    allocation: Allocation = Field(
        default="constant",
        description="constant: the same rank in every layer (the paper's choice); proportional: ranks in proportion "
        "to each layer's full rank.",
    )
    targets: Many[LayerGroup] = Field(
        default=("output", "sampling", "reduction", "qkv", "proj", "ffn"),
        description="Layer groups that get a task bias (the paper's Table 2); the others are shared by all tasks.",
    )
    ranks: dict[LayerGroup, Annotated[int, Field(ge=1, le=4096)]] = Field(
        default_factory=dict,
        description="Ranks of single layer groups in the place of `rank`, as in {qkv: 8, ffn: 32}; for allocation constant.",
    )
    replace: Many[LayerGroup] = Field(
        default=(),
        description="Layer groups whose weights each task has for itself, whole, in the place of W + B1 @ B2: the shared "
        "weight is left as it began (the paper's Table 9, where it is worse).",
    )
    depthwise: bool = Field(
        default=False,
        description="Give depthwise convolutions a dense task bias too (low rank saves nothing on k x k filters).",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "BiasSpec":
        if not self.targets and not self.replace:
            raise ValueError("targets is empty, and so is replace: name at least one layer group")
        if twice := [name for name in self.replace if name in self.targets]:
            raise ValueError(f"'{twice[0]}' stands in targets and in replace; a weight has a bias or is replaced")
        if others := [name for name in self.ranks if name not in self.targets]:
            raise ValueError(f"ranks names '{others[0]}', which is not among targets; add it there, or leave it out")
        if self.ranks and self.allocation == "proportional":
            raise ValueError("ranks sets single ranks, allocation proportional all of them; leave one of the two out")
        return self

    @field_validator("targets", "replace")
    @classmethod
    def _once(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for position, name in enumerate(groups) if name in groups[:position]), None)
        if twice is not None:
            raise ValueError(f"'{twice}' stands twice in the list; name each layer group once")
        return groups

    @field_validator("targets")
    @classmethod
    def _can_be_biased(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if "norm" in targets:
            raise ValueError("'norm' weights are vectors, which have no low-rank bias; leave them out")
        if "depthwise" in targets:
            raise ValueError("depthwise weights get a dense bias, not a low-rank one; write depthwise: true instead")
        return targets


def _zero(value: Any) -> Any:
    """`zero` as the mapping that names nothing to begin from; the schema judges anything else."""
    return {} if value == "zero" else value


class StartSpec(Spec):
    """A trained bias from which each task of a job begins."""

    task: Name | None = Field(default=None, description="A task that has a bias in the checkpoint that `backbone` names.")
    pack: Text | None = Field(default=None, description="Folder of a bias pack for the same backbone.")

    @model_validator(mode="after")
    def _one(self) -> "StartSpec":
        if self.task and self.pack:
            raise ValueError("both `task` and `pack` are named, and a bias begins from one; leave one of them out")
        return self


Start = Annotated[StartSpec, BeforeValidator(_zero, json_schema_input_type=Literal["zero"] | StartSpec)]


class ModelSpec(Spec):
    """The network: one backbone for all tasks, and how much of it each task may bend."""

    backbone: Backbone = Field(
        description="Network shared by all tasks: iptv2-nano (about 0.05 M parameters, for experiments on one CPU core), "
        "iptv2-tiny (about 0.4 M, trains on a CPU), iptv2-small (about 4 M) or iptv2-base (26 M, the paper's size)."
    )
    bias: BiasSpec = Field(default=BiasSpec(), description="The task biases; without effect in train.mode mixed.")


class TaskUse(Spec):
    """How a training job uses a task."""

    weight: int = Field(default=1, ge=1, le=64, description="Crops of this task that are cut from each image.")
    params: Replacements = Field(
        default_factory=dict,
        description="Training degradation parameters that replace the task's own, such as {sigma: 25} (grey levels); those "
        "of a step below its name: {rain: {density: 0.01}}.",
    )


class TaskProbe(Spec):
    """How an evaluation uses a task."""

    params: Replacements = Field(
        default_factory=dict,
        description="Degradation parameters of the test pictures that replace the task's own, such as {sigma: 25}; those "
        "of a step below its name: {rain: {density: 0.01}}.",
    )


class DataSpec(Spec):
    """Where the clean photographs are and how they reach the trainers."""

    shards: Annotated[Texts, Len(1)] | None = Field(
        default=None,
        description="WebDataset tars of clean images: a path, a glob (datasets/sample/train-*.tar), a range "
        "(shard-{000000..000127}.tar) or a list of those; relative to the directory the command runs in, or on S3 "
        "(s3://bucket/prefix/*.tar). May be left out where every task reads pairs.",
    )
    carrier: Carrier = Field(
        default="ray",
        description="ray: a Ray Data pipeline (what a cluster's CPU nodes need); local: processes of each worker's own. "
        "Both give the same bytes.",
    )
    max_bad: float = Field(
        default=0.001,
        ge=0,
        le=1,
        description="Share of samples that may be unusable (counted, named, replaced) before the run fails.",
    )
    prefetch: int = Field(default=4, ge=1, le=1024, description="Steps of data prepared ahead of training.")
    cpus: float = Field(
        default=0.5,
        ge=0,
        le=1024,
        description="CPU cores for the stream of each worker, which has a process for each whole one, at least one; with "
        "carrier ray they are reserved.",
    )
    s3_cache_mb: int = Field(
        default=128,
        ge=0,
        le=1_000_000,
        description="Memory for what is fetched ahead from shards on S3, in each process that makes batches, MB. At least "
        "twice what the pictures of a step take; 0: each is fetched when it is decoded, and none is kept.",
    )


class Stage(Spec):
    """A stretch of training with one patch and batch size."""

    steps: int = Field(ge=1, le=100_000_000, description="Optimizer steps in this stage.")
    patch: int = Field(ge=16, le=4096, description="Side of the square crops, in pixels.")
    images: int = Field(
        ge=1,
        le=1_000_000,
        description="Images per step over all workers; each gives one crop per task (times its weight). Divisible by "
        "cluster.workers x train.accumulate.",
    )


class BiasOptimizerSpec(Spec):
    """AdamW on task biases alone."""

    bias_lr: float = Field(default=1e-3, gt=0, le=1, description="Peak learning rate of the task biases.")
    bias_weight_decay: float = Field(
        default=1e-4,
        ge=0,
        le=1,
        description="Decoupled weight decay of the task biases: moves what tasks have in common to a backbone that is trained.",
    )
    betas: Annotated[tuple[float, float], Strict(False)] = Field(
        default=(0.9, 0.999), description="AdamW's decay rates of the first and second moment, each in [0, 1)."
    )
    bias_grad_clip: float | None = Field(
        default=1.0,
        gt=0,
        description="Largest gradient norm of all task biases together, or of each on a frozen backbone; null: no clipping.",
    )

    @field_validator("betas")
    @classmethod
    def _decay_rates(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"expected two numbers from 0 up to, but not including, 1, found {list(betas)}")
        return betas


class OptimizerSpec(BiasOptimizerSpec):
    """AdamW, with a setting for shared weights and one for task biases (which see only their own task's crops)."""

    lr: float = Field(default=3e-4, gt=0, le=1, description="Peak learning rate of the shared weights.")
    weight_decay: float = Field(default=1e-4, ge=0, le=1, description="Decoupled weight decay of the shared weights.")
    grad_clip: float | None = Field(
        default=1.0, gt=0, description="Largest gradient norm of the shared weights; null: no clipping."
    )


class ScheduleSpec(Spec):
    """Learning rates over time: linear warm-up, then half a cosine."""

    warmup: int = Field(default=0, ge=0, description="Steps over which the learning rates rise from 0 to their peak.")
    final_lr_ratio: float = Field(
        default=0.01, ge=0, le=1, description="Learning rates at the last step, as a share of their peak."
    )


class LearnSpec(Spec):
    """How steps of training are done, whatever is trained."""

    stages: Many[Stage] = Field(min_length=1, description="Stretches of training, in order.")
    schedule: ScheduleSpec = Field(default=ScheduleSpec(), description="Learning rates over time.")
    loss: Loss = Field(default="charbonnier", description="l1: mean |x|; charbonnier: mean sqrt(x^2 + 1e-6), smooth at zero.")
    ema: float | None = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="Decay per step of the averaged weights that are evaluated and restored with; null: none.",
    )
    precision: Precision = Field(default="fp32", description="bf16: autocast, where the hardware has it.")
    accumulate: int = Field(
        default=1, ge=1, le=4096, description="Parts each worker's share of a step is split into, to save memory."
    )
    compile: bool = Field(
        default=False,
        description="Use torch.compile: a slow first step, then faster ones. Later attempts and runs find what was compiled "
        "on their machine.",
    )
    activation_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass, to save memory."
    )
    log_every: int = Field(default=10, ge=1, description="Steps between lines of metrics.jsonl.")
    samples: int = Field(
        default=3, ge=0, le=64, description="Triptychs (degraded, restored, clean) written per task and evaluation."
    )


class TrainSpec(LearnSpec):
    """How weights are learned."""

    mode: Mode = Field(
        default="synchronous",
        description="synchronous: backbone and task biases are learned together; mixed: one plain backbone for all "
        "tasks (the baseline), on the same crops.",
    )
    optimizer: OptimizerSpec = Field(default=OptimizerSpec(), description="Learning rates, decay and clipping.")
    sharding: Sharding = Field(
        default="none",
        description="none: every worker has the whole backbone; fsdp: each has a share of its weights, gradients, moments and "
        "averages (FSDP2), for a backbone that fits no GPU whole; slower, as weights travel for every task. Best together with "
        "activation_checkpointing; not with compile.",
    )


class FinetuneSpec(LearnSpec):
    """How task biases are learned on a frozen backbone: each task by itself, as if it were alone in its job."""

    @model_validator(mode="before")
    @classmethod
    def _not_sharded(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "sharding" in value:
            raise ValueError(
                "sharding is for kind: train; a frozen backbone has no gradients, moments or average to share out, and every "
                "worker keeps it whole. Leave it out; activation_checkpointing and a larger accumulate save memory"
            )
        return value

    optimizer: BiasOptimizerSpec = Field(default=BiasOptimizerSpec(), description="Learning rates, decay and clipping.")


class EvaluateSpec(Spec):
    """Measuring during and after training."""

    every: int | None = Field(default=None, ge=1, description="Steps between evaluations; null: only at the end.")
    sets: Many[Text] = Field(
        default=(),
        description="Test sets: names of dataset cards (datasets/NAME.yaml), folders of pictures, or shards.",
    )
    protocol: Protocol = Field(
        default="rgb-uint8",
        description="How PSNR and SSIM are measured: on float RGB, on RGB rounded to 8 bits, or on the luma of that.",
    )


class CheckpointSpec(Spec):
    """What is kept of a run while it goes on."""

    every: int = Field(default=500, ge=1, description="Steps between checkpoints; one more is always written at the end.")
    keep: int = Field(default=3, ge=2, le=1000, description="Newest checkpoints kept (and always the best one).")
    patience: float = Field(
        default=600, ge=0, le=86400, description="Seconds for which storage on S3 may fail before the run does; 0: not at all."
    )


class ClusterSpec(Spec):
    """The machines a run asks Ray for."""

    workers: WorkersSpec = Field(
        default=1,
        description="Training processes, each of which takes an equal share of every step; or {min: ..., max: ...}: as many as "
        "there is room for, of the numbers that share the images of every stage equally.",
    )
    gpus_per_worker: float = Field(default=0, ge=0, le=64, description="GPUs of each worker; 0: train on the CPU.")
    cpus_per_worker: float = Field(default=1, gt=0, le=1024, description="CPU cores of each worker, the stream's not counted.")
    max_failures: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Times in a row, without a new checkpoint in between, that workers which died or stood still are replaced "
        "before the run fails.",
    )
    max_preemptions: int | None = Field(
        default=None,
        ge=0,
        description="Times that training goes on elsewhere after machines were taken away, as spot machines are (they do not "
        "count as failures); null: without limit.",
    )
    hang_seconds: float = Field(
        default=600,
        ge=1,
        le=1_000_000,
        description="Seconds without a step or a picture measured after which workers are taken to stand still and replaced. "
        "The slowest step (the first one with train.compile) or picture must take less.",
    )


_REFERENCE = r"^[a-z0-9][a-z0-9-]{0,62}(@[a-z0-9][a-z0-9-]{0,62})?$"


def _reference(value: str) -> str:
    if not re.fullmatch(_REFERENCE, value) or value.endswith("\n"):
        raise ValueError(f"expected a task, as in derain, derain@3 or derain@prod, found {value!r:.60}")
    return value


def _below_a_folder(value: str) -> str:
    if value.startswith("/") or not all(value.split("/")) or {".", ".."} & {*value.split("/")}:
        raise ValueError(f"expected a glob over names below the input, as in rainy/*, found {value!r:.60}")
    return value


class RestoreRule(Spec):
    """Which pictures get which task: the first rule that matches a picture counts."""

    match: Annotated[Text, AfterValidator(_below_a_folder)] | None = Field(
        default=None,
        description="Glob over a picture's name below the input (of a shard: shard/name): * stays within a folder, ** is any "
        "number of folders, as in rainy/**/*.png; null: every picture.",
    )
    task: Annotated[Text, AfterValidator(_reference), Field(json_schema_extra={"pattern": _REFERENCE})] = Field(
        description="What to undo: a task of `run`; without `run` a registered one, NAME, NAME@VERSION or NAME@ALIAS."
    )


class ActorsSpec(Spec):
    """The machines a job that restores asks Ray for."""

    actors: int = Field(default=1, ge=1, le=4096, description="Processes that restore; each keeps a backbone of its own.")
    gpus_per_actor: float = Field(default=0, ge=0, le=64, description="GPUs of each actor; 0: restore on the CPU.")
    cpus_per_actor: float = Field(default=1, gt=0, le=1024, description="CPU cores of each actor.")
    max_failures: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="Times each lost actor is replaced before the run fails; no picture is lost by it.",
    )
