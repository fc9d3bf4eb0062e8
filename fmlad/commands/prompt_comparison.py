"""Prompt sets against each other and against controls, on the same shots.

With labelled test images: AUROC over several draws of shots, the same draws for every set. Without:
how steady foreground and class histogram are over the shots, and how clearly classes win. Three
controls run along: no text at all (clusters alone), wrong nouns, shuffled nouns. The words of a set
that does not beat them contribute nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fmlad import draw, pipeline
from fmlad.errors import OptionError
from fmlad.methods.clip_lad.coarse_to_fine import ALIGNER, by_clusters, margin, parse
from fmlad.methods.clip_lad.differences import segmentation
from fmlad.methods.clip_lad.histogram import by_class, class_shares, nearest
from fmlad.methods.clip_lad.method import ClipLad
from fmlad.methods.clip_lad.wording import make_ready
from fmlad.methods.protocol import FitContext
from fmlad.metrics import auroc
from fmlad.objects.clusters import DEFAULT, Clusters
from fmlad.objects.instances import GRID, PartMap, resized
from fmlad.progress import Progress
from fmlad.prompts import PromptSet
from fmlad.prompts.controls import only_names, shuffled_nouns, wrong_nouns
from fmlad.report import write
from fmlad.views import ImageView

LEAST_SEEDS = 4  # draws of shots, below which a difference of sets says nothing
NO_TEXT = "no text (clusters alone)"
COLUMNS = {
    "auroc": "AUROC",
    "auroc_std": "+-",
    "against_first": "against the first set",
    "foreground": "foreground varies by",
    "histogram": "histogram varies by",
    "margin": "margin",
}


@dataclass(frozen=True)
class ComparedSet:
    """One prompt set or control: figures by keys of :data:`COLUMNS`, and images in parts."""

    title: str
    figures: Mapping[str, float]
    pictures: tuple[Image.Image, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without pictures."""
        return {"title": self.title, **self.figures}


def compare(
    sets: Sequence[PromptSet],
    shots: Sequence[ImageView],
    good: Sequence[ImageView] = (),
    bad: Sequence[ImageView] = (),
    *,
    seeds: int = LEAST_SEEDS,
    draw_of: int = 4,
    progress: Progress,
) -> list[ComparedSet]:
    """Measures sets and the controls of the first one, on ``seeds`` draws of ``draw_of`` shots.

    Test images ``good`` and ``bad`` may both be left out.

    Raises:
        OptionError: Too few seeds, no sets or shots, or test images of one kind alone.
        PromptError: A word cannot be grounded.
    """
    if not sets or not shots:
        raise OptionError("There is nothing to compare: give prompt sets and shots.")
    if seeds < LEAST_SEEDS:
        raise OptionError(f"seeds must be at least {LEAST_SEEDS}, got {seeds}.")
    if bool(good) != bool(bad):
        raise OptionError("Test images must be normal and anomalous ones, or none at all.")
    reads = shots[0].reads
    rng = np.random.default_rng(0)
    nouns = "nouns" if reads else "attributes"
    shuffled = shuffled_nouns(sets[0], reads, rng)
    same = ", names alone" if only_names(sets[0], shuffled, reads) else ""
    variants: list[tuple[str, PromptSet | None]] = [(one.name, one) for one in sets]
    variants += [
        (NO_TEXT, None),
        (f"wrong {nouns} (of {sets[0].name})", wrong_nouns(sets[0], reads, rng)),
        (f"shuffled {nouns} (of {sets[0].name}{same})", shuffled),
    ]
    size = min(draw_of, len(shots))
    generators = map(np.random.default_rng, range(seeds))
    draws = [generator.choice(len(shots), size, replace=False) for generator in generators]
    rows: list[ComparedSet] = []
    first: npt.NDArray[np.float64] | None = None
    for number, (title, prompts) in enumerate(variants):
        figures, pictures = _without_labels(prompts, shots, [*shots[:3], *bad[:3]])
        if good:
            found = []
            for seed, drawn in enumerate(draws):
                chosen = [shots[index] for index in drawn]
                found.append(_auroc(prompts, chosen, good, bad, seed))
                progress(number * seeds + seed + 1, len(variants) * seeds, "comparing prompt sets")
            values = np.array(found)
            first = values if first is None else first
            figures |= {"auroc": float(values.mean()), "auroc_std": float(values.std())}
            figures["against_first"] = float((values - first).mean())
        rows.append(ComparedSet(title, figures, pictures))
    return rows


def write_comparison(path: Path, rows: Sequence[ComparedSet], reads: bool) -> Path:
    """One HTML file with figures and segmentations; OptionError: it cannot be written."""
    known = {k: title for k, title in COLUMNS.items() if any(k in row.figures for row in rows)}
    title = "Prompt sets compared"
    return write(path, "prompts.html", title=title, columns=known, rows=rows, reads_nouns=reads)


def _without_labels(
    prompts: PromptSet | None, shots: Sequence[ImageView], shown: Sequence[ImageView]
) -> tuple[dict[str, float], tuple[Image.Image, ...]]:
    """What can be said without labels, and pictures."""
    rng = np.random.default_rng(0)
    figures: dict[str, float] = {}
    if prompts is None:
        parsed, count = _clustered(shots, shown, rng)
        names = [f"cluster {number + 1}" for number in range(count)]
    else:
        method = ClipLad()
        wording = make_ready(prompts, "both", shots, shots[0].again)
        own = None
        if by_clusters(shots[0], "both"):
            own = method.choose_clusters(shots, wording, rng)
        names = list(wording.names)
        parsed = {id(view): parse(view, wording, own) for view in (*shots, *shown)}
        figures["margin"] = float(np.mean([margin(view, wording) for view in shots]))
        foreground = np.array([(parsed[id(view)].labels > 0).mean() for view in shots])
        figures["foreground"] = float(foreground.std() / max(float(foreground.mean()), 1e-6))
    shares = [class_shares(parsed[id(view)].labels, len(names)) for view in shots]
    pairs = [float(by_class(a, b, "log").sum()) for a, b in combinations(shares, 2)]
    if pairs:
        figures["histogram"] = float(np.mean(pairs))
    else:
        figures.pop("foreground", None)  # one shot cannot vary
    pictures = []
    for view in shown:
        parts = segmentation(parsed[id(view)], names, view.size)
        picture = Image.fromarray(np.array(view.pixels))
        pictures.append(draw.outlines(picture, parts.labels, parts.names, parts.objects))
    return figures, tuple(pictures)


def _auroc(
    prompts: PromptSet | None,
    shots: Sequence[ImageView],
    good: Sequence[ImageView],
    bad: Sequence[ImageView],
    seed: int,
) -> float:
    queries = [*good, *bad]
    if prompts is None:
        parsed, count = _clustered(shots, queries, np.random.default_rng(seed))
        shares = {key: class_shares(one.labels, count) for key, one in parsed.items()}
        memory = [shares[id(view)] for view in shots]
        scores = [nearest(shares[id(view)], memory, "log")[0] for view in queries]
    else:
        fitted = pipeline.fit(ClipLad(), shots, FitContext(prompts=prompts, seed=seed))
        scores = [pipeline.judge(view, fitted).score for view in queries]
    return auroc([0] * len(good) + [1] * len(bad), scores)


def _clustered(
    shots: Sequence[ImageView], others: Sequence[ImageView], rng: np.random.Generator
) -> tuple[dict[int, PartMap], int]:
    """Images divided by clusters of the shots' features, by ``id``; and how many clusters."""
    clusters = Clusters.fit([view.pyramid(ALIGNER) for view in shots], DEFAULT, rng)
    found = {
        id(view): PartMap(resized(clusters.assign(view.pyramid(ALIGNER)), (GRID, GRID)) + 1, ())
        for view in (*shots, *others)
    }
    return found, len(clusters.centroids)
