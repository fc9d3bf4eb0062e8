"""Grounding DINO at its true size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fmlad.backbones import grounding_dino
from fmlad.errors import OptionError
from tests.backbones.test_grounding_dino import PHRASES, photo
from tests.backbones.tiny_grounding_models import tokenizer


@pytest.mark.slow
def test_a_network_of_the_true_size(tmp_path: Path) -> None:
    """Swin-T, BERT base and 900 boxes, as grounding-dino-tiny, with random weights."""
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7,
        out_indices=[2, 3, 4],
    )  # fmt: skip
    config = GroundingDinoConfig(backbone_config=swin, text_config=BertConfig())
    model = GroundingDinoForObjectDetection(config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(172e6, rel=0.02)
    model.save_pretrained(tmp_path)
    del model
    words = tokenizer().get_vocab()
    words |= {f"[unused{i}]": i for i in range(len(words), 30522)}
    from transformers import BertTokenizer

    BertTokenizer(vocab=words, do_lower_case=True).save_pretrained(tmp_path)
    # A quarter of the pixels: the time goes into them, and the network is as large.
    options = "box=0,text=0,nms=1,side=400,longest=667"
    backbone = grounding_dino.load(f"grounding-dino:{tmp_path}#{options}")
    assert backbone.input_size(300, 400) == (400, 533)
    found = backbone.find(photo(0, (300, 400)), PHRASES)
    assert len(found) == 900
    assert np.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [400, 300, 400, 300]).all()
    with pytest.raises(OptionError, match="find 900 places"):
        backbone.find(torch.zeros(1, 3, 2, 500, dtype=torch.uint8), PHRASES)
