"""Gates: what a version of a task must reach on its test sets before it may be served."""

import math
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from ipt_platform.spec.words import did_you_mean

METRICS = ("psnr", "gain", "ssim")
"""What a gate may ask for; the gain is that over the degraded picture."""

_GATE = re.compile(r"\s*([a-z_]+)\s*>=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """A least mean over the pictures of each test set: `psnr` and `gain` in dB, `ssim` up to 1."""

    metric: str
    least: float

    def __str__(self) -> str:
        return f"{self.metric} >= {self.least:.12g}"


def parse_gate(text: str) -> Gate:
    """The gate of a text such as `psnr >= 30.1`.

    Raises:
        ValueError: it is none; the message says what was expected.
    """
    match = _GATE.fullmatch(text)
    if not match:
        raise ValueError(f"expected METRIC >= NUMBER, such as 'psnr >= 30.1' or 'gain >= 0.5', found {text!r}")
    metric, least = match[1], float(match[2])
    if metric not in METRICS:
        raise ValueError(f"there is no metric '{metric}'{did_you_mean(metric, METRICS)}")
    if not math.isfinite(least) or (metric == "ssim" and abs(least) > 1):
        raise ValueError(f"expected {'a number from -1 to 1' if metric == 'ssim' else 'a finite number of dB'}, found {text!r}")
    return Gate(metric, least)


def _checked(text: str) -> str:
    return str(parse_gate(text))


# A gate as files write it; kept in one spelling, so that two are equal when they ask for the same.
GateText = Annotated[
    str, AfterValidator(_checked), Field(json_schema_extra={"pattern": rf"^\s*({'|'.join(METRICS)})\s*>=\s*[-+.0-9eE]+\s*$"})
]
