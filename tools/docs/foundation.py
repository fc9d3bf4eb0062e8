"""The table of docs/foundation.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.docs.markdown import content, table

RUNS = ("foundation", "foundation-huge")


def page() -> list[str]:
    """Time, passes and memory of each case, at true size."""
    rows = [row for name in RUNS for row in _rows(name)]
    return [
        *(f"{content(name)['protocol']}: `{content(name)['command']}`." for name in RUNS),
        "Seconds of the processor, which swing less with the machine than those on the clock:",
        "",
        *table(
            ("", "passes at fit", "load networks, s", "fit, s", "predict an image, s",
             "passes for an image", "peak memory"),
            rows,
        ),
    ]  # fmt: skip


def _rows(name: str) -> Iterator[tuple[str, ...]]:
    found = content(name)
    sam = "ViT-H" if "vit-huge" in found["command"] else "ViT-B"
    for case, figures in found["figures"].items():
        passes = figures["passes at fit"]
        (key,) = (key for key in figures if key.startswith("passes for"))
        queries = int(key.split()[2])
        one = {network: count / queries for network, count in figures[key].items()}
        masks = f", SAM {sam}" if "SAM" in passes else ""
        yield (
            f"`{case.partition(',')[0]}`{case.partition(',')[1]}{case.partition(',')[2]}{masks}",
            _said(passes),
            f"{figures['load networks, CPU s']:.0f}",
            f"{figures['fit, CPU s']:.0f}",
            f"{figures['predict an image, CPU s']:.0f}",
            _said(one),
            f"{max(_peak(figures['fit']), _peak(figures['in a new process']['load and predict']))}"
            " MB",
        )


def _peak(memory: dict[str, Any]) -> int:
    return int(memory["peak memory, MB"])


def _said(passes: dict[str, float]) -> str:
    return ", ".join(f"{network} {count:g}" for network, count in passes.items())
