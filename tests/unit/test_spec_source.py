"""YAML in: the values of YAML 1.2, the line of each, every problem, and limits that hold."""

import math
from pathlib import Path

import pytest

from ipt_platform.errors import NotFoundError, SpecError, UsageError
from ipt_platform.spec.source import MAX_BYTES, MAX_DEPTH, MAX_VALUES, load_yaml, parse_yaml


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "job.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),  # PyYAML reads text
        ("no", "no"),  # PyYAML reads False
        ("on", "on"),
        ("true", True),
        ("1:30", "1:30"),  # PyYAML reads 90
        ("2024-01-01", "2024-01-01"),  # PyYAML reads a date
        ("012", 12),  # PyYAML reads 10
        ("0o17", 15),
        ("0xff", 255),
        ("1_000", "1_000"),  # PyYAML reads 1000
        ("+5", 5),
        ("-.5", -0.5),
        ("-.inf", -math.inf),
        ("~", None),
        ("", None),
        ("'3'", "3"),
        ("{a: [1, {b: null}]}", {"a": [1, {"b": None}]}),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    found = parse_yaml(text, "f").value

    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line():
    document = parse_yaml("a: 1\n\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", "f")

    assert document.lines == {(): 1, ("a",): 1, ("b",): 3, ("b", 0): 4, ("b", 1): 5, ("b", 1, "c"): 5, ("b", 1, "d"): 6}


def test_a_problem_stands_at_the_nearest_value_that_was_written():
    document = parse_yaml("a:\n  b: 1\n", "f")

    assert str(document.problem(("a", "missing", "deep"), "oh")) == "f:1: a.missing.deep: oh"
    assert str(document.problem(("a", "b"), "oh")) == "f:2: a.b: oh"


def test_all_problems_of_a_file_come_at_once():
    text = "a: 1\nb: {c: 2, c: 3}\na: 4\nd: !!python/object/apply:os.system [ls]\n1: x\n<<: {e: 1}\nf: !!int x\n"

    assert problems(text) == [
        "job.yaml:2: b.c: key 'c' was already given on line 2; keep one of them",
        "job.yaml:3: a: key 'a' was already given on line 1; keep one of them",
        "job.yaml:4: d: tag !!python/object/apply:os.system is not allowed",
        "job.yaml:5: key '1' is not text; put it in quotes",
        "job.yaml:6: merge keys (<<) are not supported; write the keys out",
        "job.yaml:7: f: 'x' cannot be read as int",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1,\n", "job.yaml:3: not YAML"),
        ("a: 1\n\tb: 2\n", "job.yaml:2: not YAML"),
        ("a: 1\nb: \x07\n", "job.yaml:2: not YAML: character #x0007"),
        ("a: 1\n---\nb: 2\n", "job.yaml:2: not YAML: expected a single document"),
        ("a: *nowhere\n", "job.yaml:1: not YAML: found undefined alias"),
        ('a: "\\ud800"\n', "job.yaml:1: a: "),  # half a surrogate pair could not be written to a file again
        (f"a: {'9' * 5000}\n", "job.yaml:1: a: "),  # Python refuses such numbers
        ("a: &a [1, *a]\n", "job.yaml:1: a.1: an alias stands inside its own anchor"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line(text, said):
    assert len(problems(text)) == 1
    assert problems(text)[0].startswith(said)


def test_an_alias_bomb_is_counted_and_not_expanded():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))  # 9 ** 40 values

    assert problems(bomb) == [f"job.yaml:1: more than {MAX_VALUES} values once aliases are written out"]


@pytest.mark.parametrize("text", ["[" * 10_000, "- " * 5000 + "x", "{a: " * 3000])
def test_depth_is_limited_before_anything_recurses(text):
    assert problems(text) == [f"job.yaml:1: nested deeper than {MAX_DEPTH} levels"]


def test_the_deepest_allowed_file_is_read():
    assert parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f").value is not None


def test_the_number_of_values_is_limited():
    parse_yaml(f"[{'1,' * (MAX_VALUES - 1)}]", "f")

    assert "more than" in problems(f"[{'1,' * MAX_VALUES}]")[0]
    # far more are refused while they are read, before anything is composed
    assert problems(f"[{'1,' * (3 * MAX_VALUES)}]") == [f"job.yaml:1: more than {MAX_VALUES} values"]


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "big.yaml").write_text("#" * (MAX_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")

    with pytest.raises(NotFoundError, match=r"none\.yaml: no such file"):
        load_yaml(tmp_path / "none.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_yaml(tmp_path)
    with pytest.raises(SpecError, match=r"big\.yaml: larger than 256 KiB"):
        load_yaml(tmp_path / "big.yaml")
    with pytest.raises(SpecError, match=r"latin\.yaml:2: not UTF-8"):
        load_yaml(tmp_path / "latin.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")

    assert load_yaml(tmp_path / "bom.yaml").value == {"a": 1}
