"""What is installed: pinned versions, and folders that must not become packages."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ipt_platform

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LINES)}


def test_every_dependency_is_pinned_to_a_version_that_it_allows():
    extras = PROJECT["project"]["optional-dependencies"].values()
    stated = [PROJECT["project"]["dependencies"], PROJECT["build-system"]["requires"], *extras]
    requirements = [Requirement(line) for lines in stated for line in lines if not line.startswith("ipt-platform[")]

    assert len(PINS) == len(LINES)
    for requirement in requirements:
        version = PINS[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement


def test_torch_is_pinned_to_the_build_that_machines_without_a_gpu_get():
    assert PINS["torch"] == "2.13.0"


def test_the_source_root_is_no_package():
    """platform/__init__.py would shadow the module `platform` of the standard library in whatever runs at the root of the
    repository (torch and pip import it); datasets/__init__.py would do so to a well-known library of that name.
    """
    assert [folder for folder in ("platform", "datasets") if (ROOT / folder / "__init__.py").exists()] == []

    code = "import platform; print(platform.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not Path(found.strip()).is_relative_to(ROOT / "platform")


def test_the_version_and_the_command_are_those_of_the_project():
    installed = distribution("ipt-platform")
    (command,) = [entry for entry in installed.entry_points if entry.name == "ipt-platform"]

    assert installed.version == ipt_platform.__version__
    assert callable(command.load())
    assert re.search(rf"^## \[{re.escape(ipt_platform.__version__)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
