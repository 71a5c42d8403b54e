"""Writes what Prometheus and Grafana load, and the list of alerts of docs/operations.md: `python dashboards/generate.py`.

Alerts, what is scraped and dashboards are code in ipt_platform/observe; the situations in which each alert is tried stand in
cases.py. A test compares the files with what this makes.

    python dashboards/generate.py --to DIR --token-file exporter.token

writes them elsewhere, for an exporter that wants a token.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from cases import promtool_tests

from ipt_platform.observe.alerts import rule_groups
from ipt_platform.observe.grafana import DASHBOARDS
from ipt_platform.observe.scrape import prometheus_config

HERE = Path(__file__).parent
HEADER = "# Written by dashboards/generate.py; change the code in ipt_platform/observe and run it again.\n"

DATASOURCES = {
    "apiVersion": 1,
    "datasources": [
        {
            "name": "Prometheus",
            "uid": "ipt-prometheus",
            "type": "prometheus",
            "access": "proxy",
            "url": "${PROMETHEUS_URL}",
            "isDefault": True,
            "jsonData": {"timeInterval": "15s"},
        }
    ],
}
PROVIDERS = {
    "apiVersion": 1,
    "providers": [{"name": "ipt-platform", "folder": "IPT", "type": "file", "options": {"path": "${IPT_DASHBOARDS}"}}],
}


def files(token_file: str | None = None) -> Iterator[tuple[str, str]]:
    """Path below this folder and content of every file that is written.

    Args:
        token_file: with the token of the exporter, as Prometheus finds it; None: it wants none.
    """
    yield "prometheus/targets/.gitignore", "# what is read is a matter of each installation\n*.json\n"
    yield "prometheus/prometheus.yml", _yaml(prometheus_config(token_file))
    yield "prometheus/rules.yml", _yaml(rule_groups())
    yield "prometheus/rules_test.yml", _yaml(promtool_tests())
    yield "grafana/provisioning/datasources/ipt.yml", _yaml(DATASOURCES)
    yield "grafana/provisioning/dashboards/ipt.yml", _yaml(PROVIDERS)
    for each in DASHBOARDS:
        yield f"grafana/{each.uid}.json", json.dumps(each.json(), indent=2, ensure_ascii=False) + "\n"


def _yaml(content: dict[str, Any]) -> str:
    return HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def write(folder: Path, token_file: str | None = None) -> None:
    """Writes all files below a folder."""
    for name, text in files(token_file):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=HERE, help="folder to write to (this one)")
    parser.add_argument("--token-file", help="file with the token of the exporter, relative to prometheus.yml")
    chosen = parser.parse_args()
    write(chosen.to, chosen.token_file)
