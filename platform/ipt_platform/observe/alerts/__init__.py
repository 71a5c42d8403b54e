"""Alerts and recorded expressions as code; `dashboards/generate.py` makes Prometheus' rule file of them."""

from typing import Any

from ipt_platform.observe.alerts.fleet import FLEET
from ipt_platform.observe.alerts.model import Alert, Recording
from ipt_platform.observe.alerts.recordings import RECORDINGS
from ipt_platform.observe.alerts.training import TRAINING

ALERTS: tuple[Alert, ...] = (*TRAINING, *FLEET)
"""All alerts, in the order in which the page of operations explains them."""

__all__ = ["ALERTS", "RECORDINGS", "Alert", "Recording", "rule_groups"]


def rule_groups() -> dict[str, Any]:
    """The rule file as Prometheus loads it. A group is evaluated in its order, so what alerts ask for comes first."""
    parts = (("ipt-recordings", RECORDINGS), ("ipt-training", TRAINING), ("ipt-fleet", FLEET))
    return {"groups": [{"name": name, "rules": [each.rule() for each in rules]} for name, rules in parts]}
