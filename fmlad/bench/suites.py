"""Plans by name, on data that the program makes itself and, where they are there, photographs.

Every entry is on the embedded profile, so that a suite needs no download. What a suite judges and
how much of it was fixed here before it was first run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from fmlad.bench.model import Entry, Task
from fmlad.bench.plan import CATEGORY, Plan
from fmlad.errors import DatasetError, MissingDependencyError, UnknownNameError

SHARED_VARIABLE = "FMLAD_SHARED"
PROFILE = "builtin"

# Sizes: tuned for about half an hour on two cores.
SHOTS, SEEDS = (1, 4), (0, 1, 2)
IMAGES = 8  # test images of each kind
PAIRS = 30  # the first pairs of PCB; the embedded features were tuned on the next thirty
TRAIN = 16  # training images that shots are drawn from

TRAINED_SHOTS, TRAINED_SEEDS = (4, 16), (0, 1, 2)
TRAINED = ("psad", "csad", "ulsad")
TRAINED_PEERS = ("anomalib:efficient-ad",)

DICE = "6 in 3-10 without trays.txt"
PROMPTED = (
    "scenes/breakfast_box",
    "scenes/pushpins",
    "scenes/screw_bag",
)  # have a set of their own

Progress = Callable[[int, int, str], None]


def make_suite(
    name: str,
    data: Path,
    shared: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Plan:
    """The plan of a suite, with its pictures rendered.

    Args:
        name: ``"training-free"`` or ``"trained"``.
        data: Folder that the pictures are rendered into, unless they are there.
        shared: Folder with photographs; None means ``$FMLAD_SHARED``, else ``../shared``. Given,
            it must be there; else what is missing is left out.
        progress: Told of the rendering.

    Raises:
        UnknownNameError: There is no such suite.
        MissingDependencyError: Nothing that takes part in it is installed.
        DatasetError: The pictures cannot be written, or ``shared`` is not there.
    """
    if name not in SUITES:
        raise UnknownNameError.of("suite", name, SUITES)
    return SUITES[name](data, shared, progress)


def _training_free(
    data: Path, shared: str | os.PathLike[str] | None, progress: Progress | None
) -> Plan:
    photographs = _photographs(shared)
    prompted = "clip-lad, category prompts"
    dice = tuple(task.title for task in photographs if task.dataset == "boxes")
    return Plan(
        name="training-free",
        entries=(
            Entry("banks", "banks", PROFILE),
            Entry("banks, patch alone", "banks", PROFILE, {"banks": ["patch"]}),
            Entry("sam-lad", "sam-lad", PROFILE),
            Entry(prompted, "clip-lad", PROFILE, prompts=CATEGORY),
        ),
        tasks=(*_rendered(data, progress), *photographs),
        shots=SHOTS,
        seeds=SEEDS,
        only={prompted: (*PROMPTED, *dice)},
    )


def _trained(data: Path, shared: str | os.PathLike[str] | None, progress: Progress | None) -> Plan:
    from fmlad.methods.registry import list_methods

    entries = [Entry(name, name, PROFILE) for name in TRAINED if name in list_methods()]
    if importlib.util.find_spec("anomalib") and importlib.util.find_spec("fmlad.bench.peers"):
        entries += [Entry(name, name) for name in TRAINED_PEERS]
    if not entries:
        raise MissingDependencyError(
            f"The suite 'trained' has nobody to take part: neither {', '.join(TRAINED)} nor a peer "
            f"that trains is here; pip install 'fmlad[bench]' brings the peers."
        )
    tasks = (*_rendered(data, progress), *(t for t in _photographs(shared) if t.dataset == "boxes"))
    return Plan(tuple(entries), tasks, TRAINED_SHOTS, TRAINED_SEEDS, name="trained")


SUITES: dict[str, Callable[[Path, str | os.PathLike[str] | None, Progress | None], Plan]] = {
    "training-free": _training_free,
    "trained": _trained,
}


def _rendered(data: Path, progress: Progress | None) -> tuple[Task, ...]:
    from fmlad.datasets import DIGIT_ANOMALIES, SCENE_CATEGORIES, make_digits, make_scenes

    scenes, digits = data / "scenes", data / "digits"
    tests = {f"test_{kind}": IMAGES for kind in ("good", "logical", "structural")}
    counts = {"train": TRAIN, "validation": 1, **tests}
    for category in SCENE_CATEGORIES:
        make_scenes(scenes / category, category, counts=counts, progress=progress)
    if not (digits / "digits.json").is_file():
        each = -(-IMAGES // len(DIGIT_ANOMALIES))  # all of them are of one kind, logical
        pages = {"train": TRAIN, "test_good": IMAGES, "test_anomalies": each}
        make_digits(digits, counts=pages)
    return (
        *(Task("scenes", str(scenes), category, images=IMAGES) for category in SCENE_CATEGORIES),
        Task("digits", str(digits), "", images=IMAGES),
    )


def _photographs(shared: str | os.PathLike[str] | None) -> tuple[Task, ...]:
    """Dice and circuit boards, as far as they are there."""
    root = Path(shared or os.environ.get(SHARED_VARIABLE) or Path("..") / "shared")
    if shared is not None and not (root / "data").is_dir():
        raise DatasetError(f"{root} holds no folder 'data' with photographs; leave --shared out.")
    dice, boards = root / "data" / "dice", root / "data" / "deeppcb"
    tasks = []
    if dice.is_dir():
        tasks.append(Task("boxes", str(dice), DICE, images=IMAGES, prompts="dice"))
    if boards.is_dir():
        tasks.append(Task("deeppcb", str(boards), "group77000", images=PAIRS, spread=False))
    return tuple(tasks)
