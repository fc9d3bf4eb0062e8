"""Coarse-to-fine segmentation: foreground by coarse words, parts by fine words.

CLIP-LAD, section 3.1. The regions of the coarse stage are clusters of places (``clusters.py``). The
words with the highest similarity to a region decide whether it is foreground (Eq. 1); inside the
foreground each place gets the part whose words are most similar to it. Eq. 1 compares words with
the mean token of a region. Tokens have unit length, so the mean of the places' similarities, which
is used here, gives the same ranking.

Two things are ours. With a mask proposer its objects replace the clusters: a part with
``decide: region`` in the prompt set is then decided for whole objects, any other at each place
inside them, and a set without such parts uses no objects. And objects are counted: the proposer's,
beside which a part that is decided at each place is one, or else the connected pieces of a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fmlad.backbones.pooling import holders, region_means
from fmlad.objects.arrays import Bools, Ints
from fmlad.objects.clusters import DEFAULT, Clusters
from fmlad.objects.exemplars import similarity
from fmlad.objects.instances import (
    GRID,
    Instance,
    PartMap,
    as_box,
    extents,
    pieces_of,
    resized,
)
from fmlad.prompts import PromptSet
from fmlad.views import ImageView

Stages = Literal["both", "coarse", "fine"]
Floats = npt.NDArray[np.float32]

ALIGNER, PROPOSER = "text_aligner", "mask_proposer"
SCALE = 40.0  # of the softmax over words (NACLIP)
COVERED = 0.5  # share of a cell from which an object owns it (ours)
LEAST_AREA = 0.001  # of the image, below which a proposal is no object (ours)
SHOWN = 0.005  # share of the places that fit a part best, by which its presence is judged (ours)
QUALITY = 0.4  # of a proposal, below which it is no object (ours; as in appearance.py)


@dataclass(frozen=True)
class Wording:
    """A prompt set with the vectors of its exemplars.

    Attributes:
        prompts: The set.
        stages: Which of the two stages are in use. With ``"coarse"`` there is one class, the
            foreground; with ``"fine"`` the background's words compete at every place, without
            regions.
        exemplars: Index of a part -> float32 ``(n, C)``, mean features of its exemplars on the
            aligner's finest level; none for parts given by words.
        centre: float32 ``(C,)``, the mean feature of the shots, subtracted before exemplars are
            compared.
    """

    prompts: PromptSet
    stages: Stages = "both"
    exemplars: Mapping[int, Tensor] = field(default_factory=dict)
    centre: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, background left out."""
        return ("foreground",) if self.stages == "coarse" else self.prompts.part_names

    @property
    def whole(self) -> Bools:
        """Which classes are decided for regions, ``(classes,)``."""
        if self.stages != "both":
            return np.full(len(self.names), self.stages == "coarse")
        return np.array([part.decide == "region" for part in self.prompts.parts])


def by_objects(view: ImageView, wording: Wording) -> bool:
    """Whether the objects of a mask proposer are divided, and not places."""
    return wording.stages != "fine" and view.has(PROPOSER) and bool(wording.whole.any())


def by_clusters(view: ImageView, stages: Stages) -> bool:
    """Whether the regions of the coarse stage are clusters, so that ``parse`` asks for some."""
    return stages != "fine" and not view.has(PROPOSER)


def parse(view: ImageView, wording: Wording, clusters: Clusters | None) -> PartMap:
    """Divides one image, seen through a text aligner, and a mask proposer or none.

    ``clusters`` are of the shots; None where :func:`by_clusters` says so, and where there are no
    shots: then those of the image itself serve.
    """
    if wording.exemplars or clusters is not None:
        return _parsed(view, wording, clusters)
    name = f"parse {wording.stages} {wording.prompts!r}"  # all that the result depends on
    if name not in view.memo:
        view.memo[name] = _parsed(view, wording, clusters)
    found: PartMap = view.memo[name]
    return found


def _parsed(view: ImageView, wording: Wording, clusters: Clusters | None) -> PartMap:
    if not by_objects(view, wording):
        regions = None
        if by_clusters(view, wording.stages):
            pyramid = view.pyramid(ALIGNER)
            if clusters is None:
                clusters = Clusters.fit([pyramid], DEFAULT, np.random.default_rng(0))
            regions = clusters.regions(pyramid)
        labels = _places(view, wording, regions)
        return PartMap(labels, pieces_of(labels, view.size))
    masks, boxes = _objects(view)
    owners = _owners(view, wording, masks)
    instances = [
        Instance(int(owner), as_box(box), float(mask.mean()))
        for owner, box, mask in zip(owners, boxes, masks, strict=True)
        if owner and wording.whole[owner - 1]
    ]
    labels = _painted(view, wording, masks[owners > 0], owners[owners > 0])
    placed = np.flatnonzero(~wording.whole) + 1
    return PartMap(labels, (*instances, *extents(labels, placed, view.size)))


def foreground_share(view: ImageView, wording: Wording, clusters: Clusters) -> float:
    """Share of an image that the coarse stage calls foreground, in [0, 1]."""
    regions = clusters.regions(view.pyramid(ALIGNER))
    return float(regions[_foreground(view, wording, regions)].any(axis=0).mean())


def margin(view: ImageView, wording: Wording) -> float:
    """Mean gap between the most similar class and the next one, background included.

    Over the objects of the mask proposer, else over all places; >= 0, in the units of the aligner's
    similarities. 0 where there is nothing to compare.
    """
    regions = None
    if by_objects(view, wording):
        objects = view.masks(PROPOSER).best()
        regions = objects.masks[objects.masks.any(axis=(1, 2))]
        if not len(regions):
            return 0.0
    background, classes = _degrees(view, wording, regions)
    best = torch.cat([background[None], classes]).topk(2, dim=0).values
    return float((best[0] - best[1]).mean())


def presence(view: ImageView, wording: Wording) -> float:
    """How well an image shows all parts of a set, in the units of the aligner's similarities.

    The mean over the parts of what fits each of them best: an object, or without objects the mean
    of the best :data:`SHOWN` of the places. Of several sets of the same number of parts, the words
    that are said of what is there have the most.
    """
    name = f"presence {wording.stages} {wording.prompts!r}"
    if wording.exemplars or name not in view.memo:
        regions = _objects(view)[0] if by_objects(view, wording) else None
        if regions is not None and not len(regions):
            regions = None
        classes = _degrees(view, wording, regions)[1].flatten(1)
        best = 1 if regions is not None else max(1, round(SHOWN * classes.shape[1]))
        view.memo[name] = float(classes.topk(best, dim=1).values.mean())
    return float(view.memo[name])


def _objects(view: ImageView) -> tuple[Bools, npt.NDArray[np.float32]]:
    """Masks ``(n, h, w)`` and boxes ``(n, 4)`` of the proposals that are good and large enough."""
    objects = view.masks(PROPOSER).best()
    good = (objects.scores > QUALITY) & (objects.masks.mean(axis=(1, 2)) >= LEAST_AREA)
    return objects.masks[good], objects.boxes[good]


def _places(view: ImageView, wording: Wording, regions: Bools | None) -> Ints:
    """Classes without objects, ``(GRID, GRID)``."""
    fine, rival = _fine(view, wording)
    if regions is None:
        inside = fine.max(axis=0) > rival
    else:
        owner = resized(regions.argmax(axis=0), (GRID, GRID))
        for row in np.flatnonzero(wording.whole):
            means = region_means(torch.from_numpy(fine[[row]]), regions)[:, 0].numpy()
            fine[row] = means[owner]
        inside = _foreground(view, wording, regions)[owner]
    return np.where(inside, fine.argmax(axis=0) + 1, 0)


def _painted(view: ImageView, wording: Wording, masks: Bools, owners: Ints) -> Ints:
    """Classes by objects, small ones on top of large ones, ``(GRID, GRID)``."""
    labels = np.zeros((GRID, GRID), np.int64)
    whole = wording.whole
    places = labels
    if not whole.all():
        fine, _ = _fine(view, wording)
        fine[whole] = -np.inf
        places = fine.argmax(axis=0) + 1
    for row in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        mask = torch.from_numpy(masks[row].astype(np.float32))[None, None]
        inside = F.interpolate(mask, (GRID, GRID), mode="area")[0, 0].numpy() >= COVERED
        labels[inside] = owners[row] if whole[owners[row] - 1] else places[inside]
    return labels


def _fine(view: ImageView, wording: Wording) -> tuple[Floats, Floats]:
    """Degrees of the classes ``(classes, GRID, GRID)`` and the background ``(GRID, GRID)``."""
    background, classes = _degrees(view, wording)
    both = torch.cat([background[None], classes])[None]
    found = F.interpolate(both, (GRID, GRID), mode="area")[0].cpu().numpy()
    return found[1:], found[0]


def _foreground(view: ImageView, wording: Wording, regions: Bools) -> Bools:
    """Which regions ``(R,)`` the coarse words call foreground."""
    prompts = wording.prompts
    words = (*prompts.background, *prompts.foreground)
    similar = region_means(_ground(view, wording, words), regions).T
    background, rest = _as_degrees(similar, len(prompts.background), bool(wording.exemplars))
    shown = _shown(view, wording, regions)
    background, rest = _joined(background, rest, list(shown.values()))
    return np.asarray((rest.amax(0) > background).cpu().numpy() & regions.any(axis=(1, 2)))


def _owners(view: ImageView, wording: Wording, masks: Bools) -> Ints:
    """Class of each object ``(n,)``, 0 for the background.

    Parts that are decided at each place share an object: a heap of two things is foreground if each
    of its places fits one of them. What holds several objects is not made of such parts.
    """
    if not len(masks):
        return np.zeros(0, np.int64)
    background, classes = (one.cpu().numpy() for one in _degrees(view, wording, masks))
    things, stuff = np.flatnonzero(wording.whole), np.flatnonzero(~wording.whole)
    owner, degree = things[classes[things].argmax(axis=0)], classes[things].max(axis=0)
    if len(stuff):
        rival, places = _degrees(view, wording)
        maps = torch.cat([rival[None], places[stuff].amax(0)[None], places[stuff]])
        outside, together, *each = region_means(maps, masks).T.cpu().numpy()
        shared = (together > degree) & ~holders(masks)
        owner = np.where(shared, stuff[np.argmax(each, axis=0)], owner)
        degree = np.where(shared, together, degree)
        background = np.where(shared, outside, background)
    return np.where(degree > background, owner + 1, 0)


def _degrees(
    view: ImageView, wording: Wording, regions: Bools | None = None
) -> tuple[Tensor, Tensor]:
    """Similarity of places or regions to background ``(...)`` and classes ``(classes, ...)``.

    The maximum over synonyms (NACLIP). In a set with exemplars both kinds are brought to [0, 1]:
    words by a softmax over all words, exemplars by their cosine, clipped at 0; the background is
    then at most 1 minus the best exemplar.
    """
    prompts = wording.prompts
    fine, owners = prompts.phrases()
    if wording.stages == "coarse":
        fine, owners = prompts.foreground, (0,) * len(prompts.foreground)
    similar = _ground(view, wording, (*prompts.background, *fine), regions)
    background, rest = _as_degrees(similar, len(prompts.background), bool(wording.exemplars))
    shown = _shown(view, wording, regions)
    classes = []
    for index in range(len(wording.names)):
        fits = [rest[row] for row, owner in enumerate(owners) if owner == index]
        fits += [one for part, one in shown.items() if part == index or len(wording.names) == 1]
        classes.append(torch.stack(fits).amax(0))
    background, _ = _joined(background, rest, list(shown.values()))
    return background, torch.stack(classes)


def _ground(
    view: ImageView, wording: Wording, words: tuple[str, ...], regions: Bools | None = None
) -> Tensor:
    return view.ground(words, regions, wording.prompts.templates, ALIGNER)


def _as_degrees(similar: Tensor, rivals: int, mixed: bool) -> tuple[Tensor, Tensor]:
    """Background and other words; as probabilities where exemplars are in play."""
    if mixed:
        similar = (SCALE * similar).softmax(0)
    return similar[:rivals].amax(0), similar[rivals:]


def _shown(view: ImageView, wording: Wording, regions: Bools | None) -> dict[int, Tensor]:
    """Similarity of places or regions to each part given by exemplars, in [0, 1]."""
    if not wording.exemplars:
        return {}
    levels = view.pyramid(ALIGNER).levels
    level = levels[min(levels)]
    centre = level.mean((0, 2, 3)) if wording.centre is None else wording.centre.to(level)
    level = level - centre[None, :, None, None]
    features = level if regions is None else region_means(level[0], regions)
    return {
        index: similarity(features, vectors.to(level) - centre).amax(0).clamp_min(0)
        for index, vectors in wording.exemplars.items()
    }


def _joined(background: Tensor, words: Tensor, shown: list[Tensor]) -> tuple[Tensor, Tensor]:
    if not shown:
        return background, words
    exemplars = torch.stack(shown)
    left = 1 - exemplars.amax(0)
    # Without other words the background's probability is always 1.
    background = torch.minimum(background, left) if len(words) else left
    return background, torch.cat([words, exemplars])
