"""Messages to a real server on loopback that fails as servers do; signatures checked by another implementation."""

import base64
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from ipt_platform.notify import post as post_module
from ipt_platform.notify.hooks import OCCASIONS, Hook
from ipt_platform.notify.message import headers, message_of
from ipt_platform.notify.message import test_message as probe
from ipt_platform.notify.notifier import FILE, Notifier
from ipt_platform.notify.post import post
from ipt_platform.observe.events import EVENT_TYPES, append_event, identity_of, read_events
from ipt_platform.observe.feed import FeedError, feeding, tell
from ipt_platform.observe.jsonl import read_lines
from ipt_platform.observe.rundir import RunDir
from tests.conftest import HANG
from tests.receiver import KEY, SECRET, Receiver, insist
from tests.tracked_runs import made_run


@pytest.fixture(autouse=True)
def _without_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    own = Receiver()
    yield own
    own.close()


@pytest.fixture
def hook(receiver) -> Hook:
    return Hook("chat", receiver.url, KEY, frozenset(OCCASIONS))


@pytest.fixture
def run(tmp_path) -> RunDir:
    return made_run(tmp_path)


def begin(run: RunDir) -> int:
    attempt = run.new_attempt()
    append_event(run, "started", attempt, step=0)
    return attempt


def test_a_run_is_told_from_its_beginning_to_its_end_and_signed(run, hook, receiver):
    attempt = begin(run)
    append_event(run, "checkpoint", attempt, step=50)
    reason = "step 60: a loss is not finite; password=hunter22222"
    append_event(run, "failed", attempt, reason=reason, exit_code=5, step=60, **{"class": "user"})

    assert insist(Notifier(run, hook)) == []

    assert receiver.types() == ["run.started", "run.failed"]
    for own, body in receiver.heard:
        assert Webhook(SECRET).verify(body, own) == json.loads(body)
    failed = receiver.messages()[-1]
    assert failed["format"] == "ipt-notification/1"
    assert failed["timestamp"] == read_events(run)[-1]["time"]
    data = failed["data"]
    assert "hunter22222" not in data.pop("reason")
    assert data == {
        "run": "rain", "kind": "train", "place": run.place, "attempt": 1, "state": "failed", "class": "user", "exit_code": 5,
        "step": 60, "steps": 100,
    }  # fmt: skip


def test_a_changed_body_or_another_secret_is_found_out(run, hook, receiver):
    begin(run)
    insist(Notifier(run, hook))
    ((own, body),) = receiver.heard

    for secret, changed in ((SECRET, body.replace(b"rain", b"snow")), (f"whsec_{base64.b64encode(KEY[::-1]).decode()}", body)):
        with pytest.raises(Exception, match=r"(?i)signature"):
            Webhook(secret).verify(changed, own)


@pytest.mark.parametrize("failure", [503, 500, 429, 408, "reset"])
def test_what_was_not_taken_is_sent_again_with_the_same_id_and_body(run, hook, receiver, failure):
    receiver.answers = [failure, failure]
    begin(run)

    errors = insist(Notifier(run, hook))

    assert len(errors) == 2
    assert len(set(receiver.ids())) == 1
    assert len({body for _, body in receiver.heard}) == 1
    assert len(receiver.heard) == 3
    assert "x=1" not in " ".join(map(str, errors))


def test_who_does_not_answer_in_time_is_asked_again(run, hook, receiver, monkeypatch):
    receiver.answers = ["slow"]
    begin(run)
    notifier = Notifier(run, hook)

    monkeypatch.setattr(post_module, "ANSWER_SECONDS", 0.3)
    with pytest.raises(FeedError, match="Timeout"):
        notifier.turn(last=True)
    _until(lambda: receiver.heard)
    monkeypatch.setattr(post_module, "ANSWER_SECONDS", HANG)
    assert insist(notifier) == []

    assert len(set(receiver.ids())) == 1
    assert len(receiver.heard) == 2


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("120", 120, 120),
        ("1000000", 3600, 3600),
        (format_datetime(datetime.fromtimestamp(1_000_090, UTC), usegmt=True), 90, 90),
        (format_datetime(datetime.fromtimestamp(900_000, UTC), usegmt=True), 0, 0),
        ("soon", 0, 0),
    ],
)
def test_a_hook_says_how_long_to_wait(hook, receiver, after, least, most):
    receiver.answers = [(429, {"Retry-After": after})]

    with pytest.raises(FeedError) as met:
        post(hook, probe("2026-01-01T00:00:00+00:00", "a"), clock=lambda: 1_000_000.0)

    assert least <= met.value.pause <= most


def test_no_log_shows_the_whole_address(run, receiver, caplog):
    caplog.set_level("INFO")
    begin(run)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = Hook("chat", f"http://127.0.0.1:{nobody.getsockname()[1]}/services/{SECRET}", KEY, frozenset(OCCASIONS))
        with feeding(run, [Notifier(run, away)], patience=0):
            _until(lambda: "hook chat" in caplog.text)
        with pytest.raises(FeedError, match="ConnectionError"):
            tell(Notifier(run, away))
    receiver.answers = [(204, {"X: 1\r\nno header at all\r\nY": "2"})]

    assert post(Hook("odd", f"{receiver.url}&{SECRET}", KEY, frozenset()), probe("2026-01-01T00:00:00+00:00", "a")) == 204

    assert "does not answer" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", [400, 404, 410, 301, 307])
def test_what_is_refused_is_sent_once_and_said_and_the_rest_follows(run, hook, receiver, status):
    receiver.answers = [(status, {"Location": receiver.url})]
    attempt = begin(run)
    append_event(run, "finished", attempt, step=100)

    insist(Notifier(run, hook))

    assert receiver.types() == ["run.started", "run.finished"]  # and no redirect was followed
    (said,) = [each["reason"] for each in read_events(run) if each["type"] == "warning"]
    assert f"127.0.0.1 answers {status}" in said
    assert receiver.url not in said
    assert [line["taken"] for line in read_lines(run.path / FILE) if "taken" in line] == [False, True]


def test_another_process_tells_only_what_has_not_been_told(run, hook, receiver):
    attempt = begin(run)
    insist(Notifier(run, hook))
    append_event(run, "finished", attempt, step=100)

    insist(Notifier(run, hook, since=7))  # it knows since when this hook is told
    insist(Notifier(run, hook, since=7))

    assert receiver.types() == ["run.started", "run.finished"]


def test_who_was_killed_after_sending_sends_the_same_id_again(run, hook, receiver):
    begin(run)
    insist(Notifier(run, hook))
    (run.path / FILE).unlink()

    insist(Notifier(run, hook))

    assert len(set(receiver.ids())) == 1
    assert len(receiver.heard) == 2


def test_a_hook_that_is_new_is_not_told_of_attempts_that_are_long_over(run, hook, receiver):
    first = begin(run)
    append_event(run, "cancelled", first, reason="stopped", exit_code=7)
    notifier = Notifier(run, hook, since=2)
    append_event(run, "resumed", run.new_attempt(), step=10, checkpoint="step-10")

    insist(notifier)

    assert receiver.types() == ["run.resumed"]


def test_that_an_attempt_was_cut_off_is_told_by_the_next_one_before_it_begins(run, hook, receiver):
    first = begin(run)
    insist(Notifier(run, hook))
    cut_off = {"type": "interrupted", "attempt": first, "time": "2026-01-01T00:00:00.000+00:00", "reason": "it is gone"}
    for moment in ("later", "later still"):  # who is killed before it has told finds it at another moment
        append_event(run, "resumed", run.new_attempt(), step=10, checkpoint="step-10")
        insist(Notifier(run, hook, cut_off=cut_off | {"reason": moment}))

    assert receiver.types() == ["run.started", "run.interrupted", "run.resumed", "run.resumed"]
    assert receiver.messages()[1]["data"]["state"] == "interrupted"


def test_a_message_that_is_never_taken_does_not_hold_up_the_others_for_ever(run, hook, receiver):
    attempt = begin(run)
    append_event(run, "finished", attempt, step=100)
    receiver.answers = [500, 500]
    hours = itertools.count(0, 4 * 3600)

    errors = insist(Notifier(run, hook, clock=lambda: float(next(hours))))

    assert len(errors) == 1
    assert receiver.types() == ["run.started", "run.started", "run.finished"]


def test_only_what_a_hook_asked_for_is_told(run, receiver):
    attempt = begin(run)
    append_event(run, "resized", attempt, reason="more room")
    append_event(run, "finished", attempt, step=100)

    insist(Notifier(run, Hook("pager", receiver.url, KEY, frozenset({"finished"}))))

    assert receiver.types() == ["run.finished"]


def test_a_hook_that_is_away_does_not_hold_up_a_run_and_hears_everything_in_order(run, hook, receiver):
    receiver.answers = [503, "reset"]
    with feeding(run, [Notifier(run, hook)], patience=HANG):
        attempt = begin(run)
        append_event(run, "finished", attempt, step=100)

    assert [kind for kind, _ in itertools.groupby(receiver.types())] == ["run.started", "run.finished"]


def test_a_pause_that_a_hook_asks_for_is_kept_also_at_the_end_and_what_is_left_is_named(run, hook, receiver):
    receiver.answers = [(503, {"Retry-After": "600"})]
    with feeding(run, [Notifier(run, hook)]):
        begin(run)
        _until(lambda: receiver.heard)

    assert len(receiver.heard) == 1
    (left,) = [each["reason"] for each in read_events(run) if "told everything" in each.get("reason", "")]
    assert "127.0.0.1 answers 503" in left
    assert left.endswith(f"`ipt-platform hooks tell {run.place}` tells the rest")


def test_what_is_written_down_is_what_the_page_says(run, hook):
    begin(run)
    insist(Notifier(run, hook))

    page = (Path(__file__).parents[2] / "docs/formats.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \|", page.partition("\n## notified.jsonl\n")[2].partition("\n## ")[0], re.MULTILINE)
    assert {key for line in read_lines(run.path / FILE) for key in line} == set(re.findall(r"`(\w+)`", " ".join(rows)))


def test_the_message_is_the_one_of_the_page(run):
    attempt = begin(run)
    event = append_event(run, "failed", attempt, reason="r", exit_code=5, **{"class": "user"})
    page = (Path(__file__).parents[2] / "docs/trackers.md").read_text()
    shown = json.loads(page.partition("```json\n")[2].partition("```")[0])

    told = json.loads(message_of(run, identity_of(run), event).body)

    assert (list(told), list(told["data"])) == (list(shown), list(shown["data"]))
    assert all(f"`{key}`" in page for key in told["data"])


def test_a_login_of_a_netrc_is_not_sent(hook, receiver, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    post(hook, probe("2026-01-01T00:00:00+00:00", "a"))

    assert "authorization" not in receiver.heard[0][0]


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    certificate = _self_signed(tmp_path)
    import ssl

    own = Receiver()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secured = ThreadingHTTPServer(("127.0.0.1", 0), own.server.RequestHandlerClass)
    secured.socket = context.wrap_socket(secured.socket, server_side=True)
    threading.Thread(target=secured.serve_forever, daemon=True).start()
    try:
        with pytest.raises(FeedError, match="SSLError"):
            post(Hook("chat", f"https://127.0.0.1:{secured.server_port}/", KEY, frozenset()), probe("now", "a"))
        assert own.heard == []
    finally:
        secured.shutdown()
        secured.server_close()
        own.close()


def test_the_signature_is_that_of_the_other_implementation():
    message = probe("2026-01-01T00:00:00+00:00", "a")
    moment = datetime.now(UTC)

    ours = headers(KEY, message, int(moment.timestamp()))["webhook-signature"]

    assert ours == Webhook(SECRET).sign(message.id, moment, message.body.decode())


def test_occasions_are_events_and_one_more():
    assert set(OCCASIONS) - {"interrupted"} <= set(EVENT_TYPES)


def test_ids_differ_between_events_attempts_and_runs(tmp_path):
    ids = set()
    for storage in ("one", "two"):
        run = made_run(tmp_path / storage)
        time.sleep(0.002)  # runs of one name are told apart by the millisecond in which they were made
        for attempt in (begin(run), begin(run)):
            append_event(run, "finished", attempt, step=100)
        ids |= {message_of(run, identity_of(run), event).id for event in read_events(run)[1:]}

    assert len(ids) == 2 * 4


def _until(true) -> None:
    end = time.monotonic() + HANG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def _self_signed(folder) -> Any:
    import subprocess

    key, certificate = folder / "key.pem", folder / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-days", "1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate
