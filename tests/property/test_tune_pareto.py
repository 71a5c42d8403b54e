from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ipt_platform.tune.pareto import pareto
from ipt_platform.tune.pareto_figure import spread

# Few different values, so that ties of every kind come up.
POINTS = st.lists(st.tuples(st.sampled_from([20.0, 25.5, 26.0, 30.0, float("inf")]), st.integers(0, 5)), max_size=25)


def dominates(a: tuple[float, int], b: tuple[float, int]) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(POINTS)
def test_the_front_is_what_no_point_dominates(points):
    expected = {index for index, point in enumerate(points) if not any(dominates(other, point) for other in points)}

    front = pareto(points)
    assert set(front) == expected
    assert len(front) == len(expected)


@given(POINTS)
def test_the_front_rises(points):
    front = [points[index] for index in pareto(points)]

    assert front == sorted(front, key=lambda point: point[::-1])
    assert [psnr for psnr, _ in front] == sorted(psnr for psnr, _ in front)


@given(st.lists(st.floats(0, 1), max_size=16).map(sorted), st.floats(0.001, 0.3))
def test_labels_keep_their_distance_and_their_order(wanted, gap):
    places = spread(wanted, gap)

    least = min(gap, 1 / max(1, len(wanted) - 1))
    assert len(places) == len(wanted)
    assert all(after - before >= least - 1e-9 for before, after in pairwise(places))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


@given(st.integers(1, 10))
def test_labels_with_room_stand_where_they_want(count):
    wanted = [(index + 0.5) / count for index in range(count)]

    assert all(abs(place - want) < 1e-9 for place, want in zip(spread(wanted, 0.9 / count), wanted, strict=True))
