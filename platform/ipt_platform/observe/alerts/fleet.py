"""Alerts of machines, of Ray, and of the watching itself."""

from ipt_platform.observe.alerts.model import Alert, risen

_XID = "DCGM_FI_DEV_XID_ERRORS"
_REFUSED = 'ipt_exporter_dropped_total{reason!="busy"}'

FLEET = (
    Alert(
        name="IptGpuIdle",
        severity="warning",
        hold="1h",
        expr="DCGM_FI_DEV_GPU_UTIL < 10 and DCGM_FI_DEV_FB_USED > 2048",
        summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} is held and does nothing",
        means="For an hour a process has kept more than 2 GiB of its memory, and it computed less than a tenth of the time.",
        do="Look on the page for a run that waits or stands still there; `nvidia-smi` on the machine names processes that no"
        " run"
        " owns.",
    ),
    Alert(
        name="IptGpuFault",
        severity="critical",
        hold="0m",
        # newer exporters write the error into labels too, so that a fault is a series that begins
        expr=(
            f"({_XID} > 0 unless last_over_time({_XID}[15m] offset 1h) > 0) or ({_XID} > 0 and changes({_XID}[1h]) > 0)"
            " or DCGM_FI_DEV_ROW_REMAP_FAILURE > 0"
            " or DCGM_FI_DEV_ECC_DBE_VOL_TOTAL > 0"
        ),
        summary="GPU {{ $labels.gpu }} of {{ $labels.Hostname }} reports a fault",
        means="Its driver logged an Xid error within the hour, rows of its memory could not be replaced, or errors of two bits"
        " were found.",
        do="`nvidia-smi -q` and the kernel's log name the Xid: 13, 31, 43 and 45 come from programs; with others drain the"
        " machine"
        " (`ray drain-node`), reset the GPU or have it replaced.",
    ),
    Alert(
        name="IptObjectStoreSpilling",
        severity="warning",
        hold="15m",
        expr='sum by (instance) (delta(ray_object_store_memory{Location="SPILLED"}[15m])) > 0',
        summary="Ray writes objects to the disk of {{ $labels.instance }}",
        means="More is kept in the object store than it has room for, for a quarter of an hour and rising; a stream is"
        " bounded, so"
        " it is another user of this Ray.",
        do="The dashboard `Data stream` shows which data set grows; give Ray a larger `--object-store-memory`, or end what"
        " fills it.",
    ),
    Alert(
        name="IptRayOomKill",
        severity="critical",
        hold="0m",
        expr=f"sum by (instance) {risen('ray_memory_manager_worker_eviction_total', '1h')} > 0",
        summary="Ray killed a process of {{ $labels.instance }} for its memory",
        means="The machine was about to run out of memory; a run whose worker it was has failed with the class out-of-memory.",
        do="The failed run names the keys of the job that save memory; where it was another's process, keep it off these"
        " machines.",
    ),
    Alert(
        name="IptStorageLow",
        severity="critical",
        hold="30m",
        # the shorter window forgets at once that room was made
        expr=(
            "ipt_storage_free_bytes < 20e9 or (ipt_storage_free_bytes"
            " and predict_linear(ipt_storage_free_bytes[6h], 86400) < 0"
            " and predict_linear(ipt_storage_free_bytes[1h], 86400) < 0)"
        ),
        summary="the storage of runs has {{ $value | humanize1024 }}B left",
        means="Less than 20 GB are free, or at the rate of the last six hours nothing will be within a day; a run whose"
        " checkpoint"
        " does not fit ends.",
        do="`ipt-platform gc` removes what no run needs; lower `checkpoint.keep`, or add room.",
    ),
    Alert(
        name="IptExporterDown",
        severity="critical",
        hold="5m",
        expr='absent(up{job="ipt"} == 1)',
        summary="nobody exports what the platform does",
        means="Prometheus reaches no exporter: all other alerts about runs are blind. Runs are not hurt.",
        do="The next training on the cluster starts one; look whether Ray's head lives, where `metrics.listen` and"
        " `metrics.targets` of config.toml point to, and whether Prometheus has the token. Where every run has a Ray of its"
        " own,"
        " there is none between runs: silence this alert.",
    ),
    Alert(
        name="IptValuesDropped",
        severity="warning",
        hold="0m",
        expr=f"sum by (reason) {risen(_REFUSED, '1h')} > 0",
        summary="the exporter drops values ({{ $labels.reason }})",
        means="series: more jobs, tasks or sets than it keeps series for; invalid: a worker with another version tells what"
        " this"
        " one does not know. Graphs have holes.",
        do="Use fewer names of jobs, or run the same version everywhere; a restart of the exporter forgets old series.",
    ),
    Alert(
        name="IptTargetDown",
        severity="warning",
        hold="10m",
        expr='up{job=~"ray|node|dcgm"} == 0',
        summary="{{ $labels.job }} of {{ $labels.instance }} does not answer",
        means="Prometheus could not read metrics of Ray, the machine or its GPUs for ten minutes: the machine is gone, or its"
        " exporter.",
        do="`ipt-platform cluster status` shows whether Ray still has the machine; else start the exporter, or take it out of"
        " the"
        " targets.",
    ),
)
"""In the order of the page."""
