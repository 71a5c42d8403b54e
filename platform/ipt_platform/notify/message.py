"""What a hook is told, and the headers that prove who said it: the Standard Webhooks scheme (standardwebhooks.com, 1.0.0)."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipt_platform.observe.redact import redact, secrets_of
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.status import run_status

FORMAT = "ipt-notification/1"

_STATES = {"interrupted", "failed", "cancelled", "finished"}


@dataclass(frozen=True)
class Message:
    """Something to tell: an id that stays the same however often it is told, and the bytes of a JSON object."""

    id: str
    body: bytes


def message_id(identity: str, event: Mapping[str, Any]) -> str:
    """The id of an event of a run, the same in every process that tells of it.

    Args:
        identity: of the run (`observe.events.identity_of`).
        event: the event.
    """
    # Who finds that an attempt was cut off finds it at a moment of its own.
    when = "" if event["type"] == "interrupted" else event["time"]
    text = json.dumps([identity, event["attempt"], event["type"], when])
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def message_of(run: RunDir, identity: str, event: Mapping[str, Any]) -> Message:
    """What is told of an event of a run.

    Args:
        run: the run.
        identity: of it.
        event: one whose type is of `hooks.OCCASIONS`.
    """
    status, kind = run_status(run, quick=True), str(event["type"])
    data = {
        "run": run.id,
        "kind": status.kind,
        "place": run.place,
        "attempt": event["attempt"],
        "state": kind if kind in _STATES else "running",
        "reason": redact(str(event.get("reason", "")), secrets_of(os.environ)),
        "class": event.get("class"),
        "exit_code": event.get("exit_code", 0 if kind == "finished" else None),
        "step": event.get("step", status.step),
        "steps": status.steps,
    }
    return _message(message_id(identity, event), f"run.{kind}", event["time"], data)


def test_message(moment: str, identity: str) -> Message:
    """What is told to see whether a hook hears.

    Args:
        moment: UTC, ISO 8601.
        identity: anything that was not used before.
    """
    return _message(f"msg_{identity}", "test", moment, {})


def headers(key: bytes, message: Message, moment: int) -> dict[str, str]:
    """The headers with which a message is sent.

    Args:
        key: the hook's.
        message: what is sent.
        moment: of the sending, seconds since 1970.
    """
    signed = f"{message.id}.{moment}.".encode() + message.body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "user-agent": "ipt-platform",
        "webhook-id": message.id,
        "webhook-timestamp": str(moment),
        "webhook-signature": f"v1,{signature}",
    }


def _message(identity: str, kind: str, moment: str, data: dict[str, Any]) -> Message:
    body = {"format": FORMAT, "type": kind, "timestamp": moment, "data": data}
    return Message(identity, json.dumps(body, ensure_ascii=False, allow_nan=False).encode())
