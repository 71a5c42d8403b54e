"""Moire, the damage of the demoire task: the grid of a screen beats with the grid of the camera that photographs it."""

import math
from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, cut_at_white, draw_key, uniform, within
from ipt_platform.data.degradations.fractal import POINTS, Map, lattice, spline, unit_places
from ipt_platform.data.degradations.frame import Frame


class Moire(Degradation):
    """y = clip(k x_c (1 + s m_c) + (1-k) g), m_c = sum_j a_j cos(2 pi (phi_j + h c/3)), c = -1, 0, 1 for red, green, blue.

    A screen has a grid of pixels of about the frequency of the grid by which a sensor samples one colour. What a camera
    records of the screen's grid is the beat of the two: their product holds the difference of their phases, phi, which
    changes slowly. Perspective, lens and a screen that is not flat bend the phase, so the bands curve. The screen's red,
    green and blue stripes stand a third of its pixel apart, hence the three colours beat a third of a period apart, and
    the bands are coloured. Columns and rows of the screen make one beat each. Such are the photographs of the TIP2018 set
    (Sun et al., "Moire Photo Restoration", TIP 2018) and of UHDM (Yu et al., ECCV 2022).

    The phase (in periods) is phi = f.u + u'Qu/(2 L) + r n(u), u the place in the whole picture from its middle, L its
    longer side, n fractal noise.
    """

    name: ClassVar[str] = "moire"

    strength: Annotated[Draw, within(0, 1)] = uniform(0.08, 0.3)
    """Relative amplitude s of the bands; 0 is none."""
    frequency: Annotated[Draw, within(0, 0.25)] = uniform(0.01, 0.06)
    """Periods per pixel f of the bands at the middle of the picture."""
    bend: Annotated[Draw, within(0, 0.5)] = uniform(0.0, 0.15)
    """How much that changes from one end of the picture to the other (norm of Q), in periods per pixel."""
    ripple: Annotated[Draw, within(0, 20)] = uniform(0.0, 3.0)
    """Amplitude r of the fractal part of the phase, in periods."""
    colour: Annotated[Draw, within(0, 1)] = uniform(0.3, 1.0)
    """Shift h between the colours: 1 is a third of a period, 0 makes grey bands."""
    second: Annotated[Draw, within(0, 1)] = uniform(0.0, 0.7)
    """Amplitude of the rows' beat over that of the columns'."""
    contrast: Annotated[Draw, within(0, 1)] = uniform(0.85, 1.0)
    """Share k of the contrast that is left of the picture."""
    glare: Annotated[Draw, within(0, 1)] = uniform(0.1, 0.6)
    """Brightness g of the rest: light that the screen reflects."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the bands, two beats (frequency, bend) of their own directions, and the keys of their ripples."""
        fields = ("strength", "ripple", "colour", "second", "contrast", "glare")
        drawn = {field: getattr(self, field).sample(rng) for field in fields}
        beats = []
        for _ in range(2):
            frequency, bend = self.frequency.sample(rng), self.bend.sample(rng)
            way = rng.uniform(0, 2 * np.pi)
            curve = rng.standard_normal(3)
            curve *= bend / max(1e-9, float(np.sqrt(curve[0] ** 2 + 2 * curve[1] ** 2 + curve[2] ** 2)))
            beats.append(
                {
                    "frequency": [frequency * float(np.sin(way)), frequency * float(np.cos(way))],
                    "bend": curve.tolist(),
                    "shift": float(rng.random()),
                    "key": draw_key(rng),
                }
            )
        return {**drawn, "beats": beats}

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Photograph the picture from a screen."""
        kept = np.float32(params["contrast"])
        screen = moire_gain(clean.shape[0], clean.shape[1], params, frame or Frame(*clean.shape[:2]))
        screen *= clean
        if kept < 1:
            screen *= kept
            screen += (1 - kept) * np.float32(params["glare"])
        return cut_at_white(screen, clean)


def moire_gain(height: int, width: int, params: Params, frame: Frame) -> Picture:
    """What the bands multiply each channel by, 1 + s m_c.

    Args:
        height: rows of the array.
        width: columns of the array.
        params: what `Moire.draw` returned.
        frame: where the array lies in the whole picture.

    Returns:
        [height, width, 3] float32, a new array.
    """
    share = 1 / (1 + params["second"])
    amplitudes = params["strength"] * share, params["strength"] * share * params["second"]
    side = max(frame.height, frame.width)
    rows, columns = _parts(height, frame.height, frame.top), _parts(width, frame.width, frame.left)
    waves: list[Map] = []
    for beat in params["beats"]:
        angle = _phase(rows, columns, beat, params["ripple"], side)
        waves += (np.cos(angle), np.sin(angle))
    planes = []
    for place in (-1, 0, 1):
        # cos(a + b) = cos a cos b - sin a sin b: one pair of waves serves three channels.
        shift = 2 * math.pi / 3 * params["colour"] * place
        weights = [part * size for size in amplitudes for part in (math.cos(shift), -math.sin(shift))]
        first = cv2.addWeighted(waves[0], weights[0], waves[1], weights[1], 1.0)
        planes.append(cv2.add(first, cv2.addWeighted(waves[2], weights[2], waves[3], weights[3], 0.0), dst=first))
    return np.asarray(cv2.merge(planes), np.float32)


def _phase(rows: NDArray[np.float64], columns: NDArray[np.float64], beat: Params, ripple: float, side: int) -> Map:
    """[height, width] the angle 2 pi phi of one beat; a sum of products of something of the row and of the column."""
    down, right = beat["frequency"]
    of_down, of_both, of_right = beat["bend"]
    middle = np.zeros((POINTS + 3, POINTS + 3))
    middle[:3, :3] = (
        (beat["shift"], right, of_right / (2 * side)),
        (down, of_both / side, 0),
        (of_down / (2 * side), 0, 0),
    )
    middle[3:, 3:] = ripple * lattice(beat["key"])
    periods = rows @ (middle @ columns.T)
    periods -= np.floor(periods)
    periods *= 2 * np.pi
    return periods.astype(np.float32)


def _parts(size: int, whole: int, start: int) -> NDArray[np.float64]:
    """[size, POINTS+3] powers of the places in pixels, and the shares of the lattice points of the ripple."""
    place = np.arange(size) + (start + 0.5 - whole / 2)
    parts = np.empty((size, POINTS + 3))
    parts[:, 0], parts[:, 1], parts[:, 2] = 1, place, place * place
    parts[:, 3:] = spline(unit_places(size, whole, start))
    return parts
