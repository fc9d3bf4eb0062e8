"""Part labels from where people have them: label images, labelme, COCO, and the scenes' slots."""

from fmlad.datasets.part_labels.model import MOST_CLASSES, PartLabels, Shot, default_names
from fmlad.datasets.part_labels.read import Examined, examine, read_part_labels

__all__ = [
    "MOST_CLASSES",
    "Examined",
    "PartLabels",
    "Shot",
    "default_names",
    "examine",
    "read_part_labels",
]
