"""From an image compared with its nearest training image to typed differences and maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmlad.findings import Kind
from fmlad.methods.protocol import Difference
from fmlad.methods.psad.state import PsadState, Seen
from fmlad.objects.arrays import Bools, Floats
from fmlad.objects.pieces import Pieces, pieces
from fmlad.sentences import Measure

FloatMap = npt.NDArray[np.float32]

# All limits here are ours: the paper's scores have no map and no words.
WORTH = 0.5  # share of the largest class's value from which another class is told of as well
GONE = 0.1  # share of the nearest training image's area up to which a class is absent
ELONGATED = 3.0  # length over width from which a piece has a length
SAME_WIDTH = 0.25  # difference of the logarithms of two widths up to which they are the same
NEW_COLOUR, BEYOND = 10.0, 1.5  # in Lab; times the training images' own distance


@dataclass(frozen=True)
class Compared:
    """An image compared with the training image nearest in one bank.

    Attributes:
        branch: The bank.
        score: The distance.
        values: float64 ``(K - 1,)``: the score times each class's share of the largest class's part
            in it, so that the largest value is the score.
        seen: The image.
        nearest: The training image.
    """

    branch: str
    score: float
    values: Floats
    seen: Seen
    nearest: Seen

    @classmethod
    def of(
        cls, branch: str, score: float, by_class: npt.NDArray[np.floating], seen: Seen,
        nearest: Seen,
    ) -> Compared:  # fmt: skip
        """From what each class ``(K - 1,)`` adds to the distance."""
        most = float(by_class.max())
        shares = by_class.astype(np.float64) / most if most > 0 else np.zeros(len(by_class))
        return cls(branch, score, shares * score, seen, nearest)

    def masks(self, row: int) -> tuple[Bools, Bools]:
        """Where a class, from 0, lies in the image and in the training image, ``(h, w)`` each."""
        here = self.seen.labels == row + 1
        there = self.nearest.labels == row + 1
        if there.shape != here.shape:  # pictures of other proportions
            rows, columns = (
                ((np.arange(new) + 0.5) * old / new).astype(np.int64)
                for old, new in zip(there.shape, here.shape, strict=True)
            )
            there = there[np.ix_(rows, columns)]
        return here, there

    def areas(self, row: int) -> tuple[float, float]:
        """Share of a class, from 0, in the image and in the training image."""
        found, wanted = self.seen.histogram[row + 1], self.nearest.histogram[row + 1]
        return float(found), float(wanted)


def painted(compared: Compared) -> FloatMap:
    """Map ``(h, w)``: each class has its value where it is, or should be."""
    result = np.zeros(compared.seen.labels.shape, np.float32)
    for row in np.flatnonzero(compared.values > 0):
        where = _place(compared, int(row))
        if not where.any():  # too small for the map
            where = np.ones_like(where)
        result[where] = np.maximum(result[where], np.float32(compared.values[row]))
    return result


def differences(compared: Compared, state: PsadState, size: tuple[int, int]) -> list[Difference]:
    """What makes up most of the score of an image of ``size``, in facts."""
    least = WORTH * compared.score
    rows = [int(r) for r in np.argsort(-compared.values, kind="stable")]
    return [
        _difference(compared, row, state, size)
        for row in rows
        if compared.values[row] > 0 and compared.values[row] >= least
    ]


def _difference(
    compared: Compared, row: int, state: PsadState, size: tuple[int, int]
) -> Difference:
    here, there = (pieces(mask) for mask in compared.masks(row))
    kind, measure, expected, observed, reason = _facts(compared, row, state, here, there)
    boxes = pieces(_place(compared, row)).boxes(size)
    own = here.boxes(size)
    peers = () if kind != "missing" else (*own, *(box for box in boxes if box not in own))
    return Difference(
        branch=compared.branch, score=float(compared.values[row]), kind=kind,
        part=state.names[row], expected=expected, observed=observed, measure=measure, boxes=boxes,
        peers=peers, reason=reason,
    )  # fmt: skip


def _facts(
    compared: Compared, row: int, state: PsadState, here: Pieces, there: Pieces
) -> tuple[Kind, Measure, float | None, float | None, str]:
    """Kind, measure, expected and observed number, and reason."""
    found, wanted = compared.areas(row)
    gone, new = found <= GONE * wanted, wanted <= GONE * found
    ratio = found / max(wanted, 1e-9)
    counted = here.count != there.count > 0 and round(ratio * there.count) == here.count
    if gone or new or (counted and compared.branch == "histogram"):
        kind: Kind = "missing" if found < wanted else "extra"
        expected = float(there.count if not new else 0)
        observed = float(here.count if not gone else 0)
        if expected == observed:  # too small for the map
            expected, observed = (1.0, 0.0) if gone else (0.0, 1.0)
        return kind, "count", expected, observed, ""
    if compared.branch == "histogram":
        lengths = _lengths(*compared.masks(row)) if here.count == there.count == 1 else None
        if lengths is not None:
            return "resized", "length", lengths[1], lengths[0], ""
        return "resized", "ratio", wanted, found, ""
    gap = compared.seen.colours[row] - compared.nearest.colours[row]
    limit = max(NEW_COLOUR, BEYOND * float(state.colour_spread[row]))
    kind = "recoloured" if float(np.linalg.norm(gap)) > limit else "defect"
    return kind, "count", None, None, "it does not look as in the normal images"


def _lengths(here: Bools, there: Bools) -> tuple[float, float] | None:
    """Lengths of two pieces in cells, where both are long and as wide as each other."""
    from scipy import ndimage

    found = []
    for mask in (here, there):
        # Across a strip the distance to its border has a mean of a quarter of its width.
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask] - 0.5
        width = 4 * float(depth.mean())
        found.append((float(mask.sum()) / width, width))
    (length, width), (wanted, expected) = found
    same = abs(np.log(width / expected)) <= min(SAME_WIDTH, abs(np.log(length / wanted)))
    long = min(length / width, wanted / expected) >= ELONGATED
    return (length, wanted) if same and long else None


def _place(compared: Compared, row: int) -> Bools:
    """Where a difference of a class lies: pieces too many, places of those missing, or all of it.

    What the image does not have at all lies where the training image has it.
    """
    here, there = compared.masks(row)
    if not here.any():
        return there
    if compared.branch == "composition" or not there.any():
        return here
    found, wanted = compared.areas(row)
    one, other = (here, there) if found > wanted else (there, here)
    changed = pieces(one).unlike(other)
    return changed if changed.any() else here
