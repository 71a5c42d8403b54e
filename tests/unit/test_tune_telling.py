"""What a search tells of its trials."""

from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.teller import Voice
from ipt_platform.tune.telling import STATES, TrialsTold
from ipt_platform.tune.trials import Suggestion, Trial


class Told(Voice):
    """A voice that remembers gauges."""

    def __init__(self) -> None:
        super().__init__(None, "search")
        self.gauges: dict[str, float] = {}

    def set(self, name: str, value: float, **labels: str) -> None:
        self.gauges[labels["state"]] = value

    def raise_to(self, name: str, value: float, **labels: str) -> None:
        self.gauges["best"] = max(value, self.gauges.get("best", 0.0))


def trial(tmp_path, name: str, state: str, psnr: float | None = None) -> Trial:
    curve = {} if psnr is None else {10: psnr}
    return Trial(Suggestion(name, {}, "random"), RunDir(tmp_path / name), state, curve=curve)


def test_each_trial_counts_in_its_last_state():
    voice = Told()
    told = TrialsTold(voice)
    told.now("t001", "running")
    told.now("t002", "running")
    told.now("t001", "finished", 30.0)
    told.now("t002", "stopped", 28.0)
    told.now("t003", "running")

    assert voice.gauges == {"running": 1, "finished": 1, "stopped": 1, "failed": 0, "best": 30.0}
    assert set(STATES) == {"running", "finished", "stopped", "failed"}


def test_a_search_that_goes_on_counts_what_it_has(tmp_path):
    voice = Told()
    before = [
        trial(tmp_path, "t001", "finished", 31.0),
        trial(tmp_path, "t002", "interrupted"),
        trial(tmp_path, "t003", "failed"),
    ]
    TrialsTold(voice, before).now("t002", "running")

    assert voice.gauges == {"running": 1, "finished": 1, "stopped": 0, "failed": 1, "best": 31.0}
