"""A search as its parts need it: what its trials are made of, and which of them are repeated."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipt_platform.errors import SpecError
from ipt_platform.observe.rundir import RunDir
from ipt_platform.spec.job import LearningJob, TuneJob
from ipt_platform.spec.load import LoadedJob, check_job
from ipt_platform.spec.members import MemberFile, trial_document
from ipt_platform.spec.source import Document
from ipt_platform.tune.space import grid
from ipt_platform.tune.trials import Trial


class Plan:
    """A search and its run.

    Attributes:
        job: the job of a trial whose knobs are as in the base.
        total: trials and repetitions in all.
    """

    def __init__(self, loaded: LoadedJob, run: RunDir, base: Path):
        self.loaded, self.run, self.base = loaded, run, base
        tuned = loaded.job
        assert isinstance(tuned, TuneJob)
        self.tuned = tuned
        self.spec = tuned.search
        job = check_job(self.document("t001", tuned.seed, {}), base)
        assert isinstance(job, LearningJob)
        self.job = job
        trials = self.spec.trials
        if self.spec.searcher == "grid":
            combinations = sum(1 for _ in grid(self.spec.space))
            trials = min(trials or combinations, combinations)
        assert trials is not None  # which only a grid can leave out
        self.total = trials + len(self.spec.repeat) * min(self.spec.best, trials)

    def document(self, name: str, seed: int, values: Mapping[str, Any]) -> Document:
        """The document of a trial's job."""
        storage = str(self.run.members)
        return trial_document(self.loaded.document, storage, self.base / self.tuned.storage, name, seed, values)

    def possible(self, values: Mapping[str, Any]) -> bool:
        """Whether a job can have these values."""
        try:
            check_job(self.document("t001", self.tuned.seed, values), self.base)
        except SpecError:
            return False
        return True

    def best(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials that are repeated, the best first."""
        finished = [trial for trial in trials if trial.state == "finished" and trial.psnr is not None]
        return sorted(finished, key=lambda trial: (-(trial.psnr or 0), trial.name))[: self.spec.best]

    def repeats(self, trials: Sequence[Trial]) -> list[tuple[MemberFile]]:
        """The jobs that repeat the best trials with further seeds."""
        return [
            (MemberFile(name, self.document(name, seed, trial.suggestion.values), seed, trial.name),)
            for trial in self.best(trials)
            for seed in self.spec.repeat
            for name in [f"{trial.name}-s{seed}"]
        ]
