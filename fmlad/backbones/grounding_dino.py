"""Grounding DINO (Liu et al., ECCV 2024) through transformers: boxes for phrases.

The network reads an image and a text, and gives some hundreds of boxes, each with the chance of
every token of the text to name what is in it. Which phrase a box answers is worked out in
:mod:`fmlad.backbones.phrases`. Image and text are fused before boxes are looked for, and
transformers' forward pass has no entry behind the image encoder alone: further phrases of the same
image cost a whole pass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass as checked
from torch import Tensor

from fmlad.backbones.colours import Colours, preprocessor_colours
from fmlad.backbones.common import IMAGENET, STRICT, normalised, parse
from fmlad.backbones.hub import folder_hash, from_folder, loading, locate, unavailable
from fmlad.backbones.phrases import Prompt, Vocabulary, phrase_scores, prompts
from fmlad.backbones.roles import Boxes
from fmlad.errors import OptionError

FAMILY = "grounding-dino"
STRIDES = (8, 16, 32, 64)  # px of the input: places on these grids become boxes
# Ids that the network's code takes for the ends of phrases: those of BERT's English vocabulary.
ENDS = {"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}

Share = Annotated[float, Field(ge=0, le=1)]


@checked(frozen=True, config=STRICT)
class GroundingSettings:
    """Options behind ``#``; thresholds and sizes are those of the original's demonstration.

    Attributes:
        box: A box stays if a token of a phrase has more chance than this.
        text: It answers a phrase if a token of that phrase has more chance than this.
        phrases: ``best``: the one phrase that a box answers best; ``all``: each that it answers,
            the same box again for every one.
        nms: Of two boxes for one phrase that overlap by more (intersection over union), the worse
            goes; 1 keeps all, as the original does. (Ours: SAM's generator has this number.)
        side: Pixels of the shorter side of the input ...
        longest: ... unless the longer side would then have more pixels than this.
    """

    box: Share = 0.35
    text: Share = 0.25
    phrases: Literal["best", "all"] = "best"
    nms: Share = 0.7
    side: Annotated[int, Field(ge=32)] = 800
    longest: Annotated[int, Field(ge=32)] = 1333


def load(name: str, device: str = "cpu") -> GroundingDino:
    """Builds the backbone from ``"grounding-dino:SOURCE"`` or ``"...#box=0.3,text=0.25"``.

    SOURCE is a hub identifier (``IDEA-Research/grounding-dino-tiny``) or a local folder as
    transformers saves it, with its tokenizer. Options are those of :class:`GroundingSettings`.

    Raises:
        WeightsUnavailableError: The weights cannot be had, are of another kind, or have no
            tokenizer that fits them.
        OptionError: An option that does not exist, or a value that does not fit.
    """
    from transformers import GroundingDinoForObjectDetection

    source, settings = parse(name, GroundingSettings)
    folder = locate(source, family=FAMILY)
    if not folder.is_dir():
        why = f"{folder} is one file, and the folder with its config.json is needed"
        raise unavailable(source, why, FAMILY)
    model = from_folder({FAMILY: GroundingDinoForObjectDetection}, folder, source, FAMILY)
    for module in model.modules():
        if hasattr(module, "disable_custom_kernels"):
            module.disable_custom_kernels = True  # plain torch: nothing is compiled or fetched
    tokenizer = _tokenizer(folder, source, int(model.config.text_config.vocab_size))
    colours = preprocessor_colours(folder, source, FAMILY, IMAGENET)
    model = model.eval().requires_grad_(False).to(device)
    return GroundingDino(name, model, tokenizer, colours, folder_hash(folder), settings, device)


class GroundingDino:
    """:class:`~fmlad.backbones.roles.Grounder`: open-set detection by phrases.

    A list of phrases longer than the network's text goes through it in several texts. Phrases of
    one text compete for a box, those of two do not.
    """

    expensive = True

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        colours: Colours,
        weights_hash: str,
        settings: GroundingSettings,
        device: str = "cpu",
    ) -> None:
        """Wraps a loaded network and its tokenizer; the hash is of weights and configuration."""
        self.name, self.settings = name, settings
        self._model, self._colours, self._device = model, colours, device
        self._vocabulary = Vocabulary(
            lambda text: tokenizer(text, add_special_tokens=False, verbose=False).input_ids,
            ENDS["[CLS]"],
            ENDS["[SEP]"],
            ENDS["."],
            tokenizer.unk_token_id,
        )
        config = model.config
        self._limit = min(config.max_text_len, config.text_config.max_position_embeddings)
        numbers = ",".join(f"{key}={value}" for key, value in asdict(settings).items())
        pixels = "imagenet" if colours == IMAGENET else f"colours={colours}"
        words = json.dumps(sorted(tokenizer.get_vocab().items())).encode()
        self.fingerprint = (
            f"{FAMILY} {numbers} {pixels} sha256={weights_hash} "
            f"words={hashlib.sha256(words).hexdigest()[:16]}"
        )

    @torch.inference_mode()
    def find(self, image: Tensor, phrases: Sequence[str]) -> Boxes:
        """Places in ``uint8 (1, 3, H, W)`` that answer one of the phrases.

        Phrases are read in lower case; a full stop or question mark inside one counts as a space.
        Of phrases that read the same, the first gets the boxes. Boxes end at the image's border.

        Raises:
            PromptError: There is no phrase; or one is no text, has no known word, or is too long.
            OptionError: Several images, or one so narrow that the input has too few places.
        """
        from torchvision.ops import batched_nms

        if image.ndim != 4 or len(image) != 1:
            raise OptionError(f"find() takes one image (1, 3, H, W), got {tuple(image.shape)}.")
        asked = prompts(phrases, self._vocabulary, self._limit)
        pixels = self.pixels(image)
        height, width = image.shape[-2:]
        answers = [self._answers(pixels, prompt) for prompt in asked]
        boxes, owners, scores = (torch.cat(parts) for parts in zip(*answers, strict=True))
        x, y, w, h = boxes.unbind(dim=1)
        corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1).clamp(0, 1)
        corners = corners * corners.new_tensor([width, height, width, height])
        kept = batched_nms(corners, scores, owners, self.settings.nms)  # best first
        return Boxes(*(part[kept].cpu().numpy() for part in (corners, owners, scores)))

    def pixels(self, image: Tensor) -> Tensor:
        """The network's input, float32 ``(1, 3, h, w)``, of ``uint8 (1, 3, H, W)``.

        Raises:
            OptionError: It has fewer places than the network has boxes to give.
        """
        from PIL import Image

        rows, columns = self.input_size(image.shape[-2], image.shape[-1])
        places = sum(math.ceil(rows / s) * math.ceil(columns / s) for s in STRIDES)
        if places < self._model.config.num_queries:
            raise OptionError(
                f"An image of {image.shape[-2]} x {image.shape[-1]} px becomes {rows} x {columns} "
                f"px, in which the network does not find {self._model.config.num_queries} places; "
                f"crop it to a less narrow one, or raise the options side and longest."
            )
        # As it was trained: PIL's bilinear filter, which averages where it shrinks.
        picture = Image.fromarray(np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy()))
        resized = np.array(picture.resize((columns, rows), Image.Resampling.BILINEAR))
        tensor = torch.from_numpy(resized).permute(2, 0, 1)[None]
        return normalised(tensor, self._device, colours=self._colours)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the network's input; the aspect is kept to within a pixel."""
        short, long = sorted((height, width))
        side, longest = self.settings.side, self.settings.longest
        exact = float(side) if long / short * side <= longest else longest * short / long
        rows = max(1, round(exact))
        if rows == short:  # nothing to do
            return height, width
        columns = int(exact * long / short)
        return (rows, columns) if height <= width else (columns, rows)

    def _answers(self, pixels: Tensor, prompt: Prompt) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(n, 4)``, centre and size as shares of the sides; their phrases and scores."""
        tokens = torch.tensor([prompt.tokens], device=self._device)
        output = self._model(pixel_values=pixels, input_ids=tokens)
        scores = phrase_scores(output.logits[0].sigmoid(), prompt)
        best, first = scores.max(dim=1)
        answered = scores > self.settings.text
        if self.settings.phrases == "best":
            answered &= first[:, None] == torch.arange(scores.shape[1], device=scores.device)
        queries, own = (answered & (best > self.settings.box)[:, None]).nonzero(as_tuple=True)
        owners = torch.tensor(prompt.phrases, device=self._device)[own]
        return output.pred_boxes[0, queries], owners, scores[queries, own]


def _tokenizer(folder: Path, source: str, words: int) -> Any:
    """The folder's tokenizer; without its vocabulary transformers would make one of five words."""
    from transformers import AutoTokenizer

    with loading(source, "its tokenizer", FAMILY):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ends = {token: tokenizer.convert_tokens_to_ids(token) for token in ENDS}
    if len(tokenizer) != words or ends != ENDS:
        why = (
            f"the tokenizer in {folder} knows {len(tokenizer)} words and the model {words}: it "
            f"lost its vocabulary (tokenizer.json or vocab.txt), or belongs to another model"
        )
        raise unavailable(source, why, FAMILY)
    return tokenizer
