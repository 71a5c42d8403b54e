"""To which trackers the reports of a run are told, beside its own files."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from ipt_platform.spec.base import Spec, Text


class MlflowSpec(Spec):
    """How a run stands on an MLflow server; where that is, and who may write to it, the environment alone says."""

    experiment: Text | None = Field(
        default=None, max_length=250, description="The experiment of the run; null: the job's name."
    )


def _switch(value: Any) -> Any:
    """`true` as all defaults, `false` as none."""
    return {} if value is True else None if value is False else value


Switch = Annotated[MlflowSpec | None, BeforeValidator(_switch, json_schema_input_type=bool | MlflowSpec | None)]


class TrackSpec(Spec):
    """Trackers that are told what metrics.jsonl says, as the run goes on; nothing that is trained depends on them."""

    tensorboard: bool = Field(
        default=False, description="Write the reports, the pictures and the job for TensorBoard, below tensorboard/ of the run."
    )
    mlflow: Switch = Field(
        default=None,
        description="Tell the reports to the MLflow server of the environment variable MLFLOW_TRACKING_URI: true, or "
        "{experiment: NAME}; null: no.",
    )
