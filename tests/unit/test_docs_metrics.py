"""docs/metrics.md is what the catalogue says, and what it shows of the configuration is right."""

import re
import runpy
import tomllib
from pathlib import Path

from ipt_platform.cluster.scraping import VARIABLES
from ipt_platform.cluster.target import ConfigFile
from ipt_platform.observe.catalogue import METRICS
from ipt_platform.spec.source import parse_yaml

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_catalogue_makes_of_it():
    page = runpy.run_path(str(DOCS / "generate.py"))["metrics_page"]()

    assert (DOCS / "metrics.md").read_text() == page, "run `python docs/generate.py`"


def test_every_metric_stands_in_one_table():
    page = (DOCS / "metrics.md").read_text()

    assert sorted(re.findall(r"^\| `(ipt_\w+)` \|", page, re.MULTILINE)) == sorted(METRICS)


def test_the_configuration_that_is_shown_can_be_read():
    page = (DOCS / "metrics.md").read_text()
    (toml,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (scrape,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)

    shown = ConfigFile.model_validate(tomllib.loads(toml)).metrics
    assert shown.model_fields_set == set(VARIABLES)
    assert [variable for variable in VARIABLES.values() if variable not in toml] == []
    (config,) = parse_yaml(scrape, "metrics.md").value["scrape_configs"]
    assert config["file_sd_configs"][0]["files"] == [shown.targets]
    assert config["honor_labels"] is True
