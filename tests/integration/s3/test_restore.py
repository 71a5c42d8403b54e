"""A job that restores from S3 to S3: what it finds there, what it writes, and the whole of it through actors."""

import json

import pytest
import yaml

from ipt_platform.checkpoint.files import read_json
from ipt_platform.checkpoint.load import load_model
from ipt_platform.errors import BadPictureError, DataError, SpecError
from ipt_platform.restore.imageio import encode_picture, read_picture
from ipt_platform.restore.outputs import Outputs
from ipt_platform.restore.pictures import list_input
from ipt_platform.restore.tiles import restore_array
from ipt_platform.restore.work import find_work
from ipt_platform.spec.job import RestoreJob
from ipt_platform.spec.load import load_job

JOB = {"apiVersion": "ipt/v1", "kind": "restore", "name": "far", "run": "trained"}
TASKS = [{"match": "rainy/*", "task": "deblur"}, {"task": "denoise"}]


def fill(store, **objects: bytes) -> None:
    for key, data in objects.items():
        store.direct().put_object(Bucket=store.bucket, Key=key, Body=data)


def job(store, **changes) -> RestoreJob:
    return RestoreJob.model_validate(JOB | {"input": store.url("in"), "output": store.url("out"), "tasks": TASKS} | changes)


def test_a_prefix_is_taken_with_all_below_it_but_the_outputs_and_names_that_lead_elsewhere(store, tmp_path):
    keys = ("in/a.png", "in/rainy/b.JPG", "in/out/old.png", "in/.x.png", "in/n.txt", "in/../up.png", "in//c.png", "inner/d.png")
    fill(store, **dict.fromkeys(keys, b"x"))

    listing = list_input(store.url("in"), store.url("in/out"), tmp_path)

    assert [(picture.name, picture.file) for picture in listing.pictures] == [
        ("a.png", store.path("in/a.png")),
        ("rainy/b.JPG", store.path("in/rainy/b.JPG")),
    ]
    assert {bad.name: bad.kind for bad in listing.refused} == {"../up.png": "bad-name", "/c.png": "bad-name"}
    assert listing.ignored == 1


def test_outputs_are_written_once_and_found_again(store):
    outputs = Outputs(store.path("out"), "run")

    outputs.put("rainy/b.png", b"first")
    outputs.put("rainy/b.png", b"second")

    assert store.objects() == {"out/rainy/b.png": b"first"}
    assert outputs.names() == {"rainy/b.png"}
    assert (outputs.has("rainy/b.png"), outputs.has("rainy/c.png")) == (True, False)


def test_only_what_has_no_output_is_missing(store, tmp_path):
    fill(store, **{"in/a.png": b"x", "in/rainy/b.png": b"x", "in/rainy/c.png": b"x", "out/rainy/b.png": b"y"})

    work = find_work(job(store), "run", tmp_path)

    assert {task: [each.name for each in found] for task, found in work.missing.items()} == {
        "deblur": ["rainy/c.png"],
        "denoise": ["a.png"],
    }
    assert (work.total, work.found) == (3, 1)


def test_what_is_gone_is_bad_and_what_has_changed_is_an_error(store, tmp_path):
    fill(store, **{"in/a.png": b"x"})
    (picture,) = list_input(store.url("in"), store.url("out"), tmp_path).pictures
    store.direct().delete_object(Bucket=store.bucket, Key="in/a.png")

    with pytest.raises(BadPictureError, match="It is gone"):
        picture.read()

    fill(store, **{"set.tar": b"before" * 100})
    pinned = type(picture)("a.png", store.path("set.tar"), 0, 10, store.s3.find(store.path("set.tar")).tag)
    assert pinned.read() == b"beforebefo"
    fill(store, **{"set.tar": b"after!" * 100})
    with pytest.raises(DataError, match="changed while it was in use"):
        pinned.read()


def test_a_prefix_without_anything_is_told_with_its_line(store, tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        yaml.safe_dump(JOB | {"input": store.url("none"), "output": store.url("out"), "task": "denoise"}, sort_keys=False)
    )

    with pytest.raises(SpecError, match=r"job\.yaml:5: input: there is nothing below s3://bucket-\d+/none/"):
        load_job(path, base=tmp_path)


@pytest.mark.slow
def test_from_a_bucket_into_a_bucket_through_actors(store, workplace, write_trained, monkeypatch, one_thread):
    for name, value in store.environment.items():
        monkeypatch.setitem(workplace.environment, name, value)
    checkpoint = write_trained(workplace.folder / "runs")
    photos = {path.name: path.read_bytes() for path in (workplace.folder / "photos").iterdir()}
    fill(
        store, **{f"in/{name}": data for name, data in photos.items()}, **{"in/rainy/x.png": photos["p0.png"], "in/b.png": b"?"}
    )
    (workplace.folder / "far.yaml").write_text(
        yaml.safe_dump(JOB | {"input": store.url("in"), "output": store.url("out"), "tasks": TASKS})
    )

    far = workplace.do("submit", "far.yaml", "--run", "far-restored")

    assert far.process.returncode == 0, far.stderr
    written = {key.removeprefix("out/"): data for key, data in store.objects().items() if key.startswith("out/")}
    assert written.keys() == {*photos, "rainy/x.png"}
    for name, data in written.items():
        task, source = ("deblur", "p0.png") if name == "rainy/x.png" else ("denoise", name)
        picture = read_picture(workplace.folder / "photos" / source)
        assert data == encode_picture(picture.with_rgb(restore_array(load_model(checkpoint, task), picture.rgb)), ".png"), name
    report = read_json(workplace.run("far-restored").report)
    assert (report["restored"], [*report["bad"]]) == (5, ["other-format"])
    again = workplace.do("submit", "far.yaml", "--run", "again", "--json")
    assert (again.process.returncode, json.loads(again.stdout)["found"]) == (0, 5), again.stderr
