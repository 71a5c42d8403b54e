"""What stands in dashboards/ is what the code makes, and Grafana and Prometheus can load it."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from ipt_platform.observe.alerts import ALERTS, RECORDINGS
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.grafana.model import COLUMNS
from ipt_platform.observe.scrape import POOLS, prometheus_config

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "dashboards"
SCHEMA = json.loads((Path(__file__).parent / "grafana" / "dashboard.schema.json").read_text())
BY_UID = {each.uid: each.json() for each in DASHBOARDS}
PANELS = [(uid, panel) for uid, each in BY_UID.items() for panel in each["panels"] if panel["type"] != "row"]

UNITS = {
    *("short", "none", "s", "bytes", "decbytes", "mbytes", "Bps", "percent", "percentunit", "dB", "flops", "watt", "celsius"),
    *("si:img/s", "si:samples/s", "si:rows/s"),
}
"""Names of units that Grafana knows; after `si:` stands one of our own."""

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian's package prometheus)")


def promtool(*words: str, folder: Path = SHIPPED / "prometheus") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True)


def test_the_files_are_what_the_code_makes(tmp_path):
    subprocess.run([sys.executable, SHIPPED / "generate.py", "--to", tmp_path], check=True)

    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path: (SHIPPED / path).read_text() if (SHIPPED / path).exists() else "" for path in made}
    assert made == kept, "run `python dashboards/generate.py`"
    assert {path.name for path in SHIPPED.glob("grafana/*.json")} == {f"{uid}.json" for uid in BY_UID}


@pytest.mark.parametrize("uid", BY_UID)
def test_dashboards_are_valid_for_grafana(uid):
    jsonschema.Draft7Validator(SCHEMA).validate(BY_UID[uid])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "39"),
        (("panels", 1, "type"), "graph"),
        (("panels", 1, "gridPos", "w"), None),
        (("panels", 1, "options", "colour"), "red"),
        (("panels", 1, "fieldConfig", "defaults", "unit"), 3),
        (("templating", "list", 0, "type"), "source"),
    ],
)
def test_the_schema_refuses_what_is_wrong(path, value):
    broken = copy.deepcopy(BY_UID["ipt-fleet"])
    part = broken
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value

    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(broken)


@pytest.mark.parametrize("uid", BY_UID)
def test_panels_fill_the_grid_without_overlapping(uid):
    taken = {}
    for panel in BY_UID[uid]["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]

    height = 1 + max(y for _, y in taken)
    assert {y for _, y in taken} == set(range(height))
    # a line of panels that ends early looks broken
    assert [y for y in range(height) if sum((x, y) in taken for x in range(COLUMNS)) < COLUMNS] == []


def test_names_are_told_apart():
    assert len(BY_UID) == len(DASHBOARDS)
    for each in BY_UID.values():
        ids = [panel["id"] for panel in each["panels"]]
        assert ids == [*range(1, len(ids) + 1)]
        titles = [panel["title"] for panel in each["panels"]]
        assert len({*titles}) == len(titles)


@pytest.mark.parametrize(("uid", "panel"), PANELS, ids=[f"{uid}: {panel['title']}" for uid, panel in PANELS])
def test_every_panel_says_what_it_shows(uid, panel):
    variables = {each["name"] for each in BY_UID[uid]["templating"]["list"]}
    used = {name for name in re.findall(r"\$\{?([a-z_]+)", json.dumps(panel)) if not name.startswith("__")}

    assert len(panel["description"]) > 20
    assert panel["description"][-1] == "."
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all(target["legendFormat"] for target in panel["targets"])
    assert {"datasource"} <= used <= variables


@pytest.mark.parametrize("uid", BY_UID)
def test_every_dashboard_leads_to_the_page_and_to_the_others(uid):
    links = BY_UID[uid]["links"]

    assert [each["type"] for each in links] == ["dashboards", "link"]
    assert links[1]["url"].startswith("${page}/")


def test_every_alert_is_complete():
    assert len({each.name for each in ALERTS}) == len(ALERTS)
    for each in ALERTS:
        assert re.fullmatch(r"Ipt[A-Z]\w+", each.name)
        assert re.fullmatch(r"\d+[mh]", each.hold)
        assert each.means.endswith(".")
        assert each.do.endswith(".")


def test_every_alert_is_tried():
    """Quiet, firing and resolved, of each."""
    tests = yaml.safe_load((SHIPPED / "prometheus" / "rules_test.yml").read_text())["tests"]

    assert len({test["name"] for test in tests}) == len(tests)
    assert {test["name"].split(":")[0] for test in tests} == {each.name for each in ALERTS}
    for test in tests:
        assert [len(moment["exp_alerts"]) for moment in test["alert_rule_test"]] == [0, 1, 0]
        assert {moment["alertname"] for moment in test["alert_rule_test"]} == {test["name"].split(":")[0]}


@needs_promtool
def test_prometheus_loads_the_files(tmp_path):
    assert promtool("check", "rules", "rules.yml").returncode == 0
    assert promtool("check", "config", "prometheus.yml").returncode == 0

    subprocess.run([sys.executable, SHIPPED / "generate.py", "--to", tmp_path, "--token-file", "exporter.token"], check=True)
    (tmp_path / "prometheus" / "exporter.token").write_text("secret")
    checked = promtool("check", "config", "prometheus.yml", folder=tmp_path / "prometheus")
    assert checked.returncode == 0, checked.stderr


@needs_promtool
def test_alerts_fire_and_resolve_as_they_should():
    played = promtool("test", "rules", "rules_test.yml")

    assert played.returncode == 0, played.stdout + played.stderr


@needs_promtool
@pytest.mark.slow
@pytest.mark.parametrize("expr", ["vector(1) > 2", "vector(1)"], ids=["never", "always"])
def test_the_courses_of_events_find_conditions_that_are_never_or_always_so(expr, tmp_path):
    rules = yaml.safe_load((SHIPPED / "prometheus" / "rules.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule):
        rule["expr"] = expr
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    shutil.copy(SHIPPED / "prometheus" / "rules_test.yml", tmp_path)

    played = promtool("test", "rules", "rules_test.yml", folder=tmp_path)

    failed = {*re.findall(r"alertname: ?(Ipt\w+)", played.stdout + played.stderr)}
    assert failed == {each.name for each in ALERTS}


def test_labels_of_our_series_are_kept_and_a_token_is_sent_to_the_exporter_alone():
    open_, closed = prometheus_config(), prometheus_config("exporter.token")

    scrapes = {each["job_name"]: each for each in closed["scrape_configs"]}
    assert [*scrapes] == [*POOLS]
    assert scrapes["ipt"]["honor_labels"] is True
    assert [name for name, each in scrapes.items() if "authorization" in each] == ["ipt"]
    assert not any("authorization" in each for each in open_["scrape_configs"])


def test_recorded_names_say_level_metric_and_operation():
    assert [each.name for each in RECORDINGS if not re.fullmatch(r"job:ipt_[a-z_]+:[a-z0-9_]+", each.name)] == []
