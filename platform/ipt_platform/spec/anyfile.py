"""Any file that people write, by its `kind`: a job, a task or a dataset card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipt_platform.errors import Problem, SpecError
from ipt_platform.spec.checks import warnings
from ipt_platform.spec.dataset import load_card
from ipt_platform.spec.load import load_job
from ipt_platform.spec.source import MisreadError, load_yaml
from ipt_platform.spec.task import load_task_file


@dataclass(frozen=True)
class Checked:
    """A file in which nothing is wrong.

    Attributes:
        kind: What it says it is.
        name: Of the job, the task or the set.
        warnings: What has no effect, or may not have been meant; one sentence each.
    """

    kind: str
    name: str
    warnings: list[str]

    def __str__(self) -> str:
        what = {"task": "task", "dataset": "dataset card"}.get(self.kind, f"{self.kind} job")
        return f"a valid {what}, '{self.name}'"


def check_file(path: Path, overrides: Sequence[str] = (), base: Path = Path()) -> Checked:
    """Check a file of any kind; one that says none of them is judged as a job.

    Args:
        path: The YAML file.
        overrides: `KEY=VALUE` texts of `--set`, for jobs alone.
        base: What relative paths in a job are relative to: the directory the command runs in.

    Raises:
        NotFoundError: No such file.
        UsageError: The file cannot be read.
        SpecError: Every problem in it, each with its line.
    """
    kind = _kind(path)
    if kind not in {"task", "dataset"}:
        job = load_job(path, overrides, base).job
        return Checked(job.kind, job.name, warnings(job))
    if overrides:
        raise SpecError([Problem(f"replaces a value of a job, and {path} is a {kind}", file=f"--set {overrides[0]}")])
    return Checked(kind, (load_task_file(path) if kind == "task" else load_card(path)).name, [])


def _kind(path: Path) -> str:
    try:
        value = load_yaml(path).value
    except MisreadError as error:
        value = error.document.value
    return str(value.get("kind")) if isinstance(value, dict) else ""
