"""docs/faults.md names tests, events, classes and exit codes that exist."""

import re
from pathlib import Path

from ipt_platform.errors import ExitCode, FailureClass
from ipt_platform.observe.events import EVENT_TYPES
from ipt_platform.observe.status import STATES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
COLUMNS = ["what happens", "what the platform does", "lost", "to be seen", "code", "to do", "proved by"]
FIELDS = {"seconds", "samples", "status", "--now"}
"""What else stands in backticks among what is to be seen."""


def rows() -> list[dict[str, str]]:
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells != COLUMNS:
            found.append(dict(zip(COLUMNS, cells, strict=True)))
    return found


def test_every_fault_is_proved_by_tests_that_exist():
    assert len(rows()) > 25
    for row in rows():
        named = re.findall(r"\]\(([^)]+)\)", row["proved by"])
        assert named, row["what happens"]
        for each in named:
            path = (PAGE.parent / each).resolve()
            assert path.is_file(), each
            assert "def test_" in path.read_text(), each


def test_what_is_to_be_seen_is_what_the_platform_says():
    words = {*EVENT_TYPES, *STATES, *(str(each) for each in FailureClass), *FIELDS}
    codes = {str(value) for name, value in vars(ExitCode).items() if name.isupper()}
    for row in rows():
        assert {*re.findall(r"`([^`]+)`", row["to be seen"])} <= words, row["to be seen"]
        assert row["code"] == "–" or {*row["code"].split(", ")} <= codes, row["code"]
