import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.tune.tables import BOLD, NOTHING_BOLD, comparison, markdown, trials_csv

BASE = {0: 30.00, 1: 30.30, 2: 30.15}
CLEAR = {0: 30.50, 1: 30.81, 2: 30.64}
CLOSE = {0: 30.45, 1: 30.85, 2: 30.60}
"""Above BASE beyond the noise, inside that of CLEAR."""


def rows(table: str) -> dict[str, list[str]]:
    """The cells of a Markdown table by the name of the row."""
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines}


def test_markdown_by_hand():
    assert markdown(["name", "dB"], [["a", "30.00"]], right=["dB"]) == "| name | dB |\n| --- | --: |\n| a | 30.00 |\n"


def test_text_cannot_leave_its_cell():
    table = markdown(["name"], [["a | b\nc\\|"]])

    assert table.splitlines()[-1] == r"| a \| b c\\\| |"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells; expected 1"):
        markdown(["name"], [["a", "b"]])


def test_the_best_is_bold_if_it_is_higher_than_every_other():
    found = comparison({"sync": {"denoise": CLEAR}, "mixed": {"denoise": BASE}}, ["denoise"])

    assert rows(found)["sync"] == ["**30.65 ± 0.16 (3)**"]
    assert rows(found)["mixed"] == ["30.15 ± 0.15 (3)"]
    assert found.endswith(f"\n\n{BOLD}\n")


def test_a_difference_inside_the_noise_is_never_bold():
    """The best beats one variant and not the other."""
    found = comparison({"sync": {"denoise": CLEAR}, "two-stage": {"denoise": CLOSE}, "mixed": {"denoise": BASE}}, ["denoise"])

    assert "**" not in found
    assert NOTHING_BOLD in found


def test_one_seed_says_why_nothing_is_bold():
    found = comparison({"sync": {"denoise": {0: 35.0}}, "mixed": {"denoise": {0: 30.0}}}, ["denoise"])

    assert "**" not in found
    assert rows(found)["sync"] == ["35.00 (1)"]
    assert "One seed: the noise is unknown" in found


def test_one_seed_in_one_column_is_said_of_that_column():
    variants = {"sync": {"a": CLEAR, "b": {0: 35.0}}, "mixed": {"a": BASE, "b": {0: 30.0}}}
    found = comparison(variants, ["a", "b"])

    assert rows(found)["sync"] == ["**30.65 ± 0.16 (3)**", "35.00 (1)"]
    assert "nothing is bold in b." in found


def test_seeds_that_are_not_shared_decide_nothing():
    found = comparison({"sync": {"denoise": CLEAR}, "mixed": {"denoise": {7: 20.0, 8: 20.1}}}, ["denoise"])

    assert "**" not in found


def test_one_variant_is_not_the_best_of_anything():
    assert "**" not in comparison({"sync": {"denoise": CLEAR}}, ["denoise"])


def test_a_variant_that_failed_is_a_dash_and_not_compared():
    found = comparison({"sync": {"denoise": CLEAR}, "mixed": {"denoise": BASE}, "broken": {}}, ["denoise"])

    assert rows(found)["broken"] == ["–"]
    assert rows(found)["sync"] == ["**30.65 ± 0.16 (3)**"]


def test_facts_stand_in_columns_of_their_own():
    variants = {"sync": {"denoise": CLEAR, "deblur": BASE}, "mixed": {"denoise": BASE, "deblur": BASE}}
    found = rows(comparison(variants, ["denoise", "deblur"], {"rank": {"mixed": "8"}}))

    assert found["variant"] == ["rank", "denoise (dB)", "deblur (dB)"]
    assert found["sync"] == ["–", "**30.65 ± 0.16 (3)**", "30.15 ± 0.15 (3)"]
    assert found["mixed"] == ["8", "30.15 ± 0.15 (3)", "30.15 ± 0.15 (3)"]


def test_csv_by_hand():
    rows = [
        {"trial": 3, "psnr": 30.25, "stopped": False, "targets": ["qkv", "ffn"], "delta": -0.5},
        {"trial": 4, "psnr": None, "note": 'said "no", then\nstopped'},
        {"trial": 5, "psnr": math.nan, "delta": math.inf},
    ]

    assert trials_csv(rows, ["trial", "psnr", "stopped", "targets", "delta", "note"]) == (
        'trial,psnr,stopped,targets,delta,note\n3,30.25,false,"qkv, ffn",-0.5,\n4,,,,,"said ""no"", then\nstopped"\n5,,,,inf,\n'
    )


def test_an_end_of_line_in_a_text_is_a_line_feed():
    assert trials_csv([{"note": "a\r\nb\rc"}], ["note"]) == 'note\n"a\nb\nc"\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "＝1"])
def test_text_never_becomes_a_formula(text):
    written = trials_csv([{"note": text}, {"note": [text]}], ["note"])

    for cells in list(csv.reader(io.StringIO(written, newline="")))[1:]:
        assert cells == ["'" + text.replace("\r", "\n")]


@given(
    st.lists(
        st.floats(allow_nan=False)
        | st.integers()
        | st.text(st.characters(exclude_characters="\r", codec="utf-8")).map(lambda text: f"x{text}"),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_written_is_read_back(values):
    names = [f"c{index}" for index in range(len(values))]
    written = trials_csv([dict(zip(names, values, strict=True))], names)

    heading, cells = csv.reader(io.StringIO(written, newline=""))
    assert heading == names
    assert [type(value)(cell) for value, cell in zip(values, cells, strict=True)] == values


def test_a_value_without_a_column_is_not_lost_silently():
    with pytest.raises(ValueError, match="row has psnr, but the columns are trial"):
        trials_csv([{"trial": 1, "psnr": 30.0}], ["trial"])
