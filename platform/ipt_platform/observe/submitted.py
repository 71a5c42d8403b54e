"""Where a run was submitted to, as it stands in its folder."""

import json
from dataclasses import asdict, dataclass

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import NotFoundError
from ipt_platform.observe.rundir import RunDir


@dataclass(frozen=True)
class Submitted:
    """A run on a cluster.

    Attributes:
        cluster: its name for whoever submitted it.
        address: of its dashboard.
        id: Ray's name of the submission.
        owner: who submitted it, and where.
    """

    cluster: str
    address: str
    id: str
    owner: str


def submitted(run: RunDir) -> Submitted | None:
    """Where a run was submitted to last; None: to no cluster, or its file is cut short."""
    try:
        data = run.mirror.remote.read(run.submission.name) if run.mirror else run.submission.read_bytes()
        return Submitted(**json.loads(data))
    except (NotFoundError, OSError, ValueError, TypeError):
        return None


def keep_submitted(run: RunDir, to: Submitted) -> None:
    """Write down where a run was submitted to."""
    replace_file(run.submission, json.dumps(asdict(to)).encode() + b"\n")
    run.keep(run.submission)
