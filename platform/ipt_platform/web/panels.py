"""The three pictures of a triptych, each as a lossless PNG of its own."""

import functools

from ipt_platform.data.image import decode_rgb, encode_png
from ipt_platform.evaluate.triptych import panels
from ipt_platform.observe.rundir import RunDir
from ipt_platform.observe.samples import Sample, read_picture

MAX_PIXELS = 4_000_000
"""Of a triptych; training writes a tenth of it at most."""


@functools.lru_cache(maxsize=48)
def panels_of(run: RunDir, sample: Sample) -> dict[str, bytes]:
    """The PNGs of `degraded`, `restored` and `clean` of a sample; those that were asked for last are kept.

    Raises:
        NotFoundError: it is gone.
        DataError: it is damaged, too large, or no triptych.
        InfrastructureError: S3 fails.
    """
    drawn = decode_rgb(read_picture(run, sample), MAX_PIXELS)
    return {name: encode_png(picture) for name, picture in panels(drawn).items()}
