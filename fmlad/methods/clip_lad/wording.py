"""A prompt set with its exemplars' vectors: made, saved and restored; and damage by words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fmlad.errors import PromptError
from fmlad.io.tensors import TensorReader
from fmlad.methods.clip_lad.coarse_to_fine import ALIGNER, Stages, Wording
from fmlad.objects.exemplars import exemplar_embedding
from fmlad.prompts import PromptSet
from fmlad.views import ImageView

MakeView = Callable[[npt.NDArray[np.uint8], str], ImageView]
EXEMPLARS, CENTRE = "exemplars.{}", "exemplars.centre"


def make_ready(
    prompts: PromptSet, stages: Stages, shots: Sequence[ImageView], make_view: MakeView
) -> Wording:
    """Computes the vectors of a set's exemplars.

    The mean feature of the shots is subtracted from them; without shots, that of the exemplars'
    pictures, of which ``make_view`` makes views.

    Raises:
        PromptError: A picture is not there, or its box lies outside of it.
    """
    vectors: dict[int, Tensor] = {}
    levels: list[Tensor] = []
    for index, part in enumerate(prompts.parts):
        found = []
        for exemplar in part.exemplars:
            pixels, box = prompts.exemplar_pixels(exemplar)
            level = _finest(make_view(pixels, exemplar.image))
            found.append(exemplar_embedding(level, box, (pixels.shape[0], pixels.shape[1])))
            levels.append(level)
        if found:
            vectors[index] = torch.stack(found).cpu()
    if not vectors:
        return Wording(prompts, stages)
    against = [_finest(view) for view in shots] or levels
    centre = torch.stack([level.mean((0, 2, 3)) for level in against]).mean(0).cpu()
    return Wording(prompts, stages, vectors, centre)


def wording_tensors(wording: Wording) -> dict[str, Tensor]:
    """Exemplars and centre, to be saved; nothing for a set of words."""
    found = {EXEMPLARS.format(index): rows for index, rows in wording.exemplars.items()}
    return found if wording.centre is None else {**found, CENTRE: wording.centre}


def restore_wording(reader: TensorReader, prompts: PromptSet, stages: Stages) -> Wording:
    """Inverse of :func:`wording_tensors`.

    Raises:
        CorruptDetectorError: The vectors of an exemplar are missing.
    """
    shown = {i: len(part.exemplars) for i, part in enumerate(prompts.parts) if part.exemplars}
    if not shown:
        return Wording(prompts, stages)
    centre = reader.take(CENTRE, (None,))
    width = len(centre)
    vectors = {i: reader.take(EXEMPLARS.format(i), (count, width)) for i, count in shown.items()}
    return Wording(prompts, stages, vectors, centre)


def check_words(prompts: PromptSet, view: ImageView) -> None:
    """Makes sure that every word can be grounded, before any work is done.

    Raises:
        PromptError: One cannot; the message names it.
    """
    words = (*prompts.background, *prompts.foreground, *prompts.phrases()[0])
    try:
        view.ground(words, None, prompts.templates, ALIGNER)
    except PromptError as error:
        raise PromptError(f"The prompt set {prompts.name!r} cannot be used: {error}") from error


def _finest(view: ImageView) -> Tensor:
    levels = view.pyramid(ALIGNER).levels
    return levels[min(levels)]


NORMAL = ("intact {}", "clean {}", "{} in good order", "new {}", "undamaged {}")
ABNORMAL = ("broken {}", "scratched {}", "stained {}", "{} with a crack", "bent {}", "damaged {}")
SCALE = 100.0  # of the softmax over two states: CLIP's own logit scale


def damage(view: ImageView, prompts: PromptSet) -> tuple[float, npt.NDArray[np.float32]]:
    """Probability that an image and its places are damaged.

    The mean over the words of each state, those of ``prompts`` if it has any; the maximum over
    several things. Needs a text aligner that reads.

    Returns:
        The mean of the image as a whole and of its worst place, and all places, float32
        ``(h, w)``; probabilities in [0, 1].
    """
    normal = prompts.normal_states or NORMAL
    abnormal = prompts.abnormal_states or ABNORMAL
    things = [part.words[0] if part.words else part.name for part in prompts.parts]
    words = [state.format(thing) for thing in things for state in (*normal, *abnormal)]
    whole = np.ones((1, 1, 1), bool)
    places, image = (
        _probability(view.ground(words, regions, prompts.templates, ALIGNER), things, len(normal))
        for regions in (None, whole)
    )
    return (float(image.max()) + float(places.max())) / 2, places.cpu().numpy()


def _probability(similar: torch.Tensor, things: list[str], normal: int) -> torch.Tensor:
    by_thing = similar.view(len(things), -1, *similar.shape[1:])
    sound, damaged = by_thing[:, :normal].mean(1), by_thing[:, normal:].mean(1)
    return torch.sigmoid(SCALE * (damaged - sound)).amax(0)
