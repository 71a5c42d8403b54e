"""The image of a cluster's machines: what can be known of it without building it."""

import re
import shlex
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

from ipt_platform.cluster.render.ray_up import HOME

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its arguments, lines joined, comments left out."""
    lines = [line for line in (ROOT / "jobs/cluster/Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def all_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def test_every_instruction_is_one():
    assert {name for name, _ in instructions()} == {"ARG", "CMD", "COPY", "ENV", "FROM", "RUN", "USER", "WORKDIR"}


def test_both_stages_have_a_python_that_the_project_is_tested_with():
    stages = [re.fullmatch(r"python:(3\.\d+)-slim( AS (\w+))?", image) for image in all_of("FROM")]

    assert len(stages) == 2
    (version,) = {stage[1] for stage in stages if stage}
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains(version)
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_it_ends_as_a_user_who_is_not_root_and_owns_a_home():
    names = [name for name, _ in instructions()]
    user = all_of("USER")[-1]
    (useradd,) = re.findall(r"useradd ([^&]*)", " ".join(all_of("RUN")))

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert {"RUN", "COPY"}.isdisjoint(names[len(names) - names[::-1].index("USER") :])  # nothing is done after it
    assert f"--uid {user.split(':')[0]} " in useradd
    assert shlex.split(useradd)[-1] == Path(HOME).name
    assert all_of("WORKDIR")[-1] == HOME


def test_every_file_that_it_copies_is_there():
    copied = [shlex.split(arguments) for arguments in all_of("COPY")]
    own = [source for words in copied if not words[0].startswith("--from") for source in words[:-1]]

    assert own
    assert [source for source in own if not (ROOT / source).exists()] == []
    stages = {image.split(" AS ")[1] for image in all_of("FROM") if " AS " in image}
    assert {words[0].removeprefix("--from=") for words in copied if words[0].startswith("--from")} == stages


def test_what_the_package_is_built_of_is_copied():
    own = {source for arguments in all_of("COPY") for source in shlex.split(arguments)[:-1]}
    project, hatch = PROJECT["project"], PROJECT["tool"]["hatch"]
    needed = ["pyproject.toml", project["readme"], *project["license-files"], hatch["version"]["path"]]

    for path in [*needed, *hatch["build"]["targets"]["wheel"]["packages"]]:
        assert own & {path, *map(str, Path(path).parents)}, path


def test_every_version_is_the_one_of_the_constraints():
    installs = [command for run in all_of("RUN") for command in run.split("&&") if "pip install" in command]
    words = [word for command in installs for word in shlex.split(command)]

    assert installs
    assert "PIP_CONSTRAINT=/src/constraints.txt" in shlex.split(" ".join(all_of("ENV")))
    assert [word for word in words if re.search(r"[=<>~]=|\.whl|^https?:", word)] == []
    (package,) = [word for word in words if word.startswith(".")]
    extras = re.fullmatch(r"\.\[(.*)\]", package)
    assert extras
    assert {*extras[1].split(",")} <= PROJECT["project"]["optional-dependencies"].keys() - {"dev"}


def test_it_has_what_kuberay_and_ray_up_run_in_it():
    (install,) = re.findall(r"apt-get install ([^&]*)", " ".join(all_of("RUN")))

    assert {"wget", "procps", "openssh-client", "rsync"} <= {*install.split()}
    assert any("/etc/profile.d/" in run and "/opt/ipt/bin" in run for run in all_of("RUN"))


def test_no_secret_can_be_built_into_it():
    names = [word.split("=")[0] for arguments in [*all_of("ARG"), *all_of("ENV")] for word in shlex.split(arguments)]

    assert [name for name in names if re.search(r"token|secret|password|credential|_key", name, re.IGNORECASE)] == []
    assert "--mount=type=secret" not in " ".join(all_of("RUN"))
