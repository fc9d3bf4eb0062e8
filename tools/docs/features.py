"""Tables of the embedded features in docs/backbones.md: scenes, textures, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.docs.markdown import NOTHING, content, origin, table

FIGURES = ("AUROC", "AUPRO@0.05")
HEADING = (
    *(f"{name} (worst draw)" for name in FIGURES),
    *(f"difference, {name}" for name in FIGURES),
)


def page() -> list[str]:
    """All of them."""
    parts = (embedded(), textures(), cost())
    return [line for part in parts for line in ("", *part)][1:]


def readme() -> list[str]:
    """Damage on scenes and textures, for the README: the default beside what it was before."""
    found, rows = content("embedded"), content("embedded")["figures"]["scenes"]
    drawn = content("textures")
    other = {key: row for key, row in drawn["figures"].items() if key.startswith("mean, 4 shots")}
    shown = {
        "scenes, `builtin:features@1` (default)": rows["builtin:features@1"],
        "scenes, hand-made cells (the default before)": rows["hand-made, nothing removed"],
        "scenes, SqueezeNet 1.0 alone": rows["SqueezeNet (4, 7), median removed"],
        "textures, `builtin:features@1`": other["mean, 4 shots, builtin:features@1"],
        "textures, hand-made cells": other["mean, 4 shots, builtin:handmade@1"],
        "textures, EfficientNet-Lite0 alone": other[
            "mean, 4 shots, builtin:efficientnet-lite0@1#side=320"
        ],
    }
    return [
        "**Damage**, 4 shots, `builtin` profile, patch bank alone, mean (worst draw of shots):",
        f"`{found['command']}`, `{drawn['command']}`;",
        "more in [backbones](docs/backbones.md#numbers)",
        "",
        *table(("", *HEADING[:2]), ((name, *measured(row)[:2]) for name, row in shown.items())),
    ]


def embedded() -> list[str]:
    """Features, layers and steps of the search on the scenes, and by category and world."""
    found = content("embedded")
    rows: Mapping[str, Mapping[str, Any]] = found["figures"]["scenes"]
    facts = [
        key for key in ("dimensions", "encode, ms") if any(key in row for row in rows.values())
    ]
    splits = [
        (f"world {name}" if kind == "worlds" else name, kind, name)
        for kind in ("categories", "worlds")
        for name in dict.fromkeys(name for row in rows.values() for name in row.get(kind, ()))
    ]
    return [
        "**Scenes**: the patch bank alone, structural anomalies; differences from the first row",
        "with 95 % intervals, paired. Rows without a figure of world 5 are of one draw of shots.",
        "",
        *table(
            ("", *HEADING, *facts),
            (
                (label, *measured(row), *(row.get(fact, NOTHING) for fact in facts))
                for label, row in rows.items()
            ),
        ),
        "",
        *table(
            ("AUROC / AUPRO@0.05", *(title for title, _, _ in splits)),
            (
                (label, *(_both(row.get(kind, {}).get(name)) for _, kind, name in splits))
                for label, row in rows.items()
            ),
        ),
        "",
        origin(found),
    ]


def textures() -> list[str]:
    """Features on textures by number of shots, and on each texture."""
    found = content("textures")
    # "mean, 4 shots, FEATURES" and "brick, world 0, 4 shots, FEATURES"
    rows = {tuple(title.split(", ", 3)): row for title, row in found["figures"].items()}
    means = {key[1:]: row for key, row in rows.items() if key[0] == "mean"}
    means = dict(sorted(means.items(), key=lambda item: int(item[0][0].split()[0])))
    single = {key: row for key, row in rows.items() if key[0] != "mean"}
    places = list(dict.fromkeys(key[:2] for key in single))

    def cell(place: Sequence[str], who: Sequence[str]) -> str:
        row = single[(*place, *who)]
        return _both([row[name] for name in FIGURES])

    return [
        "**Textures**: photographs with drawn damage, mean over them, the patch bank alone.",
        "",
        *table(
            ("", "", *HEADING),
            ((*_swapped(who), *measured(row)) for who, row in means.items()),
        ),
        "",
        *table(
            ("AUROC / AUPRO@0.05", "", *(", ".join(place) for place in places)),
            ((*_swapped(who), *(cell(place, who) for place in places)) for who in means),
        ),
        "",
        origin(found),
    ]


def cost() -> list[str]:
    """A verdict and its steps beside one pass of a network."""
    found = content("feature-cost")
    figures = found["figures"]
    network = next(key for key in figures if key.endswith(", s"))
    return [
        f"**Cost** of a verdict with `{figures['features']}` on {figures['size, px']} px over one "
        f"pass of",
        f"{network.removesuffix(', s')} ({figures[network]} s), in the same rounds.",
        "",
        *table(
            ("", "s", "over that pass"),
            (
                (key, row["s"], row["over the network"])
                for key, row in figures.items()
                if isinstance(row, dict)
            ),
        ),
        "",
        origin(found),
    ]


def measured(row: Mapping[str, Any]) -> list[str]:
    """Both figures with their worst draws, then both differences where there are any."""
    own = [f"{row[name]:.3f} ({row[f'{name}, worst draw']:.3f})" for name in FIGURES]
    return own + [_difference(row.get(f"{name}, difference")) for name in FIGURES]


def _difference(values: Sequence[float] | None) -> str:
    """Mean and both ends of its interval."""
    if values is None:
        return NOTHING
    mean, low, high = (f"{value:+.3f}" for value in values)
    return f"{mean} ({low} to {high})"


def _both(values: Sequence[float] | None) -> str:
    return NOTHING if values is None else " / ".join(f"{value:.3f}" for value in values)


def _swapped(who: Sequence[str]) -> tuple[str, str]:
    """``"4 shots", FEATURES`` -> the features first, as code."""
    return f"`{who[1]}`", who[0]
