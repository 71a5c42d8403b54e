"""What a scrape finds: the values that were told, within bounds, for whoever bears the token."""

import gzip
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from ipt_platform.errors import InfrastructureError, UsageError
from ipt_platform.observe import scraped as module
from ipt_platform.observe.catalogue import EXPOSED, METRICS
from ipt_platform.observe.exposition import KEPT_AFTER_END, KEPT_WITHOUT_END, SAMPLES, SILENT_SECONDS, Exposition
from ipt_platform.observe.listen import Listen
from ipt_platform.observe.scraped import AT_ONCE, serving
from tests.conftest import HANG

LOOPBACK = Listen("127.0.0.1", 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def samples(exposition: Exposition) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = parse(generate_latest(exposition.registry).decode())
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples}


def value(exposition: Exposition, name: str, **labels: str) -> float | None:
    return samples(exposition).get((name, tuple(sorted(labels.items()))))


def get(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_counters_add_gauges_are_set_and_raised_histograms_collect():
    exposition, job = Exposition("1.0"), {"job": "a"}
    best = {**job, "task": "rain", "set": "test"}
    exposition.apply([("ipt_train_steps_total", job, "add", 3), ("ipt_train_step", job, "set", 3)])
    exposition.apply([("ipt_train_steps_total", job, "add", 2), ("ipt_train_step", job, "set", 2)])
    exposition.apply([("ipt_eval_best_psnr_db", best, "max", 30.0), ("ipt_eval_best_psnr_db", best, "max", 29.0)])
    exposition.apply([("ipt_train_step_seconds", job, "observe", [0.02, 0.021, 70.0])])

    assert value(exposition, "ipt_train_steps_total", job="a") == 5
    assert value(exposition, "ipt_train_step", job="a") == 2
    assert value(exposition, "ipt_eval_best_psnr_db", **best) == 30.0
    assert value(exposition, "ipt_train_step_seconds_bucket", job="a", le="0.02") == 1
    assert value(exposition, "ipt_train_step_seconds_bucket", job="a", le="60.0") == 2
    assert value(exposition, "ipt_train_step_seconds_bucket", job="a", le="+Inf") == 3
    assert value(exposition, "ipt_train_step_seconds_count", job="a") == 3
    assert value(exposition, "ipt_train_step_seconds_sum", job="a") == pytest.approx(70.041)
    assert value(exposition, "ipt_exporter_tells_total") == 4
    assert value(exposition, "ipt_build_info", version="1.0") == 1


@pytest.mark.parametrize(
    "report",
    [
        ("ipt_made_up", {}, "set", 1),
        ("ipt_train_loss", {"job": "a"}, "set", 1),
        ("ipt_train_steps_total", {"job": "a"}, "set", 1),
        ("ipt_train_steps_total", {"job": "a"}, "add", -1),
        ("ipt_train_steps_total", {"job": "a"}, "add", float("nan")),
        ("ipt_train_step", {"job": "a"}, "set", "5"),
        ("ipt_train_step", {"job": ""}, "set", 5),
        ("ipt_train_step", {"job": 'a"} 1\nipt_forged 1'}, "set", 5),
        ("ipt_train_step", {"job": "a" * 200}, "set", 5),
        ("ipt_train_step", {"job": "\ud800"}, "set", 5),
        ("ipt_train_step", {"job": 7}, "set", 5),
        ("ipt_train_rank_step_seconds", {"job": "a", "rank": "64"}, "set", 5),
        ("ipt_train_step_seconds", {"job": "a"}, "observe", 5),
        "nonsense",
        None,
    ],
)
def test_what_cannot_be_exported_is_counted_and_changes_nothing(report):
    exposition = Exposition("1.0")
    before = samples(exposition)

    exposition.apply([report, ("ipt_train_step", {"job": "good"}, "set", 5)])

    after = samples(exposition)
    assert after.pop(("ipt_train_step", (("job", "good"),))) == 5
    assert after.pop(("ipt_exporter_dropped_total", (("reason", "invalid"),))) == 1
    assert after.pop(("ipt_exporter_tells_total", ())) == 1
    assert after == {key: number for key, number in before.items() if key in after}


def test_a_label_arrives_as_it_was_whatever_it_holds():
    exposition, names = Exposition("1.0"), ['{a="b"}', "back\\slash", "雨を取る", "<b>&amp;", "# HELP x"]
    exposition.apply([("ipt_train_loss", {"job": "a", "task": name}, "set", 1.5) for name in names])

    assert [value(exposition, "ipt_train_loss", job="a", task=name) for name in names] == [1.5] * len(names)


def test_series_are_bounded_in_all_and_for_each_metric():
    exposition = Exposition("1.0", samples=400)
    for number in range(1000):
        exposition.apply([("ipt_train_loss", {"job": f"j{number}", "task": "t"}, "set", 1)])
        exposition.apply([("ipt_train_step_seconds", {"job": f"j{number}"}, "observe", [1])])

    found = samples(exposition)
    assert len(found) <= 400 + 20  # _sum, _count and +Inf of those that are there are counted among them
    assert sum(name == "ipt_train_loss" for name, _ in found) == 100
    assert value(exposition, "ipt_exporter_dropped_total", reason="series") > 1000


def test_jobs_that_ended_make_room_the_oldest_first():
    clock = Clock()
    exposition = Exposition("1.0", samples=40, clock=clock)

    def tell(job: str, running: float) -> None:
        clock.now += 1
        names = ("ipt_train_step", "ipt_train_attempt", "ipt_train_workers", "ipt_train_grad_norm")
        exposition.apply(
            [(name, {"job": job}, "set", 1) for name in names] + [("ipt_train_running", {"job": job}, "set", running)]
        )

    tell("runs", 1)
    for number in range(20):
        tell(f"ended-{number}", 0)

    assert value(exposition, "ipt_train_step", job="runs") == 1
    assert value(exposition, "ipt_train_step", job="ended-19") == 1
    assert value(exposition, "ipt_train_step", job="ended-0") is None
    assert value(exposition, "ipt_exporter_dropped_total", reason="series") == 0


def test_jobs_that_ended_make_room_for_the_histograms_of_the_next_one():
    clock = Clock()
    exposition = Exposition("1.0", clock=clock)
    phases = METRICS["ipt_checkpoint_seconds"].words["phase"]
    exposition.apply([("ipt_train_running", {"job": "no-checkpoint"}, "set", 0)])
    for number in range(130):  # three histograms each: more than a quarter of the samples hold
        clock.now += 1
        job = {"job": f"j{number}"}
        written = [("ipt_checkpoint_seconds", {**job, "phase": phase}, "observe", [1.0]) for phase in phases]
        exposition.apply([("ipt_train_running", job, "set", 1), *written, ("ipt_train_running", job, "set", 0)])

    assert value(exposition, "ipt_exporter_dropped_total", reason="series") == 0
    assert [value(exposition, "ipt_checkpoint_seconds_count", job="j129", phase=phase) for phase in phases] == [1] * 3
    assert value(exposition, "ipt_train_running", job="j0") is None
    assert value(exposition, "ipt_train_running", job="no-checkpoint") == 0  # it would make no room there
    assert sum(name == "ipt_checkpoint_seconds_bucket" for name, _ in samples(exposition)) <= SAMPLES // 4


def test_counters_outlive_a_restart_and_jobs_are_forgotten_long_after_their_end():
    clock = Clock()
    exposition = Exposition("1.0", clock=clock)

    def tell(job: str, running: float) -> None:
        exposition.apply(
            [("ipt_train_steps_total", {"job": job}, "add", 1), ("ipt_train_running", {"job": job}, "set", running)]
        )

    tell("ended", 0)
    tell("lost", 1)
    clock.now = KEPT_AFTER_END - 1
    tell("ended", 0)
    assert value(exposition, "ipt_train_steps_total", job="ended") == 2
    clock.now += KEPT_AFTER_END + 1
    assert value(exposition, "ipt_train_steps_total", job="ended") is None
    assert value(exposition, "ipt_train_steps_total", job="lost") == 1
    clock.now = KEPT_WITHOUT_END + 100
    assert value(exposition, "ipt_train_steps_total", job="lost") is None
    tell("lost", 1)
    assert value(exposition, "ipt_train_steps_total", job="lost") == 1


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "lost"])
def test_gauges_of_a_run_are_forgotten_when_its_job_is_led_again(ends):
    clock = Clock()
    exposition, job = Exposition("1.0", clock=clock), {"job": "a"}
    best = {**job, "task": "rain", "set": "test"}
    led = ("ipt_train_running", job, "set", 1)
    gauges = [("ipt_eval_best_psnr_db", best, "max", 30.0), ("ipt_checkpoint_interval_seconds", job, "set", 600)]
    other = ("ipt_checkpoint_interval_seconds", {"job": "b"}, "set", 700)
    exposition.apply([led, *gauges, other, ("ipt_train_steps_total", job, "add", 3)])
    clock.now = SILENT_SECONDS
    exposition.apply([led])  # as is told every now and then of a run that goes on
    assert value(exposition, "ipt_eval_best_psnr_db", **best) == 30.0

    if ends:
        exposition.apply([("ipt_train_running", job, "set", 0)])
    else:
        clock.now += SILENT_SECONDS + 1
    assert value(exposition, "ipt_eval_best_psnr_db", **best) == 30.0
    exposition.apply([led, ("ipt_eval_best_psnr_db", best, "max", 25.0)])

    assert value(exposition, "ipt_eval_best_psnr_db", **best) == 25.0
    assert value(exposition, "ipt_checkpoint_interval_seconds", job="a") is None
    assert value(exposition, "ipt_train_running", job="a") == 1
    assert value(exposition, "ipt_train_steps_total", job="a") == 3
    assert value(exposition, "ipt_checkpoint_interval_seconds", job="b") == 700


def test_workers_that_are_no_more_are_forgotten():
    exposition, rank = Exposition("1.0"), "ipt_train_rank_step_seconds"
    ranks = [(rank, {"job": job, "rank": str(number)}, "set", 1.0) for job in "ab" for number in range(4)]
    exposition.apply([("ipt_train_workers", {"job": "a"}, "set", 4), *ranks])
    exposition.apply([("ipt_train_workers", {"job": "a"}, "set", 0)])  # between two attempts nothing is known
    assert sum(name == rank for name, _ in samples(exposition)) == 8
    exposition.apply([("ipt_train_workers", {"job": "a"}, "set", 2)])

    assert [value(exposition, rank, job="a", rank=str(number)) for number in range(4)] == [1, 1, None, None]
    assert [value(exposition, rank, job="b", rank=str(number)) for number in range(4)] == [1] * 4


def test_what_was_seen_replaces_what_was_seen_before():
    exposition = Exposition("1.0")
    exposition.replace("ipt_registry_packs", [({"task": "a"}, 1), ({"task": "b"}, 2)])
    exposition.replace("ipt_registry_packs", [({"task": "b"}, 3)])

    assert value(exposition, "ipt_registry_packs", task="a") is None
    assert value(exposition, "ipt_registry_packs", task="b") == 3


@pytest.mark.parametrize(("accept", "read"), [("text/plain", parse), ("application/openmetrics-text", parse_open)])
def test_both_of_prometheus_formats_hold_every_metric_of_the_catalogue(accept, read):
    exposition = Exposition("1.0")
    for metric in METRICS.values():
        labels = {label: metric.words.get(label, ("some",))[0] for label in metric.labels}
        operation = {"counter": "add", "gauge": "set", "histogram": "observe"}[metric.kind]
        exposition.apply([(metric.name, labels, operation, [1.0] if metric.kind == "histogram" else 1.0)])

    with serving(exposition.registry, LOOPBACK, None) as at:
        status, body, _ = get(f"http://{at}/metrics", Accept=accept)

    assert status == 200
    families = {family.name: family for family in read(body.decode())}
    assert {sample.name for family in families.values() for sample in family.samples} == set(EXPOSED)
    for metric in METRICS.values():
        family = families[metric.name if metric.name in families else metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)


def test_only_metrics_are_there_and_they_can_only_be_read():
    with serving(Exposition("1.0").registry, LOOPBACK, None) as at:
        assert get(f"http://{at}/metrics?name[]=none")[0] == 200
        assert [get(f"http://{at}{path}")[0] for path in ("/", "/metrics/", "/../metrics", "/favicon.ico")] == [404] * 4
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            status, _, headers = get(f"http://{at}/metrics", method)
            assert (status, headers["Allow"]) == (405, "GET")
        _, body, headers = get(f"http://{at}/metrics", **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert b"ipt_build_info" in gzip.decompress(body)


def test_with_a_token_nothing_is_told_without_it():
    with serving(Exposition("1.0").registry, LOOPBACK, "secret") as at:
        wrong = ["", "secret", "Basic secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2", "Bearer \xe9"]
        for header in wrong:
            status, body, headers = get(f"http://{at}/metrics", **({"Authorization": header} if header else {}))
            assert (status, headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
            assert b"ipt_" not in body
        assert get(f"http://{at}/nothing")[0] == 401
        assert get(f"http://{at}/metrics", Authorization="Bearer secret")[0] == 200
        assert get(f"http://{at}/metrics", Authorization="bearer secret")[0] == 200


@pytest.mark.parametrize("text", ["0.0.0.0:0", "[::]:0", "192.0.2.1:9464", "metrics.example:9464"])
def test_beyond_loopback_it_does_not_listen_without_a_token(text):
    with pytest.raises(UsageError, match="anybody"), serving(Exposition("1.0").registry, Listen.parse(text), None):
        pass


def test_beyond_loopback_it_listens_with_a_token():
    with serving(Exposition("1.0").registry, Listen.parse("0.0.0.0:0"), "secret") as at:
        assert get(f"http://127.0.0.1:{at.port}/metrics")[0] == 401
        assert get(f"http://127.0.0.1:{at.port}/metrics", Authorization="Bearer secret")[0] == 200


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        registry, there = Exposition("1.0").registry, Listen("127.0.0.1", port)
        with pytest.raises(InfrastructureError, match=str(there)), serving(registry, there, None):
            pass


@pytest.mark.parametrize("text", ["", "9464", "127.0.0.1", "127.0.0.1:", ":9464", "127.0.0.1:x", "127.0.0.1:70000", "a:-1"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(UsageError, match=r"ADDRESS:PORT"):
        Listen.parse(text)


def test_addresses_read_as_they_are_written():
    assert str(Listen.parse("[::1]:9464")) == "[::1]:9464"
    assert [Listen.parse(text).loopback for text in ("[::1]:1", "127.9.9.9:1", "localhost:1", "10.0.0.1:1")] == [True] * 3 + [
        False
    ]


def test_clients_that_say_nothing_do_not_keep_others_out():
    with serving(Exposition("1.0").registry, LOOPBACK, None) as at:
        silent = [socket.create_connection(("127.0.0.1", at.port)) for _ in range(8)]
        try:
            assert get(f"http://{at}/metrics")[0] == 200
        finally:
            for each in silent:
                each.close()


def test_however_many_connections_are_held_a_scrape_is_answered_and_the_oldest_makes_room(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", float("inf"))
    with serving(Exposition("1.0").registry, LOOPBACK, "secret") as at:
        held = [socket.create_connection(("127.0.0.1", at.port), timeout=HANG) for _ in range(AT_ONCE)]
        try:
            for each in held:
                each.sendall(b"GET /metrics HTTP/1.0\r\n")
            assert get(f"http://{at}/metrics", Authorization="Bearer secret")[0] == 200
            assert held[0].recv(1) == b""
            held[1].sendall(b"\r\n")
            assert held[1].recv(12) == b"HTTP/1.0 401"
        finally:
            for each in held:
                each.close()


def test_a_client_that_says_a_little_now_and_then_is_closed_all_the_same(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with serving(Exposition("1.0").registry, LOOPBACK, None) as at, socket.create_connection(("127.0.0.1", at.port)) as slow:
        slow.settimeout(0.02)
        end, closed = time.monotonic() + HANG, False
        while not closed:
            assert time.monotonic() < end
            try:
                slow.sendall(b"G")
                closed = not slow.recv(1)
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True


def test_scrapes_and_words_from_many_threads_at_a_time_add_up():
    exposition = Exposition("1.0")
    report = ("ipt_train_steps_total", {"job": "a"}, "add", 1)
    threads = [threading.Thread(target=lambda: [exposition.apply([report]) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    with serving(exposition.registry, LOOPBACK, None) as at:
        assert all(get(f"http://{at}/metrics")[0] == 200 for _ in range(5))
    for thread in threads:
        thread.join()

    assert value(exposition, "ipt_train_steps_total", job="a") == 800
    assert len(samples(exposition)) < SAMPLES
