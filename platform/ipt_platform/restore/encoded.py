"""One picture from its encoded bytes to those of the restored one."""

from collections.abc import Callable

import numpy as np

from ipt_platform.errors import BadPictureError, DataError
from ipt_platform.restore.imageio import check_fits, decode_picture, encode_picture, format_of


def restore_encoded(data: bytes, suffix: str, restore: Callable[[np.ndarray], np.ndarray], scale: int = 1) -> bytes:
    """Decode, restore and encode a picture.

    Args:
        data: a PNG, JPEG or WebP file.
        suffix: of the name of the restored one, which says its format.
        restore: float32 `[H, W, 3]` in [0, 1] to the same.
        scale: how many times longer each side becomes before `restore` sees it.

    Raises:
        BadPictureError: it cannot be used; or the restored one does not fit into its format, or has values that are not finite
            (`not-restored`).
    """
    try:
        picture = decode_picture(data)
    except BadPictureError:
        raise
    except DataError as error:
        raise BadPictureError("damaged", str(error)) from error
    try:
        format_of(suffix)
        height, width = picture.rgb.shape[:2]
        check_fits(height * scale, width * scale, suffix)
        picture = picture.enlarged(scale)
        restored = restore(picture.rgb)
        if broken := int((~np.isfinite(restored)).sum()):
            raise DataError(f"the model gave {broken} values that are not finite")
        return encode_picture(picture.with_rgb(restored), suffix)
    except DataError as error:
        raise BadPictureError("not-restored", str(error)) from error
