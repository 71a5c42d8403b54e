"""Compound jobs with one wrong value, wherever it stands: told in the words of the file, and never as a traceback."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ipt_platform.errors import SpecError
from ipt_platform.spec.load import check_job
from ipt_platform.spec.source import Document, KeyPath, parse_yaml
from tests.unit import test_spec_analyze as analyses
from tests.unit import test_spec_tune as searches

PYDANTIC = re.compile(r"[\[( ]|\b(int|float|bool|str|constrained-str)\b")
"""By which it tells the members of a union apart."""

WRONG = (5, {})
DEPTH = 2
MORE = {
    "sensitivity": "task: deblur\ntransplant: {tasks: [deblur], images: 4}\nseeds: [1, 2]\n",
    "rank-energy": "compress: {rank: 4}\n",
}
TRAINED = "before: {train: {mode: mixed}}\nafter: {tasks: [deblur], train: {mode: mixed}}\n"
FILES = {
    **{what: analyses.text_of(what) + MORE.get(what, "") for what in analyses.OWN},
    "rank-energy, trained": analyses.text_of("rank-energy").replace("before: one\nafter: other\n", TRAINED) + "compress: {}\n",
    "search": searches.TEXT + "  repeat: [1]\n",
}


def places(value: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path of at most DEPTH steps."""
    if len(above) == DEPTH:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


def with_value(document: Document, path: KeyPath, wrong: Any) -> Document:
    value = copy.deepcopy(document.value)
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = wrong
    return Document(value, document.lines, document.file)


@pytest.mark.parametrize("what", FILES)
def test_whatever_one_value_is_the_file_is_read_or_refused_in_its_own_words(base, what):
    document = parse_yaml(FILES[what], "job.yaml")
    for path in places(document.value):
        for wrong in WRONG:
            try:
                check_job(with_value(document, path, wrong), base)
            except SpecError as error:
                told = [problem.path for problem in error.problems]
                assert not [each for each in told if PYDANTIC.search(each)], (path, wrong, told)
