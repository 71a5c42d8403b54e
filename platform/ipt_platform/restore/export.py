"""One task of a checkpoint in the form of somebody else: a merged backbone, a PEFT adapter, ONNX, a program of torch.export."""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch

from ipt_platform.checkpoint.backbone import write_backbone
from ipt_platform.checkpoint.durable import replace_file, write_folder
from ipt_platform.checkpoint.files import verify
from ipt_platform.checkpoint.load import merged_for
from ipt_platform.checkpoint.state import load_biased_model, read_state
from ipt_platform.errors import NotFoundError, RefusedError
from ipt_platform.model.bias import BiasedModel
from ipt_platform.model.export import export_onnx, export_program
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.events import utc_now
from ipt_platform.registry.peft import peft_files


@dataclass(frozen=True)
class Source:
    """A task of a checkpoint: the loaded model, its backbone's kind, and where it lies."""

    model: BiasedModel
    task: str
    backbone: str
    checkpoint: Path
    step: int

    def restorer(self) -> IPTV2:
        """The backbone with the task's bias merged and its branches fused."""
        merged = merged_for(self.model, self.task)
        assert isinstance(merged, IPTV2)
        return merged


def export_task(checkpoint: Path, task: str, form: str, out: Path) -> None:
    """Write a task of a checkpoint.

    Args:
        checkpoint: its folder.
        task: the task.
        form: a key of `FORMS`.
        out: the folder (`backbone`, `peft`) or file (`onnx`, `program`) to make.

    Raises:
        CheckpointError: the checkpoint is damaged.
        NotFoundError: it has no bias for the task.
        PackError: the bias cannot be said in this form.
        RefusedError: there is something already.
    """
    if out.exists():
        raise RefusedError(f"{out} is there already: name another output")
    verify(checkpoint)
    state = read_state(checkpoint)
    model = load_biased_model(checkpoint)
    if task not in model.biases:
        known = ", ".join(model.biases) or "none: one model was trained for all of its tasks"
        raise NotFoundError(f"there is no bias for task {task!r}; the checkpoint has: {known}")
    FORMS[form](Source(model, task, state["model"]["backbone"], checkpoint.absolute(), state["step"]), out)


def _backbone(source: Source, out: Path, clock: Callable[[], datetime] = utc_now) -> None:
    """A backbone pack on which the task needs no bias any more."""
    merged = copy.deepcopy(source.model.backbone)
    source.model.bias(source.task).merge_into(merged)
    lineage = {
        "source": str(source.checkpoint),
        "run": source.checkpoint.parent.parent.name,
        "step": source.step,
        "merged": source.task,
    }
    write_backbone(out, merged, source.backbone, lineage, clock().isoformat(timespec="milliseconds"))


def _peft(source: Source, out: Path) -> None:
    write_folder(out, peft_files(source.model.bias(source.task), source.backbone))


def _onnx(source: Source, out: Path) -> None:
    _write(out, export_onnx(source.restorer()))


def _program(source: Source, out: Path) -> None:
    buffer = io.BytesIO()
    torch.export.save(export_program(source.restorer()), buffer)
    _write(out, buffer.getvalue())


def _write(out: Path, data: bytes) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, data)


FORMS: dict[str, Callable[[Source, Path], None]] = {
    "backbone": _backbone,
    "peft": _peft,
    "onnx": _onnx,
    "program": _program,
}
"""Every form by its name."""
