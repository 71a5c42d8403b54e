"""docs/operations.md lists the alerts as they are, and they lead to it."""

import re
import runpy
from pathlib import Path

from ipt_platform.observe.alerts import ALERTS
from ipt_platform.observe.alerts.model import RUNBOOK
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.scrape import POOLS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / RUNBOOK).read_text()


def test_the_page_is_what_the_alerts_make_of_it():
    assert runpy.run_path(str(ROOT / "docs" / "generate.py"))["operations_page"](PAGE) == PAGE, "run `python docs/generate.py`"


def test_every_alert_leads_to_its_section():
    headings = {line.removeprefix("### ").lower() for line in PAGE.splitlines() if line.startswith("### ")}

    for each in ALERTS:
        page, _, section = each.rule()["annotations"]["runbook"].partition("#")
        assert (page, section in headings) == (RUNBOOK, True)


def test_commands_that_alerts_name_exist():
    commands = (ROOT / "docs" / "cli.md").read_text()
    named = {name for each in ALERTS for name in re.findall(r"`ipt-platform ([a-z]+(?: [a-z]+)*)", each.do)}

    assert named
    assert [name for name in named if f"\n## ipt-platform {name}\n" not in commands] == []


def test_keys_of_jobs_that_alerts_name_exist():
    keys = (ROOT / "docs" / "job-file.md").read_text()
    named = {name for each in ALERTS for text in (each.means, each.do) for name in re.findall(r"`[a-z]+\.([a-z_]+)", text)}

    assert [name for name in named - {"listen", "targets"} if f"| `{name}` |" not in keys] == []


def test_dashboards_and_targets_are_explained():
    assert [each.title for each in DASHBOARDS if f"| {each.title} |" not in PAGE] == []
    assert [name for name in POOLS if f"| `{name}.json` |" not in PAGE] == []
