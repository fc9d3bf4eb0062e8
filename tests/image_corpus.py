"""Small valid picture files of every kind that is read, and ways to break them.

Shared by the tests of exact pixels and by the fuzzer. Everything is a function of its seed.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 37, 29


def picture(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth colours with some noise, uint8 ``(height, width, 3)``: nothing symmetric."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([255 * x / width, 255 * y / height, 128 + 0 * x], axis=-1)
    return np.clip(ramps + rng.integers(-20, 21, ramps.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    # A writer leaves its settings on the image, where they break the next writer: save copies.
    if "append_images" in options:
        options["append_images"] = [frame.copy() for frame in options["append_images"]]
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(tag: bytes, data: bytes) -> bytes:
    """One PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(
    rows: bytes, width: int, height: int, bits: int, colour: int, *, extra: bytes = b""
) -> bytes:
    """A PNG file written by hand, for what Pillow does not write (16-bit colour, tRNS of grey).

    Args:
        rows: Samples of all rows, in PNG's order, without filter bytes.
        width: In pixels.
        height: In pixels.
        bits: Per sample.
        colour: PNG colour type.
        extra: Chunks between IHDR and IDAT.
    """
    per_row = len(rows) // height
    body = b"".join(b"\0" + rows[i * per_row : (i + 1) * per_row] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    head, data, end = (png_chunk(*chunk) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + extra + data + end


def interlaced_png(values: np.ndarray) -> bytes:
    """An Adam7 PNG of a uint8 ``(H, W)`` array, which Pillow reads but does not write."""
    height, width = values.shape
    steps = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    body = b""
    for top, left, down, across in steps:
        part = values[top::down, left::across]
        if part.size:
            body += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def exif(orientation: int) -> bytes:
    """An EXIF block that holds an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def valid_files() -> dict[str, bytes]:
    """Every kind of file by a name of its own; all decode."""
    rgb = Image.fromarray(picture())
    grey, deep = rgb.convert("L"), picture()[..., 0].astype(np.uint16) * 257
    rgba = rgb.copy()
    rgba.putalpha(grey)
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    more = {"save_all": True, "append_images": frames[1:]}
    files = {
        "png-grey": encode(grey, "PNG"),
        "png-1": encode(grey.convert("1"), "PNG"),
        "png-rgb": encode(rgb, "PNG"),
        "png-rgba": encode(rgba, "PNG"),
        "png-la": encode(rgba.convert("LA"), "PNG"),
        "png-palette": encode(rgb.quantize(17), "PNG", transparency=3),
        "png-16": encode(Image.fromarray(deep), "PNG"),
        "png-16-rgb": png(np.repeat(deep, 3).astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 2),
        "png-interlaced": interlaced_png(np.asarray(grey)),
        "png-exif": encode(rgb, "PNG", exif=exif(6)),
        "apng": encode(frames[0], "PNG", **more),
        "jpeg": encode(rgb, "JPEG"),
        "jpeg-grey": encode(grey, "JPEG"),
        "jpeg-progressive": encode(rgb, "JPEG", progressive=True, quality=90),
        "jpeg-cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg-exif": encode(rgb, "JPEG", exif=exif(8)),
        "jpeg-mpo": encode(frames[0], "MPO", **more),
        "bmp": encode(rgb, "BMP"),
        "bmp-palette": encode(rgb.quantize(200), "BMP"),
        "bmp-1": encode(grey.convert("1"), "BMP"),
        "gif": encode(rgb.quantize(60), "GIF"),
        "gif-animated": encode(frames[0], "GIF", **more),
        "tiff-raw": encode(rgb, "TIFF"),
        "tiff-pages": encode(frames[0], "TIFF", **more),
        "tiff-float": encode(Image.fromarray((deep / 65535).astype(np.float32)), "TIFF"),
        "tiff-16": encode(Image.fromarray(deep), "TIFF", compression="tiff_lzw"),
        "tiff-lab": encode(rgb.convert("LAB"), "TIFF"),
        "tiff-g4": encode(grey.convert("1"), "TIFF", compression="group4"),
        "webp": encode(rgb, "WEBP"),
        "webp-lossless": encode(rgba, "WEBP", lossless=True, exact=True),
        "webp-animated": encode(frames[0], "WEBP", **more),
        "ppm": encode(rgb, "PPM"),
        "pgm-16": encode(Image.fromarray(deep), "PPM"),
        "pgm-plain": b"P2 9 8 255\n" + b" ".join(b"%d" % (3 * i) for i in range(72)),
        "pfm": encode(Image.fromarray((deep / 65535).astype(np.float32)), "PPM"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files[f"tiff-{compression}"] = encode(rgb, "TIFF", compression=compression)
    return files


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Breaks a file in one to three ways out of ten.

    Args:
        data: The file.
        other: Another file, to splice with.
        rng: Where all choices come from.
    """
    broken = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if broken:
            way = _WAYS[int(rng.integers(len(_WAYS)))]
            broken = way(broken, other, rng)
    return bytes(broken)


def _span(size: int, rng: np.random.Generator) -> slice:
    start = int(rng.integers(size))
    return slice(start, start + 1 + int(rng.integers(min(64, size))))


def _flip(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _flip_header(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(min(len(data), 200), size=int(rng.integers(1, 5))):
        data[place] = int(rng.integers(256))
    return data


def _truncate(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _delete(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    del data[_span(len(data), rng)]
    return data


def _duplicate(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    span = _span(len(data), rng)
    return data[: span.stop] + data[span] * int(rng.integers(1, 20)) + data[span.stop :]


def _insert(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    start = int(rng.integers(len(data)))
    return data[:start] + rng.bytes(int(rng.integers(1, 64))) + data[start:]


def _zero(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    span = _span(len(data), rng)
    data[span] = bytes(len(data[span]))
    return data


def _extreme(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    # Numbers at the limits of their type, near the beginning or the end.
    values = (0, 1, 7, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
    size = int(rng.choice([2, 4]))
    value = int(rng.choice(values)) % 256**size
    start = int(rng.integers(min(len(data), 120)))
    if rng.integers(2):  # TIFF may have its directory at the end
        start = max(0, len(data) - 3 * start - 1)
    order = "big" if rng.integers(2) else "little"
    data[start : start + size] = value.to_bytes(size, order)
    return data


def _chunk_length(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    tags = (
        b"IHDR",
        b"IDAT",
        b"acTL",
        b"fcTL",
        b"tRNS",
        b"PLTE",
        b"eXIf",
        b"VP8 ",
        b"VP8L",
        b"VP8X",
        b"ANMF",
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xe1",
        b"\xff\xda",
        b"\xff\xc4",
    )
    found = [data.find(tag) for tag in tags if tag in data]
    if not found:
        return _extreme(data, other, rng)
    start = int(rng.choice(found))
    place = max(0, start - 4) if rng.integers(2) else start + len(tags[0]) // 2
    data[place : place + 4] = int(rng.choice([0, 1, 0xFFFF, 0x7FFFFFFF, 2**32 - 1])).to_bytes(
        4, "big"
    )
    return data


def _splice(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def _reseal(data: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    # PNG checksums stop most mutations early: change something, then make the checksum right.
    start, chunks = 8, []
    while data[:4] == b"\x89PNG" and start + 12 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if start + 12 + size > len(data):
            break
        chunks.append((start, size))
        start += 12 + size
    if not chunks:
        return _flip(data, other, rng)
    start, size = chunks[int(rng.integers(len(chunks)))]
    if size:
        data[start + 8 + int(rng.integers(size))] = int(rng.choice([0, 1, 127, 128, 255]))
    body = data[start + 4 : start + 8 + size]
    data[start + 8 + size : start + 12 + size] = struct.pack(">I", zlib.crc32(body))
    return data


_WAYS: tuple[Callable[[bytearray, bytes, np.random.Generator], bytearray], ...] = (
    _flip,
    _flip_header,
    _truncate,
    _delete,
    _duplicate,
    _insert,
    _zero,
    _extreme,
    _chunk_length,
    _splice,
    _reseal,
    _reseal,
)
