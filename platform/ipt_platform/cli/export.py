"""`export RUN` and `import ADAPTER`: a task's bias for other programs, and a bias that another program trained."""

from pathlib import Path
from typing import Annotated

import typer

from ipt_platform.cli.output import Json, Storage, emit, say
from ipt_platform.errors import UsageError
from ipt_platform.registry.adopt import adopt_adapter
from ipt_platform.restore.export import FORMS, export_task
from ipt_platform.restore.model import find_weights
from ipt_platform.spec.words import did_you_mean
from ipt_platform.train.frozen import backbone_at

Task = Annotated[str, typer.Option("--task", metavar="TASK", help="Name of the task.")]


def export(
    run: Annotated[str, typer.Argument(metavar="RUN|CHECKPOINT", help="Run id, or folder of a run or checkpoint.")],
    task: Task,
    form: Annotated[str, typer.Option("--as", metavar="FORM", help=f"One of: {', '.join(FORMS)}.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder (backbone, peft) or file (onnx, program) to make.")],
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Write one task of a trained model as a merged backbone, a PEFT adapter, an ONNX model or a torch.export program."""
    if form not in FORMS:
        raise UsageError(f"there is no form '{form}'{did_you_mean(form, FORMS)}")
    checkpoint = find_weights(storage, run).checkpoint
    export_task(checkpoint, task, form, out)
    data = {"checkpoint": str(checkpoint), "task": task, "form": form, "out": str(out)}
    emit(data, as_json, lambda to: say(to, f"{out}: {task} of {checkpoint} as {form}"))


def import_adapter(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of a LoRA adapter in PEFT's layout.")],
    backbone: Annotated[
        str, typer.Option(metavar="RUN|CHECKPOINT|PACK", help="What it was trained on: a run, a checkpoint or a backbone pack.")
    ],
    task: Task,
    out: Annotated[Path, typer.Option("--out", "-o", help="Bias pack to make.")],
    storage: Storage = "runs",
    as_json: Json = False,
) -> None:
    """Make a bias pack of an adapter in PEFT's layout."""
    found = backbone_at(backbone, Path(storage), Path())
    pack = adopt_adapter(adapter, found.backbone, found.name, found.lineage["source"], task, out)
    info = pack.info
    data = {"out": str(out), "task": task, "fingerprint": info.backbone.fingerprint, "parameters": info.parameters}
    emit(data, as_json, lambda to: say(to, f"{out}: bias pack of {task}, {info.parameters:,} parameters"))
