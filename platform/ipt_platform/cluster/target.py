"""Where a job runs: on a cluster of the configuration file, at RAY_ADDRESS, or on a Ray of its own.

    ~/.config/ipt-platform/config.toml        (below XDG_CONFIG_HOME, where that is set)

    [clusters.gpu]
    address = "https://ray.example:8265"      of the dashboard of Ray
    token = "env:GPU_TOKEN"                   or "file:~/gpu.token": where it is, never what it is
    storage = "s3://bucket/runs"              for jobs that name none
    project = "restoration"                   who pays; a label on what is submitted
    set = ["cluster.gpus_per_worker=1"]       as --set, where neither job nor command line says it

    [metrics]                                 how the exporter of metrics is reached: see scraping.py
    [notify.chat]
    url = "https://hooks.example/runs"        who is told of state changes of runs that this machine leads (`notify.hooks`)
    secret = "env:CHAT_SECRET"                what signs; as token
    on = ["failed", "finished"]

A file and not the environment holds what several clusters need; secrets are in neither.
"""

import difflib
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from ipt_platform.cluster.scraping import MetricsEntry
from ipt_platform.errors import NotFoundError, Problem, SpecError, UsageError
from ipt_platform.notify.hooks import HookEntry
from ipt_platform.spec.base import Many, Name, Spec, Text
from ipt_platform.spec.problems import problems_of
from ipt_platform.spec.secret import SecretPlace, read_secret
from ipt_platform.spec.source import Document

LOCAL = "local"
"""The cluster of `ipt-platform cluster up`."""

ADDRESS_VARIABLE = "RAY_ADDRESS"


def _http(value: str) -> str:
    if "@" in value:
        # Not shown: it may be a login.
        raise ValueError("expected an address without a login, as in https://ray.example:8265; the token has a key of its own")
    if not value.startswith(("http://", "https://")) or not value.split("://", 1)[1].strip("/"):
        raise ValueError(f"expected the address of Ray's dashboard, as in https://ray.example:8265, found {value!r:.80}")
    return value.rstrip("/")


class ClusterEntry(Spec):
    """One cluster of the configuration file."""

    address: Annotated[Text, AfterValidator(_http)] = Field(description="Of the dashboard of Ray, which serves the Jobs API.")
    token: SecretPlace | None = Field(
        default=None, description="Where the token of the cluster is: env:NAME or file:PATH; null: Ray's own places are asked."
    )
    storage: Text | None = Field(default=None, description="Storage of jobs that name none.")
    project: Text | None = Field(default=None, description="A label on what is submitted.")
    set: Many[Text] = Field(default=(), description="KEY=VALUE as --set, where neither the job nor the command line says it.")


class ConfigFile(Spec):
    """The configuration file."""

    default: Name | None = Field(default=None, description="The cluster of commands that name none; null: a Ray of their own.")
    clusters: dict[Name, ClusterEntry] = Field(default_factory=dict, description="Clusters by name.")
    metrics: MetricsEntry = Field(default_factory=MetricsEntry, description="How the exporter of metrics is reached.")
    notify: dict[Name, HookEntry] = Field(default_factory=dict, description="Who is told of state changes, by name.")


@dataclass(frozen=True)
class Target:
    """A cluster that is reached through Ray's Jobs API.

    Attributes:
        name: what people call it.
        address: of its dashboard.
        token: what it asks for; None: Ray's own places are asked. Not part of what is printed.
        token_from: where the token came from, in words.
    """

    name: str
    entry: ClusterEntry
    token: str | None = None
    token_from: str = "nowhere (no token is configured)"  # noqa: S105 - words about a token

    @property
    def address(self) -> str:
        """Of its dashboard."""
        return self.entry.address

    def __repr__(self) -> str:
        return f"Target({self.name}, {self.address})"


def config_path() -> Path:
    """Where the configuration file is, or would be."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ipt-platform" / "config.toml"


def state_path() -> Path:
    """Where the platform keeps what it must remember on this machine."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ipt-platform"


def read_config(path: Path | None = None) -> ConfigFile:
    """The configuration file; an empty one if there is none.

    Raises:
        SpecError: it is wrong; carries every problem.
        UsageError: it cannot be read.
    """
    path = path or config_path()
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ConfigFile()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError([Problem(f"is no UTF-8 ({error.reason} at byte {error.start})", file=str(path))]) from error
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Problem(f"is no TOML: {error}", file=str(path))]) from error
    try:
        return ConfigFile.model_validate(value)
    except ValidationError as error:
        raise SpecError(problems_of(error, ConfigFile, Document(value, {}, str(path)), tagged=False)) from error


def find_target(name: str | None) -> Target | None:
    """The cluster that a command is to use; None: a Ray of its own, or the one at RAY_ADDRESS if that is no dashboard.

    A name comes before RAY_ADDRESS, and that before the default of the configuration file.

    Raises:
        NotFoundError: there is no such cluster, or its token is not where it should be.
        SpecError, UsageError: as `read_config`, `at_address` and of what is no token.
    """
    address = os.environ.get(ADDRESS_VARIABLE, "")
    if name is None and address:
        return at_address(address) if address.startswith("http") else None
    config = read_config()
    name = name or config.default
    if name is None:
        return None
    if name == LOCAL and LOCAL not in config.clusters:
        from ipt_platform.cluster.head import local_entry

        entry = local_entry()
    elif name in config.clusters:
        entry = config.clusters[name]
    else:
        names = [*config.clusters, LOCAL]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
        raise NotFoundError(f"no cluster {name!r} in {config_path()}: {hint}")
    return Target(name, entry, *read_secret(entry.token, f"cluster {name}", "token")) if entry.token else Target(name, entry)


def at_address(address: str) -> Target:
    """The cluster at the address of a dashboard, as RAY_ADDRESS names one.

    Raises:
        UsageError: it is no such address.
    """
    try:
        return Target(ADDRESS_VARIABLE, ClusterEntry(address=address))
    except ValidationError as error:
        # Only what `_http` says: it may be an address with a login, which pydantic would show.
        said = "; ".join(str(each.get("ctx", {}).get("error", "is no address")) for each in error.errors(include_input=False))
        raise UsageError(f"{ADDRESS_VARIABLE}: {said}") from None
