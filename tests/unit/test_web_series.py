"""The curves of the page: read as they grow, as `observe.curves` reads them whole, and thinned without losing a peak."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.observe.curves import columns_of, reports_of
from ipt_platform.observe.jsonl import line_of
from ipt_platform.observe.metrics_log import revive
from ipt_platform.observe.rundir import RunDir
from ipt_platform.web.charts import charts_of, charts_over
from ipt_platform.web.series import Curve, Library, Series, drawn

finite = st.floats(-10, 10)


@st.composite
def lines(draw) -> list[dict]:
    """What attempts write: steps that rise, and after a resume begin again further down; evaluations in between."""
    found = []
    for attempt in range(1, draw(st.integers(1, 4))):
        step = draw(st.integers(0, 6))
        for _ in range(draw(st.integers(0, 6))):
            if found and draw(st.booleans()):
                numbers = {"denoise": {"psnr": draw(finite)}}
                found.append({"attempt": attempt, "step": step, "evaluation": {draw(st.sampled_from("ab")): numbers}})
            else:
                step += draw(st.integers(1, 3))
                found.append({"attempt": attempt, "step": step, "loss": {draw(st.sampled_from("xy")): draw(finite)}, "lr": 0.5})
    return found


def curve(steps, values) -> Curve:
    made = Curve()
    made.steps.extend(steps)
    made.values.extend(values)
    return made


@given(lines(), st.lists(st.integers(0, 400), max_size=4))
def test_reading_piece_by_piece_gives_what_reading_whole_gives(tmp_path_factory, written, cuts):
    path = tmp_path_factory.mktemp("series") / "metrics.jsonl"
    data = b"".join(map(line_of, written))
    series = Series(path)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        with path.open("ab") as file:
            file.write(data[start:end])
        series.update()

    reports = reports_of(map(revive, written))
    expected = {
        name: [(report.step, report.cells()[name]) for report in reports if name in report.cells()]
        for name in columns_of(reports)
    }
    found = {name: list(zip(each.steps, each.values, strict=True)) for name, each in series.curves.items() if each.steps}
    assert found == expected


def test_a_torn_line_is_passed_over_and_a_line_that_is_being_written_waits(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "lr": 1.0}\n{"step": 2, "lr"\n{"step": 3, "lr": 3.0}\n{"step": 4, ')
    series = Series(path)

    series.update()
    assert list(series.curves["lr",].steps) == [1, 3]

    with path.open("ab") as file:
        file.write(b'"lr": 4.0}\n')
    series.update()
    assert list(series.curves["lr",].values) == [1.0, 3.0, 4.0]


def test_a_file_that_was_replaced_or_cut_is_read_anew(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "lr": 1.0}\n{"step": 2, "lr": 2.0}\n')
    series = Series(path)
    series.update()

    path.write_bytes(b'{"step": 7, "lr": 7.0}\n')
    series.update()
    assert list(series.curves["lr",].steps) == [7]

    other = tmp_path / "other"
    other.write_bytes(b'{"step": 8, "lr": 8.0}\n' * 4)
    other.replace(path)
    series.update()
    assert list(series.curves["lr",].values) == [8.0]


@pytest.mark.parametrize("step", ["true", "-1", "1e300", '"1"', "9007199254740993", "null", "[1]"])
def test_a_step_that_is_none_is_passed_over(tmp_path, step):
    path = tmp_path / "metrics.jsonl"
    line = {"step": 1, "lr": 2.0, "loss": {"a": "NaN", "b": [1], "c": True}}
    path.write_text(f'{{"step": {step}, "lr": 1.0}}\n{json.dumps(line)}\n')
    series = Series(path)

    series.update()

    assert list(series.curves["lr",].values) == [2.0]
    assert math.isnan(series.curves["loss", "a"].values[0])
    assert ("loss", "b") not in series.curves


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 2, "evaluation": null}',
        '{"step": 2, "evaluation": 1}',
        '{"step": 2, "evaluation": {"s": null}}',
        '{"step": 2, "evaluation": {"s": {"t": 3}}}',
        '{"step": 2, "evaluation": {"s": {"t": {"psnr": "high"}}}}',
        f'{{"step": 2, "lr": {10**400}, "loss": {{"a": {10**400}, "b": true}}}}',
    ],
)
def test_a_line_that_is_damaged_ends_no_curve(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "lr": 1.0}}\n{line}\n{{"step": 3, "lr": 3.0}}\n')
    series = Series(path)

    series.update()

    assert {name: list(each.values) for name, each in series.curves.items()} == {("lr",): [1.0, 3.0]}


def test_a_set_that_was_restored_perfectly_is_told_and_has_no_point(tmp_path):
    written = [{"step": step, "evaluation": {"test": {"rain": {"psnr": value}}}} for step, value in ((1, 30.0), (2, None))]

    with Library().open(run_with(tmp_path, "a", *written)) as series:
        chart = charts_of(series, -math.inf, math.inf)[0]
        assert series.curves["psnr", "test", "rain"].at(2) == math.inf

    assert chart["curves"][0]["values"] == [30.0, None]
    assert chart["curves"][0]["last"] == (2, "inf")
    json.dumps(chart, allow_nan=False)


@given(st.lists(st.floats(-1e3, 1e3), min_size=50, max_size=400), st.integers(2, 40))
def test_thinned_curves_keep_their_means_and_every_peak(values, points):
    steps, found = drawn({"a": curve(range(0, 3 * len(values), 3), values)}, points=points)

    each = found["a"]
    assert len(steps) == len(each.values) <= points + 1
    assert steps == sorted(steps)
    if each.low is not None:
        assert min(v for v in each.low if v is not None) == pytest.approx(min(values), rel=1e-5)
        assert max(v for v in each.high if v is not None) == pytest.approx(max(values), rel=1e-5)
        assert all(
            low <= mean + 1e-3 and mean <= high + 1e-3
            for mean, low, high in zip(each.values, each.low, each.high, strict=True)
            if mean is not None
        )


def test_what_is_looked_at_closely_is_shown_as_it_is():
    steps, found = drawn({"a": curve(range(1000), np.arange(1000.0))}, start=500, end=509, points=50)

    assert steps == list(range(500, 510))
    assert found["a"].values == list(range(500, 510))
    assert found["a"].low is None


def test_curves_of_different_steps_stand_on_common_ones():
    steps, found = drawn({"a": curve([1, 3], [1.0, math.inf]), "b": curve([2, 3], [2.0, 3.0]), "c": curve([], [])})

    assert steps == [1, 2, 3]
    assert [found[name].values for name in "abc"] == [[1.0, None, None], [None, 2.0, 3.0], [None, None, None]]


def run_with(folder: Path, name: str, *written: dict) -> RunDir:
    run = RunDir(folder / name)
    run.path.mkdir()
    run.metrics.write_bytes(b"".join(map(line_of, written)))
    return run


def test_charts_hold_what_belongs_together_and_can_be_sent(tmp_path):
    line = {"step": 1, "loss": {"rain": 0.5, "haze": math.nan}, "lr": 1.0, "bias_lr": 2.0, "bias_grad_norm": {"rain": 3.0}}
    evaluation = {"step": 1, "evaluation": {"test": {"rain": {"psnr": 30.0}}}}
    first, second = run_with(tmp_path, "a", line, evaluation), run_with(tmp_path, "b", line)
    library = Library()

    with library.open(first) as one, library.open(second) as other:
        own = charts_of(one, -math.inf, math.inf)
        both = charts_over({"a": one, "b": other}, -math.inf, math.inf)

    assert [(chart["title"], [each["label"] for each in chart["curves"]]) for chart in own] == [
        ("Training loss", ["haze", "rain"]),
        ("PSNR on test", ["rain"]),
        ("Learning rate", ["weights", "biases"]),
        ("Norm of gradients", ["biases of rain"]),
    ]
    assert own[0]["curves"][0]["last"] == (1, "nan")
    assert {chart["title"]: [each["label"] for each in chart["curves"]] for chart in both}["PSNR on test, rain"] == ["a"]
    assert len(both) == 6
    json.dumps([own, both], allow_nan=False)


def test_the_library_forgets_who_was_not_asked_for_longest(tmp_path):
    runs = [run_with(tmp_path, name, *({"step": step, "lr": 1.0} for step in range(10))) for name in "abc"]
    library = Library(most=25)

    for run in (runs[0], runs[1], runs[0], runs[2]):
        with library.open(run) as series:
            assert len(series.curves["lr",].steps) == 10

    assert [library.known(run) for run in runs] == [True, False, True]


class Growing(dict):
    """Gets one more whenever it is looked through, as it may where another thread reads what has come."""

    def values(self):
        for each in super().values():
            self[len(self)] = each
            yield each


def test_to_forget_somebody_needs_no_look_at_what_others_read(tmp_path):
    first, second = (run_with(tmp_path, name, *({"step": step, "lr": 1.0} for step in range(10))) for name in "ab")
    library = Library(most=15)
    with library.open(first) as series:
        series.curves = Growing(series.curves)

    with library.open(second):
        pass

    assert not library.known(first)
