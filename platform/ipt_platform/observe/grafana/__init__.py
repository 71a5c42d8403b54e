"""Grafana's dashboards as code; `dashboards/generate.py` writes them."""

from ipt_platform.observe.grafana.data_stream import DATA_STREAM
from ipt_platform.observe.grafana.fleet import FLEET
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target
from ipt_platform.observe.grafana.run import RUN
from ipt_platform.observe.grafana.search import SEARCH
from ipt_platform.observe.grafana.tasks import TASKS

DASHBOARDS = (FLEET, RUN, DATA_STREAM, TASKS, SEARCH)
"""All of them."""

__all__ = ["DASHBOARDS", "Dashboard", "Panel", "Row", "Target"]
