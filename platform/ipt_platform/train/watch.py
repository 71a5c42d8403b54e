"""How long something takes on the device that does it, without waiting for the device."""

import time
from typing import Protocol

import torch


class Watch(Protocol):
    """A stopwatch."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def seconds(self) -> float:
        """From start to stop; to be asked for when what came in between is known to be done."""
        ...


def watch_of(device: torch.device) -> Watch:
    """A watch for what a device does."""
    return _GPUWatch() if device.type == "cuda" else _ClockWatch()


class _ClockWatch:
    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def start(self) -> None:
        self.began = time.perf_counter()

    def stop(self) -> None:
        self.ended = time.perf_counter()

    def seconds(self) -> float:
        return self.ended - self.began


class _GPUWatch:
    """A GPU does what it is told later than it is told: it notes the moments itself."""

    def __init__(self) -> None:
        self.began, self.ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def start(self) -> None:
        self.began.record()

    def stop(self) -> None:
        self.ended.record()

    def seconds(self) -> float:
        return self.began.elapsed_time(self.ended) / 1000
