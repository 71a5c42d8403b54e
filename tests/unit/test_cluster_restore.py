"""What becomes of the pictures of a run is counted over all of its attempts."""

from ipt_platform.cluster.restore import Tally, make_report
from ipt_platform.data.bad import Bad
from ipt_platform.observe.events import append_event
from ipt_platform.observe.process import Process
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status
from ipt_platform.observe.storage import create
from ipt_platform.restore.batch import Done, _Naming
from ipt_platform.restore.pictures import Picture
from ipt_platform.restore.work import Work
from ipt_platform.spec.job import RestoreJob

JOB = RestoreJob.model_validate(
    {"apiVersion": "ipt/v1", "kind": "restore", "name": "r", "input": "i", "output": "o", "tasks": [{"task": "denoise"}]}
)


def work(found: int, total: int, *refused: Bad) -> Work:
    return Work({}, found, unmatched=2, ignored=3, refused=list(refused), tasks={"denoise": total})


def test_what_was_there_before_the_run_is_told_from_what_its_attempts_restored():
    tally = Tally(work(10, 20, Bad("..", "bad-name", "why")), at_first=4, began=0.0)
    for number in range(8):
        assert tally.add(Done(f"{number}.png", "denoise")) is None
    bad = tally.add(Done("x.png", "denoise", "cut-off", "It ends."))

    report = make_report(JOB, {}, tally, 5.0)

    assert bad == Bad("x.png", "cut-off", "It ends.")
    assert (report["pictures"], report["restored"], report["found"]) == (21, 14, 4)
    assert report["bad"] == {
        "cut-off": [{"name": "x.png", "reason": "It ends."}],
        "bad-name": [{"name": "..", "reason": "why"}],
    }
    assert (report["unmatched"], report["ignored"], report["seconds"]) == (2, 3, 5.0)


def test_the_first_attempt_and_one_after_outputs_went_count_what_they_see():
    assert Tally(work(3, 5), at_first=None, began=0.0).found == 3
    assert Tally(work(3, 5), at_first=4, began=0.0).found == 3  # somebody removed one: it was not this run that restored it


def test_a_line_says_how_far_it_is_and_how_long_it_will_take():
    tally = Tally(work(10, 20, Bad("..", "bad-name", "why")), at_first=None, began=0.0)
    for number in range(4):
        tally.add(Done(f"{number}.png", "denoise"))

    line = tally.line(2.0)

    assert (line["step"], line["steps"], line["images_per_second"], line["eta_seconds"]) == (15, 21, 2.0, 3.0)
    assert line["samples"] == {"seen": 15, "bad": {"bad-name": 1}}
    assert tally.line(0.0)["eta_seconds"] is None


def test_blocks_are_of_one_task_each_and_hold_every_picture_once(tmp_path):
    missing = {
        "derain": [Picture(f"{number}.png", tmp_path) for number in range(6)],
        "desnow": [],
        "denoise": [Picture(f"x/{number}.png", tmp_path, number, 9, "tag") for number in range(5)],
    }
    naming = _Naming(missing)

    (task,) = naming.get_read_tasks(1)
    blocks = [block.to_pylist() for block in task.read_fn()]

    assert [len(block) for block in blocks] == [4, 2, 4, 1]
    assert all(len({row["task"] for row in block}) == 1 for block in blocks)
    names = [(row["task"], row["name"], row["offset"], row["size"], row["tag"]) for block in blocks for row in block]
    assert names == [(task, each.name, each.offset, each.size, each.tag) for task in missing for each in missing[task]]


def test_the_state_of_such_a_run_speaks_of_pictures_and_not_of_checkpoints(tmp_path):
    run: RunDir = create(tmp_path, "many")
    append_event(run, "created", 0, kind="restore", steps=0)
    attempt = run.new_attempt(Process("elsewhere", 1))
    append_event(run, "started", attempt, step=2, steps=9, found=2)
    run.request_stop("stopped by Ctrl-C")

    running = run_status(run)
    append_event(run, "cancelled", attempt, reason="stopped by Ctrl-C")
    ended = run_status(run)

    assert (running.kind, running.step, running.steps) == ("restore", 2, 9)
    assert running.reason == "asked to stop (stopped by Ctrl-C), ends with the next picture"
    assert ended.reason == "stopped by Ctrl-C (after picture 2 of 9); submitting many again restores what is missing"
