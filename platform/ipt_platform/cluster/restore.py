"""`kind: restore` as a run: what is missing is restored by actors of Ray, and every picture is accounted for.

The outputs are the state: an attempt looks at what is there, and does the rest. So nothing is lost when anything is killed, and
nothing is done twice but the pictures that were at work just then.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipt_platform.data.bad import Bad, count_kinds, in_order
from ipt_platform.errors import CancelledRunError, IptError, RefusedError
from ipt_platform.evaluate.report import write_report
from ipt_platform.observe.events import append_ending, append_event, read_events
from ipt_platform.observe.metrics_log import append_metrics
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.restore.batch import Done, Setup, names_bytes, restore_stream
from ipt_platform.restore.models import Chosen, kept_models
from ipt_platform.restore.outputs import Outputs
from ipt_platform.restore.work import Work, find_work
from ipt_platform.spec.job import RestoreJob
from ipt_platform.train.slots import Slots

log = logging.getLogger(__name__)

WORD_SECONDS = 1.0
"""How often an attempt says how far it is, and looks whether it should go on."""


def restore_all(
    job: RestoreJob,
    run: RunDir,
    base: Path,
    leader: Process | None,
    ray_of: Callable[[Slots], AbstractContextManager[None]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Restore what is missing, and write the run's report.

    Args:
        job: what to restore.
        run: its run, with the models that it was submitted with.
        base: what relative paths of the job are relative to.
        leader: who leads the attempt; this process by default.
        ray_of: connects to a Ray that has what is asked of it.
        clock: seconds, for durations.

    Raises:
        CancelledRunError: somebody stopped it.
        RefusedError: another attempt took the run over.
        InfrastructureError: actors were lost more often than the job allows, or Ray or the storage failed.
        UsageError, NotFoundError, DataError, CheckpointError, PackError: input, output or models cannot be used.
    """
    attempt = run.new_attempt(leader)
    try:
        chosen = kept_models(run.models)
        outputs = Outputs.of(job.output, run.id, base)
        tally = Tally(find_work(job, run.id, base), _found_at_first(run), began=clock())
        append_event(
            run,
            "resumed" if attempt > 1 else "started",
            attempt,
            step=tally.dealt_with,
            steps=tally.work.total,
            found=tally.work.found,
        )
        missing = any(tally.work.missing.values())
        with ray_of(_slots(job, tally.work)) if missing else nullcontext():
            setup = _setup(job, run, attempt, outputs, chosen)
            done = restore_stream(setup, tally.work.missing, job.cluster) if missing else ()
            _follow(done, tally, run, attempt, clock)
            _refuse_overtaken(run, attempt)
            outputs.tidy()  # an actor that was lost may have been writing
            _finish(job, run, attempt, chosen, tally, clock)
    except IptError as error:
        with suppress(RefusedError), run.fence(attempt)():  # unless another attempt has taken the run over
            append_ending(run, attempt, error)
        raise


@dataclass
class Tally:
    """What became of the pictures of a run.

    Attributes:
        work: what an attempt found to do.
        at_first: outputs that were there before the run; None: this is its first attempt.
        began: when the attempt began, by its clock.
        restored: pictures restored by this attempt.
        bad: pictures that cannot be restored.
    """

    work: Work
    at_first: int | None
    began: float
    restored: int = 0
    bad: list[Bad] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bad += self.work.refused

    def add(self, done: Done) -> Bad | None:
        """Count a picture; if it is bad, as what."""
        if not done.kind:
            self.restored += 1
            return None
        bad = Bad(done.name, done.kind, done.reason)  # pyright: ignore[reportArgumentType] (a kind, as the actor found it)
        self.bad.append(bad)
        return bad

    @property
    def found(self) -> int:
        """Outputs that were there before the run."""
        return self.work.found if self.at_first is None else min(self.at_first, self.work.found)

    @property
    def dealt_with(self) -> int:
        """Pictures that are restored, or known to be bad."""
        return self.work.found + self.restored + len(self.bad)

    def line(self, seconds: float) -> dict[str, Any]:
        """A line of metrics.jsonl, after so many seconds of the attempt."""
        new = self.restored + len(self.bad) - len(self.work.refused)
        rate = new / seconds if seconds > 0 else 0.0
        left = self.work.total - self.dealt_with
        return {
            "step": self.dealt_with,
            "steps": self.work.total,
            "images_per_second": rate,
            "samples": {"seen": self.dealt_with, "bad": in_order(count_kinds(self.bad))},
            "seconds": seconds,
            "eta_seconds": left / rate if rate else None,
        }


def make_report(job: RestoreJob, chosen: dict[str, Chosen], tally: Tally, seconds: float) -> dict[str, Any]:
    """The content of report.json.

    Args:
        job: the job.
        chosen: what restored.
        tally: what became of the pictures.
        seconds: duration of the last attempt.
    """
    bad: dict[str, list[dict[str, str]]] = {kind: [] for kind in in_order(count_kinds(tally.bad))}
    for each in sorted(tally.bad):
        bad[each.kind].append({"name": each.name, "reason": each.reason})
    return {
        "pictures": tally.work.total,
        "restored": tally.work.found + tally.restored - tally.found,
        "found": tally.found,
        "bad": bad,
        "unmatched": tally.work.unmatched,
        "ignored": tally.work.ignored,
        "tasks": tally.work.tasks,
        "models": {task: {"by": str(each), "scale": each.scale} for task, each in chosen.items()},
        "output": job.output,
        "seconds": seconds,
    }


def _found_at_first(run: RunDir) -> int | None:
    first = next((event for event in read_events(run) if "found" in event), None)
    return first["found"] if first else None


def _slots(job: RestoreJob, work: Work) -> Slots:
    cluster = job.cluster
    return Slots(
        cpus=cluster.actors * cluster.cpus_per_actor,
        gpus=cluster.actors * cluster.gpus_per_actor,
        store_bytes=2 * names_bytes(work.missing),  # as one task holds them, and as blocks of their own
    )


def _setup(job: RestoreJob, run: RunDir, attempt: int, outputs: Outputs, chosen: dict[str, Chosen]) -> Setup:
    return Setup(
        run=run.path.absolute(),
        storage=run.mirror.about.storage if run.mirror else None,
        attempt=attempt,
        output=outputs.output,
        chosen=chosen,
        tile=job.tile,
        overlap=job.overlap,
        threads=max(1, int(job.cluster.cpus_per_actor)),
        device="cuda" if job.cluster.gpus_per_actor else "cpu",
    )


def _follow(stream: Iterable[Done], tally: Tally, run: RunDir, attempt: int, clock: Callable[[], float]) -> None:
    """Count what is done; say so from time to time, and stop when somebody asks for it."""
    for refused in tally.work.refused:
        _tell_bad(refused, run, attempt)
    last = None
    for done in stream:
        if bad := tally.add(done):
            _tell_bad(bad, run, attempt)
        if last is None or clock() - last >= WORD_SECONDS:
            last = clock()
            _refuse_overtaken(run, attempt)
            append_metrics(run, {"attempt": attempt, **tally.line(last - tally.began)})
        if reason := run.stop_requested(attempt):
            raise CancelledRunError(reason)


def _finish(
    job: RestoreJob, run: RunDir, attempt: int, chosen: dict[str, Chosen], tally: Tally, clock: Callable[[], float]
) -> None:
    seconds = clock() - tally.began
    report = make_report(job, chosen, tally, seconds)
    with run.fence(attempt)():
        append_metrics(run, {"attempt": attempt, **tally.line(seconds)})
        write_report(run.report, report)
        run.keep_results()
        done = f"{report['restored']} restored, {report['found']} were there, {len(tally.bad)} bad"
        append_event(run, "finished", attempt, step=tally.dealt_with, reason=done)


def _tell_bad(bad: Bad, run: RunDir, attempt: int) -> None:
    log.warning("bad picture %s (%s): %s", bad.name, bad.kind, bad.reason)
    append_event(run, "bad-sample", attempt, key=bad.name, kind=bad.kind, reason=bad.reason)


def _refuse_overtaken(run: RunDir, attempt: int) -> None:
    with run.fence(attempt)():
        pass
