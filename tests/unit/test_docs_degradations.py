"""docs/degradations.md is what the classes say, and what it shows can be written."""

import re
import runpy
from pathlib import Path

import pytest

from ipt_platform.data.degradations import DEGRADATIONS, build_degradation
from ipt_platform.data.degradations.compose import COMPOSITIONS
from ipt_platform.evaluate.params import parse_params
from ipt_platform.spec.recipe import problems_of_params
from ipt_platform.spec.source import Document, parse_yaml

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "degradations.md").read_text()
BLOCKS = [parse_yaml(text, "page").value for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]


def test_the_page_is_what_the_classes_make_of_it():
    page = runpy.run_path(str(DOCS / "generate.py"))["degradations_page"]()

    assert page == PAGE, "run `python docs/generate.py`"


@pytest.mark.parametrize("name", [*DEGRADATIONS, *COMPOSITIONS])
def test_every_degradation_has_a_formula_and_every_parameter_a_row(name):
    """Against the models themselves, so that the generator cannot leave one out."""
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]

    assert re.match(r"\ny(_c)? = ", section)
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", section, re.MULTILINE)
    assert [row[0] for row in rows] == [*(DEGRADATIONS | COMPOSITIONS)[name].model_fields]
    assert all(cell.strip() for row in rows for cell in row)


def test_the_degradations_shown_can_be_built_and_their_parameters_replaced():
    shown = [block["degradation"] for block in BLOCKS if "degradation" in block]
    (params,) = [block["tasks"]["dusk"]["params"] for block in BLOCKS if "tasks" in block]
    given = parse_params(re.findall(r"--param (\S+)", PAGE))

    assert [build_degradation(spec).name for spec in shown] == ["gaussian-noise", "chain"]
    for replacing in (params, given):
        assert problems_of_params(shown[1], replacing, Document(replacing, {}, "page"), ()) == []
