"""Saved tensors come back as they were, or are refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fmlad.errors import CorruptDetectorError
from fmlad.io.tensors import TensorReader, module_tensors

DTYPES = (torch.float32, torch.float16, torch.int64, torch.bool)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.register_buffer("known", torch.tensor([True, False]))
        self.register_buffer("coarse", torch.ones(2, dtype=torch.float16))


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3))
def test_a_tensor_of_any_dtype_comes_back(dtype: torch.dtype, shape: list[int]) -> None:
    tensor = torch.ones(shape).to(dtype)
    reader = TensorReader({"a": tensor}, "cpu")
    with reader.description("thing"):
        found = reader.take("a", tuple(shape), dtype)
    assert torch.equal(found, tensor)
    assert found.dtype == dtype


@given(st.sampled_from(DTYPES), st.sampled_from(DTYPES), st.integers(1, 3), st.integers(1, 3))
def test_another_dtype_or_shape_is_refused(
    saved: torch.dtype, wanted: torch.dtype, has: int, asked: int
) -> None:
    reader = TensorReader({"a": torch.ones(has).to(saved)}, "cpu")
    if (saved, has) == (wanted, asked):
        assert len(reader.take("a", (asked,), wanted)) == asked
    else:
        with pytest.raises(CorruptDetectorError, match="'a'"):
            reader.take("a", (asked,), wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(CorruptDetectorError, match="finite"):
        TensorReader({"a": torch.tensor([value])}, "cpu").take("a", (1,))


def test_a_network_comes_back_with_its_counters() -> None:
    network, other = Network(), Network()
    network.layers(torch.randn(2, 3, 4, 4))
    reader = TensorReader(module_tensors("net", network), "cpu")
    with reader.description("network"):
        reader.module("net", other)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)
        assert other.state_dict()[name].dtype == tensor.dtype


@pytest.mark.parametrize("name", list(Network().state_dict()))
def test_a_network_that_lacks_something_or_has_too_much_is_refused(name: str) -> None:
    tensors = module_tensors("net", Network())
    for changed in (
        {key: tensor for key, tensor in tensors.items() if key != f"net.{name}"},
        tensors | {f"net.{name}.more": torch.zeros(1)},
        tensors | {f"net.{name}": torch.zeros(9)},
    ):
        reader = TensorReader(changed, "cpu")
        with pytest.raises(CorruptDetectorError), reader.description("network"):
            reader.module("net", Network())
