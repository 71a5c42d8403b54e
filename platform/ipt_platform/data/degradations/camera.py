"""The noise of a camera: shot and read noise in its linear raw values, carried through its processing to the picture."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ipt_platform.data.degradations.base import Degradation, Draw, Params, Picture, constant, draw_key, keyed, uniform, within
from ipt_platform.data.degradations.frame import Frame
from ipt_platform.data.degradations.noise import Shot, draw_shot, light_noise

GAMMA = 2.2

_XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
"""Colour matrices of the four cameras of the Darmstadt Noise Dataset, as Brooks et al. list them."""

_SRGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)

_SLOPE, _OFFSET, _SCATTER = 2.18, 1.20, 0.26
"""ln read = 2.18 ln shot + 1.20 + N(0, 0.26): the line that Brooks et al. fitted to those cameras."""

_BRIGHT = 0.9
"""Mean of the channels above which white balance is undone less and less, so that white stays white."""


@dataclass(frozen=True)
class Sensor:
    """What lies between the light on a sensor and the picture.

    Attributes:
        to_camera: [3, 3] float64, linear sRGB to the colours of the camera; white stays white (rows sum to one).
        gains: [3] float64, raw value of a white of 1 in each channel, above 0 and at most 1.
    """

    to_camera: NDArray[np.float64]
    gains: NDArray[np.float64]

    @classmethod
    def of(cls, params: Params) -> "Sensor":
        """The sensor of drawn parameters."""
        matrix = np.tensordot(params["camera"], _XYZ_TO_CAMERA, axes=1) @ _SRGB_TO_XYZ
        exposure = params["exposure"]
        return cls(
            to_camera=matrix / matrix.sum(axis=1, keepdims=True),
            gains=np.array((exposure / params["red"], exposure, exposure / params["blue"])),
        )


class CameraNoise(Degradation):
    """y = process(r + n), r = unprocess(x), n ~ N(0, shot r + read) in the linear raw values r of a camera.

    Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019): the tone curve, the gamma, the colours and
    the white balance of a picture are undone, noise is added where a sensor adds it, and all is done again. So dark
    places are noisier than bright ones, channels differ and are correlated, and white hides the noise. Unlike there, the
    white balance done again is the one undone, pixel by pixel, so that without noise highlights come back too; and the
    picture is not mosaicked: a share of the pairs (`mosaic`) has noise that came through a Bayer mosaic instead, and is
    as coarse as demosaicking makes it.

    With shot 0 the picture is returned as it is.
    """

    name: ClassVar[str] = "camera-noise"

    shot: Shot = uniform(1e-4, 1.2e-2)
    """Variance per light in raw values, white being 1; 0 is no noise. A range is drawn log-uniformly."""
    read: Annotated[Draw, within(0, 100)] = constant(1.0)
    """Variance in the dark, as a multiple of what goes with the shot noise in the cameras that were measured."""
    red: Annotated[Draw, within(1, 4)] = uniform(1.9, 2.4)
    """White balance: the gain of red over that of green."""
    blue: Annotated[Draw, within(1, 4)] = uniform(1.5, 1.9)
    """White balance: the gain of blue over that of green."""
    exposure: Annotated[Draw, within(0.1, 1)] = uniform(0.6, 1.0)
    """Green raw value of white; the camera brightens the picture by its inverse."""
    mosaic: float = Field(0.5, ge=0, le=1)
    """Probability that the noise passes a Bayer mosaic; photographs that were scaled down since show none of it."""

    def draw(self, rng: np.random.Generator) -> Params:
        """Draw the camera, its settings, the two variances and the key of the noise."""
        shot = draw_shot(self.shot, rng)
        return {
            "shot": shot,
            "read": self.read.sample(rng) * _read_variance(shot, rng),
            "camera": (rng.dirichlet(np.ones(len(_XYZ_TO_CAMERA)))).tolist(),
            "red": self.red.sample(rng),
            "blue": self.blue.sample(rng),
            "exposure": self.exposure.sample(rng),
            "mosaic": bool(rng.random() < self.mosaic),
            "key": draw_key(rng),
        }

    def apply(self, clean: Picture, params: Params, frame: Frame | None = None) -> Picture:
        """Unprocess, add the noise of the drawn key, and process."""
        if params["shot"] == 0 and params["read"] == 0:
            return clean.copy()
        sensor, rng = Sensor.of(params), keyed(params["key"])
        raw, gains = unprocess(clean, sensor)
        noise = mosaic_noise if params["mosaic"] else light_noise
        raw += noise(raw, params["shot"], params["read"], rng)
        # A full pixel holds no more light; below black a sensor still tells values apart.
        return process(np.minimum(raw, 1, out=raw), gains, sensor)


def unprocess(picture: Picture, sensor: Sensor) -> tuple[Picture, Picture]:
    """Undo the processing of a camera: inverse smoothstep, inverse gamma, colours, white balance and brightness.

    Args:
        picture: [H, W, 3] float32; what lies outside [0, 1] is clipped.
        sensor: the camera and its settings.

    Returns:
        raw values [H, W, 3] float32, and the gains [H, W, 3] float32 that they were multiplied by: those of the sensor,
        and towards white more and more 1, so that highlights stay highlights.
    """
    tone = 0.5 - np.sin(np.arcsin(1 - 2 * np.clip(picture, 0, 1)) * np.float32(1 / 3))
    light = cv2.pow(np.maximum(tone, 0), GAMMA)
    raw = np.asarray(cv2.transform(light, sensor.to_camera.astype(np.float32)), np.float32)
    mean = np.asarray(cv2.transform(raw, np.full((1, 3), 1 / 3, np.float32)), np.float32).reshape(raw.shape[:2])
    white = np.square(np.maximum(mean - np.float32(_BRIGHT), 0) / np.float32(1 - _BRIGHT))
    own = sensor.gains.astype(np.float32)
    gains = np.asarray(cv2.merge([own[c] + (1 - own[c]) * white for c in range(3)]), np.float32)
    raw *= gains
    return raw, gains


def process(raw: Picture, gains: Picture, sensor: Sensor) -> Picture:
    """Make a picture of raw values: white balance and brightness, colours, clipping, gamma, and smoothstep as tone curve.

    Args:
        raw: [H, W, 3] float32.
        gains: [H, W, 3] float32, what the raw values were multiplied by.
        sensor: the camera and its settings.

    Returns:
        [H, W, 3] float32 in [0, 1].
    """
    light = cv2.transform(raw / gains, np.linalg.inv(sensor.to_camera).astype(np.float32))
    tone = np.asarray(cv2.pow(np.clip(light, 0, 1), 1 / GAMMA), np.float32)
    return tone * tone * (3 - 2 * tone)


def mosaic_noise(raw: Picture, shot: float, read: float, rng: np.random.Generator) -> Picture:
    """Noise that came through a Bayer mosaic (RGGB) and bilinear demosaicking, which is linear: one value for each pixel,
    of the variance of its colour there, spread over the neighbours that have another colour.

    Args:
        raw: [H, W, 3] float32.
        shot: variance per light.
        read: variance in the dark.
        rng: draws the noise.

    Returns:
        [H, W, 3] float32, the noise alone.
    """
    mosaic = raw[..., 1].copy()
    mosaic[::2, ::2] = raw[::2, ::2, 0]
    mosaic[1::2, 1::2] = raw[1::2, 1::2, 2]
    noise = light_noise(mosaic, shot, read, rng)
    red, blue = np.zeros_like(noise), np.zeros_like(noise)
    red[::2, ::2], blue[1::2, 1::2] = noise[::2, ::2], noise[1::2, 1::2]
    hat = np.array((0.5, 1, 0.5), np.float32)
    cross = np.array(((0, 0.25, 0), (0.25, 1, 0.25), (0, 0.25, 0)), np.float32)
    # Reflection without repeating the edge keeps the colours of the mosaic in their places.
    border = cv2.BORDER_REFLECT_101
    planes = [
        cv2.sepFilter2D(red, -1, hat, hat, borderType=border),
        cv2.filter2D(noise - red - blue, -1, cross, borderType=border),
        cv2.sepFilter2D(blue, -1, hat, hat, borderType=border),
    ]
    return np.asarray(cv2.merge(planes), np.float32)


def _read_variance(shot: float, rng: np.random.Generator) -> float:
    """Variance in the dark that goes with a strength of shot noise; none with none."""
    scatter = rng.normal(0, _SCATTER)
    return float(np.exp(_SLOPE * np.log(shot) + _OFFSET + scatter)) if shot > 0 else 0.0
