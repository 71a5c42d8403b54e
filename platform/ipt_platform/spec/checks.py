"""What the schema cannot know: whether tasks, shards and sets exist, and whether the numbers of a job fit together.

Each check says which values it needs. Where the schema refused one of them only that check is left out, so that one
wrong key hides nothing else.
"""

from collections.abc import Callable, Collection
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.dataset import find_shards, resolve_set
from ipt_platform.spec.job import AnalyzeJob, AnyJob, EvaluateJob, FinetuneJob, RestoreJob, TrainJob, TuneJob
from ipt_platform.spec.machine_checks import check_gpus, check_sharding
from ipt_platform.spec.parts import BiasSpec, Stage, TaskProbe, TaskUse
from ipt_platform.spec.recipe import problems_of_params
from ipt_platform.spec.registered import FOLDER
from ipt_platform.spec.restore_checks import check_input, check_output, check_rules, check_tiling
from ipt_platform.spec.source import Document, KeyPath, load_yaml
from ipt_platform.spec.task import TaskSpec, load_task, problem_of_pairs, task_of
from ipt_platform.spec.workers import ElasticSpec, fewest, most, possible_counts


def semantic_problems(
    document: Document, model: type[AnyJob], refused: Collection[KeyPath], base: Path, data_here: bool = True
) -> list[Problem]:
    """Every problem beyond the schema, in the order of the file's lines.

    Args:
        document: The job file.
        model: The job's model.
        refused: Key paths of the schema's errors.
        base: What relative paths are relative to.
        data_here: Whether to look for the data that the job reads, which need not lie on this machine.
    """
    found: list[Problem] = []
    for needs, check in CHECKS[model]:
        if (data_here or check not in OF_DATA) and not any(
            _touch(tuple(need.split(".")), path) for need in needs for path in refused
        ):
            values = [_value(model, document.value, need.split(".")) for need in needs]
            found += check(document, base, *values)
    return sorted(found, key=lambda problem: problem.line)


def check_task(path: Path, base: Path) -> TaskSpec:
    """The task in a file, and that the test sets and pairs which it names are there.

    Args:
        path: The task file, of any name.
        base: What relative paths in it are relative to.

    Raises:
        NotFoundError: No such file.
        SpecError: The file is wrong, or what it names is missing; every problem, with its line.
    """
    document = load_yaml(path)
    task = task_of(document)
    problems = _sets(document, base, ("sets",), task.sets)
    try:
        find_shards(task.pairs or (), base)
    except SpecError as error:
        problems += [document.problem(("pairs",), problem.message) for problem in error.problems]
    if problems:
        raise SpecError(problems)
    return task


def warnings(job: AnyJob) -> list[str]:
    """Settings of a valid job that have no effect, and gaps its author may not have meant; one sentence each."""
    if isinstance(job, EvaluateJob | TuneJob | AnalyzeJob):
        return []
    if isinstance(job, RestoreJob):
        every = any(rule.match is None for rule in job.tasks)
        return [] if every else ["pictures that no rule of tasks matches are left alone; a rule without match takes the rest"]
    said = []
    if isinstance(job, TrainJob) and job.train.mode == "mixed" and job.model.bias != BiasSpec():
        said.append("model.bias is ignored: train.mode mixed trains a plain backbone without task biases")
    if job.cluster.gpus_per_worker > 1:
        said.append(
            f"cluster.gpus_per_worker {job.cluster.gpus_per_worker:g}: a worker computes on one GPU, the others stand idle"
        )
    if not job.evaluate.sets:
        without = "evaluate.every is ignored" if job.evaluate.every else "nothing is measured"
        said.append(f"{without}: evaluate.sets is empty; name a test set to get PSNR and SSIM")
    return said


def _touch(one: KeyPath, other: KeyPath) -> bool:
    """Whether one path leads to or through the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _value(model: type[BaseModel], raw: Any, path: list[str]) -> Any:
    """The value at `path` as the schema has it, defaults included; the rest of the document need not be right."""
    field = model.model_fields[path[0]]
    if path[0] not in raw:
        return reduce(getattr, path[1:], field.get_default())
    if path[1:]:
        inner = field.annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        return _value(inner, raw[path[0]], path[1:])
    return TypeAdapter(field.rebuild_annotation()).validate_python(raw[path[0]])


def _train_tasks(document: Document, base: Path, tasks: dict[str, TaskUse]) -> list[Problem]:
    return [problem for name, use in tasks.items() for problem in _task(document, base, name, use.params, testing=False)]


def _evaluate_tasks(document: Document, base: Path, tasks: dict[str, TaskProbe]) -> list[Problem]:
    return [problem for name, use in tasks.items() for problem in _task(document, base, name, use.params, testing=True)]


def _task(document: Document, base: Path, name: str, params: dict[str, Any], *, testing: bool) -> list[Problem]:
    where = _task_path(document, name)
    registered = _registered(document, base)
    try:
        task = load_task(name, base, registered)
    except SpecError as error:
        return [problem if problem.file else document.problem(where, problem.message) for problem in error.problems]
    if task.pairs:
        message = f"task '{name}' reads pairs on disk, which have no parameters (found {', '.join(params)})"
        return [document.problem((*where, "params"), message)] if params else []
    return problems_of_params(task.tested if testing else task.degradation, params, document, (*where, "params"))


def _registered(document: Document, base: Path) -> Path | None:
    """Where the tasks are that are registered in the storage of a job, or that its run keeps."""
    if document.tasks:
        return document.tasks
    storage = document.value.get("storage", "runs")
    return base / storage / FOLDER if isinstance(storage, str) and "://" not in storage else None


def _pairs(document: Document, base: Path, tasks: dict[str, TaskUse]) -> list[Problem]:
    """Whether the pairs are there that tasks read."""
    registered, problems = _registered(document, base), []
    for name in tasks:
        try:
            patterns = load_task(name, base, registered).pairs or ()
        except SpecError:  # which the check of tasks tells
            continue
        try:
            find_shards(patterns, base)
        except SpecError as error:
            problems += [problem_of_pairs(name, base, problem.message, registered) for problem in error.problems]
    return problems


def _task_path(document: Document, name: str) -> KeyPath:
    """Where the file names the task: as a key of the mapping, or as an item of the list."""
    raw = document.value.get("tasks")
    return ("tasks", raw.index(name)) if isinstance(raw, list) else ("tasks", name)


def _photographs(document: Document, base: Path, tasks: dict[str, TaskUse], patterns: tuple[str, ...] | None) -> list[Problem]:
    """Whether there are clean photographs where some task degrades them."""
    if patterns:
        return []
    degrading = [name for name in tasks if not _reads_pairs(name, base, _registered(document, base))]
    message = f"clean photographs are missing, which {', '.join(degrading)} would degrade: name their shards"
    return [document.problem(("data", "shards"), message)] if degrading else []


def _reads_pairs(name: str, base: Path, registered: Path | None) -> bool:
    try:
        return bool(load_task(name, base, registered).pairs)
    except SpecError:  # which the check of tasks tells
        return True


def _shards(document: Document, base: Path, patterns: tuple[str, ...] | None) -> list[Problem]:
    if patterns is None:
        return []
    many = isinstance(document.value["data"]["shards"], list)
    problems = []
    for position, pattern in enumerate(patterns):
        try:
            find_shards((pattern,), base)
        except SpecError as error:
            where = ("data", "shards", position) if many else ("data", "shards")
            problems += [document.problem(where, problem.message) for problem in error.problems]
    return problems


def _batch(
    document: Document, base: Path, stages: tuple[Stage, ...], accumulate: int, workers: int | ElasticSpec
) -> list[Problem]:
    ends = {"min ": workers.min, "max ": workers.max} if isinstance(workers, ElasticSpec) else {"": workers}
    return [
        document.problem(
            ("train", "stages", position, "images"),
            f"{stage.images} images cannot be shared equally by cluster.workers {end}{number} x train.accumulate "
            f"{accumulate} = {parts}; use a multiple of {parts}, such as {-(-stage.images // parts) * parts}"
            + (f", or another {end.strip()}: {_shared_by(workers, stages, accumulate)}" if end else ""),
        )
        for position, stage in enumerate(stages)
        for end, number in ends.items()
        if stage.images % (parts := number * accumulate)
    ]


def _shared_by(workers: int | ElasticSpec, stages: tuple[Stage, ...], accumulate: int) -> str:
    counts = possible_counts(workers, (stage.images for stage in stages), accumulate)
    can = f"{' and '.join(map(str, counts))} can" if counts else "none can"
    return f"of {fewest(workers)} to {most(workers)}, {can} share every stage"


def _warmup(document: Document, base: Path, stages: tuple[Stage, ...], warmup: int) -> list[Problem]:
    steps = sum(stage.steps for stage in stages)
    if warmup < steps:
        return []
    message = f"a warm-up of {warmup} steps never ends: the stages have {steps} steps together"
    return [document.problem(("train", "schedule", "warmup"), message)]


def _train_sets(document: Document, base: Path, sets: tuple[str, ...]) -> list[Problem]:
    return _sets(document, base, ("evaluate", "sets"), sets)


def _evaluate_sets(document: Document, base: Path, sets: tuple[str, ...]) -> list[Problem]:
    return _sets(document, base, ("sets",), sets)


def _sets(document: Document, base: Path, where: KeyPath, sets: tuple[str, ...]) -> list[Problem]:
    problems = []
    for position, name in enumerate(sets):
        place = (*where, position)
        try:
            resolve_set(name, base)
        except SpecError as error:
            # A wrong card is named by its own file and line; the rest is about this line of the job.
            problems += [problem if problem.file else document.problem(place, problem.message) for problem in error.problems]
        if name in sets[:position]:
            problems.append(document.problem(place, f"set '{name}' stands twice in the list; name each set once"))
    return problems


Check = tuple[tuple[str, ...], Callable[..., list[Problem]]]

LEARNING: list[Check] = [
    (("tasks",), _train_tasks),
    (("tasks",), _pairs),
    (("data.shards",), _shards),
    (("tasks", "data.shards"), _photographs),
    (("train.stages", "train.accumulate", "cluster.workers"), _batch),
    (("train.stages", "train.schedule.warmup"), _warmup),
    (("cluster.gpus_per_worker", "cluster.workers"), check_gpus),
    (("evaluate.sets",), _train_sets),
]

CHECKS: dict[type[AnyJob], list[Check]] = {
    TrainJob: [*LEARNING, (("train.sharding", "train.compile", "cluster.workers"), check_sharding)],
    FinetuneJob: LEARNING,
    EvaluateJob: [(("tasks",), _evaluate_tasks), (("sets",), _evaluate_sets)],
    RestoreJob: [
        (("input",), check_input),
        (("input", "output"), check_output),
        (("tasks", "run"), check_rules),
        (("tile", "overlap"), check_tiling),
    ],
}

OF_DATA = (_pairs, _shards, _train_sets, _evaluate_sets, check_input)
"""The checks that look for the data of a job."""
