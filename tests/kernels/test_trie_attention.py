"""Compiled attention over a trie gives the outputs and gradients of the segment-by-segment definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from sodate.kernels import trie_attention
from sodate.model.attention import TrieAttention
from tests.close import assert_as_exact

Shape = tuple[list[int], list[tuple[int, ...]]]
WIDEST = trie_attention.compiled.WIDE if trie_attention.compiled is not None else 0
compiled = pytest.mark.skipif(not WIDEST, reason="no compiled attention on this machine")


@pytest.fixture(params=[8, 16])
def wide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The code for registers of so many floats."""
    if request.param > WIDEST:
        pytest.skip(f"this processor has no registers of {request.param} floats")
    monkeypatch.setattr(trie_attention.compiled, "WIDE", request.param)
    return int(request.param)


@st.composite
def tries(draw: st.DrawFn) -> Shape:
    """Segments in depth-first order: each begins anew, or continues one that is still open."""
    lengths, paths = [draw(st.integers(1, 40))], [()]
    open_: tuple[int, ...] = (0,)
    for i in range(1, draw(st.integers(1, 7))):
        path = open_[: draw(st.integers(0, len(open_)))]
        lengths.append(draw(st.integers(1, 40)))
        paths.append(path)
        open_ = (*path, i)
    return lengths, paths


def outcome(
    shape: Shape, given: list[Tensor], scale: float | None, window: int | None, dtype: torch.dtype
) -> list[Tensor]:
    """Output (1, H, N, D) and the gradients of query, key and value, for given q, k, v, dout of (N, H, D)."""
    *leaves, dout = (t.to(dtype).clone().requires_grad_() for t in given)
    query, key, value = (leaf.transpose(0, 1)[None] for leaf in leaves)
    out = TrieAttention(*shape)(0, query, key, value, scale, window)
    out.backward(dout.transpose(0, 1)[None])  # type: ignore[no-untyped-call]
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def tensors(shape: Shape, shared: int, group: int, dim: int, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    heads = (shared * group, shared, shared, shared * group)
    return [torch.randn(sum(shape[0]), n, dim, generator=random) for n in heads]


@compiled
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    shape=tries(),
    shared=st.integers(1, 3),
    group=st.integers(1, 3),
    dim=st.sampled_from([16, 32, 48]),
    window=st.sampled_from([None, 2, 7, 16, 30, 500]),
    scale=st.sampled_from([None, 0.4]),
    seed=st.integers(0, 2**31),
)
def test_outputs_and_gradients_are_those_of_the_definition(
    wide: int, shape: Shape, shared: int, group: int, dim: int, window: int | None, scale: float | None, seed: int
) -> None:
    given = tensors(shape, shared, group, dim, seed)
    assert trie_attention.usable(given[0], given[2])
    found = outcome(shape, given, scale, window, torch.float32)
    exactly = outcome(shape, given, scale, window, torch.float64)  # by torch, segment by segment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trie_attention, "compiled", None)
        expected = outcome(shape, given, scale, window, torch.float32)
    least = 0.3 * float(exactly[0].norm())  # a gradient may be 0, the difference of terms as large as the output
    for ours, theirs, exact in zip(found, expected, exactly, strict=True):
        assert_as_exact(ours, theirs, exact, floor=1e-5, least=least)


@compiled
def test_the_same_numbers_come_out_every_time_and_by_any_number_of_threads_bit_for_bit(wide: int) -> None:
    shape: Shape = ([30, 70, 50, 20], [(), (0,), (0, 1), (0,)])
    given = tensors(shape, 3, 3, 32, 0)
    first = outcome(shape, given, None, None, torch.float32)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, before, before):
            torch.set_num_threads(threads)
            assert all(map(torch.equal, outcome(shape, given, None, None, torch.float32), first))
    finally:
        torch.set_num_threads(before)


@compiled
def test_scores_of_any_size_give_finite_numbers(wide: int) -> None:
    """A score of 900 beside one of -900 leaves one token with all the weight: its value comes out, by hand."""
    query, key = torch.zeros(1, 1, 2, 16), torch.zeros(1, 1, 2, 16)
    query[..., 0], key[0, 0, :, 0] = 30, torch.tensor([-30.0, 30.0])
    value = torch.tensor([3.0, 5.0])[None, None, :, None].expand(1, 1, 2, 16).contiguous()
    out = trie_attention.attend(query, key, value, trie_attention.plan([2], [()]), 1.0, None)
    assert out[0, 0, :, 0].tolist() == [3.0, 5.0]  # the first sees itself only


@compiled
def test_a_value_that_is_not_a_number_reaches_whoever_sees_it_and_no_other_segment(wide: int) -> None:
    shape: Shape = ([4, 3, 3], [(), (0,), (0,)])
    given = tensors(shape, 1, 1, 16, 0)
    given[2][5] = float("nan")  # in the second segment
    broken = outcome(shape, given, None, None, torch.float32)[0][0, 0, :, 0].isnan()
    assert broken[5:7].all()
    assert not broken[:4].any() and not broken[7:].any()


def arrays(dim: int = 16) -> list[Any]:
    """One segment of three and one of two behind it, two heads over one."""
    plan = trie_attention.plan([3, 2], [(), (0,)])
    shapes = [(5, 2, dim), (5, 1, dim), (5, 1, dim), (5, 2, dim), (2, 5)]  # q, k, v, out, lse
    return [plan, *(np.zeros(shape, np.float32) for shape in shapes), 1.0, 0, 8]


def with_plan(**changes: list[int]) -> list[Any]:
    names = ("starts", "ends", "path_at", "path", "positions")
    given = dict(zip(names, arrays()[0], strict=True)) | {k: np.asarray(v) for k, v in changes.items()}
    return [tuple(given.values()), *arrays()[1:]]


def changed(place: int, value: Any) -> list[Any]:
    return [value if i == place else one for i, one in enumerate(arrays())]


@compiled
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (arrays(dim=8), "shapes"),
        (changed(1, np.zeros((5, 3, 16))), "q has another type"),
        (changed(2, np.zeros((4, 1, 16), np.float32)), "shapes"),
        (changed(4, np.zeros((16, 2, 5), np.float32).transpose(2, 1, 0)), "out has another type"),
        (changed(5, np.zeros((2, 4), np.float32)), "shapes"),
        (changed(7, -1), "shapes"),
        (changed(8, 4), "shapes"),
        (changed(8, WIDEST + 8), "shapes"),
        (with_plan(path=[1]), "trie"),  # its own ancestor
        (with_plan(path=[-1]), "trie"),
        # An ancestor more than once: its ranges would be more than there are segments.
        (with_plan(path=[0] * 4, path_at=[0, 0, 4], positions=[0, 1, 2, 12, 13]), "trie"),
        (with_plan(path_at=[0, 0, 2]), "trie"),
        (with_plan(path_at=[0, 5, 1]), "trie"),
        (with_plan(ends=[3, 9]), "trie"),
        (with_plan(starts=[0, 4]), "trie"),
        (with_plan(positions=[0, 1, 2, 2, 3]), "trie"),
    ],
)
def test_what_would_lead_outside_the_arrays_is_refused(arguments: list[Any], said: str) -> None:
    assert trie_attention.compiled is not None
    trie_attention.compiled.trie(*arrays())  # these do fit
    with pytest.raises(ValueError, match=said):
        trie_attention.compiled.trie(*arguments)
