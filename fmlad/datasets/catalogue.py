"""All datasets by name: which there are, what is on disk, and :func:`load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fmlad.datasets import boxes, deeppcb, folder, loco, mvtec, visa, worlds
from fmlad.datasets.files import key
from fmlad.datasets.model import Dataset
from fmlad.datasets.product_types import loco_types
from fmlad.datasets.worlds import Progress
from fmlad.errors import DatasetError, UnknownNameError


@dataclass(frozen=True)
class Layout:
    """One dataset, or one way to lay out images.

    Attributes:
        about: What it is, in a line.
        load: From root, category, sub-type (checked) and progress to the dataset.
        categories: The categories under a root.
        subtypes: The sub-types of a category.
        there: Whether a category is on disk, for those that are rendered where it is not.
    """

    about: str
    load: Callable[[Path, str, str | None, Progress | None], Dataset]
    categories: Callable[[Path], list[str]]
    subtypes: Callable[[str], tuple[str, ...]] = lambda category: ()
    there: Callable[[Path, str], bool] = lambda root, category: True


def _scene_categories(root: Path) -> list[str]:
    from fmlad.datasets.scenes import SCENE_CATEGORIES

    only = [name for name in SCENE_CATEGORIES if worlds.is_scene(root, name)]
    return only or list(SCENE_CATEGORIES)


LAYOUTS: dict[str, Layout] = {
    "boxes": Layout(
        "any images with YOLO boxes; the category is a rule about their number",
        lambda root, category, subtype, progress: boxes.load_boxes(root, category),
        boxes.box_categories,
    ),
    "btad": Layout(
        "BTAD, three industrial products",
        lambda root, category, subtype, progress: mvtec.load_like("btad", root, category),
        partial(mvtec.categories, "btad"),
    ),
    "deeppcb": Layout(
        "DeepPCB, scans with templates, judged pair by pair",
        lambda root, category, subtype, progress: deeppcb.load_deeppcb(root, category),
        deeppcb.pcb_categories,
    ),
    "digits": Layout(
        "DigitAnatomy, nine handwritten digits in order (rendered where missing)",
        lambda root, category, subtype, progress: worlds.load_digits(root, category, progress),
        lambda root: [""],
        there=lambda root, category: (root / "digits.json").is_file(),
    ),
    "folder": Layout(
        "a folder of one's own, with or without masks",
        lambda root, category, subtype, progress: folder.load_folder(root, category),
        folder.categories,
    ),
    "mpdd": Layout(
        "MPDD, painted metal parts",
        lambda root, category, subtype, progress: mvtec.load_like("mpdd", root, category),
        partial(mvtec.categories, "mpdd"),
    ),
    "mvtec_ad": Layout(
        "MVTec AD, ten objects and five textures",
        lambda root, category, subtype, progress: mvtec.load_like("mvtec_ad", root, category),
        partial(mvtec.categories, "mvtec_ad"),
    ),
    "mvtec_loco": Layout(
        "MVTec LOCO AD, logical and structural anomalies",
        lambda root, category, subtype, progress: loco.load_loco(root, category, subtype),
        loco.loco_categories,
        loco_types,
    ),
    "scenes": Layout(
        "the sample world of this package (rendered where missing)",
        worlds.load_scenes,
        _scene_categories,
        worlds.scene_types,
        lambda root, category: (worlds.scene_home(root, category) / "scenes.json").is_file(),
    ),
    "visa": Layout(
        "VisA, twelve objects",
        lambda root, category, subtype, progress: visa.load_visa(root, category),
        visa.categories,
    ),
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
        subtype: One of :func:`subtypes`, or None for all of them.
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
    found = layout.categories(Path(root))
    if not found:
        layout.load(Path(root), "", None, None)  # whoever reads it says what is wrong
        raise DatasetError(f"{root} holds no category of {name}.")
    return found


def subtypes(name: str, root: str | Path, category: str) -> list[str]:
    """The sub-types that a category can be split by; none for most.

    Raises:
        UnknownNameError: No such dataset.
    """
    del root  # known without a look at the disk so far
    return list(layout_of(name).subtypes(key(category)))


def layout_of(name: str) -> Layout:
    """The layout of this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in LAYOUTS:
        raise UnknownNameError.of("dataset", name, LAYOUTS)
    return LAYOUTS[name]
