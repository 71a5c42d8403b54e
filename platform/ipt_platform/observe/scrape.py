"""What Prometheus reads, and how: its configuration as code.

Everything that may be read is listed in files beside the configuration, so that machines come and go without a restart of
Prometheus: the exporter writes the first of them, Ray the second, whoever sets up machines the others.
"""

from typing import Any

INTERVAL = "15s"

POOLS = {
    "ipt": "our exporter (`metrics.targets` of config.toml)",
    "ray": "a link to Ray's prom_metrics_service_discovery.json",
    "node": "machines: node exporter",
    "dcgm": "GPUs: DCGM exporter",
}
"""What is read, by the name of its file of targets and of its scrape job."""


def prometheus_config(token_file: str | None = None) -> dict[str, Any]:
    """The configuration as Prometheus loads it; paths in it are relative to its folder.

    Args:
        token_file: with the token of an exporter that is not on loopback; None: it wants none.
    """
    scrapes = [_pool(name) for name in POOLS]
    # the label `job` of our series is the job that they tell of; without this it would become `exported_job`
    scrapes[0]["honor_labels"] = True
    if token_file is not None:
        scrapes[0]["authorization"] = {"credentials_file": token_file}
    return {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"file_sd_configs": [_listed("alertmanager")]}]},
        "scrape_configs": scrapes,
    }


def _pool(name: str) -> dict[str, Any]:
    # Ray's file gives its targets the label job="ray" as well
    return {"job_name": name, "file_sd_configs": [_listed(name)]}


def _listed(name: str) -> dict[str, Any]:
    return {"files": [f"targets/{name}.json"], "refresh_interval": "30s"}
