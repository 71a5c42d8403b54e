"""What `gc` removes from a storage on S3, and what it leaves alone."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from ipt_platform.checkpoint.remote import send_checkpoint
from ipt_platform.cli.main import app
from ipt_platform.errors import InfrastructureError
from ipt_platform.observe.events import append_event, utc_now
from ipt_platform.observe.garbage import find_garbage
from ipt_platform.observe.summary import publish

pytestmark = pytest.mark.slow


def later():
    return utc_now() + timedelta(days=2)


@pytest.fixture
def run(machines, checkpoint, store):
    """A run with a committed checkpoint, and step 2 sent but for its COMMIT."""
    run = machines.new("here")
    run.new_attempt()
    append_event(run, "started", 1, step=0)
    run.models.write_text("{}")
    run.keep_given()
    send_checkpoint(run.mirror.remote, checkpoint(run, 1), lambda: None)
    store.proxy.fault = lambda request: "busy" if "step-2/1/COMMIT" in request.path and request.method == "PUT" else ""
    with pytest.raises(InfrastructureError):
        send_checkpoint(run.mirror.remote, checkpoint(run, 2), lambda: None)
    store.proxy.fault = lambda request: ""
    return run


def test_what_was_never_committed_or_ended_goes_and_all_else_stays(run, machines, store, newest):
    client = store.direct()
    client.put_object(Bucket=store.bucket, Key="runs/far/given/" + "0" * 64, Body=b"second")
    publish(run)
    [first] = [key for key in store.objects() if ".summaries" in key]
    append_event(run, "finished", 1, reason="done")
    publish(run)
    client.put_object(Bucket=store.bucket, Key=first, Body=b"{}")
    before = store.objects()

    assert find_garbage(machines.storage) == []
    # only now: moto says of every upload that it began in 2010
    begun = client.create_multipart_upload(Bucket=store.bucket, Key="runs/far/checkpoints/step-9/1/weights.bin")["UploadId"]
    part = {"Bucket": store.bucket, "Key": "runs/far/checkpoints/step-9/1/weights.bin", "UploadId": begun, "PartNumber": 1}
    client.upload_part(**part, Body=bytes(6_000_000))
    found = find_garbage(machines.storage, clock=later)
    assert [(each.kind, each.name.removeprefix(f"{machines.storage}/")) for each in found] == [
        ("superseded", first.removeprefix("runs/")),
        ("uncommitted", "far/checkpoints/step-2/1/"),
        ("upload", "far/checkpoints/step-9/1/weights.bin"),
        ("leavings", f"far/given/{'0' * 64}"),
    ]
    assert found[2].bytes == 6_000_000
    assert found[1].bytes == sum(len(data) for key, data in before.items() if "/step-2/" in key)
    assert store.objects() == before
    for each in found:
        each.remove()

    gone = {key for key in before if "/step-2/" in key or "0" * 64 in key or key == first}
    assert set(store.objects()) == set(before) - gone
    assert not client.list_multipart_uploads(Bucket=store.bucket).get("Uploads")
    assert find_garbage(machines.storage, clock=later) == []
    assert newest(machines.find("there")).name == "step-1"


def test_what_an_attempt_that_still_speaks_is_sending_stays(run, machines, store):
    objects = {name: entry for name, entry in run.mirror.remote.entries().items() if "/step-2/" in name}
    sent = max(entry.modified for entry in objects.values())
    while max(entry.modified for entry in run.mirror.remote.entries("events").values()) <= sent:
        append_event(run, "warning", 1, reason="still here")  # the store's clock counts seconds

    between = sent + timedelta(milliseconds=500)
    assert find_garbage(machines.storage, age=timedelta(), clock=lambda: between) == []
    run.new_attempt()
    found = find_garbage(machines.storage, age=timedelta(), clock=lambda: between)
    assert [each.kind for each in found] == ["uncommitted"]


def test_the_command_says_what_goes(run, machines):
    for arguments in (["--dry-run"], []):
        done = CliRunner().invoke(app, ["gc", "--storage", machines.storage, "--json", *arguments])
        assert json.loads(done.stdout) == {"removed": not arguments, "bytes": 0, "garbage": []}
