"""Thousands of broken files and odd arrays: only our own errors may come out.

The files are read in a child process, so that a crash of a decoder, a hang or a flood of memory is
a failed test that names the file, and not the end of the test run. ``FMLAD_FUZZ_SEED`` chooses
other files than the default ones, ``FMLAD_FUZZ_FILES`` how many.
"""

from __future__ import annotations

import faulthandler
import io
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fmlad.errors import FmladError
from fmlad.io.images import MIN_SIDE, load_image
from fmlad.io.inputs import expand_sources
from tests.image_corpus import mutate, valid_files

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FMLAD_FUZZ_SEED", "0"))
FILES = int(os.environ.get("FMLAD_FUZZ_FILES", "4000"))
MAX_PIXELS = 250_000
MAX_GROWTH = 600  # MiB
GENEROUS = 300  # seconds for the whole child, which takes about ten


def broken_file(number: int) -> tuple[str, bytes]:
    """The name and bytes of one file; each number has its own random stream."""
    rng = np.random.default_rng([SEED, number])
    files = valid_files_once()
    names = list(files)
    name = names[number % len(names)]
    if number % 50 == 49:
        return "random", rng.bytes(int(rng.integers(1, 400)))
    return name, mutate(files[name], files[names[int(rng.integers(len(names)))]], rng)


def valid_files_once(cache: dict[str, bytes] = {}) -> dict[str, bytes]:  # noqa: B006
    if not cache:
        cache.update(valid_files())
    return cache


def check(source: object) -> bool:
    """Reads a source and says whether it was a picture; anything but our own error fails."""
    try:
        pixels = load_image(source, max_pixels=MAX_PIXELS)
    except FmladError:
        return False
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert min(pixels.shape[:2]) >= MIN_SIDE
    assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    return True


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere ru_maxrss, which on Linux starts from what the parent held
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def child(progress: Path) -> None:
    """Reads all files, writing the number of each before it is read."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    path = progress.with_name("broken.bin")
    for data in valid_files_once().values():  # so that all decoders are loaded before measuring
        assert check(data)
    before = peak_memory()
    read = 0
    for number in range(FILES):
        name, data = broken_file(number)
        progress.write_text(f"{number} {name}")
        source: object = data
        if number % 3 == 1:
            path.write_bytes(data)
            source = path
        elif number % 3 == 2:
            source = io.BytesIO(data)
        read += check(source)
        grown = (peak_memory() - before) >> 20
        assert grown < MAX_GROWTH, f"memory grew by {grown} MiB"
    print(f"{read} of {FILES} were still pictures; memory grew by {grown} MiB")


def test_broken_files_raise_our_error_or_decode(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    command = [
        sys.executable,
        "-c",
        f"from tests.io.test_images_fuzz import *; child(Path({str(progress)!r}))",
    ]
    root = Path(__file__).parents[2]
    try:
        done = subprocess.run(
            command, check=False, cwd=root, capture_output=True, text=True, timeout=GENEROUS
        )
    except subprocess.TimeoutExpired:
        done = None
    where = f"file {progress.read_text() if progress.exists() else 'none'}, seed {SEED}"
    assert done is not None, f"hangs at {where}"
    assert done.returncode == 0, f"{where}:\n{done.stderr[-3000:]}"
    print(done.stdout)


DTYPES = st.one_of(
    st.just(np.dtype(bool)),
    arrays.integer_dtypes(endianness="?"),
    arrays.unsigned_integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?"),
    arrays.complex_number_dtypes(),
    arrays.datetime64_dtypes(),
    arrays.byte_string_dtypes(),
    arrays.unicode_string_dtypes(),
    st.just(np.dtype(object)),
    st.just(np.dtype([("r", "u1"), ("g", "u1")])),
)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_array_is_read_or_refused(data: st.DataObject) -> None:
    sides = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 9, 12])
    shape = tuple(data.draw(st.lists(sides, max_size=5)))
    dtype = data.draw(DTYPES)
    array = np.zeros(shape, dtype)
    if array.size and dtype.kind in "buif":
        fill = data.draw(arrays.from_dtype(dtype))
        array[data.draw(st.integers(0, shape[0] - 1)) if shape else ...] = fill
    view = data.draw(
        st.sampled_from(["as is", "fortran", "reversed", "read-only", "masked", "matrix"])
    )
    if view == "fortran":
        array = np.asfortranarray(array)
    elif view == "reversed" and array.ndim:
        array = array[::-1]
    elif view == "read-only":
        array.flags.writeable = False
    elif view == "masked":
        array = np.ma.masked_equal(array, 0) if dtype.kind in "ui" else np.ma.asarray(array)
    elif view == "matrix" and array.ndim == 2:
        array = array.view(np.matrix)
    check(array)


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.floats(), st.binary(), st.text(), st.booleans()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=5,
    )
)
def test_any_object_is_refused_kindly(thing: object) -> None:
    check(thing)
    for strict in (True, False):
        with suppress(FmladError):
            for source in expand_sources(thing, strict=strict):
                check(source)


MODES = (
    "1 L P RGB RGBA CMYK YCbCr LAB HSV I F LA La PA RGBX RGBa I;16 I;16L I;16B".split()  # noqa: SIM905
)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(MODES), st.integers(0, 20), st.integers(0, 20), st.data())
def test_any_pil_image_is_read_or_refused(
    mode: str, width: int, height: int, data: st.DataObject
) -> None:
    image = Image.new(mode, (width, height))
    keys = [
        "exif",
        "transparency",
        "xmp",
        "XML:com.adobe.xmp",
        "Raw profile type exif",
        "icc_profile",
    ]
    image.info = data.draw(
        st.dictionaries(
            st.sampled_from(keys),
            st.one_of(st.binary(max_size=40), st.text(), st.integers(-5, 300)),
        )
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(image)
