"""Prompt sets against each other and against controls, on the same shots.

With labelled test images: AUROC over several draws of shots, the same draws for every set. Without:
how steady foreground and class histogram are over the shots, and how clearly classes win. Three
controls run along: no text at all (clusters alone), wrong nouns, shuffled nouns. A set that does
not beat them owes nothing to its words.
"""

from __future__ import annotations

import html
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
from fmlad.methods.clip_lad.clusters import DEFAULT, Clusters
from fmlad.methods.clip_lad.coarse_to_fine import (
    ALIGNER,
    by_clusters,
    margin,
    on_grid,
    parse,
)
from fmlad.methods.clip_lad.differences import segmentation
from fmlad.methods.clip_lad.histogram import by_class, class_shares, nearest
from fmlad.methods.clip_lad.instances import PartMap
from fmlad.methods.clip_lad.method import ClipLad
from fmlad.methods.clip_lad.wording import make_ready
from fmlad.methods.protocol import FitContext
from fmlad.metrics import auroc
from fmlad.progress import Progress
from fmlad.prompts import PromptSet
from fmlad.prompts.controls import only_names, shuffled_nouns, wrong_nouns
from fmlad.report import embed, write_page
from fmlad.views import ImageView

LEAST_SEEDS = 4  # draws of shots, below which a difference of sets says nothing
SHOWN = 6  # images in the report at most
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
class Row:
    """One prompt set or control.

    Attributes:
        title: What it is.
        figures: Keys of :data:`COLUMNS`, as far as they could be measured.
        pictures: Each shown image in parts.
    """

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
) -> list[Row]:
    """Measures sets and the controls of the first one.

    Args:
        sets: One or more.
        shots: Normal images; each draw takes ``draw_of`` of them, all where there are not more.
        good: Normal test images; may be empty, and then so must ``bad``.
        bad: Anomalous test images.
        seeds: Draws, at least 4.
        draw_of: Shots a draw.
        progress: Told of every set and draw.

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
    draws = [
        np.random.default_rng(seed).choice(len(shots), size, replace=False) for seed in range(seeds)
    ]
    rows: list[Row] = []
    first: npt.NDArray[np.float64] | None = None
    for number, (title, prompts) in enumerate(variants):
        figures, pictures = _looked_at(prompts, shots, [*shots[:3], *bad[:3]][:SHOWN])
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
        rows.append(Row(title, figures, pictures))
    return rows


def write_comparison(path: Path, rows: Sequence[Row], reads: bool) -> Path:
    """One HTML file with the figures and the segmentations side by side."""
    known = [key for key in COLUMNS if any(key in row.figures for row in rows)]
    head = "".join(f"<th>{html.escape(COLUMNS[key])}</th>" for key in known)
    body = "".join(
        f"<tr><td>{html.escape(row.title)}</td>"
        + "".join(
            f"<td>{row.figures[key]:.3f}</td>" if key in row.figures else "<td></td>"
            for key in known
        )
        + "</tr>"
        for row in rows
    )
    parts = [
        "<h1>Prompt sets compared</h1>",
        f"<table border=1 cellpadding=6><tr><th>set</th>{head}</tr>{body}</table><ul>",
        "<li><b>AUROC</b> over draws of shots, the same for all rows; higher is better.",
        "<li><b>Varies by</b>: the foreground's share (standard deviation over mean) and the class "
        "histogram (mean log distance of two shots); lower is steadier. Steady is not yet right: "
        "look at the pictures.",
        "<li><b>Margin</b>: how clearly the best class beats the next one; comparable on one "
        "profile only.",
        "<li><b>Controls</b>: a set that does not beat them owes nothing to its words. Shuffled, "
        "'names alone': each phrase differs from the others in one word, so that a new deal only "
        "exchanges the names of parts; then it cannot do worse."
        + (
            ""
            if reads
            else " This profile does not read nouns, so attributes were exchanged instead."
        ),
        "</ul>",
    ]
    for row in rows:
        images = "".join(f"<img src='{embed(one)}' alt='in parts'>" for one in row.pictures)
        parts.append(f"<h2>{html.escape(row.title)}</h2><div class=shots>{images}</div>")
    return write_page(path, "Prompt sets compared", parts)


def _looked_at(
    prompts: PromptSet | None, shots: Sequence[ImageView], shown: Sequence[ImageView]
) -> tuple[dict[str, float], tuple[Image.Image, ...]]:
    """What can be said without labels, and pictures."""
    rng = np.random.default_rng(0)
    figures: dict[str, float] = {}
    if prompts is None:
        clusters = Clusters.fit([view.pyramid(ALIGNER) for view in shots], DEFAULT, rng)
        names = [f"cluster {number + 1}" for number in range(len(clusters.centroids))]
        seen = {id(view): _clustered(view, clusters) for view in (*shots, *shown)}
    else:
        method = ClipLad()
        wording = make_ready(prompts, "both", shots, shots[0].again)
        own = None
        if by_clusters(shots[0], "both"):
            own = method.choose_clusters(shots, wording, rng)
        names = list(wording.names)
        seen = {id(view): parse(view, wording, own) for view in (*shots, *shown)}
        figures["margin"] = float(np.mean([margin(view, wording) for view in shots]))
        foreground = np.array([(seen[id(view)].labels > 0).mean() for view in shots])
        figures["foreground"] = float(foreground.std() / max(float(foreground.mean()), 1e-6))
    shares = [class_shares(seen[id(view)].labels, len(names)) for view in shots]
    pairs = [float(by_class(a, b, "log").sum()) for a, b in combinations(shares, 2)]
    if pairs:
        figures["histogram"] = float(np.mean(pairs))
    else:
        figures.pop("foreground", None)  # one shot cannot vary
    pictures = tuple(
        draw.outlines(
            Image.fromarray(np.array(view.pixels)), segmentation(seen[id(view)], names, view.size)
        )
        for view in shown
    )
    return figures, pictures


def _auroc(
    prompts: PromptSet | None,
    shots: Sequence[ImageView],
    good: Sequence[ImageView],
    bad: Sequence[ImageView],
    seed: int,
) -> float:
    queries = [*good, *bad]
    if prompts is None:
        rng = np.random.default_rng(seed)
        clusters = Clusters.fit([view.pyramid(ALIGNER) for view in shots], DEFAULT, rng)
        shares = {
            id(view): class_shares(_clustered(view, clusters).labels, len(clusters.centroids))
            for view in (*shots, *queries)
        }
        memory = [shares[id(view)] for view in shots]
        scores = [nearest(shares[id(view)], memory, "log")[0] for view in queries]
    else:
        fitted = pipeline.fit(ClipLad(), shots, FitContext(prompts=prompts, seed=seed))
        scores = [pipeline.judge(view, fitted).score for view in queries]
    return auroc([0] * len(good) + [1] * len(bad), scores)


def _clustered(view: ImageView, clusters: Clusters) -> PartMap:
    return PartMap(on_grid(clusters.assign(view.pyramid(ALIGNER))) + 1, ())
