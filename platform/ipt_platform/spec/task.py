"""The task file: which degradation a task undoes, how it is trained and how it is tested."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from ipt_platform.data.degradations import build_degradation
from ipt_platform.data.degradations.base import Degradation
from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.base import Many, Name, Replacements, Spec, Text
from ipt_platform.spec.problems import problems_of, shown
from ipt_platform.spec.recipe import problems_in, problems_of_params, with_params
from ipt_platform.spec.source import parse_yaml
from ipt_platform.spec.words import TaskStage, did_you_mean


def _spelled(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict | list):
        raise ValueError(f"expected {{name: ..., parameters}} or a list of those, found {shown(value)}")
    return value


Degraded = Annotated[Any, BeforeValidator(_spelled)]


class TaskSpec(Spec):
    """A task: a name for one degradation, its parameters in training and its parameters in frozen test sets."""

    apiVersion: Literal["ipt/v1"] = Field(description="Version of this format: ipt/v1.")  # noqa: N815 (as Kubernetes spells it)
    kind: Literal["task"] = Field(description="task.")
    name: Name = Field(description="What jobs call the task.")
    description: Text = Field(description="One sentence for people who choose a task.")
    stage: TaskStage = Field(
        description="elementary: trained together with the backbone; downstream: a bias on a frozen backbone."
    )
    degradation: Degraded = Field(
        description="name: the degradation; and its training parameters, as docs/degradations.md has them. Or a list of "
        "such steps, applied in order, each with the probability of its `probability`."
    )
    evaluate: Replacements = Field(
        default_factory=dict,
        description="Parameters that replace the training ones in frozen test sets; those of a step below its name.",
    )
    quantize: bool = Field(
        default=False, description="Round degraded pictures to 8 bits (clipping them) before the network sees them."
    )
    instructions: Many[Text] = Field(default=(), description="Sentences with which a person may ask for this task.")

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
    problems = problems_in(task.degradation, document, ("degradation",))
    # A mistake in `degradation` shows in both; what `evaluate` does not write is not its mistake.
    replacing = problems_of_params(task.degradation, task.evaluate, document, ("evaluate",))
    problems += [problem for problem in replacing if problem.path != "evaluate" or not problems]
    if problems:
        raise SpecError(problems)
    return task


def _folder() -> Any:
    return files("ipt_platform") / "tasks"
