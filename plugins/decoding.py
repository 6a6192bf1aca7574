"""One picture file as 8-bit RGB: every pixel as it is stored, scaled to the range of bytes, or refused by name.

The rules are those of torchvision's ImageFolder (`Image.open(path).convert("RGB")`) wherever Pillow's conversion is
right. Where it would clip values, drop transparency or drop frames without a word, the file is refused instead.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from prunebench.api.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What files may hold, whatever they are called; never those that Pillow hands to another program."""
BYTES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
"""Pillow's modes of at most 8 bits a channel that it converts to RGB."""
SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
REFUSED = {
    "F": "has floating-point values, whose range the file does not state; save it with 8 or 16 bits a channel",
    "I": "has 32-bit or signed values, whose range the file does not state; save it with 8 or 16 bits a channel",
    "LAB": "is in the LAB colour space; save it as RGB",
}
"""Pillow's modes that have no one meaning as bytes."""
ORIENTATION, BITS, PHOTOMETRIC, WHITE_IS_ZERO = 274, 258, 262, 0
"""Tags of EXIF and of TIFF, and a value of the last one."""


def opened(path: Path, background: int | None = None) -> "Image.Image":
    """A picture in 8-bit RGB; its EXIF orientation is not applied (Pillow itself applies that of a TIFF).

    Args:
        background: the grey level behind transparent pixels; by default a picture with such pixels is refused.

    Raises:
        DataError: for a file that is not a picture, or one that 8-bit RGB cannot show as it is.
    """
    try:
        with _file(path) as file:
            check(path, file)
            return _rgb(path, file, background)
    except DataError:
        raise
    except Exception as error:  # whatever a decoder makes of bytes that are no picture
        raise unreadable(path, error) from error


def glance(path: Path, background: int | None = None) -> bool:
    """Whether viewers turn a picture by its EXIF orientation; raises DataError for one that is refused.

    Reads the beginning of the file only, unless the picture has transparency.
    """
    try:
        with _file(path) as file:
            check(path, file)
            turned, transparent = file.format != "TIFF" and is_turned(file), file.has_transparency_data
    except DataError:
        raise
    except Exception as error:  # as above
        raise unreadable(path, error) from error
    if transparent:
        opened(path, background)
    return turned


def is_turned(picture: "Image.Image") -> bool:
    """Whether its EXIF data makes viewers rotate or mirror it."""
    return picture.getexif().get(ORIENTATION, 1) not in (0, 1)


def unreadable(path: Path, error: Exception) -> DataError:
    """The error for a file that is not a whole picture."""
    reason = "the file is empty" if path.is_file() and not path.stat().st_size else error
    return DataError(f"{path} cannot be read as a picture ({reason}); replace or remove it")


def _file(path: Path) -> "Image.Image":
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError("its link leads nowhere" if path.is_symlink() else "it is not a regular file")
    return Image.open(path, formats=FORMATS)


def check(path: Path, file: "Image.Image") -> None:
    """Raise DataError for a picture that 8-bit RGB cannot show, as far as its header shows."""
    # The second frame of an MPO, a JPEG of many phones, is a depth or brightness map of the first.
    frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{path} has {frames} frames or pages, and only one can be meant; save that one alone")
    if file.mode not in BYTES and not _is_sixteen_bits(file):
        reason = REFUSED.get(file.mode, f"has the colour mode {file.mode}; save it as RGB")
        raise DataError(f"{path} {reason}")


def _is_sixteen_bits(file: "Image.Image") -> bool:
    return file.mode in SIXTEEN_BITS or (file.mode == "I" and file.format == "PPM")


def _rgb(path: Path, file: "Image.Image", background: int | None) -> "Image.Image":
    if _is_sixteen_bits(file):
        picture = _scaled(path, file, background)
    elif file.has_transparency_data:
        picture = _opaque(path, file.convert("RGBA"), background)
    else:
        picture = file
    converted = picture.convert("RGB")
    converted.info |= {key: value for key, value in file.info.items() if key == "exif"}
    return converted


def _scaled(path: Path, file: "Image.Image", background: int | None) -> "Image.Image":
    """A grey picture of up to 16 bits in 8 bits: its whole range is scaled, where Pillow clips at 255."""
    from PIL import Image

    tags = getattr(file, "tag_v2", {})
    most = 2 ** int(tags.get(BITS, (16,))[0]) - 1
    values = np.asarray(file).astype(np.int64)
    holes = values == file.info.get("transparency", -1)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = most - values
    values = (values * 255 + most // 2) // most
    if holes.any():
        values[holes] = _known(path, background)
    return Image.fromarray(values.astype(np.uint8))


def _opaque(path: Path, picture: "Image.Image", background: int | None) -> "Image.Image":
    """A picture with a background where it is transparent, and as it is where it is not."""
    from PIL import Image

    if picture.getchannel("A").getextrema() == (255, 255):
        return picture
    grey = _known(path, background)
    return Image.alpha_composite(Image.new("RGBA", picture.size, (grey, grey, grey, 255)), picture)


def _known(path: Path, background: int | None) -> int:
    if background is None:
        raise DataError(
            f"{path} has transparent pixels, which have no colour of their own; save it without transparency, or give "
            "image-folder a `background`, the grey level from 0 to 255 that is behind them"
        )
    return background
