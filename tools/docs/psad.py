"""The tables of docs/psad.md."""

from __future__ import annotations

from tools.docs.markdown import content, table

CATEGORIES = ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")
COLUMNS = (*CATEGORIES, "mean", "worst")
BANKS = ("histogram alone", "composition alone", "patch alone", "all unscaled", "all scaled")
# PSAD, Table 3: logical / structural, mean of the five categories of MVTec LOCO.
PAPER = ("94.2 / 71.1", "90.9 / 85.4", "73.9 / 89.3", "96.8 / 87.6", "98.1 / 91.6")


def page() -> list[str]:
    """Table 3 and the cost of a query."""
    found, cost = content("psad"), content("psad-cost")
    figures, spent = found["figures"], cost["figures"]
    rows = (
        (
            bank,
            *(
                f"{figures[f'table 3, {bank}: {one}: logical']:.2f} / "
                f"{figures[f'table 3, {bank}: {one}: structural']:.2f}"
                for one in COLUMNS
            ),
            paper,
        )
        for bank, paper in zip(BANKS, PAPER, strict=True)
    )
    return [
        "**The paper's Table 3** on scenes, image AUROC logical / structural, 5 labelled images (3",
        f"where there are types); {found['protocol']}:",
        f"`{found['command']}`",
        "",
        *table(("", *COLUMNS, "paper, MVTec LOCO, %"), rows),
        "",
        f"**Cost** of a query, {spent['training images']} training images: "
        f"{spent['encoder passes a query']} encoder passes, and {spent['rest over passes']:.2f} of "
        f"their time for all else: `{cost['command']}`",
    ]
