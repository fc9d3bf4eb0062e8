"""Sound or damaged, in words: for profiles that read.

The idea is WinCLIP's (Jeong et al., CVPR 2023): compare an image, and each of its places, with
words for a sound thing and with words for a damaged one. The words here are our own, and a prompt
set may bring others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from fmlad.methods.clip_lad.coarse_to_fine import ALIGNER
from fmlad.prompts import PromptSet
from fmlad.views import ImageView

NORMAL = ("intact {}", "clean {}", "{} in good order", "new {}", "undamaged {}")
ABNORMAL = ("broken {}", "scratched {}", "stained {}", "{} with a crack", "bent {}", "damaged {}")
SCALE = 100.0  # of the softmax over two states: CLIP's own logit scale


def damage(view: ImageView, prompts: PromptSet) -> tuple[float, npt.NDArray[np.float32]]:
    """How much an image and its places look damaged rather than sound.

    The states of a thing are the mean over their words; of several things, the worst counts.

    Args:
        view: Through a text aligner that reads.
        prompts: For the names of things, and for states of its own if it has any.

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
