"""A job of each kind, as its file has it, for the tests of manifests."""

from typing import Any

TRAIN: dict[str, Any] = {
    "apiVersion": "ipt/v1",
    "kind": "train",
    "name": "tiny",
    "model": {"backbone": "iptv2-nano"},
    "tasks": ["denoise", "deblur"],
    "data": {"shards": "shards/*.tar", "cpus": 1.5},
    "train": {"stages": [{"steps": 6, "patch": 48, "images": 12}]},
    "evaluate": {"sets": ["s3://bucket/test", "sample-test"]},
    "cluster": {"workers": 4, "gpus_per_worker": 1, "cpus_per_worker": 2},
}
PART = {key: value for key, value in TRAIN.items() if key not in ("apiVersion", "name")}
SHARED = {"apiVersion": "ipt/v1", "name": "tiny"}
TUNE = SHARED | {
    "kind": "tune",
    "base": PART,
    "search": {"space": {"model.bias.rank": {"choices": [2, 4]}}, "trials": 2, "scheduler": "none"},
    "cluster": {"max_concurrent": 3},
}
ANALYZE = SHARED | {
    "kind": "analyze",
    "what": "comparison",
    "base": PART,
    "variants": {"one": {}, "two": {"cluster": {"workers": 2, "gpus_per_worker": 2}}},
}
RESTORE = SHARED | {
    "kind": "restore",
    "input": "s3://bucket/photos",
    "output": "restored",
    "run": "first",
    "tasks": [{"task": "denoise"}],
    "cluster": {"actors": 5, "gpus_per_actor": 0.5, "cpus_per_actor": 3},
}
EVALUATE = SHARED | {"kind": "evaluate", "checkpoint": "runs/first", "tasks": ["denoise"], "sets": ["test"]}
