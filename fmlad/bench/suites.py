"""Plans by name, on data that the program makes itself and, where they are there, photographs.

Every entry is on the embedded profile, so that a suite needs no download; the suite ``loco`` alone
is of a dataset and a profile that are named (``loco_suite.py``). What a suite judges and how much
of it was fixed here before it was first run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from fmlad.bench.loco_suite import loco_plan
from fmlad.bench.model import Entry, Task
from fmlad.bench.plan import CATEGORY, Plan
from fmlad.errors import DatasetError, MissingDependencyError, OptionError, UnknownNameError
from fmlad.progress import Progress

SHARED_VARIABLE = "FMLAD_SHARED"
PROFILE = "builtin"
PATCHES = Entry("banks, patch alone", "banks", PROFILE, {"banks": ["patch"]})
BANKS = (Entry("banks", "banks", PROFILE), PATCHES)
Shared = str | os.PathLike[str] | None

# Sizes: tuned for about half an hour on two cores.
SHOTS, SEEDS = (1, 4), (0, 1, 2, 3, 4)
IMAGES = 12  # test images of each kind
PAGES = 24  # the same of digits, which are small
PAIRS = 30  # the first pairs of PCB; the embedded features were tuned on the next thirty
TRAIN = 16  # training images that shots are drawn from

TRAINED_TRAIN = 48  # the same where shots are more
TRAINED_SHOTS, TRAINED_SEEDS = (4, 16), (0, 1, 2)
TRAINED = ("psad", "csad", "ulsad")
TRAINED_PEERS = ("anomalib:efficient-ad",)
PENALTY_SIDE = 128  # px of the pieces of photographs
# Of PatchCore, with real weights that need no download.
NETWORKS = {"SqueezeNet": "squeezenet", "EfficientNet-Lite0": "efficientnet-lite0"}

LOCO = "loco"
DICE = "6 in 3-10 without trays.txt"
PROMPTED = ("scenes/breakfast_box", "scenes/pushpins", "scenes/screw_bag")  # have own sets


def make_suite(
    name: str,
    data: Path,
    shared: Shared = None,
    progress: Progress | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    profile: str | None = None,
) -> Plan:
    """The plan of a suite, with its pictures rendered.

    Args:
        name: A key of :data:`SUITES`, or :data:`LOCO`.
        data: Folder that the pictures are rendered into, unless they are there.
        shared: Folder with photographs; None means ``$FMLAD_SHARED``, else ``../shared``. Given,
            it must be there; else what is missing is left out.
        progress: Told of the rendering.
        root, profile: Of the suite ``"loco"``; see :func:`.loco_suite.loco_plan`.

    Raises:
        UnknownNameError: There is no such suite.
        OptionError: ``root`` or ``profile`` is given to another suite, or no ``root`` to that one.
        WeightsUnavailableError: Weights of that suite's profile are not on this machine.
        MissingDependencyError: Nothing that takes part in it is installed.
        DatasetError: The pictures cannot be written, or ``shared`` is not there.
    """
    if name == LOCO:
        return loco_plan(root, profile)
    if name not in SUITES:
        raise UnknownNameError.of("suite", name, (*SUITES, LOCO))
    check_free(name, root, profile)
    return SUITES[name](data, shared, progress)


def check_free(what: str, root: object, profile: object) -> None:
    """Refuses root and profile for anything that says itself what it is about."""
    for name, value in (("root", root), ("profile", profile)):
        if value is not None:
            raise OptionError(
                f"--{name} goes with --dataset and with the suite {LOCO!r}; {what!r} says that "
                f"itself."
            )


def _training_free(data: Path, shared: Shared, progress: Progress | None) -> Plan:
    photographs = _photographs(shared)
    prompted = Entry("clip-lad, category prompts", "clip-lad", PROFILE, prompts=CATEGORY)
    entries = (*BANKS, Entry("sam-lad", "sam-lad", PROFILE), prompted)
    tasks = (*_rendered(data, progress, TRAIN), *photographs)
    dice = tuple(task.title for task in photographs if task.dataset == "boxes")
    only = {prompted.label: (*PROMPTED, *dice)}
    return Plan(entries, tasks, SHOTS, SEEDS, name="training-free", only=only)


def _peers(data: Path, shared: Shared, progress: Progress | None) -> Plan:
    """The embedded profile beside PatchCore on two networks, on the same pictures and shots."""
    if not importlib.util.find_spec("anomalib"):
        raise MissingDependencyError(
            "The suite 'peers' needs the package 'anomalib'; install the extra: "
            "pip install 'fmlad[bench]'."
        )
    patchcore = (
        Entry(f"anomalib PatchCore, {title}", "anomalib:patchcore", options={"backbone": backbone})
        for title, backbone in NETWORKS.items()
    )
    photographs = _photographs(shared)
    scenes = (task for task in _rendered(data, progress, TRAIN) if task.dataset == "scenes")
    entries = (PATCHES, *patchcore)  # PatchCore finds damage alone: beside it the patch bank
    return Plan(entries, (*scenes, *photographs), (4,), SEEDS, name="peers")


def _trained(data: Path, shared: Shared, progress: Progress | None) -> Plan:
    from fmlad.methods.registry import list_methods

    entries = [Entry(name, name, PROFILE) for name in TRAINED if name in list_methods()]
    if importlib.util.find_spec("anomalib") and importlib.util.find_spec("fmlad.bench.peers"):
        penalty = {"penalty": str(_penalty(data / "penalty"))}
        entries += [Entry(name, name, options=penalty) for name in TRAINED_PEERS]
    if not entries:
        raise MissingDependencyError(
            f"The suite 'trained' has nobody to take part: neither {', '.join(TRAINED)} nor a peer "
            f"that trains is here; pip install 'fmlad[bench]' brings the peers."
        )
    boxes = (task for task in _photographs(shared) if task.dataset == "boxes")
    tasks = (*_rendered(data / "trained", progress, TRAINED_TRAIN), *boxes)
    return Plan(tuple(entries), tasks, TRAINED_SHOTS, TRAINED_SEEDS, name="trained")


SUITES: dict[str, Callable[[Path, Shared, Progress | None], Plan]] = {
    "training-free": _training_free,
    "peers": _peers,
    "trained": _trained,
}


def _penalty(folder: Path) -> Path:
    """Pictures of anything but the tasks, which EfficientAD's student must not imitate on.

    Its authors take ImageNet; these are pieces of the two photographs that scikit-learn has.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(load_sample_images().images):
        height, width = pixels.shape[:2]
        for row in range(0, height - PENALTY_SIDE + 1, PENALTY_SIDE // 2):
            for column in range(0, width - PENALTY_SIDE + 1, PENALTY_SIDE // 2):
                piece = pixels[row : row + PENALTY_SIDE, column : column + PENALTY_SIDE]
                Image.fromarray(piece).save(folder / f"{number}-{row:03d}-{column:03d}.png")
    return folder.resolve()


def _rendered(data: Path, progress: Progress | None, train: int) -> tuple[Task, ...]:
    from fmlad.datasets import DIGIT_ANOMALIES, SCENE_CATEGORIES, make_digits, make_scenes

    scenes, digits = data / "scenes", data / "digits"
    tests = {f"test_{kind}": IMAGES for kind in ("good", "logical", "structural")}
    counts = {"train": train, "validation": 1, **tests}
    for category in SCENE_CATEGORIES:
        make_scenes(scenes / category, category, counts=counts, progress=progress)
    if not (digits / "digits.json").is_file():
        each = -(-PAGES // len(DIGIT_ANOMALIES))  # all of them are of one kind, logical
        pages = {"train": train, "test_good": PAGES, "test_anomalies": each}
        make_digits(digits, counts=pages)
    return (
        *(Task("scenes", str(scenes), category, images=IMAGES) for category in SCENE_CATEGORIES),
        Task("digits", str(digits), "", images=PAGES),
    )


def _photographs(shared: Shared) -> tuple[Task, ...]:
    """Dice and circuit boards, as far as they are there."""
    root = _shared_root(shared)
    if shared is not None and not (root / "data").is_dir():
        raise DatasetError(f"{root} holds no folder 'data' with photographs; leave --shared out.")
    dice, boards = root / "data" / "dice", root / "data" / "deeppcb"
    tasks = []
    if dice.is_dir():
        tasks.append(Task("boxes", str(dice), DICE, images=IMAGES, prompts="dice"))
    if boards.is_dir():
        tasks.append(Task("deeppcb", str(boards), "group77000", images=PAIRS, spread=False))
    return tuple(tasks)


def _shared_root(shared: Shared) -> Path:
    return Path(shared or os.environ.get(SHARED_VARIABLE) or Path("..") / "shared")
