"""Pauses grow, end at a bound, and are never the same for all; what will not pass is not tried again."""

import pytest

from ipt_platform.storage.retry import GivenUpError, Retry


class Flaky:
    """Fails some times, then gives 7."""

    def __init__(self, failures: int, error: Exception):
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return 7


def passing(error: Exception) -> str:
    return "it is busy" if isinstance(error, ConnectionError) else ""


def waiting(uniform: float, **settings) -> tuple[Retry, list[float]]:
    pauses: list[float] = []
    return Retry(sleep=pauses.append, uniform=lambda: uniform, **settings), pauses


@pytest.mark.parametrize(("uniform", "share"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5)])
def test_pauses_double_up_to_the_longest_and_a_random_half_is_left_out(uniform, share):
    retry, pauses = waiting(uniform, attempts=7, first=0.5, longest=5)
    flaky = Flaky(6, ConnectionError())

    assert retry.run("reading", flaky, passing) == 7
    assert flaky.calls == 7
    assert pauses == pytest.approx([share * pause for pause in (0.5, 1, 2, 4, 5, 5)])


def test_the_last_failure_is_told_with_its_reason_and_not_waited_for(caplog):
    retry, pauses = waiting(0, attempts=3)
    flaky = Flaky(3, ConnectionError())

    with pytest.raises(GivenUpError, match="3 attempts failed, the last because it is busy") as caught:
        retry.run("s3://bucket/x: reading", flaky, passing)
    assert caught.value.__cause__ is flaky.error
    assert (flaky.calls, len(pauses)) == (3, 2)
    assert [record.getMessage() for record in caplog.records] == [
        "s3://bucket/x: reading: attempt 1 of 3 failed: it is busy; again in 0.2 s",
        "s3://bucket/x: reading: attempt 2 of 3 failed: it is busy; again in 0.4 s",
    ]


def test_what_will_not_pass_is_raised_as_it_is():
    retry, pauses = waiting(0, attempts=3)
    flaky = Flaky(1, ValueError("wrong"))

    with pytest.raises(ValueError, match="wrong"):
        retry.run("reading", flaky, passing)
    assert (flaky.calls, pauses) == (1, [])
