"""Every kind of picture in, exact pixels out; every kind of rubbish in, a helpful error out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from fmlad.errors import FmladError, InvalidImageError, OptionError, ShotsError
from fmlad.io.images import IMAGE_SUFFIXES, load_image, source_name
from fmlad.io.inputs import expand_sources, list_images
from tests.image_corpus import encode, exif, interlaced_png, picture, png, png_chunk, valid_files

RGB = picture()
GREY = RGB[..., 0].copy()
DEEP = (np.arange(GREY.size, dtype=np.uint32).reshape(GREY.shape) * 61 % 65536).astype(np.uint16)
DEEP_8 = np.rint(DEEP / 257).astype(np.uint8)


def three(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    a = alpha[..., None] / 255
    return np.rint(rgb * a + 255 * (1 - a)).astype(np.uint8)


def same(got: np.ndarray, expected: np.ndarray, within: int = 0) -> None:
    assert got.dtype == np.uint8
    assert got.shape == (*expected.shape[:2], 3)
    assert got.flags.c_contiguous
    assert got.flags.owndata
    assert got.flags.writeable
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= within


def grey_image(dtype: str, mode: str) -> Image.Image:
    return Image.frombytes(mode, DEEP.shape[::-1], DEEP.astype(dtype).tobytes())


# --- modes ----------------------------------------------------------------------------------------

ALPHA = np.roll(GREY, 5, axis=0)
RGBA = np.dstack([RGB, ALPHA])
PALETTE = Image.fromarray(RGB).quantize(16)
PALETTE_RGB = np.asarray(PALETTE.convert("RGB"))
CMYK = np.dstack([RGB, ALPHA // 2])
CMYK_RGB = np.rint((255 - RGB) * (1 - ALPHA[..., None] // 2 / 255)).astype(np.uint8)


def with_info(image: Image.Image, **info: Any) -> Image.Image:
    image = image.copy()
    image.info.update(info)
    return image


MODES = {
    "1": (Image.fromarray(GREY > 99), three(np.where(GREY > 99, 255, 0).astype(np.uint8)), 0),
    "L": (Image.fromarray(GREY), three(GREY), 0),
    "L transparent": (
        with_info(Image.fromarray(GREY), transparency=100),
        three(np.where(GREY == 100, 255, GREY).astype(np.uint8)),
        0,
    ),
    "LA": (
        Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(ALPHA))),
        over_white(three(GREY), ALPHA),
        0,
    ),
    "La": (
        Image.fromarray(RGB).convert("LA").convert("La"),
        np.asarray(Image.fromarray(RGB).convert("L").convert("RGB")),
        0,
    ),
    "P": (PALETTE, PALETTE_RGB, 0),
    "P transparent": (
        with_info(PALETTE, transparency=3),
        np.where((np.asarray(PALETTE) == 3)[..., None], 255, PALETTE_RGB).astype(np.uint8),
        0,
    ),
    "PA": (PALETTE.convert("PA"), PALETTE_RGB, 0),
    "RGB": (Image.fromarray(RGB), RGB, 0),
    "RGB transparent": (
        with_info(Image.fromarray(RGB), transparency=tuple(int(v) for v in RGB[2, 3])),
        np.where((RGB[2, 3] == RGB).all(axis=2, keepdims=True), 255, RGB).astype(np.uint8),
        0,
    ),
    "RGBX": (Image.fromarray(RGB).convert("RGBX"), RGB, 0),
    "RGBA": (Image.fromarray(RGBA), over_white(RGB, ALPHA), 0),
    "RGBa": (Image.fromarray(RGB).convert("RGBa"), RGB, 0),
    "CMYK": (Image.frombytes("CMYK", RGB.shape[1::-1], CMYK.tobytes()), CMYK_RGB, 1),
    "YCbCr": (Image.fromarray(RGB).convert("YCbCr"), RGB, 3),
    "HSV": (Image.fromarray(RGB).convert("HSV"), RGB, 8),
    "I;16": (grey_image("<u2", "I;16"), three(DEEP_8), 0),
    "I;16L": (grey_image("<u2", "I;16L"), three(DEEP_8), 0),
    "I;16B": (grey_image(">u2", "I;16B"), three(DEEP_8), 0),
    "I;16N": (grey_image("=u2", "I;16N"), three(DEEP_8), 0),
    "I": (Image.fromarray(DEEP.astype(np.int32)), three(DEEP_8), 0),
    "F": (Image.fromarray((GREY / 255).astype(np.float32)), three(GREY), 0),
}


@pytest.mark.parametrize("mode", MODES)
def test_pil_modes_become_rgb(mode: str) -> None:
    image, expected, within = MODES[mode]
    before = image.tobytes(), image.mode, image.size, dict(image.info)
    same(load_image(image), expected, within)
    assert before == (image.tobytes(), image.mode, image.size, dict(image.info))


def test_lab_follows_the_colour_management_of_pillow() -> None:
    image = Image.fromarray(RGB).convert("LAB")
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    change = ImageCms.buildTransform(*profiles, "LAB", "RGB")
    same(load_image(image), np.asarray(change.apply(image)))


def test_full_transparency_hides_what_lies_under_it() -> None:
    hidden = RGBA.copy()
    hidden[..., 3] = 0
    assert (load_image(hidden) == 255).all()
    assert (load_image(Image.fromarray(hidden)) == 255).all()
    assert (load_image(encode(Image.fromarray(hidden), "PNG")) == 255).all()


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", valid_files())
def test_every_kind_of_file_as_path_bytes_and_stream(name: str, tmp_path: Path) -> None:
    data = valid_files()[name]
    path = tmp_path / f"{name}.img"  # the suffix does not matter
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = load_image(path)
        assert first.std() > 5
        stream = io.BytesIO(data)
        stream.seek(7)  # wherever it stands, it is read from the beginning
        with path.open("rb") as file:
            sources = [str(path), data, bytearray(data), memoryview(data), stream, file]
            for source in sources:
                same(load_image(source), first)
            assert not file.closed
        assert not stream.closed


LOSSLESS = {
    "png-rgb": RGB,
    "png-grey": np.asarray(Image.fromarray(RGB).convert("L").convert("RGB")),
    "png-interlaced": np.asarray(Image.fromarray(RGB).convert("L").convert("RGB")),
    "png-16": three(GREY),
    "tiff-16": three(GREY),
    "pgm-16": three(GREY),
    "tiff-float": three(GREY),
    "pfm": three(GREY),
    "png-16-rgb": three(GREY),
    "bmp": RGB,
    "tiff-raw": RGB,
    "tiff-tiff_lzw": RGB,
    "tiff-tiff_adobe_deflate": RGB,
    "tiff-packbits": RGB,
    "ppm": RGB,
    "pgm-plain": three(3 * np.arange(72, dtype=np.uint8).reshape(8, 9)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_give_the_very_pixels(name: str) -> None:
    same(load_image(valid_files()[name]), LOSSLESS[name])


@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "tiff-jpeg", "webp", "jpeg-mpo"])
def test_lossy_files_are_near(name: str) -> None:
    data = valid_files()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the second picture of an MPO is nothing to warn of
        assert np.abs(load_image(data).astype(int) - RGB).mean() < 15


def test_cmyk_jpeg_with_adobe_inversion_is_not_negative() -> None:
    data = valid_files()["jpeg-cmyk"]
    assert b"Adobe" in data
    assert np.abs(load_image(data).astype(int) - RGB).mean() < 15


def test_sixteen_bit_png_with_a_transparent_level() -> None:
    level = int(DEEP[4, 4])
    chunk = png_chunk(b"tRNS", level.to_bytes(2, "big"))
    data = png(DEEP.astype(">u2").tobytes(), DEEP.shape[1], DEEP.shape[0], 16, 0, extra=chunk)
    same(load_image(data), three(np.where(level == DEEP, 255, DEEP_8).astype(np.uint8)))


@pytest.mark.parametrize("name", ["apng", "gif-animated", "webp-animated", "tiff-pages"])
def test_first_frame_with_a_warning(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.xyz"
    path.write_bytes(valid_files()[name])
    with pytest.warns(UserWarning, match=rf"{name}\.xyz holds 3 frames; only the first") as caught:
        pixels = load_image(path)
    assert caught[0].filename == __file__
    assert np.abs(pixels.astype(int) - RGB).mean() < 20


def test_endless_pages_are_not_counted() -> None:
    frames = [Image.new("L", (8, 8))] * 150
    data = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="holds more than 100 frames"):
        load_image(data)


# --- orientation ----------------------------------------------------------------------------------

# Where the stored first row and first column belong in the picture as seen (EXIF 2.3, tag 274).
SEEN = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left",
        5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}  # fmt: skip


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Moves pixel by pixel, by the words of the standard."""
    row_side, column_side = SEEN[orientation].split()
    height, width = stored.shape[:2]
    turned = row_side in ("left", "right")
    seen = np.zeros((width, height, 3) if turned else (height, width, 3), np.uint8)
    for r in range(height):
        for c in range(width):
            along_row = r if row_side in ("top", "left") else height - 1 - r
            along_column = c if column_side in ("top", "left") else width - 1 - c
            seen[(along_column, along_row) if turned else (along_row, along_column)] = stored[r, c]
    return seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    stored = Image.fromarray(RGB)
    data = encode(stored, kind, exif=exif(orientation), **options.get(kind, {}))
    expected = upright(RGB, orientation)
    within = 12 if kind == "JPEG" else 0
    same(load_image(data), expected, within)
    image = Image.open(io.BytesIO(data))
    same(load_image(image), expected, within)
    same(load_image(image), expected, within)  # the image was not turned in place
    assert (
        np.abs(load_image(data).astype(int) - RGB).max() > 30 if orientation in (2, 3, 4) else True
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_and_alpha(orientation: int) -> None:
    for image in (Image.fromarray(DEEP), Image.fromarray(RGBA)):
        data = encode(image, "PNG", exif=exif(orientation))
        same(load_image(data), upright(load_image(encode(image, "PNG")), orientation))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0rubbish", b"", b"II*\0\xff\xff\xff\xff", exif(6)[:-9], exif(0), exif(9)]
)
def test_corrupt_exif_counts_as_absent(block: bytes) -> None:
    data = encode(Image.fromarray(RGB), "PNG")
    data = data[:33] + png_chunk(b"eXIf", block) + data[33:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(load_image(data), RGB)
        same(load_image(with_info(Image.fromarray(RGB), exif=block)), RGB)


# --- arrays ---------------------------------------------------------------------------------------

GOOD_ARRAYS = {
    "uint8": (RGB, RGB),
    "grey": (GREY, three(GREY)),
    "grey with axis": (GREY[..., None], three(GREY)),
    "alpha": (RGBA, over_white(RGB, ALPHA)),
    "bool": (GREY > 99, three(np.where(GREY > 99, 255, 0))),
    "uint16": (DEEP, three(DEEP_8)),
    "uint16 big endian": (DEEP.astype(">u2"), three(DEEP_8)),
    "int16": (RGB.astype(np.int16), RGB),
    "int64": (RGB.astype(np.int64), RGB),
    "uint32": (RGB.astype(np.uint32), RGB),
    "float16": ((RGB / 255).astype(np.float16), RGB),
    "float32": ((RGB / 255).astype(np.float32), RGB),
    "float64": (RGB / 255, RGB),
    "longdouble": ((RGB / 255).astype(np.longdouble), RGB),
    "float overshoot": (np.where(RGB > 99, 1.0000002, -1e-9), np.where(RGB > 99, 255, 0)),
    "float alpha": (RGBA / 255, over_white(RGB, ALPHA)),
    "fortran": (np.asfortranarray(RGB), RGB),
    "negative strides": (RGB[::-1, ::-1], RGB[::-1, ::-1]),
    "bgr view": (RGB[..., ::-1], RGB[..., ::-1]),
    "masked, nothing hidden": (np.ma.asarray(RGB), RGB),
    "matrix": (GREY.view(np.matrix), three(GREY)),
}


@pytest.mark.parametrize("name", GOOD_ARRAYS)
def test_arrays(name: str) -> None:
    array, expected = GOOD_ARRAYS[name]
    got = load_image(array)
    same(got, expected)
    assert type(got) is np.ndarray
    assert not np.shares_memory(got, array)


def test_read_only_and_memory_mapped_arrays(tmp_path: Path) -> None:
    fixed = RGB.copy()
    fixed.flags.writeable = False
    same(load_image(fixed), RGB)
    np.save(tmp_path / "a.npy", RGB)
    same(load_image(np.load(tmp_path / "a.npy", mmap_mode="r")), RGB)


def test_ambiguous_shape_is_channels_last() -> None:
    same(load_image(RGB[:8, :9, 0:3].reshape(8, 9, 3)), RGB[:8, :9])
    with pytest.raises(InvalidImageError, match="at least 8 x 8"):
        load_image(np.zeros((3, 40, 3), np.uint8))


@settings(deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24), st.just(3))))
def test_round_trips_are_exact(array: np.ndarray) -> None:
    same(load_image(array), array)
    same(load_image(encode(Image.fromarray(array), "PNG")), array)
    same(load_image(Image.fromarray(array)), array)
    for dtype in (np.float16, np.float32, np.float64):
        same(load_image((array / 255).astype(dtype)), array)
    same(load_image(array.astype(np.uint16) * 257), array)


def test_sixteen_bits_are_rounded_and_monotonic() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = load_image(values)[..., 0].ravel()
    assert (np.diff(got.astype(int)) >= 0).all()
    assert (got == np.rint(np.arange(65536) / 257)).all()
    assert (load_image(Image.fromarray(values))[..., 0].ravel() == got).all()


def test_alpha_is_rounded_exactly() -> None:
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.dstack([colour, colour, colour, alpha]).astype(np.uint8)
    expected = over_white(rgba[..., :3], rgba[..., 3])
    same(load_image(rgba), expected)
    same(load_image(Image.fromarray(rgba)), expected)


def test_the_result_is_independent_of_its_source() -> None:
    array = RGB.copy()
    image = Image.fromarray(RGB)
    data = bytearray(encode(image, "BMP"))
    results = [load_image(source) for source in (array, image, data)]
    array[:] = 0
    image.paste(0, (0, 0, *image.size))
    data[:] = bytes(len(data))
    for got in results:
        same(got, RGB)


# --- what is refused ------------------------------------------------------------------------------


class Tensor:
    __module__ = "torch"
    shape = (3, 40, 50)


class Broken(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise RuntimeError("the disk is on fire")


class Odd(os.PathLike):  # type: ignore[type-arg]
    def __fspath__(self) -> str:
        return 3  # type: ignore[return-value]


JPEG = valid_files()["jpeg"]
PNG = valid_files()["png-rgb"]
BAD = {
    "none": (None, r"Got None; expected one image\. Pass a path"),
    "number": (3.5, "Got object of type float; expected one image"),
    "list": ([RGB], "Got object of type list; expected one image"),
    "dict": ({}, "type dict"),
    "tensor": (Tensor(), r"torch tensor \(3, 40, 50\).*permute\(1, 2, 0\)\.cpu\(\)\.numpy\(\)"),
    "path object": (Odd(), "cannot be read"),
    "nul": ("a\0b.png", "null"),
    "surrogate": ("\udfff.png", r"cannot be read|does not exist"),
    "long path": ("x" * 5000, r"5000 characters\) cannot be read"),
    "address": ("https://example.org/a.png", "is an address; expected a local file. Download"),
    "data address": ("data:image/png;base64,AAAA", "is an address"),
    "no bytes": (b"", r"bytes \(0\) is empty"),
    "text": (b"hello, this is a text\n", "is text, not an image"),
    "binary": (bytes(range(128, 0, -1)), "not an image of a known kind"),
    "pdf": (b"%PDF-1.7 ...", "a document or drawing, not an image.*Convert it to PNG or JPEG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0", "document or drawing.*Convert"),
    "svg": (b'<?xml version="1.0"?>\n<svg>', "document or drawing.*Convert it to PNG or JPEG"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC or AVIF picture.*Convert it to PNG or JPEG"),
    "avif": (b"\0\0\0\x18ftypavif\0\0\0\0", "HEIC or AVIF"),
    "video": (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video, not an image.*Extract its frames"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    "zip": (b"PK\x03\x04abc", "an archive, not an image.*Unpack"),
    "npy": (b"\x93NUMPY\x01\0", "NumPy file.*numpy.load"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "torn jpeg": (JPEG[:-200], "a damaged or incomplete JPEG file.*truncated.*copy it again"),
    "torn png": (PNG[: len(PNG) // 2], "damaged or incomplete PNG file"),
    "torn gif": (valid_files()["gif"][:-100], "damaged or incomplete GIF"),
    "torn bmp": (valid_files()["bmp"][:-100], "damaged or incomplete BMP"),
    "torn tiff": (valid_files()["tiff-raw"][:-100], "damaged or incomplete TIFF"),
    "torn webp": (valid_files()["webp"][:-100], "damaged or incomplete WebP"),
    "torn ppm": (valid_files()["ppm"][:-100], "damaged or incomplete PPM"),
    "header only": (PNG[:33], "damaged or incomplete PNG"),
    "text stream": (io.StringIO("abc"), "does not give bytes; expected a binary file.*'rb'"),
    "broken stream": (Broken(), "cannot be read.*the disk is on fire"),
    "empty stream": (io.BytesIO(), "is empty"),
    "empty": (np.zeros((0, 0), np.uint8), "0 x 0 pixels.*empty; expected at least 8 x 8"),
    "empty colour": (np.zeros((0, 9, 3), np.uint8), "9 x 0 pixels"),
    "small": (np.zeros((7, 40, 3), np.uint8), "40 x 7 pixels.*at least 8 x 8"),
    "thin": (np.zeros((8, 401), np.uint8), "no side above 50 times the other. Crop"),
    "one axis": (np.zeros(64, np.uint8), r"no image; expected \(H, W\), \(H, W, 3\)"),
    "scalar": (np.zeros(()), "no image"),
    "channels first": (np.zeros((3, 40, 50)), r"first here: pass array\.transpose\(1, 2, 0\)"),
    "one channel first": (np.zeros((1, 40, 50)), r"array\.transpose\(1, 2, 0\)"),
    "two channels": (np.zeros((40, 50, 2)), "Pass one image of 1, 3 or 4 channels"),
    "batch": (np.zeros((2, 40, 50, 3)), r"a batch: pass its images one by one, array\[0\]\.$"),
    "batch first": (np.zeros((2, 3, 40, 50)), r"array\[0\]\.transpose\(1, 2, 0\)"),
    "complex": (np.zeros((9, 9), complex), "complex128 holds no plain numbers"),
    "object": (np.zeros((9, 9), object), "no plain numbers"),
    "text array": (np.zeros((9, 9), "U3"), "no plain numbers"),
    "record": (np.zeros((9, 9), [("r", "u1")]), "no plain numbers"),
    "nan": (np.where(GREY > 99, np.nan, 0.5), "NaN or infinite.*nan_to_num"),
    "infinite": (np.where(GREY > 99, np.inf, -np.inf), "NaN or infinite"),
    "float 255": (RGB.astype(float), r"values from 0\.0 to 255\.0; .*0\.\.1.*Divide by 255"),
    "float minus": (RGB / 127.5 - 1, r"values from -1\.0 to 1\.0.*Undo the normalisation"),
    "int above": (RGB.astype(int) + 1, r"values from \d+ to 256; expected 0\.\.255.*uint16"),
    "int below": (RGB.astype(np.int16) - 1, "values from -1"),
    "masked": (np.ma.masked_greater(GREY, 99), r"masked values.*array\.filled\(value\)"),
    "pil empty": (Image.new("RGB", (0, 5)), "PIL image 0x5 is 0 x 5 pixels.*empty"),
    "pil int": (Image.new("I", (9, 9), 70000), "32-bit integers from 70000"),
    "pil minus": (Image.new("I", (9, 9), -1), "32-bit integers from -1"),
    "pil float": (Image.new("F", (9, 9), 7.0), r"0\.\.1 for floats"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused_with_words_that_help(name: str) -> None:
    source, words = BAD[name]
    with pytest.raises(InvalidImageError, match=words) as caught:
        load_image(source)
    assert len(str(caught.value)) < 700
    assert "; expected" in str(caught.value)


def test_closed_images_and_files(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    image = Image.open(path)
    image.close()
    with pytest.raises(InvalidImageError, match="PIL image 37x29 cannot be read"):
        load_image(image)
    with path.open("rb") as file:
        pass
    with pytest.raises(InvalidImageError, match="closed file"):
        load_image(file)
    view = memoryview(PNG)
    view.release()
    with pytest.raises(InvalidImageError, match="released"):
        load_image(view)


def test_streams_that_cannot_seek_or_are_strided() -> None:
    class Pipe:
        def __init__(self) -> None:
            self.inner = io.BytesIO(PNG)

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(min(size, 100))

    same(load_image(Pipe()), RGB)  # type: ignore[arg-type]
    same(load_image(memoryview(bytes(b for v in PNG for b in (v, 0)))[::2]), RGB)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "good-image.png").write_bytes(PNG)
    cases = {
        "shots": "is a folder; expected one image file",
        "text.jpg": r"text\.jpg is text, not an image",
        "empty.png": r"is empty \(0 bytes\)",
        "link.png": "does not exist",
        "good_image.png": "does not exist; .* did you mean 'good-image.png'",
        "no/such/folder.png": "does not exist; .* has no 'no'",
        "text.jpg/inside.png": "does not exist",
    }
    for name, words in cases.items():
        with pytest.raises(InvalidImageError, match=words) as caught:
            load_image(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_fifo_does_not_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(InvalidImageError, match="a device, pipe or socket"):
            load_image(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(InvalidImageError, match="Permission denied"):
        load_image(tmp_path / "a.png")


# --- limits ---------------------------------------------------------------------------------------


def test_the_pixel_limit_holds_for_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    area = RGB.shape[0] * RGB.shape[1]
    for source in (
        RGB,
        Image.fromarray(RGB),
        *(valid_files()[k] for k in LOSSLESS if k != "pgm-plain"),
    ):
        assert load_image(source, max_pixels=area).shape == RGB.shape
        with pytest.raises(
            InvalidImageError, match=r"1,073 in all; expected at most 1,072.*max_pixels"
        ):
            load_image(source, max_pixels=area - 1)
    monkeypatch.setenv("FMLAD_MAX_PIXELS", str(area - 1))
    with pytest.raises(InvalidImageError, match="FMLAD_MAX_PIXELS"):
        load_image(RGB)
    assert load_image(RGB, max_pixels=area).shape == RGB.shape
    monkeypatch.setenv("FMLAD_MAX_PIXELS", "")
    assert load_image(RGB).shape == RGB.shape


@pytest.mark.parametrize("value", ["many", "0", "-5", "1.5"])
def test_bad_limits(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMLAD_MAX_PIXELS", value)
    with pytest.raises(OptionError, match=f"FMLAD_MAX_PIXELS is '{value}'; expected a positive"):
        load_image(RGB)
    for wrong in (0, -1, 2.5, True, "x"):
        with pytest.raises(OptionError, match="max_pixels is"):
            load_image(RGB, max_pixels=wrong)  # type: ignore[arg-type]


def bomb(kind: str) -> bytes:
    """A small file that claims 60,000 x 60,000 pixels."""
    side = (60000).to_bytes(2, "big"), (60000).to_bytes(2, "little")
    big, little = (60000).to_bytes(4, "big"), (60000).to_bytes(4, "little")
    data = bytearray(valid_files()[kind])
    if kind == "png-rgb":
        return data[:8] + png_chunk(b"IHDR", big + big + bytes([8, 2, 0, 0, 0])) + data[33:]
    if kind == "jpeg":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = side[0] * 2
    elif kind == "gif":
        data[6:10] = side[1] * 2
    elif kind == "bmp":
        data[18:26] = little * 2
    elif kind == "webp-lossless":
        data[12:30] = (
            b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + (59999).to_bytes(3, "little") * 2
        )
    elif kind == "ppm":
        return b"P6 60000 60000 255\n" + data[-300:]
    elif kind == "tiff-raw":
        for tag in (256, 257):
            place = data.index(tag.to_bytes(2, "little") + b"\x04\0\1\0\0\0") + 8
            data[place : place + 4] = little
    return bytes(data)


@pytest.mark.parametrize(
    "kind", ["png-rgb", "jpeg", "gif", "bmp", "webp-lossless", "ppm", "tiff-raw"]
)
def test_decompression_bombs_are_refused_by_their_header(kind: str) -> None:
    with pytest.raises(
        InvalidImageError, match=r"3,600,000,000 in all; expected at most|exceeds limit"
    ):
        load_image(bomb(kind))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_our_limit_rules_and_not_that_of_pillow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.fromarray(RGB), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(data).shape == RGB.shape
    assert Image.MAX_IMAGE_PIXELS == 100


def test_too_many_bytes_for_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    os.truncate(path, 2**26 + 16 * 2000 + 1)  # sparse
    with pytest.raises(
        InvalidImageError, match="has 67,140,865 bytes; expected at most 67,140,864"
    ):
        load_image(path, max_pixels=2000)


def test_a_strip_listed_a_million_times_is_refused() -> None:
    image = Image.open(io.BytesIO(valid_files()["tiff-raw"]))
    tile = image.tile[0]
    from fmlad.io import images

    image.tile = [tile._replace(offset=i) for i in range(9)]
    images._check_work(image)  # little pictures may be as clumsy as they like
    image.tile *= 1000
    with pytest.raises(ValueError, match="far more data"):
        images._check_work(image)


def test_out_of_memory_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", full)
    with pytest.raises(InvalidImageError, match="out of memory"):
        load_image(PNG)


def test_threads_do_not_disturb_each_other() -> None:
    failures: list[object] = []

    def work(seed: int) -> None:
        pixels = picture(seed)
        data = encode(Image.fromarray(pixels), "PNG")
        for _ in range(20):
            if not (load_image(data) == pixels).all():
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- names, folders, lists ------------------------------------------------------------------------


def test_source_names() -> None:
    assert source_name("a/b.png") == "a/b.png"
    assert source_name(Path("a/b.png"), 3) == "image 3: " + str(Path("a/b.png"))
    assert source_name(np.zeros((480, 640, 3), np.uint8)) == "array (480, 640, 3) uint8"
    assert source_name(Image.new("L", (640, 480))) == "PIL image 640x480"
    assert source_name(bytes(1234)) == "bytes (1234)"
    assert source_name(io.BytesIO()) == "open file BytesIO"
    assert source_name(None, 0) == "image 0: None"
    assert source_name({}) == "object of type dict"
    assert len(source_name("x" * 10**6)) < 200


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = tmp_path / "shots"
    (folder / "sub.png").mkdir(parents=True)
    for name in (
        "img10.png",
        "img2.PNG",
        "img1.jpg",
        "IMG3.Tiff",
        "b.webp",
        ".hidden.png",
        "._a.png",
    ):
        (folder / name).write_bytes(PNG)
    (folder / "notes.txt").write_text("notes")
    return folder


NATURAL = ["b.webp", "img1.jpg", "img2.PNG", "IMG3.Tiff", "img10.png"]


def test_listing_is_natural_and_skips_what_is_no_image(shots: Path) -> None:
    assert [path.name for path in list_images(shots)] == NATURAL
    assert list_images(str(shots)) == list_images(shots)
    common = "png jpg jpeg bmp tif tiff webp gif ppm pgm pbm jfif"
    assert {f".{suffix}" for suffix in common.split()} <= IMAGE_SUFFIXES


def test_a_broken_link_is_listed_so_that_it_is_reported(shots: Path) -> None:
    (shots / "z.png").symlink_to(shots / "gone")
    assert list_images(shots)[-1].name == "z.png"


@pytest.mark.slow
@given(st.lists(st.from_regex(r"[a-zA-Z0-9٣²]{1,8}", fullmatch=True), unique=True, max_size=8))
def test_natural_order_never_fails(names: list[str]) -> None:
    from fmlad.io.inputs import _only_images

    paths = [Path(f"{name}.png") for name in names]
    assert sorted(_only_images(paths)) == sorted(paths)
    assert _only_images(paths) == _only_images(paths[::-1])


def test_folders_that_hold_no_images(tmp_path: Path) -> None:
    with pytest.raises(ShotsError, match=r"holds nothing; expected images"):
        list_images(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ShotsError, match=r"holds 1 other entries such as notes\.txt"):
        expand_sources(tmp_path)
    (tmp_path / "train" / "good").mkdir(parents=True)
    (tmp_path / "train" / "good" / "1.png").touch()
    with pytest.raises(ShotsError, match=r"no images itself; its sub-folders do: .*train.good"):
        expand_sources(tmp_path)
    for wrong in (tmp_path / "nowhere", tmp_path / "notes.txt", "a\0b", None):
        with pytest.raises(ShotsError, match=r"cannot be listed.*Pass the folder"):
            list_images(wrong)  # type: ignore[arg-type]


def test_one_image_of_any_kind_stays_one(shots: Path) -> None:
    one = shots / "b.webp"
    for source in (
        one,
        str(one),
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        io.BytesIO(PNG),
        RGB,
        GREY,
        Image.new("L", (9, 9)),
    ):
        found = expand_sources(source)
        assert len(found) == 1
        assert found[0] is source


def test_folders_patterns_stacks_and_lists_are_expanded(shots: Path) -> None:
    names = [Path(path).name for path in expand_sources(shots)]  # type: ignore[arg-type]
    assert names == NATURAL
    assert expand_sources(str(shots)) == list_images(shots)
    found = expand_sources(f"{shots}/img*.*")
    assert [Path(path).name for path in found] == ["img1.jpg", "img2.PNG", "img10.png"]  # type: ignore[arg-type]
    stack = np.stack([RGB, RGB + 1])
    found = expand_sources([shots / "b.webp", stack, shots, RGB])
    assert len(found) == 1 + 2 + 5 + 1
    assert (found[2] == RGB + 1).all()
    assert len(expand_sources(stack)) == 2
    assert len(expand_sources(RGB for _ in range(3))) == 3
    assert len(expand_sources((str(shots / "b.webp"), shots / "img1.jpg"))) == 2
    assert len(expand_sources(np.array([str(shots / "b.webp")] * 4))) == 4


def test_a_name_that_looks_like_a_pattern(shots: Path) -> None:
    (shots / "a[1].png").write_bytes(PNG)
    assert expand_sources(shots / "a[1].png") == [shots / "a[1].png"]


def test_missing_paths(shots: Path) -> None:
    with pytest.raises(InvalidImageError, match=r"img11\.png does not exist.*did you mean 'img1"):
        expand_sources(shots / "img11.png")
    with pytest.raises(InvalidImageError, match=r"does not exist.*did you mean 'shots'"):
        expand_sources(str(shots.with_name("shot")))
    with pytest.raises(
        InvalidImageError, match="does not exist; expected an image, a folder or a pattern"
    ):
        expand_sources(f"{shots}/*.bmp")
    with pytest.raises(InvalidImageError, match="does not exist"):
        expand_sources([shots / "b.webp", shots / "gone.png"])
    kept = expand_sources([shots / "gone.png", shots / "b.webp"], strict=False)
    assert kept == [shots / "gone.png", shots / "b.webp"]
    with pytest.raises(FmladError):
        expand_sources(shots / "gone.png", strict=False)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (None, "Got None; expected images"),
        (3, "type int; expected images.*Pass a folder"),
        ({"a": RGB}, "type dict; expected images in some order"),
        ({"a.png"}, "type set; expected images in some order"),
        ([], "without any image in it"),
        (iter(()), "without any image"),
        (np.zeros((0, 9, 9, 3), np.uint8), "without any image"),
    ],
)
def test_what_cannot_hold_images(sources: object, words: str) -> None:
    with pytest.raises(ShotsError, match=words):
        expand_sources(sources)


def test_an_endless_iterator_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Any:
        while True:
            yield RGB

    monkeypatch.setattr("fmlad.io.inputs.MAX_SOURCES", 1000)
    with pytest.raises(ShotsError, match="more than 1,000 images"):
        expand_sources(endless())


def test_a_tensor_of_torch_is_explained() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3, 40, 50)
    assert len(expand_sources(tensor)) == 1
    with pytest.raises(InvalidImageError, match=r"torch tensor \(3, 40, 50\)"):
        load_image(tensor)


@pytest.mark.slow
def test_a_bare_import_stays_light() -> None:
    for module, heavy in (("fmlad", "numpy PIL"), ("fmlad.io.images", "torch scipy skimage")):
        code = f"import sys, {module}; print({{*{heavy.split()}}} & {{*sys.modules}})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "set()", done.stderr


def test_interlaced_file_is_interlaced() -> None:
    assert interlaced_png(GREY)[28] == 1  # else the corpus would not test what it says
