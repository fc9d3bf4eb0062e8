"""The preset ``paper`` against the equations of the paper, written down once more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fmlad.methods.sam_lad.paper import final_map
from fmlad.objects.appearance import Objects
from fmlad.objects.feature_maps import ObjectMaps
from tests.methods.sam_lad.test_method import TRAY, draw, fit, without

SIDE, CHANNELS = 9, 5


def image(seed: int, count: int) -> ObjectMaps:
    """A picture of some objects that lie anywhere and may overlap."""
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(0).normal(size=(6, CHANNELS))
    level = rng.normal(0, 0.3, (SIDE, SIDE, CHANNELS))
    masks = np.zeros((count, SIDE, SIDE), np.float32)
    for row in range(count):
        y, x = rng.integers(0, SIDE - 3, 2)
        masks[row, y : y + 4, x : x + 4] = rng.uniform(0.5, 1)
        level[y : y + 4, x : x + 4] += 4 * kinds[row]
    features = torch.from_numpy(level.transpose(2, 0, 1)[None].astype(np.float32))
    nothing = np.zeros((count, 7))
    objects = Objects(nothing, nothing, nothing[:, :4], nothing[:, :2], np.ones(count))
    return ObjectMaps(features, objects, torch.from_numpy(masks), (90, 90), np.zeros(2, np.float32))


def descriptors(f_obj: Tensor) -> Tensor:
    """Eqs. 4 to 8 for object feature maps ``(M, C, H, W)``, with the one weight W = 1."""
    f_in = f_obj.amax(dim=(2, 3))
    attended = []
    for vector in f_in:
        a_1 = torch.diag(torch.exp(vector) / torch.exp(vector).sum())
        attended.append(vector @ (torch.eye(len(vector), dtype=vector.dtype) @ a_1))
    v = f_in / f_in.norm(dim=1, keepdim=True)
    s = torch.tensor(
        [[0.0 if i == j else float(v[i] @ v[j]) for j in range(len(v))] for i in range(len(v))],
        dtype=f_in.dtype,
    )
    y = (s / s.sum(1, keepdim=True)) @ torch.sigmoid(f_in * torch.stack(attended))
    return y / y.norm(dim=1, keepdim=True)


def plan(s: Tensor, z: float) -> Tensor:
    """SuperGlue's layer, on logarithms and without its common factor."""
    m, n = s.shape
    couplings = torch.full((m + 1, n + 1), z, dtype=s.dtype)
    couplings[:m, :n] = s
    log_mu = torch.log(torch.tensor([1.0] * m + [n], dtype=s.dtype))
    log_nu = torch.log(torch.tensor([1.0] * n + [m], dtype=s.dtype))
    u, v = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
    for _ in range(2000):
        u = log_mu - torch.logsumexp(couplings + v, dim=1)
        v = log_nu - torch.logsumexp(couplings + u[:, None], dim=0)
    return torch.exp(couplings + u[:, None] + v)


def transcribed(query: ObjectMaps, references: list[ObjectMaps], light: bool) -> Tensor:
    """Eqs. 10 to 16 in double precision, with dense matrices."""
    maps = [one.level.double() * one.masks[:, None].double() for one in (query, *references)]
    d_q, *d_r = (descriptors(one) for one in maps)
    matched_with = []
    for d in d_r:
        p_bar = plan(d_q @ d.T / 0.1, 2.3457)
        p = p_bar[:-1, :-1]
        row = []
        for i in range(len(d_q)):
            j = int(p_bar[i].argmax())
            matched = j < len(d) and int(p[:, j].argmax()) == i
            row.append((matched, j if matched else int(p[i].argmax())))
        matched_with.append(row)
    final = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for i in range(len(d_q)):
        f_r = [maps[1 + k][row[i][1]] for k, row in enumerate(matched_with)]
        m = torch.zeros_like(final)
        for y in range(SIDE):
            for x in range(SIDE):
                f = torch.stack([one[:, y, x] for one in f_r])
                mu = f.mean(0)
                sigma = (f - mu).T @ (f - mu) / (len(f) - 1) + 0.01 * torch.eye(CHANNELS)
                off = maps[0][i][:, y, x] - mu
                m[y, x] = (off @ torch.linalg.inv(sigma.double()) @ off).sqrt()
        matched = 2 * sum(row[i][0] for row in matched_with) >= len(references)
        final += m * ((0.0 if light else 1.0) if matched else (1.0 if light else 2.0))
    return final


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize(("here", "there"), [(3, (3, 3)), (4, (3, 3)), (2, (4, 3, 3))])
def test_it_is_the_paper_equation_by_equation(
    here: int, there: tuple[int, ...], light: bool
) -> None:
    query = image(1, here)
    references = [image(2 + number, count) for number, count in enumerate(there)]
    found, partners = final_map(query, references, 0.01, 2.0, light)
    assert len(partners) == len(references)
    torch.testing.assert_close(
        found.double(), transcribed(query, references, light), rtol=2e-3, atol=2e-2
    )


def test_objects_without_any_to_compare_with_are_unmatched() -> None:
    empty = image(3, 0)
    found, (partner,) = final_map(image(1, 2), [empty], 0.01, 2.0, light=False)
    assert partner.tolist() == [-1, -1]
    assert found.max() > 0
    assert final_map(empty, [image(1, 2)], 0.01, 2.0, light=False)[0].max() == 0


def test_the_preset_scores_by_its_final_map_alone() -> None:
    detector = fit([draw(TRAY, seed) for seed in range(3)], preset="paper")
    method, state = detector._fitted.method, detector._fitted.state
    assert method.branches == ("measure",)
    assert state.learned is None
    assert state.bank is None
    view = detector._backbones.view(draw(without(4), 20))
    evidence = method.evidence(view, state)
    maps = method._object_maps(view, state.selection)
    near = state.index.nearest(maps.vector, 2)
    final, _ = final_map(maps, [state.templates[number] for number in near], 0.01, 2.0, light=False)
    np.testing.assert_array_equal(evidence.maps["measure"], final.numpy())
    assert evidence.scores == {"measure": float(final.max())}
    assert np.isfinite(detector.predict(draw(without(4), 20)).score)
