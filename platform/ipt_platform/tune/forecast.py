"""What a compound job will do, worked out before anything starts: its jobs, their steps, and how many run at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipt_platform.spec.checks import warnings
from ipt_platform.spec.job import CompoundJob, LearningJob, TuneJob
from ipt_platform.spec.load import LoadedJob, check_job
from ipt_platform.spec.members import PLACE, MemberFile, member_chains, trial_document
from ipt_platform.spec.tune import ChoicesKnob, Knob, RangeKnob
from ipt_platform.train.given import total_steps
from ipt_platform.train.slots import Slots, needed
from ipt_platform.tune.room import at_a_time
from ipt_platform.tune.space import grid


def compound_plan(loaded: LoadedJob, base: Path) -> dict[str, Any]:
    """What the job will do, as plain values (JSON).

    Returns:
        `kind`, `what` of an analysis, `name`, `warnings` of its jobs, `jobs`, `steps` (of all of them, if none is stopped),
        `at_a_time`, and `members`: of each job `job`, `role`, `seed`, `steps`, `begins_with`; of a search one trial stands for
        all, and `knobs` says what is tried.
    """
    job, outer = loaded.job, base / loaded.job.storage
    assert isinstance(job, CompoundJob)
    knobs: dict[str, str] = {}
    if isinstance(job, TuneJob):
        trial = MemberFile("t001", trial_document(loaded.document, PLACE, outer, "t001", job.seed, {}), job.seed, "every trial")
        members: Sequence[MemberFile] = [trial]
        trials = job.search.trials or sum(1 for _ in grid(job.search.space))
        times = trials + len(job.search.repeat) * min(job.search.best, trials)
        knobs = {path: _words(knob) for path, knob in job.search.space.items()}
    else:
        members = [member for chain in member_chains(loaded.document, PLACE, outer) for member in chain]
        times = 1
    jobs = [check_job(member.document, base) for member in members]
    rows = [_row(member, each) for member, each in zip(members, jobs, strict=True)]
    needs = [needed(each) for each in jobs if isinstance(each, LearningJob)] or [Slots(1)]
    return {
        "kind": job.kind,
        **({"what": job.what} if job.kind == "analyze" else {}),
        "name": job.name,
        "warnings": [*dict.fromkeys(said for each in jobs for said in warnings(each))],
        "jobs": len(rows) * times,
        "steps": sum(row["steps"] for row in rows) * times,
        "at_a_time": min(at_a_time(need, job.cluster.max_concurrent) for need in needs),
        "members": rows,
        "knobs": knobs,
    }


def _row(member: MemberFile, job: Any) -> dict[str, Any]:
    begins = getattr(job, "backbone", None) or getattr(job, "start", None)
    return {
        "job": member.id,
        "role": member.role,
        "seed": member.seed,
        "steps": total_steps(job),
        "begins_with": begins if isinstance(begins, str) else "random weights",
    }


def _words(knob: Knob) -> str:
    match knob:
        case ChoicesKnob():
            return ", ".join(str(choice) for choice in knob.choices)
        case RangeKnob():
            return f"{knob.min:g} to {knob.max:g}{', logarithmic' if knob.log else ''}"
        case _:
            return f"subsets of {', '.join(knob.subsets)}"
