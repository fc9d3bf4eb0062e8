"""Semantic pseudo-labels from normal images alone (CSAD, section 3.1).

Masks -> components -> vectors that no rotation changes -> MeanShift -> classes that are frequent
enough -> images whose class areas agree. What is slow, masks and vectors, is kept image by image,
so that an interrupted fit goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmlad.errors import OptionError
from fmlad.memory.part_vectors import class_shares
from fmlad.methods.csad import components as parts
from fmlad.methods.csad.masks import holes_filled, painted
from fmlad.methods.csad.pseudo_config import PseudoConfig
from fmlad.methods.csad.refine import GROUNDER, refine
from fmlad.methods.csad.selection import chosen, clusters_of, lasting
from fmlad.objects.names import letter
from fmlad.progress import Progress, silent
from fmlad.views import ImageView

Labels = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MOST_CLASSES = 255  # labels fit into a byte
STEPS = tuple(np.arange(0.15, 0.55, 0.025).round(3).tolist())  # of the typical distance (ours)
AHEAD, GAIN = 2, 0.03  # steps by which more components join frequent clusters, and how many (ours)
MOST_LEFT = 0.5  # share of the components that may be in no frequent cluster (ours)
# Options that components hang on; the rest may change and they are still good.
OF_COMPONENTS = (
    "mode", "tags", "background", "box_threshold", "filter_by_grounding", "rotations", "kept_side",
)  # fmt: skip


@dataclass(frozen=True)
class Components:
    """The components of one image.

    Attributes:
        instances: int32 ``(h, w)``: 1, 2, ... in the order of ``vectors``, 0 elsewhere.
        background: bool ``(h, w)``, what is known to be the background.
        vectors: float32 ``(n, C)``: ``f^com``.
        facts: float32 ``(n, 5)``: logarithms of the diagonal over the image's longer side and of
            the ratio of its rectangle's sides, and mean Lab colour over 100.
        fates: Number of masks by what became of them.
    """

    instances: Labels
    background: npt.NDArray[np.bool_]
    vectors: npt.NDArray[np.float32]
    facts: npt.NDArray[np.float32]
    fates: Mapping[str, int]


@dataclass(frozen=True)
class PseudoLabels:
    """What was made of some images.

    Attributes:
        labels: int32 ``(h, w)`` an image, trusted or not: 0 the background, 1..K - 1 the classes.
        rows: Images whose labels are trusted, ascending; the rest is unlabelled.
        names: Of the classes but the background.
        components: Of each image.
        classes: int64 ``(n,)`` an image: class of each component, 0: none that is frequent.
        types: int64 ``(N,)``: cluster of each image's class areas, -1: of none.
        bandwidth: Of MeanShift.
        notes: What a user must know, in sentences.
    """

    labels: tuple[Labels, ...]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    components: tuple[Components, ...]
    classes: tuple[Ints, ...]
    types: Ints
    bandwidth: float
    notes: tuple[str, ...]


def make_pseudo_labels(
    views: Sequence[ImageView],
    describe: parts.Describe,
    fingerprint: str,
    config: PseudoConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
    folder: Path | None = None,
    resume: bool = False,
) -> PseudoLabels:
    """Pseudo-labels of normal images.

    Args:
        views: One or more, with the role ``mask_proposer``; ``grounder`` where tags are grounded.
        describe: Of components' pictures.
        fingerprint: Of what ``describe`` asks.
        config: All numbers.
        seed: Of the projection.
        progress: Called for each image.
        folder: Keeps components of images; None: they are not kept.
        resume: Takes from ``folder`` what was made of the same images with the same options.

    Raises:
        OptionError: No cluster of components is frequent enough.
        PromptError: The grounder cannot read a tag.
    """
    found: list[Components] = []
    for done, view in enumerate(views, start=1):
        found.append(_kept_components(view, describe, fingerprint, config, folder, resume))
        progress(done, len(views), "pseudo-labels: components")
    vectors = [one.vectors for one in found]
    if not sum(map(len, vectors)):
        raise OptionError(
            "The mask proposer found no component in any normal image, so there are no "
            "pseudo-labels; give labels= (--labels), or another mask_proposer."
        )
    points = joined(np.concatenate(vectors), np.concatenate([o.facts for o in found]), config, seed)
    least = int(config.frequent * len(views))
    clusters, bandwidth = clustered(points, least, config.bandwidth)
    if clusters.max() < 0:
        raise OptionError(
            f"None of {len(points)} components recurs in {max(least, 1)} of the normal images at "
            f"bandwidth {bandwidth:.3g}; give another bandwidth or a lower 'frequent' in "
            f"pseudo_labels=, or labels= (--labels)."
        )
    ends = np.cumsum([len(one) for one in vectors])[:-1]
    return _selected(found, np.split(clusters, ends), bandwidth, config, _notes(views, config))


def joined(
    vectors: npt.NDArray[np.float32],
    facts: npt.NDArray[np.float32],
    config: PseudoConfig,
    seed: int,
) -> Floats:
    """What is clustered, float64 ``(n, C)``: vectors, projected; and facts, where they weigh.

    With weights of facts the vectors are brought to a typical distance of 1 before.
    """
    points = vectors.astype(np.float64)
    if config.projection:
        points = parts.projected(vectors, seed, config.projection)
    weights = np.array([config.size, config.shape, *[config.colour] * 3])
    if not weights.any():
        return points
    points = points / max(parts.typical_distance(points), 1e-12)
    return np.concatenate([points, facts * weights], axis=1)


def clustered(points: Floats, least: int, bandwidth: float | None) -> tuple[Ints, float]:
    """Frequent clusters, -1 for the rest, and the bandwidth.

    The chosen bandwidth is the smallest of some shares of the typical distance from which on hardly
    any component joins a frequent cluster when it grows: as fine as the classes can be while their
    members still recur.

    Args:
        points: ``(n, C)``.
        least: Members of a cluster that is frequent.
        bandwidth: None: it is chosen.
    """
    if bandwidth is not None:
        return parts.frequent(parts.mean_shift(points, bandwidth), least), bandwidth
    typical = parts.typical_distance(points)
    if typical <= 1e-9:  # all are alike
        return np.zeros(len(points), np.int64), 1.0
    tried: list[tuple[Ints, float]] = []
    for step in STEPS:
        found = parts.frequent(parts.mean_shift(points, step * typical), least)
        tried.append((found, step * typical))
        shares = [float((own >= 0).mean()) for own, _ in tried[-1 - AHEAD :]]
        if len(shares) > AHEAD and shares[0] >= 1 - MOST_LEFT and shares[-1] - shares[0] <= GAIN:
            return tried[-1 - AHEAD]
    return tried[-1]


def _selected(
    found: Sequence[Components],
    clusters: Sequence[Ints],
    bandwidth: float,
    config: PseudoConfig,
    notes: list[str],
) -> PseudoLabels:
    """Label maps, without classes that hardly cover anything; the images that are trusted."""
    count = min(1 + max(int(one.max(initial=-1)) for one in clusters), MOST_CLASSES)
    classes = [np.where(one < count, one + 1, 0) for one in clusters]
    maps = [_map(one, own, config) for one, own in zip(found, classes, strict=True)]
    shares = np.array([class_shares(one, count + 1)[1:] for one in maps], np.float64)
    types = clusters_of(shares)
    left = lasting(shares, types, largest=config.largest)
    table = np.zeros(count + 1, np.int64)
    table[1 + left] = 1 + np.arange(len(left))
    rows = chosen(shares[:, left], types, largest=config.largest, share=config.share)
    notes.append(
        f"pseudo-labels: {len(left)} classes of components, learned from {len(rows)} of "
        f"{len(found)} normal images whose class areas agree"
    )
    return PseudoLabels(
        tuple(table[one].astype(np.int32) for one in maps),
        tuple(map(int, rows)),
        tuple(f"part {letter(row)}" for row in range(len(left))),
        tuple(found),
        tuple(table[one] for one in classes),
        types,
        bandwidth,
        tuple(notes),
    )


def _map(one: Components, classes: Ints, config: PseudoConfig) -> Labels:
    labels = np.concatenate([[0], classes])[one.instances].astype(np.int32)
    return holes_filled(labels) if config.fill_holes else labels


def _notes(views: Sequence[ImageView], config: PseudoConfig) -> list[str]:
    if not config.tags:
        return ["pseudo-labels: no tags were given, so nothing was grounded; automatic masks alone"]
    if not views[0].has(GROUNDER):
        return ["pseudo-labels: no backbone grounds tags; automatic masks alone were used"]
    return []


def _kept_components(
    view: ImageView,
    describe: parts.Describe,
    fingerprint: str,
    config: PseudoConfig,
    folder: Path | None,
    resume: bool,
) -> Components:
    """Of one image, from the folder where they are, else made and put there."""
    if folder is None:
        return components_of(view, describe, config)
    made_with = {
        "config": {name: getattr(config, name) for name in OF_COMPONENTS},
        "describe": fingerprint, "image": view.key,
        "backbones": {
            role: view.backbone_set.backbones[role].fingerprint
            for role in ("mask_proposer", GROUNDER) if view.has(role)
        },
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:32]}.safetensors"
    if resume and path.exists():
        return _read(path)
    found = components_of(view, describe, config)
    _write(path, found)
    return found


def components_of(view: ImageView, describe: parts.Describe, config: PseudoConfig) -> Components:
    """The components of one image."""
    refinement = refine(view, config)
    masks = refinement.kept
    masks = masks[np.argsort(-masks.sum((1, 2)), kind="stable")][:MOST_CLASSES]
    pictures = [parts.picture(view.pixels, mask) for mask in masks]
    vectors = np.zeros((0, 0), np.float32)
    if pictures:
        vectors = parts.vectors(pictures, describe, config.rotations)
    facts = [parts.facts(mask, one) for mask, one in zip(masks, pictures, strict=True)]
    return Components(
        _small(painted(masks), config.kept_side),
        _small(refinement.background, config.kept_side),
        vectors,
        np.array(facts, np.float32).reshape(-1, 5),
        dict(Counter(refinement.fates)),
    )


def _small(labels: npt.NDArray[Any], longest: int) -> npt.NDArray[Any]:
    """Labels with a longer side of at most ``longest``, by nearest neighbour."""
    scale = min(1.0, longest / max(labels.shape))
    rows, columns = (
        np.arange(max(1, round(side * scale))) * side // max(1, round(side * scale))
        for side in labels.shape
    )
    return np.ascontiguousarray(labels[rows[:, None], columns])


def _write(path: Path, one: Components) -> None:
    from safetensors.numpy import save

    from fmlad.io.files import whole_file

    arrays = {
        "instances": one.instances.astype(np.uint8),
        "background": one.background,
        "vectors": one.vectors,
        "facts": one.facts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(save(arrays, {"fates": json.dumps(one.fates)}))


def _read(path: Path) -> Components:
    """Components from a file.

    Raises:
        CheckpointError: It is damaged.
    """
    from safetensors import SafetensorError, safe_open

    from fmlad.errors import CheckpointError

    try:
        with safe_open(path, framework="np") as file:
            fates = json.loads((file.metadata() or {})["fates"])
            names = ("instances", "background", "vectors", "facts")
            instances, background, vectors, facts = (file.get_tensor(name) for name in names)
        return Components(instances.astype(np.int32), background, vectors, facts, fates)
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); remove it, and the components of this image are made "
            f"anew."
        ) from error
