"""Part labels that are found without any: ``labels="auto"``.

With a prompt set the method ``"clip-lad"`` names the parts. Without one, and with many images, they
are the components that recur among them (CSAD's pseudo-labels), each place of those that keep to
their places a class of its own; few images have the parts that the method ``"banks"`` tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fmlad import profiles
from fmlad.datasets.part_labels import MOST_CLASSES, PartLabels
from fmlad.errors import OptionError
from fmlad.loading import Picture, choose_backbones, load_backbones, make_views
from fmlad.methods.protocol import FitContext
from fmlad.methods.registry import create_method
from fmlad.objects.class_places import split_by_place
from fmlad.objects.instances import resized
from fmlad.objects.names import letter
from fmlad.progress import Progress, silent
from fmlad.sentences import UNNAMED

if TYPE_CHECKING:
    from fmlad.backbones.roles import Backbone
    from fmlad.methods.csad.pseudo_labels import PseudoLabels
    from fmlad.prediction import Segmentation

MANY = 10  # images from which on components are clustered
SEGMENTER, PROMPTED = "banks", "clip-lad"  # methods that find parts, without and with prompts
COMPONENTS = "csad"
RECURS = 0.5  # share of the shots that show a part without a name, from which it is a class
# Names in segmentations of what is like no part in particular.
_NO_PARTS = ("other", "unknown", "object", "unmatched")


def auto_labels(
    pictures: Sequence[Picture],
    unlabeled: Sequence[Picture] = (),
    *,
    prompts: Any = None,
    profile: str | None = None,
    backbones: Mapping[str, str | Backbone] | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> PartLabels:
    """Part labels of some images.

    Objects that a method takes for no part of the shots in particular (``"other"``, ``"unknown"``,
    ``"object"``) are background here, and so are unnamed parts that fewer than half of the shots
    show: what a single shot has is no class. Of many images those have no label whose class areas
    agree with none of the others'.

    Args:
        pictures: The shots.
        unlabeled: Further normal images. They are labelled as well where components are clustered,
            from ``MANY`` images on; else they have no label.
        prompts: A prompt set, its name or file, or None.
        profile: As in ``Detector.from_shots``.
        backbones: Role -> backbone name or object; those of roles that the method has not are left
            to the method that learns from the labels.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        seed: For everything left to chance.
        progress: Called as ``progress(done, total, what)``.

    Returns:
        Labels of the shots, then of the further images.

    Raises:
        OptionError: No part was found that recurs.
        WeightsUnavailableError: A backbone's weights are not here and cannot be fetched.
    """
    progress, device = progress or silent, profiles.pick_device(device)
    if prompts is None and len(pictures) + len(unlabeled) >= MANY:
        return _of_components(
            [*pictures, *unlabeled], profile, backbones or {}, device, seed, progress
        )
    from fmlad.training.loop import seeded

    name = SEGMENTER if prompts is None else PROMPTED
    method = create_method(name, {"banks": ("histogram",)} if prompts is None else {})
    views = make_views(_loaded(method, profile, backbones or {}, device), pictures)
    context = FitContext(prompts=prompts, device=device, seed=seed, progress=progress)
    with seeded(seed, device):
        state = method.fit(views, context)
    found: list[Segmentation] = []
    for done, view in enumerate(views, start=1):
        segmentation = method.evidence(view, state).segmentation
        if segmentation is None:
            raise OptionError(f"The method {name!r} told no parts apart in {view.name}.")
        found.append(segmentation)
        view.release()
        progress(done, len(views), "labelling the parts of each shot")
    labels = _recurring(found, name)
    return PartLabels(labels.names, (*labels.maps, *[None] * len(unlabeled)), labels.source)


def _of_components(
    pictures: Sequence[Picture],
    profile: str | None,
    backbones: Mapping[str, str | Backbone],
    device: str,
    seed: int,
    progress: Progress,
) -> PartLabels:
    from fmlad.methods.csad.segmenter_source import pseudo_labels

    method: Any = create_method(COMPONENTS, {})
    views = make_views(_loaded(method, profile, backbones, device), pictures)
    made: PseudoLabels = pseudo_labels(views, method.config.side, seed=seed, progress=progress)
    maps, origins = split_by_place([made.labels[row] for row in made.rows], 1 + len(made.names))
    if len(origins) > MOST_CLASSES:
        raise OptionError(
            f"labels='auto' found {len(origins) - 1} classes; {MOST_CLASSES - 1} are the most. "
            f"Give labels (a folder, labels=FOLDER)."
        )
    names = tuple(f"part {letter(row)}" for row in range(len(origins) - 1))
    labels: list[Any] = [None] * len(pictures)
    for row, own in zip(made.rows, maps, strict=True):
        labels[row] = resized(own, views[row].size).astype(np.uint8)
    return PartLabels(("background", *names), tuple(labels), "components that recur")


def _loaded(
    method: Any, profile: str | None, backbones: Mapping[str, str | Backbone], device: str
) -> Any:
    """Backbones of a method's roles, the user's where there are some."""
    roles = {*method.needs, *getattr(method, "optional", {})}
    own = {role: one for role, one in backbones.items() if role in roles}
    _, chosen = choose_backbones(method, profiles.profile_name(profile), own)
    return load_backbones(chosen, device)


def _recurring(found: Sequence[Segmentation], method: str) -> PartLabels:
    """Label maps of the parts that recur: named ones in their order, then letters in theirs."""
    shown: dict[str, int] = {}
    for one in found:
        present = np.unique(one.labels).tolist()
        for number, name in enumerate(one.names[1:], start=1):
            shown[name] = shown.get(name, 0) + (number in present)
    kept = [
        name
        for name, count in shown.items()
        if (method == PROMPTED or name not in _NO_PARTS)
        and count >= (max(1, RECURS * len(found)) if UNNAMED.fullmatch(name) else 1)
    ]
    letters = [name for name in kept if UNNAMED.fullmatch(name)]
    kept = [name for name in kept if name not in letters]
    kept = [*kept, *sorted(letters, key=lambda name: (len(name), name))][: MOST_CLASSES - 1]
    if not kept:
        raise OptionError(
            "labels='auto' found no part that recurs in the shots; give labels (a folder, "
            "labels=FOLDER), or prompts that name the parts."
        )
    names = ("background", *kept)
    maps = []
    for one in found:
        table = [kept.index(name) + 1 if name in kept else 0 for name in one.names]
        maps.append(np.array([0, *table[1:]], np.uint8)[one.labels])
    return PartLabels(names, tuple(maps), f"parts found by {method!r}")
