"""The dashboard of the operator: machines, what runs on them, what waits."""

from ipt_platform.observe.alerts.model import risen
from ipt_platform.observe.grafana.choices import ANY, DATA_WAIT, JOB, OF_JOB, RESTARTS, RUNS, SPEED
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target

_NOW = (
    Panel(
        title="Alerts",
        description="How many fire now. docs/operations.md says of each what to do.",
        unit="short",
        kind="stat",
        width=4,
        height=4,
        targets=(Target('sum(ALERTS{alertstate="firing",alertname=~"Ipt.*"}) or vector(0)', "firing"),),
        steps=ANY,
    ),
    Panel(
        title="Runs",
        description="In the storages that the exporter knows, by state.",
        unit="short",
        kind="stat",
        width=8,
        height=4,
        targets=(Target("sum by (state) (ipt_runs)", "{{state}}"),),
        link="/runs?state=${__field.labels.state}",
    ),
    Panel(
        title="Submissions",
        description="What was submitted to Ray and runs, or waits for room.",
        unit="short",
        kind="stat",
        width=8,
        height=4,
        targets=(Target("sum by (state) (ipt_queue_jobs)", "{{state}}"),),
    ),
    Panel(
        title="Storage left",
        description="Room on the fullest disk with a storage of runs. Below 20 GB the alert IptStorageLow begins.",
        unit="decbytes",
        kind="stat",
        width=4,
        height=4,
        targets=(Target("min(ipt_storage_free_bytes)", "free"),),
        steps=((None, "red"), (20e9, "yellow"), (100e9, "green")),
    ),
)

_WORK = (
    SPEED,
    Panel(
        title="Useful time",
        description="Share of the last hour in which a job made steps. What is missing went into starting, measuring,"
        " checkpoints and restarts.",
        unit="percentunit",
        targets=(Target(f"sum by (job) (rate(ipt_train_seconds_total{{{OF_JOB}}}[1h]))", "{{job}}"),),
        least=0,
        most=1,
    ),
    DATA_WAIT,
    RESTARTS,
    Panel(
        title="Time left",
        description="Until each job has done its steps, at the rate of the last ten minutes.",
        unit="s",
        kind="bargauge",
        targets=(Target(f"job:ipt_train_remaining:seconds{{{OF_JOB}}}", "{{job}}"),),
        least=0,
        steps=((None, "blue"),),
        link=RUNS,
    ),
    Panel(
        title="Workers",
        description="That train together now; 0 between two attempts, or while a job waits for room.",
        unit="short",
        targets=(Target(f"max by (job) (ipt_train_workers{{{OF_JOB}}})", "{{job}}"),),
        least=0,
        stacked=True,
    ),
)

_GPUS = (
    Panel(
        title="GPUs in use",
        description="What Ray has given away of its GPUs, and how many there are.",
        unit="short",
        targets=(
            Target('sum(ray_resources{Name="GPU",State="USED"})', "used"),
            Target('sum(ray_resources{Name="GPU"})', "all"),
        ),
        least=0,
        width=8,
    ),
    Panel(
        title="GPU utilization",
        description="Share of the time in which a GPU computes. One that is held and stays below a tenth for an hour: the"
        " alert IptGpuIdle.",
        unit="percent",
        targets=(Target("DCGM_FI_DEV_GPU_UTIL", "{{Hostname}} {{gpu}}"),),
        least=0,
        most=100,
        width=8,
    ),
    Panel(
        title="GPU memory",
        description="Memory of each GPU that is in use.",
        unit="mbytes",
        targets=(Target("DCGM_FI_DEV_FB_USED", "{{Hostname}} {{gpu}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="GPU power",
        description="What each GPU draws. One that draws less than its neighbours at the same work is throttled.",
        unit="watt",
        targets=(Target("DCGM_FI_DEV_POWER_USAGE", "{{Hostname}} {{gpu}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="GPU temperature",
        description="Above 85 °C most GPUs slow down, and the worker on it becomes a straggler.",
        unit="celsius",
        targets=(Target("DCGM_FI_DEV_GPU_TEMP", "{{Hostname}} {{gpu}}"),),
        steps=((None, "green"), (85, "red")),
        width=8,
    ),
    Panel(
        title="GPU faults",
        description="The last Xid error of each GPU, rows that could not be replaced, and errors of two bits. 0 is well.",
        unit="none",
        targets=(
            Target("DCGM_FI_DEV_XID_ERRORS", "{{Hostname}} {{gpu}} Xid"),
            Target("DCGM_FI_DEV_ROW_REMAP_FAILURE", "{{Hostname}} {{gpu}} rows"),
            Target("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "{{Hostname}} {{gpu}} two bits"),
        ),
        steps=ANY,
        least=0,
        width=8,
    ),
)

_MACHINES = (
    Panel(
        title="CPU",
        description="Of each machine of Ray. Streams decode here: at 100 the data wait rises.",
        unit="percent",
        targets=(Target("avg by (instance) (ray_node_cpu_utilization)", "{{instance}}"),),
        least=0,
        most=100,
        width=8,
    ),
    Panel(
        title="Memory available",
        description="Of each machine. Near 0, Ray or the kernel kills a worker.",
        unit="bytes",
        targets=(Target("node_memory_MemAvailable_bytes", "{{instance}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Load",
        description="Processes of each machine that run or want to, mean of a minute; healthy below its number of cores.",
        unit="short",
        targets=(Target("node_load1", "{{instance}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Disk left",
        description="Of each file system; Ray spills to the one below its temporary folder.",
        unit="bytes",
        targets=(Target('node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs"}', "{{instance}} {{mountpoint}}"),),
        least=0,
        width=8,
    ),
    Panel(
        title="Network",
        description="Bytes that each machine takes in (above) and sends out (below).",
        unit="Bps",
        targets=(
            Target(
                'sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval]))', "{{instance}} in"
            ),
            Target(
                '-sum by (instance) (rate(node_network_transmit_bytes_total{device!="lo"}[$__rate_interval]))',
                "{{instance}} out",
            ),
        ),
        width=8,
    ),
    Panel(
        title="Processes killed for memory",
        description="By Ray's memory monitor, since Ray started. A run whose worker it was fails with the class out-of-memory.",
        unit="short",
        targets=(Target("sum by (instance) (ray_memory_manager_worker_eviction_total)", "{{instance}}"),),
        steps=ANY,
        least=0,
        width=8,
    ),
)

_WATCHING = (
    Panel(
        title="Who answers",
        description="Prometheus' targets: our exporter, Ray, machines and GPUs. Without the first one nothing is known of"
        " runs.",
        unit="short",
        kind="stat",
        width=12,
        height=5,
        targets=(Target('min by (job) (up{job=~"ipt|ray|node|dcgm"})', "{{job}}"),),
        steps=((None, "red"), (1, "green")),
        words={1: ("all answer", "green"), 0: ("silent", "red")},
    ),
    Panel(
        title="Version",
        description="Of the platform that exports.",
        unit="short",
        kind="stat",
        width=4,
        height=5,
        targets=(Target("max by (version) (ipt_build_info)", "{{version}}"),),
        words={1: ("exports", "green")},
    ),
    Panel(
        title="Exporter",
        description="Messages a second that the exporter is told, and values of the last hour that it dropped, by why.",
        unit="short",
        width=8,
        height=5,
        targets=(
            Target("sum(rate(ipt_exporter_tells_total[$__rate_interval]))", "told"),
            Target(f"sum by (reason) {risen('ipt_exporter_dropped_total', '1h')}", "dropped: {{reason}}"),
        ),
        least=0,
    ),
)

FLEET = Dashboard(
    uid="ipt-fleet",
    title="IPT / Fleet",
    description="For the operator: what runs, what waits, and how the machines are.",
    variables=(JOB,),
    rows=(Row("Now", _NOW), Row("Work", _WORK), Row("GPUs", _GPUS), Row("Machines", _MACHINES), Row("Watching", _WATCHING)),
    page="/",
)
"""Its page is the one of the fleet."""
