import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fmlad.networks.part_segmenter import (
    Context,
    PartSegmenter,
    PixelClassifier,
    coordinates,
    encoded,
    resized,
)

CHANNELS = (4, 6, 8)


class TinyEncoder(nn.Module):
    strides, channels = (4, 8, 16), CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3, c, 1) for c in CHANNELS)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        pairs = zip(self.stages, self.strides, strict=True)
        return [stage(F.avg_pool2d(images.float() / 255, s)) for stage, s in pairs]


def test_logits_have_the_size_of_the_input() -> None:
    segmenter = PartSegmenter(TinyEncoder(), PixelClassifier(CHANNELS, classes=5))
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    places = coordinates(64, 96).expand(2, -1, -1, -1)
    assert segmenter(images, places).shape == (2, 5, 64, 96)
    assert segmenter.classifier(segmenter.encoder(images), places).shape == (2, 5, 16, 24)


def test_hidden_channels_are_half_of_the_input_as_in_the_paper() -> None:
    wide = PixelClassifier((256, 512, 1024), classes=7)
    assert wide.first.weight.shape == (897, 1794, 1, 1)
    assert PixelClassifier(CHANNELS, 3, hidden=11).last.weight.shape == (3, 11, 1, 1)


def test_coordinates_run_from_0_to_1_and_keep_their_corners() -> None:
    places = coordinates(5, 9)
    assert places.shape == (2, 5, 9)
    assert torch.equal(places[0, 0], torch.linspace(0, 1, 9))  # x
    assert torch.equal(places[1, :, 0], torch.linspace(0, 1, 5))  # y
    small = resized(coordinates(64, 64)[None], (16, 16))
    torch.testing.assert_close(small[0], coordinates(16, 16))


def test_levels_apart_are_the_same_as_one_convolution_over_all_of_them() -> None:
    torch.manual_seed(0)
    classifier = PixelClassifier(CHANNELS, classes=3, scale=2.5)
    classifier.standardise(torch.randn(18), torch.rand(18) + 0.5)
    sizes = zip(CHANNELS, (16, 8, 4), strict=True)
    levels = [torch.randn(2, c, side, side) for c, side in sizes]
    places = coordinates(64, 64).expand(2, -1, -1, -1)
    joined = torch.cat(
        [F.interpolate(one, (16, 16), mode="bilinear", align_corners=True) for one in levels], 1
    )
    joined = (joined - classifier.mean[:, None, None]) / classifier.deviation[:, None, None]
    joined = torch.cat([joined, 2.5 * resized(places, (16, 16))], 1)
    expected = classifier.last(classifier.first(joined).relu())
    torch.testing.assert_close(classifier(levels, places), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_place_alone_can_tell_classes_apart(axis: int) -> None:
    torch.manual_seed(0)
    classifier = PixelClassifier(CHANNELS, classes=2, hidden=8)
    levels = [torch.zeros(1, c, side, side) for c, side in zip(CHANNELS, (16, 8, 4), strict=True)]
    places = coordinates(16, 16)[None]
    labels = (places[:, axis] > 0.5).long()
    optimizer = torch.optim.Adam(classifier.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(classifier(levels, places), labels)
        torch.autograd.backward(loss)
        optimizer.step()
    assert (classifier(levels, places).argmax(1) == labels).float().mean() > 0.95


def test_with_harmonics_a_column_in_the_middle_is_one_linear_step_away() -> None:
    """Without hidden units that bend: what a plain sum of the inputs can tell."""
    middle = (coordinates(1, 64)[0, 0] - 0.5).abs() < 0.1

    def error(harmonics: int) -> float:
        places = encoded(coordinates(1, 64)[None], 1.0, harmonics)[0, :, 0].T
        inputs = torch.cat([places, torch.ones(64, 1)], 1).double()
        target = middle.double()[:, None]
        best = torch.linalg.lstsq(inputs, target, driver="gelsd").solution
        return float((inputs @ best - target).square().mean())

    assert error(8) < 0.3 * error(0)
    assert PixelClassifier(CHANNELS, 3, harmonics=2).first.weight.shape[1] == 18 + 2 + 8


def test_context_tells_apart_what_only_the_surroundings_do() -> None:
    """The same pixel, with and without a mark some 10 cells away."""
    torch.manual_seed(0)
    levels = [torch.zeros(2, c, side, side) for c, side in zip(CHANNELS, (32, 16, 8), strict=True)]
    levels[0][1, 0, 16, 6] = 5.0
    places = coordinates(32, 32).expand(2, -1, -1, -1)
    alone = PixelClassifier(CHANNELS, classes=2, hidden=8)(levels, places)[:, :, 16, 16]
    seen = PixelClassifier(CHANNELS, classes=2, hidden=8, context=8)(levels, places)[:, :, 16, 16]
    torch.testing.assert_close(alone[0], alone[1])
    assert (seen[0] - seen[1]).abs().max() > 1e-4


@pytest.mark.parametrize("side", [32, 33])
def test_context_keeps_the_grid(side: int) -> None:
    assert Context(16, 8)(torch.randn(1, 16, side, side)).shape == (1, 16, side, side)
