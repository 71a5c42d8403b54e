"""`kind: tune` as a run: Ray Tune tries values, each trial is an ordinary job, and the best are repeated with more seeds."""

import os
import shutil
import uuid
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import FailureConfig, ResultGrid, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.stopper import Stopper

from ipt_platform.errors import CancelledRunError, TrainingError
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import TuneJob
from ipt_platform.spec.load import LoadedJob
from ipt_platform.train.driver import run_training
from ipt_platform.train.exporting import led
from ipt_platform.train.given import total_steps
from ipt_platform.train.slots import Slots, needed
from ipt_platform.tune.members import Crew
from ipt_platform.tune.outcome import write_outcome
from ipt_platform.tune.plan import Plan
from ipt_platform.tune.prior import as_written, first_trials
from ipt_platform.tune.room import at_a_time, at_a_time_there, check_dashboard
from ipt_platform.tune.searcher import StudySearcher
from ipt_platform.tune.telling import TrialsTold
from ipt_platform.tune.trial import TrialRun
from ipt_platform.tune.trials import Suggestion, read_trials, suggest, suggestions
from ipt_platform.tune.whole import RayOf, Whole, attempt_at

WATCHER = 0.01
"""CPUs of the actor that watches a trial: the job's own workers ask for what they need."""

ENVIRONMENT = {
    # Files of Tune's own, which nobody would read: a trial is a run, with the files of one.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's snapshots of itself; a search goes on from its own files.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def search(loaded: LoadedJob, run: RunDir, base: Path, leader: Process | None, ray_of: RayOf) -> None:
    """Search, and write what came of it into the run.

    Args:
        loaded: the resolved job and its document.
        run: its run.
        base: what relative paths of the job are relative to.
        leader: the process with which the search lives and ends.
        ray_of: connects to a Ray that has what is asked of it.

    Raises:
        CancelledRunError: somebody stopped it; trials that were under way have committed a checkpoint.
        TrainingError: no trial came to its end.
        RefusedError: another attempt took the run over, or a trial has no room on the cluster.
        InfrastructureError: Ray or the storage failed.
    """
    job = loaded.job
    assert isinstance(job, TuneJob)
    plan = Plan(loaded, run, base)
    need = needed(plan.job)
    embedded = not os.environ.get("RAY_ADDRESS")
    limit = job.cluster.max_concurrent
    room = at_a_time(need, limit)
    watchers = Slots(cpus=1)
    wanted = need.times(room)
    with (
        ray_of(Slots(wanted.cpus + watchers.cpus, wanted.gpus, wanted.store_bytes, dashboard=True)),
        attempt_at(run, base, leader, plan.total) as whole,
        led(job.name) as voice,
    ):
        if not embedded:
            check_dashboard()
            room = at_a_time_there(need, limit)
        _try(plan, whole, room, TrialsTold(voice, read_trials(run)))
        if reason := whole.asked_to_stop():
            raise CancelledRunError(reason)
        trials = read_trials(run)
        whole.total = len(trials) + len(plan.repeats(trials))
        if not any(trial.state == "finished" for trial in trials):
            why = next((trial.reason for trial in trials if trial.reason), "no trial was possible")
            raise TrainingError(f"none of {len(trials)} trials came to its end; the first of them: {why}")
        train = partial(run_training, base=base, leader=whole.leader, part_of=job.name)
        repeats = Crew(whole, train, room).work(plan.repeats(trials))
        write_outcome(plan, trials, repeats, whole.attempt)


def _try(plan: Plan, whole: Whole, room: int, told: TrialsTold) -> None:
    """Let Tune try values until there are enough trials, or somebody asks to stop."""
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    known = suggestions(plan.run)

    def start(suggestion: Suggestion) -> dict[str, Any]:
        if suggestion not in known:
            suggest(plan.run, suggestion, whole.attempt)
        told.now(suggestion.trial, "running")
        whole.tell(suggestion.trial, "running", values=str(suggestion.values), source=suggestion.source)
        document = plan.document(suggestion.trial, plan.tuned.seed, suggestion.values)
        return {
            "whole": str(whole.run.path.absolute()),
            "attempt": whole.attempt,
            "run": str(whole.member(suggestion.trial).path.absolute()),
            "document": document.value,
            "base": str(plan.base.absolute()),
            "leader": asdict(whole.leader),
            "part_of": plan.tuned.name,
        }

    first = [
        *as_written(plan.spec, plan.job),
        *first_trials(plan.spec, plan.base / plan.tuned.storage, plan.base),
    ]
    searcher = StudySearcher(plan.spec, plan.tuned.seed, known, first, plan.possible, start)
    place = whole.run.path / "ray"
    config = RunConfig(
        name=uuid.uuid4().hex[:12],
        storage_path=str(place.absolute()),
        stop=Watch(whole),
        verbose=0,
        failure_config=FailureConfig(max_failures=0),
        callbacks=[Counted(whole, told)],
    )
    try:
        results = Tuner(
            tune.with_resources(TrialRun, {"cpu": WATCHER}),
            tune_config=TuneConfig(
                search_alg=searcher,
                scheduler=_scheduler(plan),
                num_samples=-1,
                max_concurrent_trials=room,
                reuse_actors=False,
            ),
            run_config=config,
        ).fit()
        assert isinstance(results, ResultGrid)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _scheduler(plan: Plan) -> TrialScheduler:
    spec, job = plan.spec, plan.job
    if spec.scheduler == "none":
        return FIFOScheduler()
    steps = total_steps(job)
    grace = min(spec.grace or job.evaluate.every or steps, steps)
    return ASHAScheduler(
        time_attr="step", metric="psnr", mode="max", max_t=steps, grace_period=grace, reduction_factor=spec.reduction
    )


class Watch(Stopper):
    """Ends the whole search when somebody asks for it (Ray Tune's interface)."""

    def __init__(self, whole: Whole):
        self.whole = whole

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended for itself."""
        return False

    def stop_all(self) -> bool:
        """Whether to end it."""
        return bool(self.whole.run.stop_requested(self.whole.attempt)) or self.whole.run.current_attempt() != self.whole.attempt


class Counted(tune.Callback):
    """Writes down in the search's run how each trial ended (Ray Tune's interface)."""

    def __init__(self, whole: Whole, told: TrialsTold):
        self.whole, self.told = whole, told

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """A trial was stopped or came to its end."""
        result = trial.last_result or {}
        over = result.get("step", 0) >= result.get("steps", 1)
        psnr = {"psnr": result["psnr"]} if result.get("psnr") is not None else {}
        self._ended(trial, "finished" if over else "stopped", step=result.get("step", 0), **psnr)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """A trial failed."""
        self._ended(trial, "failed")

    def _ended(self, trial: Any, state: str, **fields: Any) -> None:
        name = Path(trial.config["run"]).name
        self.told.now(name, state, fields.get("psnr"))
        self.whole.tell(name, state, **fields)
        self.whole.count(self.whole.done + 1)
