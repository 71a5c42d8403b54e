"""In which order several tasks are applied to one picture: damage that came last is undone first.

On its way from the scene to the file a picture loses in the order of `WAY`: light and air first, then the glass in front of
the lens, exposure, sensor, file, and at last the paper or the pen. Restoration goes the way back. Two things come after all of
that, for they add to a picture and would add to its damage as well: what lies beyond its borders, and more pixels.
"""

from collections.abc import Sequence

WAY = (
    ("shadow",),
    ("haze",),
    ("rain",),
    ("snow",),
    ("raindrop",),
    ("motion-blur", "linear-motion-blur", "defocus-blur", "gaussian-blur"),
    ("lowlight",),
    ("gaussian-noise", "poisson-noise", "speckle-noise", "impulse-noise", "camera-noise"),
    ("moire",),
    ("resample", "sinc-blur", "sharpen"),
    ("jpeg",),
    ("inpaint",),
)
"""Families of degradations, as they happen."""

LAST = (("outpaint",), ("low-resolution",))
"""What is undone last, in this order."""

UNKNOWN = WAY.index(("snow",)) + 0.5
"""Where a task stands of which nobody knows what happened (its pairs come from a disk): between the air and the glass."""


def place(families: Sequence[str]) -> float:
    """Where a task stands in the order of application; the lowest comes first.

    Args:
        families: the degradations of the task; the one that is furthest along the way counts.
    """
    known = {family: float(-number) for number, group in enumerate(WAY) for family in group}
    known |= {family: float(1 + number) for number, group in enumerate(LAST) for family in group}
    return min((known[family] for family in families if family in known), default=-UNKNOWN)
