"""The dashboard of the stream: whether crops come as fast as they are trained on, and if not, why."""

from ipt_platform.observe.grafana.choices import BAD_SAMPLES, DATA_WAIT, JOB, OF_JOB, SPEED, WINDOW
from ipt_platform.observe.grafana.model import Dashboard, Panel, Row, Target

_BY_OPERATOR = "{{dataset}} {{operator}}"

_DEMAND = (
    DATA_WAIT,
    SPEED,
    Panel(
        title="Samples per second",
        description="Samples of the plan that came, over all workers; with pictures that cannot be used, more are read than"
        " trained on.",
        unit="si:samples/s",
        targets=(Target(f"sum by (job) (rate(ipt_data_samples_total{{{OF_JOB}}}[{WINDOW}]))", "{{job}}"),),
        least=0,
    ),
    Panel(
        title="Wait of a step",
        description="How long a step waits for its data on average.",
        unit="s",
        targets=(
            Target(
                f"sum by (job) (rate(ipt_train_data_wait_seconds_total{{{OF_JOB}}}[{WINDOW}]))"
                f" / (job:ipt_train_steps:rate10m{{{OF_JOB}}} > 0)",
                "{{job}}",
            ),
        ),
        least=0,
    ),
    BAD_SAMPLES,
    Panel(
        title="Share of pictures that cannot be used",
        description="Of those of the last hour. Where it passes `data.max_bad` of all samples, 0.001 by default, the run"
        " fails.",
        unit="percentunit",
        targets=(Target(f"job:ipt_data_bad_samples:ratio1h{{{OF_JOB}}}", "{{job}}"),),
        steps=((None, "green"), (0.0003, "yellow"), (0.001, "red")),
        least=0,
    ),
)

_RAY = (
    Panel(
        title="Rows per second",
        description="What each operator of a stream on Ray gives out. The slowest one sets the pace.",
        unit="si:rows/s",
        targets=(Target("sum by (dataset, operator) (rate(ray_data_output_rows[$__rate_interval]))", _BY_OPERATOR),),
        least=0,
    ),
    Panel(
        title="Cores in use",
        description="That Ray has given to each operator.",
        unit="short",
        targets=(Target("sum by (dataset, operator) (ray_data_cpu_usage_cores)", _BY_OPERATOR),),
        least=0,
        stacked=True,
    ),
    Panel(
        title="Time held back",
        description="Share of the time in which an operator has results and nobody takes them: training is slower than the"
        " stream, which is well.",
        unit="percentunit",
        targets=(
            Target("sum by (dataset, operator) (rate(ray_data_task_output_backpressure_time[$__rate_interval]))", _BY_OPERATOR),
        ),
        least=0,
    ),
    Panel(
        title="Bytes under way",
        description="What each operator keeps in the object store. The stream bounds it.",
        unit="bytes",
        targets=(Target("sum by (dataset, operator) (ray_data_current_bytes)", _BY_OPERATOR),),
        least=0,
        stacked=True,
    ),
    Panel(
        title="Object store",
        description="Where Ray keeps objects. SPILLED is on disk, and slow: while it rises, the alert IptObjectStoreSpilling.",
        unit="bytes",
        targets=(Target("sum by (Location) (ray_object_store_memory)", "{{Location}}"),),
        least=0,
        stacked=True,
    ),
    Panel(
        title="Memory of Ray's machines",
        description="Share of each machine's memory that is in use.",
        unit="percentunit",
        targets=(Target("sum by (instance) (ray_node_mem_used) / sum by (instance) (ray_node_mem_total)", "{{instance}}"),),
        least=0,
        most=1,
    ),
)

_MACHINES = (
    Panel(
        title="CPU",
        description="Of each machine of Ray. Where it is full and data is waited for, more cores help.",
        unit="percent",
        targets=(Target("avg by (instance) (ray_node_cpu_utilization)", "{{instance}}"),),
        least=0,
        most=100,
    ),
    Panel(
        title="Network in",
        description="Bytes that each machine takes in: shards from a store. Where it stands at the link's speed, bring shards"
        " nearer.",
        unit="Bps",
        targets=(
            Target(
                'sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval]))', "{{instance}}"
            ),
        ),
        least=0,
    ),
)

DATA_STREAM = Dashboard(
    uid="ipt-data-stream",
    title="IPT / Data stream",
    description="For who waits for data: whether crops come as fast as they are trained on, and if not, why.",
    variables=(JOB,),
    rows=(Row("What training sees", _DEMAND), Row("Streams on Ray", _RAY), Row("Machines", _MACHINES)),
    page="/runs",
)
"""Its page is the list of runs."""
