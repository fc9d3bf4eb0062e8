"""One picture in, whatever it comes as; uint8 ``(H, W, 3)`` RGB or :class:`InvalidImageError` out.

Files may come from anyone, so nothing in them is trusted: only still raster formats are decoded,
each by its own reader after a look at the first bytes (never by suffix), sizes are checked before
memory is spent on them, and whatever a reader raises becomes an error that names the image.
Embedded colour profiles are ignored. Pillow's ``ImageFile.LOAD_TRUNCATED_IMAGES`` is left as it is
(off), so that a torn file is an error; what a reader lets pass all the same (grey blocks in a
damaged JPEG, missing rows of a PNG whose data end tidily) passes here too.
"""

from __future__ import annotations

import difflib
import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from fmlad.errors import InvalidImageError, OptionError

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any]
)

DEFAULT_MAX_PIXELS = 100_000_000
MIN_SIDE = 8
MAX_ASPECT = 50
_PAGES_COUNTED = 100
_OVERSHOOT = 1e-3  # of floats beyond 0..1, a quarter of a grey level: resizing leaves that

# Name, suffixes, first bytes, reader. The JPEG reader also serves MPO (phone pictures with a second
# picture behind the primary one): it stops where the primary one ends.
_READERS: tuple[tuple[str, str, bytes, Callable[[BinaryIO], ImageFile]], ...] = (
    ("PNG", ".png .apng", rb"\x89PNG\r\n\x1a\n", PngImageFile),
    ("JPEG", ".jpg .jpeg .jpe .jfif .mpo", rb"\xff\xd8\xff", JpegImageFile),
    ("TIFF", ".tif .tiff", rb"II[*+]\0|MM\0[*+]", TiffImageFile),
    ("WebP", ".webp", rb"RIFF.{4}WEBPVP8", WebPImageFile),
    ("GIF", ".gif", rb"GIF8[79]a", GifImageFile),
    ("BMP", ".bmp", rb"BM", BmpImageFile),
    ("PPM", ".ppm .pgm .pbm .pnm .pfm", rb"P[1-6fF]\s", PpmImageFile),
)
IMAGE_SUFFIXES = frozenset(suffix for row in _READERS for suffix in row[1].split())

# What people pass instead: what it is, its first bytes, what to do.
_CONVERT = "Convert it to PNG or JPEG"
_FOREIGN = (
    ("a document or drawing", rb"%PDF|%!PS|\xc5\xd0\xd3\xc6|8BPS|\s*(<\?xml.*)?<svg", _CONVERT),
    ("a HEIC or AVIF picture", rb".{4}ftyp(hei|hev|mif|msf|avi)", _CONVERT),
    ("a video", rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ", "Extract its frames"),
    ("a JPEG 2000 or JPEG XL picture", rb"\0{3}\x0cj[Px]|\0{3}\x0cJXL|\xff[\x4f\x0a]", _CONVERT),
    ("an icon", rb"\0\0[\x01\x02]\0", _CONVERT),
    ("a DICOM file", rb".{128}DICM", _CONVERT),
    ("a NumPy file", rb"\x93NUMPY", "Read it with numpy.load and pass the array"),
    ("an archive", rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "Unpack it"),
    ("a Git LFS pointer", rb"version https://git-lfs", "Run `git lfs pull`"),
    ("text", rb"[\t\n\r\f\x20-\x7e\x80-\xff]+\Z", "Check where the file came from"),
)
_FORMATS = "a PNG, JPEG, BMP, GIF, TIFF, WebP or PPM picture"
_RAISE = "Scale it down or raise the limit (max_pixels, or environment variable FMLAD_MAX_PIXELS)"


def load_image(source: ImageSource, *, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Reads one picture of any kind into 8-bit RGB.

    - *Files, bytes, open binary files* hold PNG, JPEG, BMP, GIF, TIFF, WebP or PPM. Of several
      frames or pages the first is used, with a ``UserWarning``. An open file is read from its
      beginning and stays open.
    - *PIL images* are taken at their current frame and stay as they are.
    - *Arrays* are ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA: bool; uint8;
      uint16 over its full range; other integers within 0..255; floats within 0..1. A shape that
      can be read both ways, such as ``(3, H, 3)``, is read channels last.
    - *EXIF orientation* is applied; where EXIF is corrupt, the picture stays as it is stored.
    - *16 bits* are divided by 257 and rounded. PIL's mode ``I`` counts as 16-bit where its values
      are within 0..65535, and its mode ``F`` follows the rule for float arrays.
    - *Alpha* is composited over white: whoever took an image for normal did not see the colours
      that a file stores under full transparency, so they must not count.

    Args:
        source: The picture.
        max_pixels: Largest ``H * W`` to decode; None means the environment variable
            ``FMLAD_MAX_PIXELS``, else 100 million. Encoded data may take 16 bytes per allowed
            pixel, plus 64 MiB.

    Returns:
        uint8 ``(H, W, 3)``, RGB, 0..255, C-contiguous, a copy of its own. Both sides are at least
        8 pixels and at most 50 times the other.

    Raises:
        InvalidImageError: Whatever is wrong with the source.
        OptionError: ``max_pixels`` or ``FMLAD_MAX_PIXELS`` is not a positive whole number.
    """
    limit = _pixel_limit(max_pixels)
    name = source_name(source)
    with _blaming(f"{name} cannot be read"):
        if isinstance(source, np.ndarray):
            return _from_array(source, name, limit)
        if isinstance(source, Image.Image):
            _check_size(source.width, source.height, name, limit)
            source.load()
            return _from_pil(source, name)
        with _stream(source, name, 16 * limit + 2**26) as stream:
            pixels, frames = _decode(stream, name, limit)
    if frames > 1:
        count = str(frames) if frames <= _PAGES_COUNTED else f"more than {_PAGES_COUNTED}"
        warnings.warn(f"{name} holds {count} frames; only the first is used.", stacklevel=2)
    return pixels


def source_name(source: object, index: int | None = None) -> str:
    """What a source (anything) is, for a message: ``"image 3: array (480, 640, 3) uint8"``."""
    kind = type(source).__name__
    text = "None" if source is None else f"object of type {kind}"
    with suppress(Exception):
        if isinstance(source, str | os.PathLike):
            text = os.fsdecode(source) or "an empty path"
        elif isinstance(source, np.ndarray):
            text = f"array {source.shape} {source.dtype}"
        elif isinstance(source, Image.Image):
            text = f"PIL image {source.width}x{source.height}"
        elif isinstance(source, bytes | bytearray | memoryview):
            text = f"bytes ({len(source)})"
        elif is_tensor(source):
            text = f"torch tensor {tuple(source.shape)}"  # type: ignore[attr-defined]
        elif hasattr(source, "read"):
            text = f"open file {getattr(source, 'name', kind)}"
    if len(text) > 300:  # base64 passed as a path must not fill the screen
        text = f"{text[:120]}... ({len(text)} characters)"
    return text if index is None else f"image {index}: {text}"


# --- limits and errors ----------------------------------------------------------------------------


def _bad(came: str, expected: str, advice: str) -> InvalidImageError:
    return InvalidImageError(f"{came}; expected {expected}. {advice}.")


def reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:150]


@contextmanager
def _blaming(came: str) -> Iterator[None]:
    """Turns whatever is raised inside into an :class:`InvalidImageError` that begins so."""
    try:
        yield
    except InvalidImageError:
        raise
    except MemoryError as error:
        raise _bad(f"{came} (out of memory)", "a smaller picture", "Scale it down") from error
    except Exception as error:
        advice = "Open it in a viewer and export or copy it again"
        raise _bad(f"{came} ({reason(error)})", f"{_FORMATS}, complete", advice) from error


def _pixel_limit(max_pixels: int | None) -> int:
    origin, value = "max_pixels", cast(object, max_pixels)
    if value is None:
        origin, value = "FMLAD_MAX_PIXELS", os.environ.get("FMLAD_MAX_PIXELS") or DEFAULT_MAX_PIXELS
    limit = value
    with suppress(ValueError):
        limit = int(value) if isinstance(value, str) else value
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise OptionError(f"{origin} is {value!r}; expected a positive whole number of pixels.")
    return int(limit)


def _check_size(width: int, height: int, name: str, limit: int) -> None:
    size = f"{name} is {width} x {height} pixels (width x height)"
    short, long = sorted((width, height))
    if short < MIN_SIDE:
        size += ", empty" if short < 1 else ""
        raise _bad(size, f"at least {MIN_SIDE} x {MIN_SIDE}", "Pass the whole picture")
    if long > MAX_ASPECT * short:
        raise _bad(size, f"no side above {MAX_ASPECT} times the other", "Crop it or cut it up")
    if width * height > limit:
        raise _bad(f"{size}, {width * height:,} in all", f"at most {limit:,}", _RAISE)


def missing_path(source: str | os.PathLike[str]) -> InvalidImageError:
    name, hint = source_name(source), "Check the spelling and the working directory."
    if re.match(r"(https?|ftp|s3|gs|data):", name, re.I):
        return _bad(f"{name} is an address", "a local file", "Download it first")
    with suppress(OSError, ValueError):
        path = Path(os.fsdecode(source)).absolute()
        while not path.parent.is_dir():
            path = path.parent
        names = [p.name for p in islice(path.parent.iterdir(), 5000) if p.name != path.name]
        near = difflib.get_close_matches(path.name, names, 1)
        where = f"{path.parent} has no {path.name!r}"
        hint = f"{where}; did you mean {near[0]!r}?" if near else f"{where}."
    wanted = "an image, a folder or a pattern"
    return InvalidImageError(f"{name} does not exist; expected {wanted}. {hint}")


def is_tensor(source: object) -> bool:
    return type(source).__module__.split(".")[0] == "torch" and hasattr(source, "shape")


# --- encoded pictures -----------------------------------------------------------------------------


@contextmanager
def _stream(source: object, name: str, most: int) -> Iterator[BinaryIO]:
    """Opens a path, bytes or a file object as a seekable stream of 1..``most`` bytes."""

    def check(size: int) -> None:
        if size == 0:
            raise _bad(f"{name} is empty (0 bytes)", _FORMATS, "Copy or export it again")
        if size > most:
            raise _bad(f"{name} has {size:,} bytes", f"at most {most:,}", _RAISE)

    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise missing_path(source) from None
        if not stat.S_ISREG(status.st_mode):  # before opening: a FIFO would wait for ever
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, pipe or socket"
            raise _bad(f"{name} is {kind}", "one image file", "Pass a file")
        check(status.st_size)
        with path.open("rb") as file:
            yield file
    elif isinstance(source, bytes | bytearray | memoryview):
        check(memoryview(source).nbytes)
        yield io.BytesIO(bytes(source))  # of bytes neither makes a copy
    elif hasattr(source, "read"):
        stream = cast(BinaryIO, source)
        if not isinstance(stream.read(0), bytes):
            raise _bad(f"{name} does not give bytes", "a binary file", "Open it with mode 'rb'")
        if not (hasattr(stream, "seekable") and stream.seekable()):
            data = bytearray()
            while len(data) <= most and (block := stream.read(2**20)):
                data += block
            stream = io.BytesIO(data)
        check(stream.seek(0, os.SEEK_END))
        yield stream
    else:
        advice = "Pass a path, bytes, an open binary file, a PIL image or a NumPy array"
        if is_tensor(source):
            advice = "Convert it: tensor.permute(1, 2, 0).cpu().numpy(), with values in 0..1"
        raise _bad(f"Got {name}", "one image", advice)


def _decode(stream: BinaryIO, name: str, limit: int) -> tuple[NDArray[np.uint8], int]:
    """Reads the first frame ``(H, W, 3)`` and counts the frames."""
    stream.seek(0)
    head = stream.read(256)
    kind, reader = next(((k, r) for k, _, m, r in _READERS if re.match(m, head, re.S)), ("", None))
    if reader is None:
        for what, magic, advice in _FOREIGN:
            if re.match(magic, head, re.S):
                raise _bad(f"{name} is {what}, not an image", _FORMATS, advice)
        raise _bad(f"{name} is not an image of a known kind", _FORMATS, _CONVERT)
    if kind == "WebP":  # its reader allocates the canvas before it tells the size
        _check_size(*_webp_size(head), name, limit)
    stream.seek(0)
    with _blaming(f"{name} is a damaged or incomplete {kind} file"):
        # Not Image.open: its limit on pixels is a global of the process, and it tries every reader.
        image = reader(stream)
        _check_size(image.width, image.height, name, limit)
        _check_work(image)
        if isinstance(image, TiffImageFile):  # without a canvas it asks Pillow's global limit
            image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im
        image.load()
        return _from_pil(image, name), _count_frames(image)


def _webp_size(head: bytes) -> tuple[int, int]:
    def number(start: int, size: int) -> int:
        return int.from_bytes(head[start : start + size], "little")

    if head[12:16] == b"VP8X":
        return 1 + number(24, 3), 1 + number(27, 3)
    if head[12:16] == b"VP8L":
        return 1 + (number(21, 4) & 0x3FFF), 1 + (number(21, 4) >> 14 & 0x3FFF)
    return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF


def _check_work(image: ImageFile) -> None:
    # A TIFF can list the same strip a million times, or have tiles far larger than the picture.
    boxes = [tile.extents for tile in image.tile if tile.extents]
    work = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(TILEWIDTH, 1) * tags.get(TILELENGTH, 1)
    if max(work, tile) > 8 * image.width * image.height + 2**22:
        raise ValueError("it describes far more data than its size")


def _count_frames(image: ImageFile) -> int:
    pages = 1
    with suppress(Exception):  # the first frame is there; what follows it is broken
        if not isinstance(image, TiffImageFile):
            return int(getattr(image, "n_frames", 1))
        for pages in range(1, _PAGES_COUNTED + 2):  # all of them would take quadratic time
            image.seek(pages)
    return pages


# --- pixels ---------------------------------------------------------------------------------------


def _from_pil(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Converts a loaded PIL image of any mode, upright, to ``(H, W, 3)``."""
    with suppress(Exception):  # corrupt EXIF
        image = ImageOps.exif_transpose(image)
    values: NDArray[Any]
    if image.mode == "La":
        image = image.convert("LA")  # the one step that Pillow does not take by itself
    if image.mode == "F":
        values = np.asarray(image)
    elif image.mode.startswith("I"):
        values = np.asarray(image)
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            came = f"{name} has 32-bit integers from {low} to {high}"
            raise _bad(came, "0..65535", "Scale them to 16 or 8 bits")
        clear = image.info.get("transparency")  # the one grey level that is see-through
        values = values.astype(np.uint16)
        if isinstance(clear, int):
            values[values == clear] = 65535
    else:
        values = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return _to_rgb(values, name)


def _from_array(array: NDArray[Any], name: str, limit: int) -> NDArray[np.uint8]:
    if np.ma.is_masked(array):
        raise _bad(f"{name} has masked values", "all of them", "Fill them: array.filled(value)")
    shape = array.shape
    if not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))):
        advice = "Pass one image of 1, 3 or 4 channels"
        if array.ndim == 3 and shape[0] in (1, 3, 4):
            advice = "Channels come first here: pass array.transpose(1, 2, 0)"
        elif array.ndim == 4:
            turn = ".transpose(1, 2, 0)" if shape[3] not in (1, 3, 4) else ""
            advice = f"This is a batch: pass its images one by one, array[0]{turn}"
        raise _bad(f"{name} is no image", "(H, W), (H, W, 3) or (H, W, 4)", advice)
    _check_size(shape[1], shape[0], name, limit)
    return _to_rgb(np.asarray(array), name)


def _to_rgb(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Scales ``(H, W)`` or ``(H, W, 1 | 3 | 4)`` to a new uint8 ``(H, W, 3)``, alpha over white."""
    scale = _scaling(values, name)
    height, width = values.shape[:2]
    values = values[..., None] if values.ndim == 2 else values
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, 2**20 // width)  # temporaries of a few megabytes, however large the picture
    for top in range(0, height, step):
        block = scale(values[top : top + step])
        if block.shape[2] == 4:
            alpha = block[..., 3:].astype(np.uint16)
            block = (block[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        out[top : top + step] = block
    return out


def _scaling(values: NDArray[Any], name: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Chooses how numbers of this type and range become 0..255."""
    kind, dtype = values.dtype.kind, values.dtype
    if kind not in "buif":
        advice = "Convert it, for example with array.astype(numpy.uint8)"
        raise _bad(f"{name} holds no plain numbers", "bool, integers or floats", advice)
    if kind == "b":
        return lambda block: block * np.uint8(255)
    if kind == "u" and dtype.itemsize == 2:
        return lambda block: (block.astype(np.uint32) + 128) // 257  # 257 is odd: no ties
    low, high = values.min(), values.max()
    came = f"{name} has values from {low} to {high}"
    if kind in "ui":
        if low < 0 or high > 255:
            raise _bad(came, "0..255", "Scale them, or pass uint16 where they use its full range")
        return lambda block: block.astype(np.uint8)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _bad(f"{name} has NaN or infinite values", "0..1", "Replace: numpy.nan_to_num(array)")
    if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
        advice = "Divide by 255 or pass uint8" if low >= 0 else "Undo the normalisation"
        raise _bad(came, "0..1 for floats", advice)
    exact = np.promote_types(dtype, np.float32)  # float16 is too coarse to be scaled in
    return lambda block: np.rint(np.clip(block.astype(exact), 0, 1) * 255).astype(np.uint8)
