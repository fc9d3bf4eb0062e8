"""What a dataset is: images, what is known of them, and where that lies on disk.

No image is decoded before it is asked for, so that a dataset of thousands of images loads at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["good", "logical", "structural", "anomalous"]
"""``"anomalous"`` where the dataset does not say of which sort."""


@dataclass(frozen=True)
class Annotation:
    """Which pixels of one image are anomalous.

    Attributes:
        regions: bool ``(r, H, W)`` at the image's own size; they may overlap, 0 where normal.
        saturations: Per region the area in pixels from which it counts as found whole (sPRO); its
            own area where the dataset says nothing else.
    """

    regions: npt.NDArray[np.bool_]
    saturations: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Attributes:
        name: Unique within its split, as in ``"logical_anomalies/004"``.
        path: The image.
        kind: Normal, or which sort of anomaly.
        defect: The defect's name in the dataset (``"broken_large"``), or None.
        reference: The one normal image this sample is to be judged by (pairs as in DeepPCB), or
            None where shots are drawn from the training images.
        subtype: Of a training image whose sub-type is known, as the dataset has it; else None.
        read_annotation: Reads its annotation; None where there is none.
    """

    name: str
    path: Path
    kind: Kind
    defect: str | None = None
    reference: Path | None = None
    read_annotation: Callable[[], Annotation] | None = field(
        default=None, repr=False, compare=False
    )
    subtype: str | None = None

    def annotation(self) -> Annotation | None:
        """Its regions, read from disk now; None where it was not annotated.

        Raises:
            DatasetError: A mask is unreadable or of another size than the image.
        """
        return self.read_annotation() if self.read_annotation else None


@dataclass(frozen=True)
class Dataset:
    """One category of a dataset (one of its sub-types, where it is split by them).

    Where a dataset has one pool of normal images only (photographs with boxes, a plain folder), the
    same paths are in ``train`` and, as ``"good"``, in ``test``. So whoever draws shots must leave
    the samples whose ``path`` was drawn out of the test; no image is ever judged by itself.

    Attributes:
        name: Of the dataset, as given to :func:`fmlad.datasets.load`.
        category: Of the category; "" where there is only one.
        subtype: Of the sub-type, or None for all of them.
        root: Folder the images lie in.
        train: Normal images that shots are drawn from; empty where every sample has a reference.
        validation: Further normal images.
        test: Normal and anomalous images.
        prompts: Name of the bundled prompt set made for it, or of the group of sets for its
            sub-types, or None.
        notes: What is unlike the official counts or was left out, in plain sentences.
    """

    name: str
    category: str
    subtype: str | None
    root: Path
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    prompts: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether every test image is judged by a normal image of its own."""
        return bool(self.test) and all(sample.reference is not None for sample in self.test)

    @property
    def localised(self) -> bool:
        """Whether at least one anomalous test image is annotated."""
        return any(s.kind != "good" and s.read_annotation is not None for s in self.test)
