"""A run whose files are all on S3 needs no folder that both sides see, also where its task is the user's own."""

from pathlib import Path

import yaml
from PIL import Image

from ipt_platform.cluster.submit import prepare_run, resume_run
from ipt_platform.data.pack import pack
from ipt_platform.spec.load import load_job
from ipt_platform.spec.task import load_task

TASK = {"apiVersion": "ipt/v1", "kind": "task", "name": "mine", "description": "Mine.", "stage": "downstream"}


def test_a_machine_that_sees_the_bucket_alone_has_the_task(machines, tmp_path, monkeypatch):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home / "tasks", elsewhere, tmp_path / "photos"):
        folder.mkdir(parents=True)
    Image.new("RGB", (40, 40), (9, 99, 199)).save(tmp_path / "photos" / "a.png")
    pack(tmp_path / "photos", tmp_path / "shards")
    (home / "tasks" / "mine.yaml").write_text(yaml.safe_dump({**TASK, "degradation": "rain"}))
    job = {
        "apiVersion": "ipt/v1",
        "kind": "train",
        "name": "far",
        "model": {"backbone": "iptv2-nano"},
        "tasks": ["mine"],
        "data": {"shards": f"{tmp_path}/shards/*.tar"},
        "train": {"stages": [{"steps": 1, "patch": 32, "images": 1}]},
        "storage": machines.storage,
    }
    (home / "job.yaml").write_text(yaml.safe_dump(job))
    monkeypatch.chdir(home)
    machines.on("laptop")
    given = load_job("job.yaml").job
    prepare_run(load_job("job.yaml"), "far", Path())

    monkeypatch.chdir(elsewhere)
    run = machines.find("cluster")
    led = resume_run(run, Path())

    assert led == given
    assert load_task("mine", Path(), run.tasks).degradation == {"name": "rain"}
