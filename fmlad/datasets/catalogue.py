"""All datasets by name: which there are, what is on disk, and :func:`load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fmlad.datasets.boxes import box_categories, load_boxes
from fmlad.datasets.counts import official_names
from fmlad.datasets.deeppcb import is_group, load_deeppcb
from fmlad.datasets.files import categories_in, key, spelled
from fmlad.datasets.folder import folder_categories, load_folder
from fmlad.datasets.loco import load_loco, loco_kinds
from fmlad.datasets.model import Dataset
from fmlad.datasets.synthetic import (
    load_digits,
    load_scenes,
    scene_categories,
    scene_home,
    scene_types,
)
from fmlad.datasets.tree import is_tree, load_tree
from fmlad.datasets.visa import is_object, load_visa
from fmlad.errors import DatasetError, UnknownNameError
from fmlad.progress import Progress

Load = Callable[[Path, str, str | None, Progress | None], Dataset]


@dataclass(frozen=True)
class Layout:
    """One dataset, or one way to lay out images.

    Attributes:
        about: What it is, in a line.
        load: From root, category, sub-type (checked) and progress to the dataset.
        there: Whether a category is on disk, for those that are rendered where it is not.
    """

    about: str
    load: Load
    categories: Callable[[Path], list[str]]
    subtypes: Callable[[str], tuple[str, ...]] = lambda category: ()
    there: Callable[[Path, str], bool] = lambda root, category: True


def _whole(load: Callable[[Path, str], Dataset]) -> Load:
    """The loader of a dataset without sub-types, of which nothing is rendered with progress."""
    return lambda root, category, subtype, progress: load(root, category)


def _listed(dataset: str, is_category: Callable[[Path], bool]) -> Callable[[Path], list[str]]:
    """What lists the folders that are categories, under their official names."""
    return lambda root: [
        spelled(path, official_names(dataset)) for path in categories_in(root, is_category)
    ]


def _tree(dataset: str, about: str) -> Layout:
    return Layout(about, _whole(partial(load_tree, dataset)), _listed(dataset, is_tree))


LAYOUTS: dict[str, Layout] = {
    "boxes": Layout(
        "any images with YOLO boxes; the category is a rule about their number",
        _whole(load_boxes),
        box_categories,
    ),
    "btad": _tree("btad", "BTAD, three industrial products"),
    "deeppcb": Layout(
        "DeepPCB, scans with templates, judged pair by pair",
        _whole(load_deeppcb),
        _listed("deeppcb", is_group),
    ),
    "digits": Layout(
        "DigitAnatomy, nine handwritten digits in order (rendered where missing)",
        _whole(load_digits),
        lambda root: [""],
        there=lambda root, category: (root / "digits.json").is_file(),
    ),
    "folder": Layout(
        "a folder of one's own, with or without masks", _whole(load_folder), folder_categories
    ),
    "mpdd": _tree("mpdd", "MPDD, painted metal parts"),
    "mvtec_ad": _tree("mvtec_ad", "MVTec AD, ten objects and five textures"),
    "mvtec_loco": Layout(
        "MVTec LOCO AD, logical and structural anomalies",
        lambda root, category, subtype, progress: load_loco(root, category, subtype),
        _listed("mvtec_loco", is_tree),
        loco_kinds,
    ),
    "scenes": Layout(
        "the synthetic scenes of this package (rendered where missing)",
        load_scenes,
        scene_categories,
        scene_types,
        lambda root, category: (scene_home(root, category) / "scenes.json").is_file(),
    ),
    "visa": Layout("VisA, twelve objects", _whole(load_visa), _listed("visa", is_object)),
}


def list_datasets() -> list[str]:
    """Names that :func:`load` knows."""
    return sorted(LAYOUTS)


def load(
    name: str,
    root: str | Path,
    category: str = "",
    subtype: str | None = None,
    *,
    progress: Progress | None = None,
) -> Dataset:
    """Lists the images of one category of a dataset; none is decoded yet.

    Nothing is downloaded. ``"scenes"`` and ``"digits"`` are rendered into ``root`` where they are
    not there yet.

    Args:
        name: One of :func:`list_datasets`.
        root: The folder that holds the categories, in the official layout (``docs/datasets.md``).
        category: One of :func:`categories`; for ``"boxes"`` a rule such as ``"6 in 3-10"``.
        subtype: One of :func:`subtypes`, or None for all of them; of ``"mvtec_loco"`` also ``"0"``,
            ``"1"`` or ``"2"``, as the public assignment has them.
        progress: Called while images are rendered, as ``progress(done, total, what)``.

    Raises:
        UnknownNameError: No such dataset, category or sub-type.
        OptionError: A rule about boxes that is none.
        DatasetError: The folder does not hold what the layout promises.
    """
    layout = layout_of(name)
    if subtype is not None and name not in ("mvtec_loco", "scenes"):
        raise UnknownNameError.of(f"sub-type of {name}", subtype, ())
    return layout.load(Path(root), category, subtype, progress)


def categories(name: str, root: str | Path) -> list[str]:
    """The categories under a root, in order of name.

    For ``"scenes"`` those that can be made, unless ``root`` is one of them; for ``"boxes"`` the
    plainest rules, "exactly n boxes" for each n that occurs; "" where there is only one.

    Raises:
        UnknownNameError: No such dataset.
        DatasetError: The root is no folder, or holds none; the message says what it holds.
    """
    layout = layout_of(name)
    if found := layout.categories(Path(root)):
        return found
    layout.load(Path(root), "", None, None)  # the loader says what is wrong
    raise DatasetError(f"{root} holds no category of {name}.")


def subtypes(name: str, root: str | Path, category: str) -> list[str]:
    """Sub-types that a category can be split by; UnknownNameError: no such dataset."""
    del root  # known without a look at the disk so far
    return list(layout_of(name).subtypes(key(category)))


def layout_of(name: str) -> Layout:
    """The layout of this name; UnknownNameError where there is none."""
    if name not in LAYOUTS:
        raise UnknownNameError.of("dataset", name, LAYOUTS)
    return LAYOUTS[name]
