"""How the exporter of metrics is reached, as the configuration file and the environment say.

    [metrics]
    listen = "127.0.0.1:9464"                     IPT_METRICS_LISTEN
    token = "file:~/metrics.token"                IPT_METRICS_TOKEN
    targets = "~/prometheus/ipt-targets.json"     IPT_METRICS_TARGETS

The environment comes first. Both are those of the process that leads a run: of `submit`, or on a cluster of its head.
"""

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ipt_platform.checkpoint.durable import replace_file
from ipt_platform.errors import UsageError
from ipt_platform.observe.listen import Listen
from ipt_platform.spec.base import Spec, Text
from ipt_platform.spec.secret import SecretPlace, secret_place

DEFAULT_LISTEN = "127.0.0.1:9464"
"""On a cluster, where nothing else is said."""

VARIABLES = {"listen": "IPT_METRICS_LISTEN", "token": "IPT_METRICS_TOKEN", "targets": "IPT_METRICS_TARGETS"}


def _listen(value: str) -> str:
    try:
        return str(Listen.parse(value))
    except UsageError as error:
        raise ValueError(str(error)) from error


class MetricsEntry(Spec):
    """The section `metrics` of the configuration file."""

    listen: Annotated[Text, AfterValidator(_listen)] | None = Field(
        default=None,
        description="ADDRESS:PORT at which the exporter answers; null: 127.0.0.1:9464 on a cluster, no exporter elsewhere.",
    )
    token: SecretPlace | None = Field(
        default=None,
        description="Where the token is that a scrape must bear: env:NAME or file:PATH; may be null on loopback alone.",
    )
    targets: Text | None = Field(default=None, description="File in which Prometheus finds the exporter (file_sd_configs).")


def metrics_entry(configured: MetricsEntry) -> MetricsEntry:
    """The section as the environment changes it.

    Raises:
        UsageError: the environment is wrong; the variable is named.
    """
    values = {name: value for name, variable in VARIABLES.items() if (value := os.environ.get(variable))}
    for name, value in values.items():
        try:
            {"listen": _listen, "token": secret_place}.get(name, str)(value)
        except ValueError as error:
            raise UsageError(f"{VARIABLES[name]}: {error}") from error
    return MetricsEntry.model_validate({**configured.model_dump(), **values})


def write_targets(path: Path, listen: Listen) -> None:
    """Say in a file for Prometheus' `file_sd_configs` where the exporter is; whole at every moment.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(_targets(str(listen))).encode() + b"\n")


def remove_targets(path: Path, addresses: Collection[str]) -> None:
    """Remove such a file, if it says that the exporter is at one of these addresses: another run's may be at another one."""
    with contextlib.suppress(OSError, ValueError):  # then it is not ours
        if json.loads(path.read_bytes()) in map(_targets, addresses):
            path.unlink()


def _targets(address: str) -> list[dict[str, Any]]:
    return [{"targets": [address], "labels": {}}]
