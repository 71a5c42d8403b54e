"""What an analysis proposes, as a job that can be submitted: biases alone, on the backbone before, where they belong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import SpecError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.compound import as_finetune
from ipt_platform.spec.load import check_job, dump_job
from ipt_platform.spec.source import Document
from ipt_platform.tune.weights import Sides


def write_proposal(run: RunDir, name: str, storage: str, sides: Sides, bias: Mapping[str, Any], base: Path) -> str:
    """Write proposal.yaml: the training after which the weights are, as a finetune of biases alone.

    Returns:
        Where it is, or why there is none.
    """
    if sides.job is None:
        return "no job is proposed: which training made `after` is not known"
    plain = sides.job.model_dump(mode="json")
    value = as_finetune(plain) | {
        "kind": "finetune",
        "name": f"{name[:54]}-proposal",
        "storage": storage,
        "backbone": sides.found.lineage["source"],
        "bias": dict(bias),
    }
    try:
        job = check_job(Document(value, {}, "proposal.yaml"), base)
    except SpecError as error:
        return f"no job is proposed: {error}"
    replace_file(run.path / "proposal.yaml", dump_job(job).encode())
    return f"ipt-platform submit {Path(storage) / run.id / 'proposal.yaml'}"
