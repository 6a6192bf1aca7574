"""Single picture files as 8-bit RGB: scaled over their whole range, or refused by name."""

import io

import numpy as np
import pytest
from PIL import Image
from prunebench_plugins.decoding import glance, is_turned, opened

from prunebench.api.errors import DataError

RAMP = np.array([[0, 30000, 65535]], np.uint16)
FRAMES = [Image.new("RGB", (3, 1), (40 * index, 0, 0)) for index in range(3)]
ROTATED = Image.Exif()
ROTATED[274] = 6


def seen(path, background=None):
    """The pixels of the first row, (width, 3)."""
    picture = opened(path, background)
    assert picture.mode == "RGB"
    return np.asarray(picture)[0].tolist()


def greys(path, background=None):
    pixels = seen(path, background)
    assert all(red == green == blue for red, green, blue in pixels)
    return [red for red, _, _ in pixels]


def big_endian_tiff(path):
    Image.frombytes("I;16B", (3, 1), RAMP.byteswap().tobytes()).save(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", lambda path: Image.fromarray(RAMP).save(path)),
        ("a.tif", lambda path: Image.fromarray(RAMP).save(path)),
        ("b.tif", big_endian_tiff),
        ("a.pgm", lambda path: path.write_bytes(b"P5 3 1 65535\n" + RAMP.byteswap().tobytes())),
        ("a.ppm", lambda path: path.write_bytes(b"P6 3 1 65535\n" + RAMP.repeat(3).byteswap().tobytes())),
    ],
)
def test_16_bits_are_scaled_over_their_whole_range(tmp_path, name, save):
    save(path := tmp_path / name)
    assert greys(path) == [0, 117, 255]  # 30000 / 65535 · 255 = 116.7


def test_16_bits_are_rounded_to_the_nearest_byte(tmp_path):
    values = np.array([[128, 129, 385, 386, 65406, 65407]], np.uint16)  # half of 257 is 128.5
    Image.fromarray(values).save(tmp_path / "a.png")
    assert greys(tmp_path / "a.png") == [0, 1, 1, 2, 254, 255]


def test_a_maximum_of_10_bits_is_the_range_of_a_pgm(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + np.array([0, 511, 1023], ">u2").tobytes())
    assert greys(tmp_path / "a.pgm") == [0, 127, 255]


def test_12_bits_are_the_range_of_a_packed_tiff(tmp_path):
    """Two values of 12 bits in three bytes: 0xFFF and 0x800."""
    tags = [(256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 3)]
    fields = b"".join(tag.to_bytes(2, "little") + b"\3\0\1\0\0\0" + value.to_bytes(4, "little") for tag, value in tags)
    directory = len(tags).to_bytes(2, "little") + fields + bytes(4)
    (tmp_path / "a.tif").write_bytes(b"II*\0\14\0\0\0" + b"\xff\xf8\x00\0" + directory)
    assert greys(tmp_path / "a.tif") == [255, 128]


def test_white_may_be_zero_in_a_16_bit_tiff(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert greys(tmp_path / "a.tif") == [255, 138, 0]


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted_by_its_inks(tmp_path, name):
    Image.new("CMYK", (3, 1), (0, 255, 102, 51)).save(tmp_path / name, quality=100)
    red, green, blue = seen(tmp_path / name)[0]  # (255 - ink) · (255 - black) / 255
    assert (abs(red - 204) <= 2, green <= 2, abs(blue - 122) <= 2) == (True, True, True)


def test_ycbcr_and_one_bit_and_palettes_are_converted(tmp_path):
    Image.new("YCbCr", (3, 1), (120, 128, 128)).save(tmp_path / "a.tif")
    Image.fromarray(np.array([[False, True, False]])).save(tmp_path / "b.png")
    Image.new("RGB", (3, 1), (250, 0, 3)).quantize().save(tmp_path / "c.png")
    assert greys(tmp_path / "a.tif") == [120] * 3
    assert greys(tmp_path / "b.png") == [0, 255, 0]
    assert seen(tmp_path / "c.png") == [[250, 0, 3]] * 3


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("a.tif", np.array([[0.1, 0.9]], np.float32), "has floating-point values, .* save it with 8 or 16 bits"),
        ("a.tif", np.array([[1, 70000]], np.int32), "has 32-bit or signed values, .* save it with 8 or 16 bits"),
        ("lab.tif", None, "is in the LAB colour space; save it as RGB"),
    ],
)
def test_values_without_a_range_are_refused_by_name(tmp_path, name, values, reason):
    picture = Image.new("LAB", (2, 1)) if values is None else Image.fromarray(values)
    picture.save(path := tmp_path / name)
    for read in (opened, glance):
        with pytest.raises(DataError, match=f"{path} {reason}"):
            read(path)


TRANSPARENT = {
    "rgba.png": (Image.new("RGBA", (3, 1), (200, 100, 0, 0)), {}),
    "la.png": (Image.new("LA", (3, 1), (200, 0)), {}),
    "palette.png": (Image.fromarray(np.array([[5, 5, 5]], np.uint8)).convert("P"), {"transparency": 5}),
    "key.png": (Image.new("RGB", (3, 1), (9, 8, 7)), {"transparency": (9, 8, 7)}),
    "grey-key.png": (Image.new("L", (3, 1), 9), {"transparency": 9}),
    "16-bit-key.png": (Image.fromarray(np.full((1, 3), 30000, np.uint16)), {"transparency": 30000}),
    "rgba.webp": (Image.new("RGBA", (3, 1), (200, 100, 0, 0)), {"lossless": True}),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_pixels_are_refused_or_show_the_background(tmp_path, name):
    picture, how = TRANSPARENT[name]
    picture.save(path := tmp_path / name, **how)
    for read in (opened, glance):
        with pytest.raises(DataError, match=f"{path} has transparent pixels, .*`background`"):
            read(path)
    assert greys(path, background=77) == [77] * 3
    assert glance(path, background=77) is False


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path):
    Image.new("RGBA", (3, 1), (255, 55, 0, 51)).save(tmp_path / "a.png")  # a fifth of its own colour
    assert seen(tmp_path / "a.png", background=100)[0] == [131, 91, 80]


@pytest.mark.parametrize(
    ("picture", "how"),
    [
        (Image.new("RGBA", (3, 1), (9, 8, 7, 255)), {}),
        (Image.new("RGB", (3, 1), (9, 8, 7)), {"transparency": (9, 8, 6)}),
    ],
)
def test_transparency_that_no_pixel_has_changes_nothing(tmp_path, picture, how):
    picture.save(tmp_path / "a.png", **how)
    assert seen(tmp_path / "a.png", background=200) == seen(tmp_path / "a.png") == [[9, 8, 7]] * 3


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_several_frames_or_pages_are_refused_by_name(tmp_path, name):
    FRAMES[0].save(path := tmp_path / name, save_all=True, append_images=FRAMES[1:])
    for read in (opened, glance):
        with pytest.raises(DataError, match=f"{path} has 3 frames or pages, and only one"):
            read(path)


def test_the_first_picture_of_an_mpo_is_the_one_that_is_meant(tmp_path):
    FRAMES[2].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=FRAMES[:1], quality=100)
    assert abs(seen(tmp_path / "a.jpg")[0][0] - 80) <= 2


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_an_exif_orientation_is_noticed_and_not_applied(tmp_path, name):
    Image.new("RGB", (3, 2)).save(tmp_path / name, exif=ROTATED)
    Image.new("RGB", (3, 2)).save(tmp_path / f"plain-{name}")
    assert opened(tmp_path / name).size == (3, 2)
    assert is_turned(opened(tmp_path / name)) is glance(tmp_path / name) is True
    assert is_turned(opened(tmp_path / f"plain-{name}")) is glance(tmp_path / f"plain-{name}") is False


def test_pillow_turns_a_tiff(tmp_path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.tif", exif=ROTATED)
    assert opened(tmp_path / "a.tif").size == (2, 3)
    assert is_turned(opened(tmp_path / "a.tif")) is glance(tmp_path / "a.tif") is False


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF"])
def test_the_content_decides_and_not_the_extension(tmp_path, kind):
    FRAMES[2].save(tmp_path / "a.jpg", format=kind)
    assert seen(tmp_path / "a.jpg") == [[80, 0, 0]] * 3


def postscript(path):
    buffer = io.BytesIO()
    FRAMES[0].save(buffer, format="EPS")
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.touch(), "the file is empty"),
        (lambda path: path.symlink_to("nowhere"), "its link leads nowhere"),
        (lambda path: path.mkdir(), "it is not a regular file"),
        (lambda path: path.write_bytes(b"text"), "cannot identify"),
        (postscript, "cannot identify"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(tmp_path, spoil, reason):
    spoil(path := tmp_path / "a.png")
    for read in (opened, glance):
        with pytest.raises(DataError, match=rf"{path} cannot be read as a picture \(.*{reason}.*\); replace or remove"):
            read(path)
