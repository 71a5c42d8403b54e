"""What a search tells the exporter of metrics of its trials; their trainings tell what they count under its name."""

from collections import Counter
from collections.abc import Iterable

from ipt_platform.observe.catalogue import METRICS
from ipt_platform.observe.teller import Voice
from ipt_platform.tune.trials import Trial

STATES = METRICS["ipt_search_trials"].words["state"]


class TrialsTold:
    """The states of the trials, as they change.

    Args:
        voice: tells in the name of the search.
        trials: what became of those of earlier attempts; what was cut off counts when it goes on.
    """

    def __init__(self, voice: Voice, trials: Iterable[Trial] = ()):
        self.voice = voice
        self.states: dict[str, str] = {}
        for trial in trials:
            if trial.state in STATES and trial.state != "running":
                self.now(trial.name, trial.state, trial.psnr)

    def now(self, trial: str, state: str, psnr: float | None = None) -> None:
        """Tell that a trial is in another state.

        Args:
            trial: its name.
            state: one of STATES.
            psnr: dB that it was last measured with.
        """
        self.states[trial] = state
        count = Counter(self.states.values())
        with self.voice.at_once:
            for each in STATES:
                self.voice.set("ipt_search_trials", count[each], state=each)
            if psnr is not None:
                self.voice.raise_to("ipt_search_best_psnr_db", psnr)
