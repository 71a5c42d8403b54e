"""`ipt-platform submit` that tells TensorBoard and a hook, stopped, and gone on with: real processes, a real receiver."""

import json

import pytest
from standardwebhooks import Webhook
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipt_platform.observe.events import append_event, read_events
from ipt_platform.observe.metrics_log import read_metrics
from tests.receiver import SECRET, Receiver

pytestmark = pytest.mark.slow

SHORT = "train.stages=[{steps: 12, patch: 48, images: 2}]"


@pytest.fixture(scope="module")
def receiver(workplace):
    own = Receiver()
    workplace.environment["CHAT_SECRET"] = SECRET
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        workplace.environment.pop(name, None)
    with workplace.configured(f'[notify.chat]\nurl = "{own.url}"\nsecret = "env:CHAT_SECRET"\n'):
        yield own
    own.close()
    del workplace.environment["CHAT_SECRET"]


def test_a_run_that_is_stopped_and_goes_on_is_told_as_one(workplace, receiver):
    receiver.answers = [503]
    run = workplace.run("told")
    first = workplace.submit("told", SHORT, "track.tensorboard=true", wait=False)
    first.until(lambda: any(line.get("step", 0) >= 3 for line in read_metrics(run)))
    first.interrupt()
    assert first.wait() == 7, first.stderr

    # Other trackers are no other job; what was asked for last counts.
    second = workplace.submit("told", SHORT, "track.tensorboard=false")
    assert second.wait() == 0, second.stderr
    told = workplace.do("track", "told", "--to", "tensorboard")
    assert told.wait() == 0, told.stderr

    assert [message["type"] for message in receiver.messages()] == [
        *("run.started", "run.started", "run.cancelled", "run.resumed", "run.finished"),
    ]
    for own, body in receiver.heard:
        assert Webhook(SECRET).verify(body, own) == json.loads(body)
    assert [message["data"]["exit_code"] for message in receiver.messages()[2:]] == [7, None, 0]
    assert receiver.messages()[-1]["data"]["steps"] == 12

    seen = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    assert [each.step for each in seen.Scalars("loss/denoise")] == list(range(1, 13))
    assert [each.step for each in seen.Scalars("psnr/test/deblur")] == [12]
    shown = EventAccumulator(str(run.path / "tensorboard" / "pictures")).Reload()
    assert len(shown.Tags()["images"]) == 2


def test_what_a_killed_command_could_not_tell_is_told_by_hand(workplace, receiver):
    run = workplace.run("told")
    receiver.heard.clear()
    append_event(run, "failed", 2, reason="a test says so", exit_code=6, **{"class": "infrastructure"})

    for _ in range(2):
        done = workplace.do("hooks", "tell", "told", "--json")
        assert done.wait() == 0, done.stderr
        assert json.loads(done.stdout)["told"] == ["hook chat"]

    assert receiver.types() == ["run.failed"]


def test_a_hook_can_be_tried(workplace, receiver):
    receiver.heard.clear()

    done = workplace.do("hooks", "test", "--json")
    assert json.loads(done.stdout)[0]["taken"] is True
    receiver.answers = [404]
    refused = workplace.do("hooks", "test")

    assert receiver.types() == ["test", "test"]
    assert (refused.wait(), "answers 404" in refused.stdout) == (6, True)


@pytest.mark.parametrize(
    ("changes", "environment", "said"),
    [
        (["track.mlflow=true"], {}, "MLFLOW_TRACKING_URI"),
        ([], {"CHAT_SECRET": "whsec_tooshort"}, "holds no key"),
    ],
)
def test_who_cannot_be_told_is_named_before_anything_begins(workplace, receiver, changes, environment, said):
    before = dict(workplace.environment)
    workplace.environment |= environment
    try:
        refused = workplace.submit("never", *changes)
    finally:
        workplace.environment = before

    assert refused.wait() == 2
    assert said in refused.stderr
    assert "tooshort" not in refused.stderr
    assert not workplace.run("never").path.exists()
    assert read_events(workplace.run("never")) == []
