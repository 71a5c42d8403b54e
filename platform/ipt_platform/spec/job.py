"""The job file: one model per kind, and `Job`, the union that `kind` tells apart."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, field_validator

from ipt_platform.errors import UsageError
from ipt_platform.spec.analyze import PaperSpec, Side, TransplantSpec, Variant, What
from ipt_platform.spec.base import Many, Name, Spec, Text, named, weighted
from ipt_platform.spec.compound import ConcurrencySpec, JobPart, ScalesSpec, Seeds
from ipt_platform.spec.parts import (
    NO_S3,
    ActorsSpec,
    BiasSpec,
    CheckpointSpec,
    ClusterSpec,
    DataSpec,
    EvaluateSpec,
    FinetuneSpec,
    ModelSpec,
    RestoreRule,
    Start,
    StartSpec,
    TaskProbe,
    TaskUse,
    TrainSpec,
)
from ipt_platform.spec.tiling import DEFAULT_OVERLAP, DEFAULT_TILE
from ipt_platform.spec.track import TrackSpec
from ipt_platform.spec.tune import SearchSpec
from ipt_platform.spec.words import LayerGroup, Protocol
from ipt_platform.storage.paths import SCHEME, S3Path, any_path

# What a file may write, for the JSON Schema; the validators turn all of it into one mapping.
Names = Annotated[list[Name], Len(1)]
Weight = Annotated[int, Field(ge=1, le=64)]
TaskUses = Annotated[
    dict[Name, TaskUse],
    Len(1),
    BeforeValidator(weighted, json_schema_input_type=Names | Annotated[dict[Name, Weight | TaskUse | None], Len(1)]),
]
TaskProbes = Annotated[
    dict[Name, TaskProbe],
    Len(1),
    BeforeValidator(named, json_schema_input_type=Names | Annotated[dict[Name, TaskProbe | None], Len(1)]),
]


class _JobBase(Spec):
    """What every kind of job has."""

    apiVersion: Literal["ipt/v1"] = Field(description="Version of this format: ipt/v1.")  # noqa: N815 (as Kubernetes spells it)
    name: Name = Field(description="Names the runs of this job: lower-case letters, digits and dashes, at most 63 characters.")
    storage: Text = Field(
        default="runs",
        description="Folder that holds the runs, relative to the directory the command runs in; or s3://bucket/prefix.",
    )

    @field_validator("storage")
    @classmethod
    def _usable(cls, storage: str) -> str:
        try:
            path = any_path(storage)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return str(path) if isinstance(path, S3Path) else storage


class _SeededJob(_JobBase):
    """A job in which something is drawn."""

    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="Start of every random choice: order, crops, degradations, first weights.",
    )


class TrainJob(_SeededJob):
    """Train one backbone for several tasks, with or without task biases."""

    kind: Literal["train"] = Field(description="train: learn a backbone and its task biases from clean photographs.")
    model: ModelSpec = Field(description="The network.")
    start: Text | None = Field(
        default=None,
        description="Whose weights the backbone begins with: a run id, the folder of a run or of a checkpoint, or a backbone "
        "pack; null: random ones. The run keeps a copy.",
    )
    tasks: TaskUses = Field(
        description="What to restore: [denoise, deblur], or with crops per image {denoise: 2, deblur: 1}, or with "
        "parameters {denoise: {weight: 2, params: {sigma: 25}}}."
    )
    data: DataSpec = Field(description="The clean photographs.")
    train: TrainSpec = Field(description="How weights are learned.")
    evaluate: EvaluateSpec = Field(default=EvaluateSpec(), description="Measuring during and after training.")
    checkpoint: CheckpointSpec = Field(default=CheckpointSpec(), description="What is kept while the run goes on.")
    track: TrackSpec = Field(default=TrackSpec(), description="Trackers that are told what the run reports.")
    cluster: ClusterSpec = Field(default=ClusterSpec(), description="The machines to ask for.")


def _or_one_task(kind: Any, meaning: str) -> Callable[[dict[str, Any]], None]:
    """Let a file say `task: NAME` in the place of `tasks`, as `load.check_job` does."""

    def add(schema: dict[str, Any]) -> None:
        one = {"description": f"One task alone: short for {meaning}.", "default": None}
        schema["properties"]["task"] = TypeAdapter(kind).json_schema() | one
        schema["required"].remove("tasks")
        schema["oneOf"] = [{"required": ["tasks"]}, {"required": ["task"]}]

    return add


class FinetuneJob(_SeededJob):
    """Train the biases of tasks on a backbone that stays as it is, and pack each of them."""

    model_config = ConfigDict(json_schema_extra=_or_one_task(Name, "tasks: [NAME]"))

    kind: Literal["finetune"] = Field(description="finetune: learn task biases on a frozen backbone.")
    backbone: Text = Field(
        description="What the biases are for: a run id, the folder of a run or of a checkpoint, or a backbone pack. The run "
        "keeps a copy."
    )
    tasks: TaskUses = Field(
        description="What to restore, as kind: train has it: [derain, dehaze]; each task gets a bias and a pack of its own."
    )
    bias: BiasSpec = Field(default=BiasSpec(), description="The bias of each task.")
    start: Start = Field(
        default=StartSpec(), description="zero, or a trained bias from which each begins: {task: denoise} or {pack: FOLDER}."
    )
    data: DataSpec = Field(description="The clean photographs.")
    train: FinetuneSpec = Field(description="How the biases are learned.")
    evaluate: EvaluateSpec = Field(default=EvaluateSpec(), description="Measuring during and after training.")
    checkpoint: CheckpointSpec = Field(default=CheckpointSpec(), description="What is kept while the run goes on.")
    track: TrackSpec = Field(default=TrackSpec(), description="Trackers that are told what the run reports.")
    cluster: ClusterSpec = Field(default=ClusterSpec(), description="The machines to ask for.")


class EvaluateJob(_SeededJob):
    """Measure a checkpoint on frozen test sets."""

    kind: Literal["evaluate"] = Field(description="evaluate: measure a checkpoint on frozen test sets.")
    checkpoint: Text = Field(description="What to measure: a run id, the folder of a run, or the folder of a checkpoint.")
    tasks: TaskProbes = Field(
        description="What to restore: [denoise, deblur], or with parameters {denoise: {params: {sigma: 25}}}."
    )
    sets: Many[Text] = Field(
        min_length=1,
        description="Test sets: names of dataset cards (datasets/NAME.yaml), folders of pictures, or shards.",
    )
    protocol: Protocol = Field(
        default="rgb-uint8",
        description="How PSNR and SSIM are measured: on float RGB, on RGB rounded to 8 bits, or on the luma of that.",
    )


class RestoreJob(_JobBase):
    """Restore every picture of a folder, of a prefix on S3 or of shards."""

    model_config = ConfigDict(json_schema_extra=_or_one_task(Text, "tasks: [{task: NAME}]"))

    kind: Literal["restore"] = Field(
        description="restore: give back every picture of a folder, of a prefix on S3 or of shards."
    )
    input: Text = Field(
        description="The pictures: a folder or s3://bucket/prefix, with all below it, or shards (photos/*.tar, a range "
        "photos/{000000..000127}.tar, also on S3); of pairs the degraded halves."
    )
    output: Text = Field(
        description="Folder or s3://bucket/prefix of the restored pictures, under the names they have below the input (of a "
        "shard: shard/name). What is there already is never replaced."
    )
    run: Text | None = Field(
        default=None,
        description="What restores: a run id, the folder of a run or of a checkpoint; null: the registered tasks. A run keeps "
        "to the models that it was submitted with.",
    )
    tasks: Many[RestoreRule] = Field(
        min_length=1,
        description="Which pictures get which task: [{match: rainy/*, task: derain}, {task: denoise}]. What no rule matches is "
        "left alone.",
    )
    tile: int = Field(default=DEFAULT_TILE, ge=1, le=65536, description="Longest side given to the model, pixels.")
    overlap: int = Field(default=DEFAULT_OVERLAP, ge=1, le=65536, description="Pixels that neighbouring tiles share.")
    cluster: ActorsSpec = Field(default=ActorsSpec(), description="The machines to ask for.")


class _CompoundBase(_SeededJob, ScalesSpec):
    """A job that is made of others."""

    @field_validator("storage")
    @classmethod
    def _on_a_disk(cls, storage: str) -> str:
        if storage.startswith(SCHEME):
            raise ValueError(NO_S3)
        return storage


class TuneJob(_CompoundBase):
    """Search where task biases belong and how large they must be; each trial is an ordinary job with a run of its own."""

    kind: Literal["tune"] = Field(description="tune: search over rank, layer groups and learning rates.")
    base: JobPart = Field(
        description="The job of every trial, of kind train or finetune, without name, storage and seed; the knobs replace "
        "values of it."
    )
    search: SearchSpec = Field(description="What is searched, and how.")
    cluster: ConcurrencySpec = Field(default=ConcurrencySpec(), description="How many trials run at a time.")


class AnalyzeJob(_CompoundBase):
    """Find out where task biases belong, from weights before and after a training or from trainings side by side."""

    kind: Literal["analyze"] = Field(description="analyze: measure what trainings did to weights, or to each other.")
    what: What = Field(
        description="sensitivity: which layers a finetune moves, and which bring its gain; rank-energy: of what rank these "
        "moves are; interference: which tasks help or hurt each other; comparison: variants of a job side by side."
    )
    seeds: Seeds = Field(default=(), description="Seeds with which everything is repeated; none: `seed` alone.")
    base: JobPart | None = Field(
        default=None, description="What the jobs of this analysis share, as a job file without name, storage and seed."
    )
    before: Side | None = Field(
        default=None,
        description="sensitivity, rank-energy: the backbone before: a run, a checkpoint or a backbone pack; or a part of a "
        "training job, laid over `base`, that makes it.",
    )
    after: Side | None = Field(
        default=None,
        description="sensitivity, rank-energy: the backbone after; or a part of a training job, laid over `base`, that "
        "finetunes all weights of `before`.",
    )
    task: Name | None = Field(
        default=None, description="sensitivity, rank-energy: the task whose bias is merged into `after`; null: none."
    )
    transplant: TransplantSpec | None = Field(
        default=None,
        description="sensitivity: how the gain of single layer groups is measured, on crops of `base`'s photographs; null: it "
        "is not.",
    )
    targets: Many[LayerGroup] = Field(
        default=("output", "sampling", "reduction", "qkv", "proj", "ffn"),
        min_length=1,
        description="rank-energy: the layer groups that are looked at.",
    )
    compress: BiasSpec | None = Field(
        default=None,
        description="rank-energy: makes a bias pack of the difference, of this rank and layout, and measures what it costs "
        "on the test sets of `base`; null: none.",
    )
    tasks: TaskUses | None = Field(default=None, description="interference: the tasks, at least two.")
    variants: Annotated[dict[Name, Variant], Len(2)] | None = Field(
        default=None,
        description="comparison: by name what is laid over `base`; a list is a chain of jobs, each of which begins with the "
        "weights of the one before.",
    )
    claims: Many[Text] = Field(
        default=(), description='comparison: orderings to be judged, as in "synchronous > two-stage > mixed".'
    )
    paper: PaperSpec | None = Field(default=None, description="comparison: what the paper found.")
    cluster: ConcurrencySpec = Field(default=ConcurrencySpec(), description="How many jobs run at a time.")


LearningJob = TrainJob | FinetuneJob
"""A job that trains something: what has stages, steps and checkpoints."""

CompoundJob = TuneJob | AnalyzeJob
"""A job that is made of others."""

AnyJob = TrainJob | FinetuneJob | EvaluateJob | RestoreJob | TuneJob | AnalyzeJob
JOB: TypeAdapter[AnyJob] = TypeAdapter(Annotated[AnyJob, Field(discriminator="kind")])
JOB_KINDS: dict[str, type[AnyJob]] = {
    "train": TrainJob,
    "finetune": FinetuneJob,
    "evaluate": EvaluateJob,
    "restore": RestoreJob,
    "tune": TuneJob,
    "analyze": AnalyzeJob,
}
