"""The task file: which degradation a task undoes, or where its pairs are; how it is trained and how it is tested."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.base import Degradation
from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.base import Many, Name, Replacements, Spec, Text, Texts
from ipt_platform.spec.gates import Gate, GateText, parse_gate
from ipt_platform.spec.problems import problems_of, shown
from ipt_platform.spec.recipe import problems_in, problems_of_params, with_params
from ipt_platform.spec.registered import find_registered, kept_file, registered_document, registered_names
from ipt_platform.spec.source import Document, load_yaml, parse_yaml
from ipt_platform.spec.words import Protocol, TaskStage, did_you_mean

OWN = "tasks"
"""The folder, below where the command runs, of tasks that do not ship with the platform."""

PAPER = "jobs/paper/tasks"
"""Where else such tasks are: those of the jobs that repeat the paper's tables. Nobody asks for them in words."""


def _spelled(value: Any) -> Any:
    if value is None:
        return None  # as records write it of a task that reads pairs
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict | list):
        raise ValueError(f"expected {{name: ..., parameters}} or a list of those, found {shown(value)}")
    return value


Degraded = Annotated[Any, BeforeValidator(_spelled)]


class TaskSpec(Spec):
    """A task: a name for one degradation, its parameters in training and its parameters in frozen test sets; or a name for
    what pairs on disk have in common.
    """

    apiVersion: Literal["ipt/v1"] = Field(description="Version of this format: ipt/v1.")  # noqa: N815 (as Kubernetes spells it)
    kind: Literal["task"] = Field(description="task.")
    name: Name = Field(description="What jobs call the task.")
    description: Text = Field(description="One sentence for people who choose a task.")
    stage: TaskStage = Field(
        description="elementary: trained together with the backbone; downstream: a bias on a frozen backbone."
    )
    degradation: Degraded = Field(
        default=None,
        validate_default=False,
        description="name: the degradation; and its training parameters, as docs/degradations.md has them. Or a list of "
        "such steps, applied in order, each with the probability of its `probability`.",
    )
    pairs: Texts | None = Field(
        default=None,
        description="In place of a degradation: paired shards (`data pack --pairs`) to train on, as data.shards of a job names "
        "shards; relative to the directory the command runs in.",
    )
    evaluate: Replacements = Field(
        default_factory=dict,
        description="Parameters that replace the training ones in frozen test sets; those of a step below its name.",
    )
    quantize: bool = Field(
        default=False, description="Round degraded pictures to 8 bits (clipping them) before the network sees them."
    )
    instructions: Many[Text] = Field(default=(), description="Sentences with which a person may ask for this task.")
    owner: Text | None = Field(
        default=None, description="Whom to ask about the task: a person or a team; null: whoever registers it."
    )
    sets: Many[Text] = Field(
        default=(),
        description="Test sets that every version of the task is measured on, named as in a job's evaluate.sets; their "
        "digests are kept when the task is registered.",
    )
    protocol: Protocol = Field(default="rgb-uint8", description="How PSNR and SSIM are measured on these sets.")
    gates: Many[GateText] = Field(
        default=(),
        description="What a version must reach on each of the sets before an alias may point to it: 'psnr >= 30.1' (dB), "
        "'gain >= 0.5' (dB over the degraded picture), 'ssim >= 0.9'.",
    )
    margin: float = Field(
        default=0.05, ge=0, le=100, description="Most dB that a version may lose on a set against the one it replaces."
    )

    @property
    def thresholds(self) -> tuple[Gate, ...]:
        """The gates, as numbers."""
        return tuple(parse_gate(gate) for gate in self.gates)

    @property
    def tested(self) -> Any:
        """The degradation of frozen test sets, as a file would spell it: `evaluate` wins over `degradation`.

        Raises:
            SpecError: A key of `evaluate` is no parameter and no step.
        """
        return with_params(self.degradation, self.evaluate)

    def training(self, params: Mapping[str, Any]) -> Degradation:
        """The degradation of training pairs; `params` (of the job) win over the task's own.

        Raises:
            pydantic.ValidationError: A parameter is unknown or out of range.
            SpecError: A key of `params` is no parameter and no step.
        """
        return build_degradation(with_params(self.degradation, params))

    def testing(self, params: Mapping[str, Any]) -> Degradation:
        """The degradation of frozen test sets; `params` win over `evaluate`, which wins over `degradation`.

        Raises:
            pydantic.ValidationError: A parameter is unknown or out of range.
            SpecError: A key of `params` is no parameter and no step.
        """
        return build_degradation(with_params(self.tested, params))


def task_names() -> list[str]:
    """Names of the tasks that ship with the platform, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def owned_file(name: str, base: Path = Path()) -> Path | None:
    """The file of a task that does not ship with the platform, if there is one where commands look for it."""
    return next((file for folder in (OWN, PAPER) if (file := base / folder / f"{name}.yaml").is_file()), None)


def load_task(name: str, base: Path = Path(), registered: Path | None = None) -> TaskSpec:
    """The task called `name`: as it was registered last or as a run keeps it, else one that ships, or the user's
    `tasks/NAME.yaml`.

    Args:
        name: What jobs call it.
        base: What `tasks/` is relative to: the directory the command runs in.
        registered: Folder of registered tasks, or of those that a run keeps (`spec.registered`), if there may be some.

    Raises:
        SpecError: No such task, its file is wrong, or two have the name.
    """
    return task_of(_document(name, base, registered))


def problem_of_pairs(name: str, base: Path, message: str, registered: Path | None = None) -> Problem:
    """A problem with the pairs that a task's file names, on their line."""
    return _document(name, base, registered).problem(("pairs",), message)


def _document(name: str, base: Path, registered: Path | None) -> Document:
    """The file of a task."""
    if registered and (found := find_registered(registered, name)):
        return registered_document(found)
    if registered and (kept := kept_file(registered, name)).is_file():
        return load_yaml(kept)
    own, ships = owned_file(name, base), name in task_names()
    if ships and own:
        raise SpecError([Problem(f"'{name}' is a task that ships with the platform; give yours another name", file=str(own))])
    if ships:
        return parse_yaml((_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"{OWN}/{name}.yaml")
    if not own:
        owned = [found.stem for found in sorted((base / OWN).glob("*.yaml"))]
        known = [*task_names(), *owned, *(registered_names(registered) if registered else ())]
        raise SpecError([Problem(f"unknown task '{name}'{did_you_mean(name, known)}")])
    document = load_yaml(own)
    if isinstance(document.value, dict) and document.value.get("name", name) != name:
        found = document.value["name"]
        raise SpecError([document.problem(("name",), f"expected '{name}', as the file is called, found {shown(found)}")])
    return document


def parse_task(text: str, file: str) -> TaskSpec:
    """A task from the text of its file; `file` is how problems name it.

    Raises:
        SpecError: Not a task, neither a degradation nor pairs or both, or its degradation cannot be built for training or for
            testing; every problem found.
    """
    return task_of(parse_yaml(text, file))


def load_task_file(path: Path) -> TaskSpec:
    """The task in a file of any name.

    Raises:
        NotFoundError: No such file.
        SpecError: As `parse_task`.
    """
    return task_of(load_yaml(path))


def task_of(document: Document) -> TaskSpec:
    """The task in a document.

    Raises:
        SpecError: As `parse_task`.
    """
    try:
        task = TypeAdapter(TaskSpec).validate_python(document.value)
    except ValidationError as error:
        raise SpecError(problems_of(error, TaskSpec, document)) from error
    problems = _problems_of_recipe(task, document)
    if task.gates and not task.sets:
        problems.append(document.problem(("gates",), "gates are judged on test sets: name some in `sets`"))
    if problems:
        raise SpecError(problems)
    return task


def _problems_of_recipe(task: TaskSpec, document: Document) -> list[Problem]:
    """What is wrong with where a task's pairs come from."""
    if task.pairs or task.degradation is None:
        return _problems_of_source(task, document)
    problems = problems_in(task.degradation, document, ("degradation",))
    # A mistake in `degradation` shows in both; what `evaluate` does not write is not its mistake.
    replacing = problems_of_params(task.degradation, task.evaluate, document, ("evaluate",))
    return problems + [problem for problem in replacing if problem.path != "evaluate" or not problems]


def _problems_of_source(task: TaskSpec, document: Document) -> list[Problem]:
    """What is wrong with a task that has pairs, or no degradation."""
    if not task.pairs:
        written = ("degradation",) if "degradation" in document.value else ()
        return [document.problem(written, "a task needs a `degradation`, or `pairs` on disk; write one of them")]
    reasons = {
        "degradation": "a task either degrades clean photographs or reads `pairs`; leave one of them out",
        "evaluate": "pairs on disk have no parameters to replace; name paired test sets in the job's evaluate.sets",
        "quantize": "pairs on disk are rounded to 8 bits already; leave this out",
    }
    return [document.problem((key,), reason) for key, reason in reasons.items() if getattr(task, key)]


def _folder() -> Any:
    return files("ipt_platform") / "tasks"
