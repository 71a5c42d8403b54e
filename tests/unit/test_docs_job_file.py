"""docs/job-file.md is what the schema says, and the README shows the job that it names."""

import re
import runpy
from pathlib import Path

from ipt_platform.spec.job import JOB, JOB_KINDS
from ipt_platform.spec.source import load_yaml, parse_yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_page_is_what_the_schema_makes_of_it():
    page = runpy.run_path(str(DOCS / "generate.py"))["job_file_page"]()

    assert (DOCS / "job-file.md").read_text() == page, "run `python docs/generate.py`"


def test_the_page_names_every_key_of_every_section():
    """Against the models themselves, so that the generator cannot leave a section out."""
    page = (DOCS / "job-file.md").read_text()

    def keys(model) -> list[str]:
        below = [field.annotation for field in model.model_fields.values() if hasattr(field.annotation, "model_fields")]
        return [*model.model_fields, *(key for inner in below for key in keys(inner))]

    for job in JOB_KINDS.values():
        assert [key for key in keys(job) if f"| `{key}` |" not in page] == []


def test_the_readme_shows_the_quickstart_as_it_is():
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)

    quickstart = JOB.validate_python(load_yaml(ROOT / "jobs/quickstart.yaml").value)
    assert JOB.validate_python(parse_yaml(shown, "README.md").value) == quickstart
