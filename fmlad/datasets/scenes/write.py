"""Writes a category to disk in MVTec LOCO's layout, with the annotations beside it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad.datasets.scenes.model import CategorySpec, Scene
from fmlad.datasets.scenes.render import FOLDERS, SCENES_VERSION, render_scene, scene_spec
from fmlad.errors import DatasetError, OptionError
from fmlad.progress import Progress

DEFAULT_COUNTS: dict[str, int] = {
    "train": 60,
    "validation": 20,
    "test_good": 40,
    "test_logical": 40,
    "test_structural": 40,
}


def make_scenes(
    root: str | Path,
    category: str,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Makes one category of the scenes, in the layout of MVTec LOCO straight under `root`.

    The same arguments give the same pixels. Every image depends on its own number alone, so that
    smaller counts give the first images of larger ones. An identical earlier result is reused. All
    is written to a sibling folder and renamed, so that a kill leaves nothing half-made in `root`.

    Args:
        root: Folder to make; absent, empty, or an identical earlier result.
        category: One of `SCENE_CATEGORIES`.
        seed: Of all scenes, >= 0.
        counts: How many images: keys `train`, `validation`, `test_good`, `test_logical`,
            `test_structural`; those left out keep their default (60, 20, 40, 40, 40).
        progress: Called after each image as `progress(done, total, folder)`.

    Returns:
        `root` as a path.

    Raises:
        UnknownNameError: No such category.
        OptionError: Unknown or negative counts, or a negative seed.
        DatasetError: `root` holds something else, or cannot be written.
    """
    spec = scene_spec(category)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise OptionError(f"seed={seed!r} must be a whole number, 0 or more.")
    numbers = checked_counts(counts, DEFAULT_COUNTS)
    manifest = _manifest(spec, int(seed), numbers)
    root = Path(root)
    if _reusable(root, manifest):
        return root
    # Somebody else may make the same scenes in the meantime.
    with new_folder(root, "scenes", lambda: _reusable(root, manifest)) as partial:
        _fill(partial, spec, int(seed), numbers, manifest, progress)
    return root


@contextmanager
def new_folder(root: Path, what: str, done: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A hidden sibling of `root` to be filled; renamed to it at the end, removed after an error.

    Raises:
        DatasetError: It cannot be written, and `done` does not say that `root` is there anyway.
    """
    partial = root.parent / f".{root.name}.{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        if root.exists():
            root.rmdir()
        partial.rename(root)
    except OSError as error:
        if not done():
            raise DatasetError(
                f"The {what} could not be written to {root}: {error}. Choose a folder that is "
                "writable, on a disk with free space."
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def checked_counts(counts: Mapping[str, int] | None, defaults: Mapping[str, int]) -> dict[str, int]:
    """How many images of each sort; defaults for those left out.

    Raises:
        OptionError: A key is unknown, or a number is none that is possible.
    """
    known = ", ".join(defaults)
    if counts is not None and not isinstance(counts, Mapping):
        raise OptionError(f"counts must be a mapping with keys {known}; got {counts!r}.")
    numbers = dict(defaults)
    for key, value in (counts or {}).items():
        if key not in numbers:
            raise OptionError(f"counts has an unknown key {key!r}; known keys: {known}.")
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise OptionError(f"counts[{key!r}]={value!r} must be a whole number, 0 or more.")
        numbers[key] = int(value)
    return numbers


def _manifest(spec: CategorySpec, seed: int, counts: dict[str, int]) -> dict[str, Any]:
    """The content of `scenes.json`; the place in `parts` and `slots` is the label."""
    return {
        "version": SCENES_VERSION,
        "category": spec.name,
        "seed": seed,
        "counts": counts,
        "size": [spec.width, spec.height],
        "parts": ["background", *spec.parts],
        "slots": [["background", None], *([part, slot] for part, slot in spec.slots)],
    }


def _reusable(root: Path, manifest: dict[str, Any]) -> bool:
    """Whether `root` already is what is asked for.

    Raises:
        DatasetError: It is something else, and not empty.
    """
    if not root.exists():
        return False
    if not root.is_dir():
        raise DatasetError(f"{root} is a file; scenes need a folder. Choose another name.")
    if not any(root.iterdir()):
        return False
    try:
        found = json.loads((root / "scenes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "version" not in found:
        raise DatasetError(
            f"{root} is not empty and holds no scenes of ours. Choose an empty or new folder."
        )
    keys = ("version", "category", "seed", "counts")
    if any(found.get(key) != manifest[key] for key in keys):
        was = ", ".join(f"{key}={found.get(key)!r}" for key in keys)
        asked = ", ".join(f"{key}={manifest[key]!r}" for key in keys)
        raise DatasetError(
            f"{root} holds other scenes ({was}) than asked for ({asked}). "
            "Choose another folder, or delete this one."
        )
    for (split, type_), key in zip(FOLDERS, DEFAULT_COUNTS, strict=True):
        number = len(list((root / split / type_).glob("*.png")))
        if number != manifest["counts"][key]:
            raise DatasetError(
                f"{root / split / type_} holds {number} images where {manifest['counts'][key]} "
                "were made. Delete the folder and make it again."
            )
    return True


def _fill(
    folder: Path,
    spec: CategorySpec,
    seed: int,
    counts: dict[str, int],
    manifest: dict[str, Any],
    progress: Progress | None,
) -> None:
    total = sum(counts.values())
    tasks: list[tuple[str, str, int]] = []
    _write_json(folder / "defects_config.json", spec.defects_config())
    for (split, type_), key in zip(FOLDERS, DEFAULT_COUNTS, strict=True):
        for kind in (".", "objects", "parts", "slots", "instances"):
            (folder / kind / split / type_).mkdir(parents=True, exist_ok=True)
        for index in range(counts[key]):
            tasks.append((split, type_, index))

    def work(task: tuple[str, str, int]) -> None:
        _write_scene(folder, render_scene(spec.name, seed, *task))

    # Two threads: array arithmetic and PNG compression let go of the interpreter's lock.
    pool = ThreadPoolExecutor(2)
    try:
        for done, task in enumerate(zip(tasks, pool.map(work, tasks), strict=True), start=1):
            if progress is not None:
                progress(done, total, "/".join(task[0][:2]))
    finally:
        pool.shutdown(cancel_futures=True)
    _write_json(folder / "scenes.json", manifest)  # last: its presence says "complete"


def _write_scene(folder: Path, scene: Scene) -> None:
    place = Path(scene.split) / scene.type
    name = f"{scene.stem}.png"
    _write_png(folder / place / name, scene.image)
    _write_png(folder / "parts" / place / name, scene.part_map())
    _write_png(folder / "slots" / place / name, scene.slot_map())
    _write_png(folder / "instances" / place / name, scene.instances)
    _write_json(folder / "objects" / place / f"{scene.stem}.json", scene.sidecar())
    if scene.anomaly is not None:
        masks = folder / "ground_truth" / scene.type / scene.stem
        masks.mkdir(parents=True)
        value = scene.spec.pixel_value(scene.anomaly.name)
        _write_png(masks / "000.png", np.where(scene.mask, value, 0).astype(np.uint8))


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    # Noise does not compress: level 1 is nearly as small as 6 and several times faster.
    Image.fromarray(pixels).save(path, compress_level=1 if pixels.ndim == 3 else 6)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
