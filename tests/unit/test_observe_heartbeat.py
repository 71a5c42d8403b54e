"""Signs of life, and the stacks and kills that explain why there are none."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ipt_platform.observe.heartbeat import Heartbeat, Silence, beat_seconds, read_beat
from ipt_platform.observe.oom import oom_kills
from ipt_platform.observe.rundir import RunDir


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now: float = 1000.0):
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_the_heart_beats_no_more_often_than_asked(tmp_path):
    clock = Clock()
    heart = Heartbeat(RunDir(tmp_path), 3, every=5, clock=clock)

    beat, numbers = [], []
    for clock.now in (0.0, 1.0, 4.9, 5.0, 5.1, 100.0):
        beat.append(heart())
        numbers.append(read_beat(heart.run))

    assert beat == [True, False, False, True, False, True]
    assert numbers == [(3, 1), (3, 1), (3, 1), (3, 2), (3, 2), (3, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["heartbeat.json"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"attempt": 1}'])
def test_no_beat_and_a_torn_one_are_none(tmp_path, content):
    path = tmp_path / "heartbeat.json"
    if content is not None:
        path.write_text(content)

    assert read_beat(RunDir(tmp_path)) == (0, 0)


def watch(folder: Path, clock: Clock, seconds: int, each=lambda second: None) -> list[int]:
    """The seconds at which a watcher who looks once a second, with a limit of ten, finds the silence too long."""
    silence = Silence(RunDir(folder), limit=10, every=1, clock=clock)
    found = []
    for second in range(1, seconds + 1):
        clock.now += 1
        each(second)
        if silence.too_long():
            found.append(second)
    return found


def test_silence_is_found_after_the_limit_and_not_before(tmp_path):
    assert watch(tmp_path, Clock(), 12) == [11, 12]


def test_while_the_heart_beats_nothing_is_found(tmp_path):
    clock = Clock()
    heart = Heartbeat(RunDir(tmp_path), 1, every=0, clock=clock)

    assert watch(tmp_path, clock, 60, lambda second: heart() if second % 9 == 0 else None) == []


def test_the_heart_of_an_attempt_that_was_overtaken_is_none(tmp_path):
    clock = Clock()
    Heartbeat(RunDir(tmp_path), 2, every=0, clock=clock)()
    stale = Heartbeat(RunDir(tmp_path), 1, every=0, clock=clock)

    assert watch(tmp_path, clock, 12, lambda second: stale()) == [11, 12]


def test_time_in_which_the_watcher_stood_still_itself_is_no_silence(tmp_path):
    clock = Clock()
    silence = Silence(RunDir(tmp_path), limit=10, every=1, clock=clock)
    clock.now += 3600  # the machine slept

    assert not silence.too_long()
    for _ in range(8):
        clock.now += 1
        assert not silence.too_long()


def test_a_wall_clock_that_is_set_back_changes_nothing(tmp_path):
    """The file holds numbers, no times: what its own time says is not looked at."""
    clock = Clock()
    heart = Heartbeat(RunDir(tmp_path), 1, every=0, clock=clock)

    def beat_in_the_past(second: int) -> None:
        heart()
        os.utime(heart.path, (1e9 - second, 1e9 - second))

    assert watch(tmp_path, clock, 30, beat_in_the_past) == []


@pytest.mark.parametrize(("limit", "every"), [(600, 5), (8, 2), (1, 0.25)])
def test_there_are_several_beats_within_the_limit(limit, every):
    assert beat_seconds(limit) == every


PROGRAM = """
    import sys, time
    from pathlib import Path
    from ipt_platform.observe.stacks import stacks_when_silent

    def stands_still():
        time.sleep(60)

    with stacks_when_silent(Path(sys.argv[1]), after=float(sys.argv[2]), every=0) as alive:
        alive()
        stands_still()
"""


def test_who_stands_still_writes_where(tmp_path):
    log = tmp_path / "0.log"
    log.write_text("what was logged\n")
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM), str(log), "0.2"])
    try:
        while "in stands_still" not in log.read_text():
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()

    assert log.read_text().startswith("what was logged\nTimeout")


def test_who_gets_on_writes_nothing(tmp_path):
    program = textwrap.dedent(PROGRAM).replace("time.sleep(60)", "pass")

    subprocess.run([sys.executable, "-c", program, str(tmp_path / "0.log"), "30"], check=True)

    assert (tmp_path / "0.log").read_text() == ""


def test_kills_are_those_of_the_first_file_that_counts_them(tmp_path):
    group, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    machine.write_text("pgfault 12\noom_kill 7\nswap_ra 0\n")

    assert oom_kills((group, machine)) == 7
    group.write_text("low 0\noom 9\noom_kill 2\noom_group_kill 1\n")
    assert oom_kills((group, machine)) == 2
    assert oom_kills((tmp_path / "none",)) == 0


def test_a_real_kill_for_memory_is_counted(memory_group):
    program = "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid())); bytearray(1 << 30)[::4096]"
    before = oom_kills()

    ended = subprocess.run([sys.executable, "-c", program, str(memory_group(1 << 20) / "cgroup.procs")], check=False)

    assert ended.returncode == -signal.SIGKILL
    assert oom_kills() > before
