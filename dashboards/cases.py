"""For each alert a course of events in which it must be quiet, then fire, then be quiet again; promtool plays them.

Values are given for every minute, as promtool has it: `1+2x3` is 1 3 5 7, `_x3` is three minutes without a value.
"""

import re
from dataclasses import dataclass
from typing import Any

from ipt_platform.observe.alerts import ALERTS, rule_groups

_GPU = 'gpu="3",Hostname="node-2",UUID="GPU-5f1a",modelName="NVIDIA H100 80GB HBM3"'
_GPU_LABELS = {"gpu": "3", "Hostname": "node-2", "UUID": "GPU-5f1a", "modelName": "NVIDIA H100 80GB HBM3"}
_NODE = 'instance="10.0.0.2:8080"'


@dataclass(frozen=True)
class Case:
    """The course of events for one alert.

    Attributes:
        alert: its name.
        series: values of every minute from 0 on, by series.
        quiet: when it does not fire yet, such as "20m".
        firing: when it does.
        resolved: when it no longer does.
        labels: that it then has, besides its severity.
        value: as its summary writes it, if it does.
        about: what sets it apart from another case of the alert.
    """

    alert: str
    series: dict[str, str]
    quiet: str
    firing: str
    resolved: str
    labels: dict[str, str]
    value: str = ""
    about: str = ""


CASES = (
    Case(
        "IptTrainStalled",
        {
            'ipt_train_progress_timestamp_seconds{job="sync"}': "0+60x20 1200+0x19 2460+60x20",
            'ipt_train_step_seconds_bucket{job="sync",le="1"}': "60+60x60",
            'ipt_train_step_seconds_bucket{job="sync",le="+Inf"}': "60+60x60",
            'ipt_train_workers{job="sync"}': "1+0x60",
            # as old, but it waits for its workers
            'ipt_train_progress_timestamp_seconds{job="waits"}': "0+0x60",
            'ipt_train_workers{job="waits"}': "0+0x60",
            # as old, but each of its steps takes ten minutes
            'ipt_train_progress_timestamp_seconds{job="slow"}': "0+0x60",
            'ipt_train_step_seconds_bucket{job="slow",le="60"}': "0+0x60",
            'ipt_train_step_seconds_bucket{job="slow",le="600"}': "9+0x60",
            'ipt_train_step_seconds_bucket{job="slow",le="+Inf"}': "9+0x60",
            'ipt_train_workers{job="slow"}': "1+0x60",
        },
        "31m", "35m", "45m", {"job": "sync"}, "15m 0s",
    ),
    Case(
        "IptTrainWithoutWorkers",
        {
            'ipt_train_workers{job="sync"}': "2+0x10 0+0x40 2+0x10",
            'ipt_train_running{job="sync"}': "1+0x70",
            'ipt_train_workers{job="ended"}': "0+0x70",
            'ipt_train_running{job="ended"}': "0+0x70",
        },
        "40m", "42m", "55m", {"job": "sync"},
    ),
    Case(
        "IptRestartLoop",
        {
            'ipt_train_restarts_total{job="sync",reason="infrastructure"}': "_x10 1 2 3 4 4+0x90",
            'ipt_train_restarts_total{job="sync",reason="preemption"}': "0+1x100",
        },
        "12m", "16m", "80m", {"job": "sync"}, "4",
    ),
    Case(
        "IptNonFiniteLoss",
        {
            'ipt_train_nonfinite_total{job="sync"}': "0+0x70 1+0x100",
            'ipt_train_nonfinite_total{job="search"}': "0+0x70 1+0x100",
            'ipt_search_trials{job="search",state="running"}': "4+0x170",
            # as many as long before, but a scrape failed an hour ago
            'ipt_train_nonfinite_total{job="gap"}': "1+0x9 stale 1+0x160",
        },
        "70m", "71m", "140m", {"job": "sync"},
    ),
    Case(
        "IptGradNormSpike",
        {
            'ipt_train_grad_norm{job="sync"}': "1+0x59 50+0x8 1+0x60",
            'ipt_train_running{job="sync"}': "1+0x130",
            # a new run whose gradients are larger than those at the end of the one before
            'ipt_train_grad_norm{job="again"}': "1+0x55 50+0x75",
            'ipt_train_running{job="again"}': "1+0x50 0+0x4 1+0x75",
        },
        "64m", "66m", "75m", {"job": "sync"}, "50",
    ),
    Case(
        "IptTaskRegressed",
        {
            'ipt_eval_best_psnr_db{job="sync",task="denoise",set="sample-test"}': "30+0x130",
            'ipt_eval_psnr_db{job="sync",task="denoise",set="sample-test"}': "30+0x10 29.5+0x80 29.9+0x30",
            'ipt_train_running{job="sync"}': "1+0x130",
        },
        "65m", "75m", "95m", {"job": "sync", "task": "denoise", "set": "sample-test"}, "0.50",
    ),
    Case(
        "IptDataStarved",
        {
            'ipt_train_seconds_total{job="sync"}': "0+60x100",
            'ipt_train_data_wait_seconds_total{job="sync"}': "0+3x20 90+30x39 1263+3x40",
            'ipt_train_running{job="sync"}': "1+0x100",
        },
        "35m", "50m", "80m", {"job": "sync"}, "50%",
    ),
    Case(
        "IptBadSamples",
        {
            'ipt_data_samples_total{job="sync"}': "0+1000x200",
            'ipt_data_bad_samples_total{job="sync",reason="image"}': "_x60 1+1x59 60+0x100",
        },
        "70m", "120m", "200m", {"job": "sync"}, "0.09833%",
    ),
    Case(
        "IptStraggler",
        {
            'ipt_train_rank_step_seconds{job="sync",rank="0"}': "1+0x90",
            'ipt_train_rank_step_seconds{job="sync",rank="1"}': "1.1+0x10 1.5+0x30 1+0x50",
            'ipt_train_running{job="sync"}': "1+0x90",
            # half of its workers are slower, and none much slower than the others
            **{f'ipt_train_rank_step_seconds{{job="mixed",rank="{rank}"}}': f"{1 + rank % 2 / 3}+0x90" for rank in range(8)},
            'ipt_train_running{job="mixed"}': "1+0x90",
            'ipt_train_rank_step_seconds{job="alone",rank="0"}': "1+0x90",
            'ipt_train_running{job="alone"}': "1+0x90",
        },
        "20m", "25m", "60m", {"job": "sync"}, "1.5",
    ),
    Case(
        "IptCheckpointStale",
        {
            'ipt_checkpoint_last_success_timestamp_seconds{job="sync"}': "0+60x60 3600+0x60 7320+60x30",
            'ipt_checkpoint_interval_seconds{job="sync"}': "600+0x150",
            'ipt_train_workers{job="sync"}': "2+0x150",
            # as old, but it has just been started again
            'ipt_checkpoint_last_success_timestamp_seconds{job="begun"}': "0+0x150",
            'ipt_checkpoint_interval_seconds{job="begun"}': "600+0x150",
            'ipt_train_workers{job="begun"}': "0+0x90 2+0x25 0+0x35",
        },
        "90m", "100m", "130m", {"job": "sync"}, "40m 0s",
    ),
    Case(
        "IptCheckpointStale",
        {
            # the first one comes after two and a half hours
            'ipt_checkpoint_last_success_timestamp_seconds{job="sync"}': "0+0x149 9000+0x50",
            'ipt_train_workers{job="sync"}': "2+0x200",
        },
        "120m", "130m", "160m", {"job": "sync"}, "2h 10m 0s", "the first checkpoint",
    ),
    Case(
        "IptCheckpointDamaged",
        {
            'ipt_checkpoint_rejected_total{job="sync",reason="damaged"}': "_x10 1+0x100",
            'ipt_checkpoint_rejected_total{job="sync",reason="uncommitted"}': "0+1x100",
        },
        "9m", "12m", "80m", {"job": "sync"},
    ),
    Case(
        "IptGpuIdle",
        {
            f"DCGM_FI_DEV_GPU_UTIL{{{_GPU}}}": "90+0x10 3+0x80 90+0x30",
            f"DCGM_FI_DEV_FB_USED{{{_GPU}}}": "40000+0x130",
            # idle, and held by nobody
            'DCGM_FI_DEV_GPU_UTIL{gpu="4",Hostname="node-2"}': "0+0x130",
            'DCGM_FI_DEV_FB_USED{gpu="4",Hostname="node-2"}': "3+0x130",
        },
        "65m", "75m", "100m", _GPU_LABELS,
    ),
    Case(
        "IptGpuFault",
        {
            f'DCGM_FI_DEV_XID_ERRORS{{{_GPU},err_code="0",err_msg="No Error"}}': "0+0x70 stale",
            f'DCGM_FI_DEV_XID_ERRORS{{{_GPU},err_code="79",err_msg="GPU has fallen off the bus"}}': "_x71 79+0x100",
            f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{_GPU}}}": "0+0x170",
            # its fault is long ago
            'DCGM_FI_DEV_XID_ERRORS{gpu="4",Hostname="node-2",err_code="79",err_msg="GPU has fallen off the bus"}': "79+0x170",
        },
        "70m", "71m", "140m", {**_GPU_LABELS, "err_code": "79", "err_msg": "GPU has fallen off the bus"},
    ),
    Case(
        "IptObjectStoreSpilling",
        {f'ray_object_store_memory{{{_NODE},Location="SPILLED"}}': "0+0x20 1e6+1e6x59 60e6+0x60"},
        "30m", "50m", "110m", {"instance": "10.0.0.2:8080"},
    ),
    Case(
        "IptRayOomKill",
        {f'ray_memory_manager_worker_eviction_total{{{_NODE},Name="step"}}': "_x10 1+0x100"},
        "9m", "12m", "80m", {"instance": "10.0.0.2:8080"},
    ),
    Case(
        "IptStorageLow",
        {"ipt_storage_free_bytes": "100e9+0x10 10e9+0x50 100e9+0x60"},
        "40m", "45m", "70m", {}, "9.313Gi",
    ),
    Case(
        "IptExporterDown",
        {'up{job="ipt",instance="10.0.0.1:9464"}': "1+0x10 0+0x20 1+0x20", 'up{job="node",instance="10.0.0.2:9100"}': "1+0x50"},
        "15m", "17m", "35m", {},
    ),
    Case(
        "IptValuesDropped",
        {'ipt_exporter_dropped_total{reason="series"}': "_x10 3+0x100", 'ipt_exporter_dropped_total{reason="busy"}': "0+1x100"},
        "9m", "12m", "80m", {"reason": "series"},
    ),
    Case(
        "IptTargetDown",
        {'up{job="node",instance="10.0.0.2:9100"}': "1+0x10 0+0x30 1+0x20", 'up{job="ipt",instance="10.0.0.1:9464"}': "0+0x60"},
        "20m", "25m", "45m", {"job": "node", "instance": "10.0.0.2:9100"},
    ),
)  # fmt: skip
"""One for each alert at least."""


def promtool_tests() -> dict[str, Any]:
    """The file that `promtool test rules` plays."""
    return {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "group_eval_order": [group["name"] for group in rule_groups()["groups"]],
        "tests": [_test(case) for case in CASES],
    }


def _test(case: Case) -> dict[str, Any]:
    """One course of events: three moments, and what Prometheus says of the alert then."""
    rule = next(alert for alert in ALERTS if alert.name == case.alert).rule()
    said = {name: _written(text, case) for name, text in rule["annotations"].items()}
    alert = {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": said}
    moments = ((case.quiet, []), (case.firing, [alert]), (case.resolved, []))
    return {
        "name": f"{case.alert}: {case.about}" if case.about else case.alert,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": time, "alertname": case.alert, "exp_alerts": alerts} for time, alerts in moments],
    }


def _written(template: str, case: Case) -> str:
    """A line as Prometheus writes it, with the labels and the value of the case."""
    labelled = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: case.labels[found[1]], template)
    return re.sub(r"{{ \$value[^}]*}}", case.value, labelled)
