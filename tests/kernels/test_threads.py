"""As many threads as there are cores to spare: what is read, what is decided, and that no sum changes with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sodate.adapt import lora
from sodate.core import load
from sodate.core.load import Look
from sodate.kernels import machine, products, threads
from sodate.kernels.threads import Watch
from sodate.library.store import ModelEntry
from sodate.model import fused
from sodate.model.forward import score
from sodate.model.load import load_base
from sodate.render.renderer import Rendered
from sodate.render.trie import build


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "cores", lambda: {0, 1})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("busy", "own", "expected"),
    [
        (2.0, 2.0, 2),  # we alone
        (2.0, 1.0, 1),  # another program has a core
        (2.0, 0.7, 1),
        (1.3, 1.0, 2),  # what runs in the background of any machine
        (1.6, 1.0, 1),
        (0.0, 0.0, 2),  # we waited for something
        (2.0, 0.0, 1),  # others take all: one thread is the least there is
    ],
)
def test_as_many_threads_as_cores_that_others_leave(busy: float, own: float, expected: int) -> None:
    looks = iter([Look(10.0, 50.0, 7.0), Look(11.0, 50.0 + busy, 7.0 + own)])
    watch = Watch(2, lambda: next(looks))
    watch.look()
    assert watch.threads == expected


def test_the_second_thread_comes_back_when_the_core_is_free_again() -> None:
    looks = iter([Look(0.0, 0, 0), Look(1.0, 2.0, 1.0), Look(2.0, 3.0, 2.0)])
    watch = Watch(2, lambda: next(looks))
    watch.look()
    assert watch.threads == 1
    watch.look()
    assert watch.threads == 2


def test_what_others_took_while_nobody_computed_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that another program's burst came before begins its next reply with all cores."""
    now = 0.0
    monkeypatch.setattr(threads.time, "monotonic", lambda: now)
    busy = 0.0
    watch = Watch(2, lambda: Look(now, busy, 0.0))
    now, busy = 10.0, 20.0  # both cores, for ten seconds
    with threads.adapting(watch):
        assert torch.get_num_threads() == 2
        now, busy = 10.6, 20.0
        threads.adapt()
        assert torch.get_num_threads() == 2
        now, busy = 11.2, 20.6  # beside us
        threads.adapt()
        assert torch.get_num_threads() == 1
    now, busy = 11.3, 20.7
    with threads.adapting(watch):  # no pause to speak of: what was seen counts on
        assert torch.get_num_threads() == 1


def test_what_other_programs_take_is_read_for_the_cores_we_may_use(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    # user nice system idle iowait irq softirq steal guest guest_nice
    stat.write_text(
        "cpu  900 0 900 900 0 0 0 0 0 0\ncpu0 100 20 30 4000 500 6 7 800 9 0\ncpu1 1 0 0 9 9 0 0 9 0 0\n"
        "cpu2 5000 0 0 0 0 0 0 0 0 0\nintr 1\n"
    )
    found = load.look_around(stat)
    assert found is not None and found.busy == pytest.approx((100 + 20 + 30 + 6 + 7 + 1) / load.TICK)
    assert load.look_around(tmp_path / "none") is None


def test_where_nobody_tells_the_threads_stay() -> None:
    watch = Watch(2, lambda: None)
    watch.look()
    watch.adapt()
    assert torch.get_num_threads() == 2


def test_products_follow_the_watch_and_the_number_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(2, lambda: None)
    x, weight = torch.ones(3, 4), torch.ones(5, 4)
    with threads.adapting(watch):
        watch.threads = 1
        products.product(x, weight)
        assert torch.get_num_threads() == 1
        with threads.adapting(Watch(2, lambda: None)):  # decoding within training: the outermost decides
            products.product(x, weight)
            assert torch.get_num_threads() == 1
        watch.threads = 2
        products.product(x, weight)
        assert torch.get_num_threads() == 2
        watch.threads = 1
        products.product(x, weight)
    products.product(x, weight)
    assert torch.get_num_threads() == 2


def test_a_run_whose_sums_would_change_keeps_its_threads() -> None:
    watch = Watch(2, lambda: None)
    with threads.adapting(None):
        watch.threads = 1
        with threads.adapting(watch):
            products.product(torch.ones(3, 4), torch.ones(5, 4))
            assert torch.get_num_threads() == 2


def test_sums_that_change_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = machine.usual(2)
    real = products.product_weight

    def split(dy: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return real(dy, x) + (torch.get_num_threads() - 1) * 1e-6

    monkeypatch.setattr(products, "product_weight", split)
    assert not machine.adaptable(kind, {(8, 64)})


@pytest.mark.real
@pytest.mark.parametrize("dora", [False, True])
def test_a_steps_gradients_have_the_same_bits_whatever_the_number_of_threads(smollm2: ModelEntry, dora: bool) -> None:
    if not machine.adaptable(machine.usual(2), {(8, 576), (576, 8), (1536, 576), (576, 1536)}):
        pytest.skip("this processor's libraries split sums by threads, and a run keeps its number")
    model = load_base(smollm2.path, device=torch.device("cpu"), dtype=torch.float32)
    lora.add(model, lora.LoraConfig(8, 16.0, lora.all_targets(model), dora=dora), seed=0)
    fused.replace_modules(model, torch.float32)
    draw = torch.Generator().manual_seed(1)
    rows = [torch.randint(10, 40_000, (70 + 9 * i,), generator=draw).tolist() for i in range(3)]
    trie = build([Rendered(ids, [0.0] * 20 + [1.0] * (len(ids) - 20)) for ids in rows])
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        model.zero_grad()
        score(model, trie).weighted_sum().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert len(found[0]) > 400 and all(torch.equal(found[0][name], found[1][name]) for name in found[0])
