"""A trial as Ray Tune runs it: an ordinary job in a run of its own, whose measurements are told to Tune as they come.

Tune's actor only watches: the job trains in workers of Ray Train, as any job does. Where Tune has seen enough, the run is asked
to stop as a person would ask it: it commits a checkpoint and ends, and nothing is left holding resources.
"""

import logging
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from ipt_platform.errors import CancelledRunError, IptError, storage_failed
from ipt_platform.observe.events import append_ending
from ipt_platform.observe.jsonl import Follower
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.spec.job import LearningJob
from ipt_platform.spec.source import Document
from ipt_platform.train.driver import run_training
from ipt_platform.train.evaluation import mean_psnr
from ipt_platform.train.given import total_steps
from ipt_platform.tune.members import give_run
from ipt_platform.tune.trials import STOPPED, failed, load_job_of, sizes

LOOK_SECONDS = 0.2

log = logging.getLogger(__name__)


class TrialFailedError(Exception):
    """Why a trial's job failed."""


class TrialRun(Trainable):
    """Trains the job of a trial; a step is as long as it takes until it is measured the next time."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin, go on with, or only look again at the trial's run (Ray Tune's interface)."""
        self.whole, self.attempt = RunDir(Path(config["whole"])), config["attempt"]
        self.run, self.base = RunDir(Path(config["run"])), Path(config["base"])
        self.leader, self.part_of = Process(**config["leader"]), config["part_of"]
        self.failure = ""
        self.last: dict[str, Any] = {"psnr": None, "step": 0}
        self.lines: deque[dict[str, Any]] = deque()
        self.follower = Follower(self.run.metrics)
        self.training: threading.Thread | None = None
        if is_over(self.run):
            self.failure = failed(self.run)
        else:
            self._begin(Document(config["document"], {}, str(self.run.job)))
        job = load_job_of(self.run) if self.run.job.is_file() else None
        self.steps = total_steps(job) if job else 0
        self.parameters = sizes(job, self.run)[0] if job and not self.failure else 0

    def _begin(self, document: Document) -> None:
        try:
            job = give_run(document, self.run, self.base)
        except (IptError, OSError) as error:
            failure = error if isinstance(error, IptError) else storage_failed(error)
            self.failure = str(failure)
            self.run.path.mkdir(parents=True, exist_ok=True)
            append_ending(self.run, self.run.current_attempt(), failure)
            return
        self.training = threading.Thread(target=self._train, args=(job,), daemon=True)
        self.training.start()

    def _train(self, job: LearningJob) -> None:
        try:
            run_training(job, self.run, self.base, self.leader, part_of=self.part_of)
        except CancelledRunError as error:
            log.info("%s", error)
        except IptError as error:
            self.failure = str(error)
        except Exception:
            self.failure = traceback.format_exc()

    def step(self) -> dict[str, Any]:
        """Wait for the next measurement (Ray Tune's interface).

        Raises:
            TrialFailedError: the job failed.
        """
        while True:
            under_way = self.training is not None and self.training.is_alive()
            self.lines += [line for line in self.follower.poll_objects() if line.get("evaluation")]
            while self.lines:
                line = self.lines[0]
                if line["step"] >= self.steps and under_way:
                    break  # the last one is told when everything is written
                self.lines.popleft()
                psnr = mean_psnr(line["evaluation"])
                if line["step"] > self.last["step"] and psnr is not None:
                    self.last = {"psnr": psnr, "step": line["step"]}
                    return self._result(done=not under_way and not self.lines and not self.failure)
            if not under_way:
                break
            time.sleep(LOOK_SECONDS)
        if self.failure:
            raise TrialFailedError(self.failure)
        return self._result(done=True)

    def _result(self, done: bool) -> dict[str, Any]:
        return {**self.last, "steps": self.steps, "parameters": self.parameters, "done": done}

    def cleanup(self) -> None:
        """Stop the run if it is under way, and wait until it has (Ray Tune's interface)."""
        reason = self.whole.stop_requested(self.attempt)
        reason = reason or f"{STOPPED}: not among the best at step {self.last['step']}"
        asked = None
        while self.training is not None and self.training.is_alive():
            attempt = self.run.current_attempt()
            if attempt and attempt != asked:
                asked = self.run.request_stop(reason)
            self.training.join(LOOK_SECONDS)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the run has checkpoints of its own (Ray Tune's interface)."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as `save_checkpoint` (Ray Tune's interface)."""


def is_over(run: RunDir) -> bool:
    """Whether a trial's run has come to an end that counts: what was cut off goes on."""
    if failed(run):
        return True
    status = run_status(run)
    return status.state == "finished" or (status.state == "cancelled" and status.reason.startswith(STOPPED))
