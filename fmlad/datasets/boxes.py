"""Any folder of images with YOLO boxes, turned into a logical task by a rule about their number.

One pool: every image that follows the rule is normal, and both may be drawn as a shot and is
tested; whoever draws shots leaves them out of the test.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from fmlad.datasets.box_rules import BoxRule
from fmlad.datasets.files import Lister, check_root, child, need, read_lines, some, unique_names
from fmlad.datasets.model import Dataset, Sample
from fmlad.datasets.tree import POOL
from fmlad.errors import DatasetError

_LAYOUT = "images/ with pictures and boxes/ (or labels/) with one .txt file for each"


def box_categories(root: Path) -> list[str]:
    """The plainest rules: "exactly n boxes", for each n that occurs."""
    return [str(number) for number in sorted({c.total() for c in _boxes(root, Lister()).values()})]


def load_boxes(root: Path, category: str) -> Dataset:
    """Reads the images, and judges each by the rule that is the category.

    Raises OptionError where it is no rule, DatasetError where something is missing or broken.
    """
    rule = BoxRule.parse(category)
    lister = Lister()
    found = _boxes(root, lister)
    left_out, notes = _left_out(root, rule, found)
    considered = {
        path: labels
        for path, labels in found.items()
        if path not in left_out and (rule.considered is None or labels.total() in rule.considered)
    }
    test = []
    for name, (path, labels) in zip(unique_names(considered), considered.items(), strict=True):
        broken = rule.broken(labels)
        test.append(Sample(name, path, "good" if broken is None else "logical", broken))
    train = [sample for sample in test if sample.kind == "good"]
    totals = Counter(labels.total() for labels in considered.values())
    if not train or len(train) == len(test):
        numbers = ", ".join(f"{n} ({some(totals[n], 'image')})" for n in sorted(totals)) or "none"
        what = "No" if not train else "Every"
        raise DatasetError(
            f"{what} image considered in {root} follows the rule {str(rule)!r}; expected some that "
            f"do and some that do not. Numbers of boxes found: {numbers}."
        )
    if outside := len(found) - len(left_out) - len(considered):
        why = f"they have other numbers of boxes than {rule.considered}"
        notes.append(f"Left out, since {why}: {some(outside, 'image')}.")
    told = (*notes, POOL, *lister.notes())
    return Dataset("boxes", str(rule), None, root, tuple(train), (), tuple(test), None, told)


def _boxes(root: Path, lister: Lister) -> dict[Path, Counter[int]]:
    """Each image and its number of boxes of each class."""
    check_root(root)
    images = lister.images(need(root, "images", layout=_LAYOUT), needed=True)
    labels = child(root, "boxes", "labels") or need(root, "boxes", "labels", layout=_LAYOUT)
    return {image: _classes(image, labels / f"{image.stem}.txt") for image in images}


def _classes(image: Path, file: Path) -> Counter[int]:
    if not file.is_file():
        raise DatasetError(
            f"{image} has no boxes; expected {file}. Where there is nothing in an image, make an "
            "empty file."
        )
    found: Counter[int] = Counter()
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        fields = line.split()
        try:
            label, box = int(fields[0]), [float(value) for value in fields[1:5]]
            sound = label >= 0 and len(box) == 4 and all(0 <= value <= 1 for value in box)
        except ValueError:
            sound = False
        if not sound:
            raise DatasetError(
                f"{file}, line {number}: {line.strip()!r} is no YOLO box; expected "
                "`class x y width height`, the last four between 0 and 1."
            )
        found[label] += 1
    return found


def _left_out(
    root: Path, rule: BoxRule, found: dict[Path, Counter[int]]
) -> tuple[set[Path], list[str]]:
    if rule.without is None:
        return set(), []
    listed = {word for line in read_lines(root / rule.without) for word in line.split()}
    out = {path for path in found if listed & {path.name, path.stem}}
    notes = [f"Left out, as listed in {rule.without}: {some(len(out), 'image')}."]
    if absent := len(listed - {name for path in out for name in (path.name, path.stem)}):
        notes.append(f"Of no image: {some(absent, 'name')} in {rule.without}.")
    return out, notes
