"""What is fast on a machine is found by trying, and how that decides: with rates of machines that are not here."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sodate.kernels import machine, products, rows, threads
from sodate.kernels.machine import ProductKind, choose, try_training

FLOAT, NARROW = ProductKind("float32", "mkl", 2), ProductKind("bfloat16", "onednn", 2)
ONEDNN = ProductKind("float32", "onednn", 2)
LAYER = (1536, 576)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells what other programs take, such as the rest of the tests."""
    monkeypatch.setattr(threads, "look_around", lambda: None)


@pytest.mark.parametrize(
    ("rates", "first", "chosen"),
    [
        ({ONEDNN: 229.0, FLOAT: 180.0, NARROW: 155.0}, ONEDNN, ONEDNN),  # a Xeon whose flags name bfloat16
        ({ONEDNN: 230.0, FLOAT: 75.0, NARROW: 340.0}, ONEDNN, NARROW),  # an EPYC that has it
        ({ONEDNN: 90.0, FLOAT: 120.0, NARROW: 9.0}, FLOAT, FLOAT),  # one that has not
        ({ONEDNN: 150.0, FLOAT: 120.0, NARROW: 9.0}, FLOAT, ONEDNN),
        ({ONEDNN: 110.0, FLOAT: 100.0}, FLOAT, FLOAT),  # no more than two measurements differ by
        ({ONEDNN: 90.0, NARROW: 80.0}, FLOAT, ONEDNN),  # the usual kind is not among them
    ],
)
def test_the_fastest_kind_is_taken_and_the_usual_one_where_little_is_won(
    rates: dict[ProductKind, float], first: ProductKind, chosen: ProductKind
) -> None:
    assert choose(rates, first) == chosen


def tried(
    alone: float, dtypes: tuple[str, ...] = ("float32", "bfloat16"), kept: torch.dtype = torch.float32
) -> machine.SpeedChoice:
    """The choice of a machine of two cores where bfloat16 is twice as fast, and one thread makes so much of two."""

    def rate(kind: ProductKind, weight: torch.Tensor) -> float:
        return (200.0 if kind.dtype == "bfloat16" else 100.0) * (alone if kind.threads == 1 else 1.0)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return try_training(LAYER, kept, dtypes, rate=rate)
    finally:
        torch.set_num_threads(before)


def test_one_thread_is_taken_where_the_second_is_in_the_way() -> None:
    assert tried(alone=0.5).kind == ProductKind("bfloat16", "onednn", 2)
    assert tried(alone=1.3).kind == ProductKind("bfloat16", "onednn", 1)
    assert tried(alone=1.05).kind.threads == 2  # within what two measurements differ by


def test_beside_another_program_the_number_of_threads_is_left_to_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([threads.Look(0.0, 0.0, 0.0), threads.Look(1.0, 2.0, 1.0)])
    monkeypatch.setattr(threads, "look_around", lambda: next(looks))
    monkeypatch.setattr(threads, "cores", lambda: {0, 1})
    choice = tried(alone=1.3)
    assert choice.kind.threads == 2 and "bfloat16 onednn 1" not in choice.rates


def test_every_rate_is_kept_by_its_name() -> None:
    rates = tried(alone=0.5).rates
    assert rates["bfloat16 onednn 2"] == 200 and rates["bfloat16 onednn 1"] == 100
    assert {name for name in rates if name.startswith("float32")} >= {"float32 mkl 2"}
    assert tried(alone=0.5, dtypes=("float32",)).kind.dtype == "float32"


def test_layers_too_small_to_tell_are_not_tried_so_that_two_runs_decide_alike() -> None:
    choice = try_training((64, 32), torch.float32, rate=lambda kind, weight: pytest.fail("tried"))
    assert choice == machine.SpeedChoice(machine.usual(torch.get_num_threads()), {})


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_trying_takes_a_moment_and_leaves_everything_as_it_was(
    kept: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SECONDS", 0.0)
    before = torch.get_num_threads(), products.library()
    choice = try_training((600, 512), kept, ("float32",))
    assert all(rate > 0 for rate in choice.rates.values()) and choice.kind.dtype == "float32"
    assert (torch.get_num_threads(), products.library()) == before


def test_products_go_to_the_library_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    if not products.ONEDNN:
        pytest.skip("torch without oneDNN")
    real, seen = torch.ops.mkldnn._linear_pointwise, []
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *given: seen.append(1) or real(*given))
    x, weight = torch.randn(200, 80), torch.randn(96, 80)
    for library in ("mkl", "onednn"):
        with machine.using(ProductKind("float32", library, torch.get_num_threads())):
            made = products.product(x, weight)
        torch.testing.assert_close(made, x @ weight.t(), rtol=1e-3, atol=1e-4)
        assert bool(seen) == (library == "onednn")


@pytest.mark.parametrize("others", [0.0, 1.0])
def test_rows_that_torch_computes_faster_are_left_to_it_unless_others_were_busy(
    others: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([2.0, 1.0, 1.0, 1.0, 1.0, 2.0])  # compiled, torch; at 4, 16 and 64 rows
    monkeypatch.setattr(machine, "_fastest", lambda work: next(seconds))
    monkeypatch.setattr(machine, "HEAD", 64 * 32)
    monkeypatch.setattr(rows, "multiplies", lambda weight: True)
    monkeypatch.setattr(threads, "cores", lambda: {0, 1})
    looks = iter([threads.Look(0.0, 0.0, 0.0), threads.Look(1.0, 1.0 + others, 1.0)])
    monkeypatch.setattr(threads, "look_around", lambda: next(looks))
    choice = machine.try_decoding(torch.ones(100, 32))
    assert choice.slower == (frozenset() if others else {4})
    assert list(choice.rates) == ["compiled 1", "torch 1", "compiled 16", "torch 16", "compiled 64", "torch 64"]
    assert choice.rates["torch 1"] == 2 * choice.rates["compiled 1"]


def test_one_row_of_a_weight_in_fewer_bits_is_not_tried_against_all_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_fastest", lambda work: 1.0)
    monkeypatch.setattr(machine, "HEAD", 64 * 32)
    monkeypatch.setattr(rows, "multiplies", lambda weight: True)
    head: Any = torch.ones(100, 32)
    head.bfloat16_bits = head.bfloat16().view(torch.int16).numpy()
    assert "compiled 1" not in machine.try_decoding(head).rates


def test_a_number_of_rows_belongs_to_the_step_that_has_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_slower", frozenset())
    rows.leave_to_torch({16})
    assert [rows.takes(count) for count in (0, 1, 4, 5, 16, 17, 64, 65)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
