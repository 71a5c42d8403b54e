"""Who may import whom, and who may import Ray."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ipt_platform

PACKAGE = Path(ipt_platform.__file__).parent

LAYERS = (
    ("errors",),
    ("storage",),
    ("data", "model"),
    ("spec", "checkpoint"),
    ("observe", "evaluate"),
    ("registry", "track", "notify"),
    ("restore",),
    ("train",),
    ("tune",),
    ("cluster",),
    ("web",),
    ("cli",),
)
"""A package imports packages of earlier layers only."""

RAY = {
    "data/stream.py", "data/executor.py", "restore/batch.py", "train/worker.py", "train/driver.py", "train/elastic.py",
    "train/entry.py", "train/exporting.py",
    "train/failures.py", "train/supervise.py", "train/trainer.py", "tune/room.py", "tune/search.py", "tune/searcher.py",
    "tune/trial.py",
}  # fmt: skip
"""The files that may import Ray, besides the package cluster."""

S3 = {"storage/s3.py"}
"""The files that may import boto3; others import them where a path on S3 is met."""

DATABASE = {"registry/database.py"}
"""The file that may import SQLAlchemy; others import it where the index is opened."""

PROMETHEUS = {"observe/exposition.py", "observe/scraped.py"}
"""The files that may import prometheus_client; the process that exports imports them."""

PURE = (
    ("storage", "spec", "data", "observe", "evaluate", "track", "notify"),
    ("model", "checkpoint", "registry", "restore", "train"),
)
"""What runs where neither Ray nor a service is installed (but for the files above); the first ones without torch too."""

TRACKERS = {"track/tensorboard.py": "tensorboard", "track/mlflow.py": "mlflow"}
"""The files that may import a tracker's library, each when it is needed: they are extras."""

SERVICES = (
    *("ray", "boto3", "botocore", "starlette", "uvicorn", "sqlalchemy", "prometheus_client", "optuna", "webdataset"),
    *TRACKERS.values(),
)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[str]:
    """Names of modules that are imported anywhere in a file, also inside functions."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                # `from ipt_platform import spec` imports a module too
                yield from [f"{module}.{alias.name}" for alias in names] if module == "ipt_platform" else [module]


def test_packages_import_only_what_lies_below_them():
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = []
    for file, tree in modules():
        own = file.removesuffix(".py").split("/")[0]
        if own == "__init__":
            continue
        for name in imported(tree):
            other = name.split(".")[1] if name.startswith("ipt_platform.") else own
            if other not in (own, "__version__") and level[other] >= level[own]:
                wrong.append(f"{file} imports {name}")

    assert wrong == []


def test_ray_stands_only_where_ray_is_the_subject():
    found = {file for file, tree in modules() if "ray" in {name.split(".")[0] for name in imported(tree)}}

    assert {file for file in found if not file.startswith("cluster/")} == RAY


def test_sqlalchemy_stands_only_where_the_index_is_kept():
    found = {file for file, tree in modules() if "sqlalchemy" in {name.split(".")[0] for name in imported(tree)}}

    assert found == DATABASE


def test_trackers_stand_only_where_they_are_told():
    found = {(file, name.split(".")[0]) for file, tree in modules() for name in imported(tree)}

    assert {(file, name) for file, name in found if name in TRACKERS.values()} <= set(TRACKERS.items())


def test_boto3_stands_only_where_requests_to_s3_are_made():
    found = {file for file, tree in modules() if {"boto3", "botocore"} & {name.split(".")[0] for name in imported(tree)}}

    assert found == S3


def test_prometheus_client_stands_only_where_metrics_are_exported():
    found = {file for file, tree in modules() if "prometheus_client" in {name.split(".")[0] for name in imported(tree)}}

    assert found == PROMETHEUS


def test_who_exports_does_without_torch():
    code = "import sys, ipt_platform.cluster.exporter, ipt_platform.cluster.looking; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"ray", "prometheus_client"} <= set(loaded)
    assert [name for name in ("torch", "matplotlib", "scipy", "ray.train", "ray.tune") if name in loaded] == []


def test_the_page_starts_without_ray_torch_and_s3():
    """It reads files; what needs more is imported by who asks for it."""
    names = [
        "ipt_platform." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file, _ in modules()
        if file.startswith("web/")
    ]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"ipt_platform.web.app", "starlette"} <= set(loaded)
    assert [name for name in ("ray", "torch", "boto3", "botocore", "sqlalchemy", "optuna") if name in loaded] == []


def test_starlette_stands_only_where_the_page_is():
    found = {file for file, tree in modules() if "starlette" in {name.split(".")[0] for name in imported(tree)}}

    assert {file.split("/")[0] for file in found} == {"web"}


def test_manifests_are_written_without_ray_and_services():
    code = "import sys, ipt_platform.cluster.render.manifest; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert [name for name in SERVICES if name in loaded] == []


def test_who_starts_and_watches_a_training_does_without_torch_and_what_draws():
    """They are processes that a user waits for, one after the other."""
    code = "import sys, ipt_platform.cluster.drive, ipt_platform.cluster.local, ipt_platform.train.driver; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"ray.train", "ipt_platform.train.supervise", "ipt_platform.train.entry"} <= set(loaded)
    assert [name for name in ("torch", "matplotlib", "scipy", "ray.tune", "optuna") if name in loaded] == []


@pytest.mark.parametrize(("packages", "refused"), zip(PURE, [(*SERVICES, "torch"), SERVICES], strict=True))
def test_pure_packages_run_without_ray_and_services(packages, refused):
    names = [
        "ipt_platform." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file, _ in modules()
        if file.split("/")[0] in packages and file not in RAY | S3 | DATABASE | PROMETHEUS
    ]
    code = f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {f"ipt_platform.{package}" for package in packages} <= set(loaded)
    assert [name for name in refused if name in loaded] == []
