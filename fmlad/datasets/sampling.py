"""Drawing shots from what is known of the training images."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from fmlad.errors import OptionError


def one_per_type(types: Sequence[Hashable], rng: np.random.Generator, count: int = 1) -> list[int]:
    """As many images of each type of a product, so that few shots show all of them.

    CLIP-LAD's multi-class setting (Table 3): one training image per sub-type of juice bottle and of
    splicing connectors, 3 shots in all, judged against the rules of any type.

    Args:
        types: Type of each training image.
        rng: For the draw.
        count: Images of each type.

    Returns:
        Indices of the images, type by type in the order of their first appearance.

    Raises:
        OptionError: There are no images, or a type has fewer than ``count``.
    """
    if not types:
        raise OptionError("There are no images to draw shots from.")
    drawn: list[int] = []
    for kind in dict.fromkeys(types):
        own = [index for index, other in enumerate(types) if other == kind]
        if len(own) < count:
            raise OptionError(f"The type {kind!r} has {len(own)} images; {count} are asked for.")
        drawn += [int(index) for index in rng.choice(own, count, replace=False)]
    return drawn
