"""The tables of docs/verdicts.md."""

from __future__ import annotations

from tools.docs.markdown import content, figures, origin, table

GROUPS = ("good", "structural_anomalies", "logical_anomalies")


def page() -> list[str]:
    """All of them."""
    return [*first_minute(), "", *false_alarms()]


def first_minute() -> list[str]:
    """What is above the threshold of forty pictures of each kind, and what was foretold."""
    found = figures("first-minute")
    ways = [key.removeprefix("all: ") for key in found if key.startswith("all: ")]

    def cells(key: str) -> list[object]:
        row = found[key]
        counts = [
            f"{row[f'{group}: above the threshold']} ({row[f'{group}: of these unsure']})"
            for group in GROUPS
        ]
        areas = (f"{row[f'{group}: AUROC']:.3f}" for group in GROUPS[1:])
        return [*counts, *areas]

    names = sorted(key.removesuffix(": default") for key in found if key.endswith(": default"))
    rows = [
        *((f"{name}, of 8", *cells(f"{name}: default")) for name in names if name != "all"),
        *((f"all, {way}, of 40", *cells(f"all: {way}")) for way in ways),
    ]
    return [
        "**The first minute**: above the threshold (of these unsure), and AUROC:",
        origin(content("first-minute")),
        "",
        *table("| | normal | damaged | wrong parts | AUROC damage | AUROC parts |", rows),
        "",
        "Rank correlation of what the power check foretold with what was caught: "
        f"{found['rank correlation, 20 pairs']} over 20 pairs of",
        "a category and a way of looking; "
        f"{found['rank correlation, default, kinds apart']} over the default's ten, damage and "
        "parts apart.",
    ]


def false_alarms() -> list[str]:
    """What thresholds state, and what came of them."""
    found = figures("false-alarms")
    ranks = {key: row for key, row in found.items() if key.startswith("m ")}
    shots = {key: row for key, row in found.items() if key.endswith(" shots")}
    return [
        "**False alarms**, stated and realised on fresh normal images:",
        origin(content("false-alarms")),
        "",
        *table(
            "| validation images, stated rate | realised | splits inside the law |",
            ((key, row["realised"], f"{row['inside the law']:.0%}") for key, row in ranks.items()),
        ),
        "",
        *table(
            "| judged by each other | stated | realised | worst draw | certain alarms |",
            (
                (key, row["stated"], row["realised"], row["worst draw"], row["certain alarms"])
                for key, row in shots.items()
            ),
        ),
    ]
