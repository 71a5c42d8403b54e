"""Messages through a pipe: a line of JSON, and after it the bytes that it announces."""

import json
from typing import IO, Any

MAX_BYTES = 1 << 30


def send(stream: IO[bytes], message: dict[str, Any], data: bytes = b"") -> None:
    """Write a message and its bytes.

    Raises:
        BrokenPipeError: nobody reads any more.
    """
    stream.write(json.dumps(message | {"bytes": len(data)}).encode() + b"\n" + data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message and its bytes; None: there will be no more, or what came is cut off."""
    line = stream.readline(1 << 20)
    if not line.endswith(b"\n"):
        return None
    message = json.loads(line)
    size = message.pop("bytes")
    if size > MAX_BYTES:
        raise ValueError(f"a message announces {size} bytes")
    data = stream.read(size)
    return (message, data) if len(data) == size else None
