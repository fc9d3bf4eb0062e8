import torch

from fmlad.networks.object_decoder import CHANNELS, MAPS, OFFSETS, STAGES, ObjectDecoder, displaced


def stages(height: int, width: int) -> list[torch.Tensor]:
    strides = dict(zip(STAGES, CHANNELS, strict=True))
    found = [torch.zeros(0)] * 7
    for number, stride in strides.items():
        size = -(-height // stride), -(-width // stride)
        found[number] = torch.randn(2, CHANNELS[stride], *size)
    return found


def test_maps_at_stride_2_and_affinities_at_stride_4() -> None:
    decoder = ObjectDecoder(width=12).eval()
    said = decoder(torch.randn(2, 3, 96, 80), stages(96, 80))  # 80: no multiple of 32
    assert said.maps.shape == (2, len(MAPS), 48, 40)
    assert said.affinities.shape == (2, len(OFFSETS), 24, 20)


def test_displaced_pairs_each_cell_with_the_one_at_its_offset() -> None:
    rows, columns = torch.meshgrid(torch.arange(7), torch.arange(9), indexing="ij")
    for down, right in ((0, 1), (3, 0), (2, 2), (3, -3), (20, 1), (1, -20)):
        here, there = displaced((7, 9), down, right)
        assert torch.equal(rows[here] + down, rows[there])
        assert torch.equal(columns[here] + right, columns[there])
        pairs = max(7 - down, 0) * max(9 - abs(right), 0)
        assert rows[here].numel() == pairs
