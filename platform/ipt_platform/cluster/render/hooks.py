"""What the pods do before they get SIGTERM: the shell in which Ray is started there does not pass signals on."""

from typing import Any

from ipt_platform.cluster.render.options import JOB_FILE

SPARE_SECONDS = 10
"""Of the grace of a pod: for Ray to end after the checkpoint was committed."""

TRAINING = "ray::RayTrainWorker"
"""What Ray calls the processes that train; they may end before the pod does."""


def stop_run(run_id: str) -> dict[str, Any]:
    """On the head: ask the run to commit a checkpoint and stop, and wait until it has."""
    # the process that submitted, and neither the shell around it nor this one
    pattern = f"[p]ython[^ ]* [^ ]*ipt-platform submit {JOB_FILE} --run {run_id.replace('.', '[.]')}$"
    return _before_the_end(
        f"run=$(pgrep -f '{pattern}') || exit 0; kill -TERM $run; while kill -0 $run 2>/dev/null; do sleep 1; done"
    )


def leave(grace_seconds: int) -> dict[str, Any]:
    """On a worker: tell Ray that the node goes, so that Ray Train hears of a preemption, and wait for those that train here."""
    seconds = max(1, grace_seconds - SPARE_SECONDS)
    drain = f"ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION --deadline-remaining-seconds {seconds}"
    return _before_the_end(
        f"{drain} --reason-message 'the pod ends'; "
        f"while [ $SECONDS -lt {seconds} ] && pgrep -f '^{TRAINING}' >/dev/null; do sleep 1; done"
    )


def _before_the_end(script: str) -> dict[str, Any]:
    return {"preStop": {"exec": {"command": ["bash", "-c", script]}}}
