import json

import pytest

from ipt_platform.errors import DataError, NotFoundError
from ipt_platform.observe.samples import MAX_PARAMS_BYTES, Sample, find_sample, list_samples, read_params, read_picture
from ipt_platform.observe.storage import create


@pytest.fixture
def run(tmp_path):
    run = create(tmp_path, "one")
    for step, names in ((0, ["b"]), (9, ["a", "b"]), (10, ["a-<script>", "b"])):
        run.samples(step).mkdir(parents=True)
        for name in names:
            (run.samples(step) / f"{name}.png").write_bytes(f"{step} {name}".encode())
            (run.samples(step) / f"{name}.json").write_text(json.dumps({"step": step}))
    return run


def test_samples_are_listed_by_step_and_name(run):
    found = [(sample.step, sample.name) for sample in list_samples(run)]

    assert found == [(0, "b"), (9, "a"), (9, "b"), (10, "a-<script>"), (10, "b")]


def test_what_is_no_sample_is_passed_over(run, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"secret")
    (run.samples(9) / "link.png").symlink_to(outside)
    (run.samples(9) / ".hidden.png").touch()
    (run.samples(9) / "folder.png").mkdir()
    (run.samples(9) / "notes.txt").touch()
    for name in ("step-", "step-01", "step-x", "other"):
        (run.samples(0).parent / name).mkdir()
        (run.samples(0).parent / name / "c.png").touch()

    assert len(list_samples(run)) == 5
    with pytest.raises(NotFoundError, match="no picture 'link' of step 9"):
        find_sample(run, 9, "link")


def test_a_listed_sample_is_read(run):
    sample = find_sample(run, 9, "a")

    assert read_picture(run, sample) == b"9 a"
    assert json.loads(read_params(run, sample) or b"") == {"step": 9}


@pytest.mark.parametrize("name", ["../step-10/b", "..", "", "a.png", "/etc/passwd", "b\0", "*", "[ab]"])
def test_a_name_that_is_not_listed_is_none(run, name):
    with pytest.raises(NotFoundError, match="no picture"):
        find_sample(run, 9, name)


def test_a_sample_that_is_written_anew_has_another_tag(run):
    before = find_sample(run, 9, "a")
    (run.samples(9) / "a.png").write_bytes(b"other bytes")

    assert find_sample(run, 9, "a").tag != before.tag


def test_a_run_without_samples_has_none(tmp_path):
    assert list_samples(create(tmp_path, "new")) == []


def test_parameters_may_be_missing_but_not_huge(run):
    (run.samples(9) / "a.json").unlink()
    (run.samples(9) / "b.json").write_bytes(b" " * (MAX_PARAMS_BYTES + 1))

    assert read_params(run, find_sample(run, 9, "a")) is None
    with pytest.raises(DataError, match="at most"):
        read_params(run, find_sample(run, 9, "b"))


def test_a_sample_that_is_gone_is_not_found(run):
    with pytest.raises(NotFoundError):
        read_picture(run, Sample(9, "gone", ""))
