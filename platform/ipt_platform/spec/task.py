"""The task file: which degradation a task undoes, how it is trained and how it is tested."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.base import Degradation
from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.base import Many, Name, Replacements, Spec, Text
from ipt_platform.spec.problems import problems_of
from ipt_platform.spec.source import Document, parse_yaml
from ipt_platform.spec.words import TaskStage, did_you_mean


class TaskSpec(Spec):
    """A task: a name for one degradation, its parameters in training and its parameters in frozen test sets."""

    apiVersion: Literal["ipt/v1"] = Field(description="Version of this format: ipt/v1.")  # noqa: N815 (as Kubernetes spells it)
    kind: Literal["task"] = Field(description="task.")
    name: Name = Field(description="What jobs call the task.")
    description: Text = Field(description="One sentence for people who choose a task.")
    stage: TaskStage = Field(
        description="elementary: trained together with the backbone; downstream: a bias on a frozen backbone."
    )
    degradation: dict[str, Any] = Field(
        description="name: the degradation; and its training parameters (units as in the degradation's reference)."
    )
    evaluate: Replacements = Field(
        default_factory=dict, description="Parameters that replace the training ones in frozen test sets."
    )
    quantize: bool = Field(
        default=False, description="Round degraded pictures to 8 bits (clipping them) before the network sees them."
    )
    instructions: Many[Text] = Field(default=(), description="Sentences with which a person may ask for this task.")

    def training(self, params: Mapping[str, Any]) -> Degradation:
        """The degradation of training pairs; `params` (of the job) win over the task's own.

        Raises:
            pydantic.ValidationError: A parameter is unknown or out of range.
            SpecError: The degradation's name is unknown.
        """
        return build_degradation({**self.degradation, **params})

    def testing(self, params: Mapping[str, Any]) -> Degradation:
        """The degradation of frozen test sets; `params` win over `evaluate`, which wins over `degradation`.

        Raises:
            pydantic.ValidationError: A parameter is unknown or out of range.
            SpecError: The degradation's name is unknown.
        """
        return build_degradation({**self.degradation, **self.evaluate, **params})


def task_names() -> list[str]:
    """Names of the tasks that ship with the platform, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load_task(name: str) -> TaskSpec:
    """The task called `name`.

    Raises:
        SpecError: No such task, or its file is wrong.
    """
    if name not in task_names():
        raise SpecError([Problem(f"unknown task '{name}'{did_you_mean(name, task_names())}")])
    text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    return parse_task(text, f"tasks/{name}.yaml")


def parse_task(text: str, file: str) -> TaskSpec:
    """A task from the text of its file; `file` is how problems name it.

    Raises:
        SpecError: Not a task, or its degradation cannot be built for training or for testing; every problem found.
    """
    document = parse_yaml(text, file)
    try:
        task = TypeAdapter(TaskSpec).validate_python(document.value)
    except ValidationError as error:
        raise SpecError(problems_of(error, TaskSpec, document)) from error
    problems = _judged(document, "degradation", lambda: task.training({}))
    # A mistake in `degradation` shows in both; what `evaluate` does not write is not its mistake.
    own = {("evaluate", key) for key in task.evaluate}
    problems += [each for each in _judged(document, "evaluate", lambda: task.testing({})) if _key(each) in own]
    if problems:
        raise SpecError(problems)
    return task


def _judged(document: Document, section: str, build: Callable[[], Degradation]) -> list[Problem]:
    try:
        build()
    except ValidationError as error:
        return problems_of(error, None, document, (section,))
    except SpecError as error:
        return [document.problem((section, "name"), problem.message) for problem in error.problems]
    return []


def _key(problem: Problem) -> tuple[str, ...]:
    return tuple(problem.path.split(".")[:2])


def _folder() -> Any:
    return files("ipt_platform") / "tasks"
