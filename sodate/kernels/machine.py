"""What is fast on this machine, found by trying: the type of products, the library that makes them, the threads.

A processor's flags do not tell. One that names bfloat16 instructions multiplied at 155 GFLOP/s in bfloat16 and at 230
in float32, another the other way round; MKL is fast on some makers' processors and oneDNN on others. So products of the
size of the model's largest layer are made for about a tenth of a second, and the fastest kind is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sodate.kernels import products, rows
from sodate.kernels.threads import Watch

# Another kind than the usual one is taken where it is so much faster: two runs of a recipe should decide alike.
MARGIN = 1.15
ROWS = 512  # of the products that are tried, fewer where the layer is large
NUMBERS = 1 << 22  # of the weight that is tried, at most
SMALL = 1 << 18  # numbers of a weight whose products say nothing: they end before a thread has begun
SECONDS = 0.012  # for each kind
HEAD = 1 << 23  # numbers of the head that is tried
ALIKE_ROWS = (5, 33, 400)  # of products that are compared bit by bit


class ProductKind(NamedTuple):
    """A way to make a product: `float32 mkl`, `float32 onednn` or `bfloat16 onednn`, by so many threads."""

    dtype: str
    library: str
    threads: int

    def __str__(self) -> str:
        return f"{self.dtype} {self.library} {self.threads}"


@dataclass(frozen=True, slots=True)
class SpeedChoice:
    """The kind taken, and 10⁹ operations a second of every kind that was tried (none: nothing was)."""

    kind: ProductKind
    rates: dict[str, float]
    by_memory: bool = False  # the type is another than the fastest, which would not fit

    def figures(self) -> dict[str, Any]:
        """What a run's manifest and its result say of it."""
        return {"dtype": self.kind.dtype, "threads": self.kind.threads, "rates": self.rates}


@dataclass(frozen=True, slots=True)
class DecodingChoice:
    """Steps of few rows (some of rows.STEPS) that are left to torch, and 10⁹ operations a second of either side, by
    `compiled 16` and `torch 16` (none: nothing was tried)."""

    slower: frozenset[int] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)


def usual(threads: int) -> ProductKind:
    """What is taken where nothing is tried, or nothing is clearly faster."""
    return ProductKind("float32", "onednn" if products.AVX512 else "mkl", threads)


def choose(rates: Mapping[ProductKind, float], first: ProductKind) -> ProductKind:
    """The fastest kind, or `first` where that is as fast but for MARGIN."""
    best = max(rates, key=lambda kind: rates[kind])
    return best if first not in rates or rates[best] > MARGIN * rates[first] else first


def try_training(
    shape: tuple[int, int], kept: torch.dtype, dtypes: tuple[str, ...] = ("float32", "bfloat16"), *,
    rate: Callable[[ProductKind, Tensor], float] | None = None,
) -> SpeedChoice:  # fmt: skip
    """Tries products of a layer (out, in) with its input and its gradient, frozen weights in `kept` under float32.

    `rate` says how fast a kind is; by default it is measured.
    """
    threads = torch.get_num_threads()
    first = usual(threads)
    if shape[0] * shape[1] < SMALL:
        return SpeedChoice(first, {})
    weight = torch.ones(min(shape[0], max(64, NUMBERS // shape[1])), shape[1])
    watch = Watch(threads)
    measured = rate or (lambda kind, weight: _rate(kind, weight, kept))
    libraries = ("mkl", "onednn") if products.ONEDNN else ("mkl",)
    kinds = [ProductKind("float32", library, threads) for library in libraries if "float32" in dtypes]
    kinds += [ProductKind("bfloat16", "onednn", threads)] if "bfloat16" in dtypes else []
    rates = {kind: measured(kind, weight) for kind in kinds}
    best = choose(rates, first)
    watch.look()
    if threads == watch.threads > 1:  # beside others one thread is faster for now: that is threads.py's to follow
        alone = best._replace(threads=1)
        rates[alone] = measured(alone, weight)
        best = choose(rates, best)
    return SpeedChoice(best, {str(kind): round(value, 1) for kind, value in rates.items()})


def try_decoding(head: Tensor) -> DecodingChoice:
    """Tries steps of few rows by compiled code and by torch, on the model's largest product: the head (vocabulary,
    hidden), of which a part that no cache holds is taken. While other programs are busy nothing is decided."""
    weight = head.detach()[: max(1, HEAD // head.shape[1])]
    if not rows.multiplies(weight) or weight.numel() < HEAD // 2:
        return DecodingChoice()
    compiled, watch = rows.Product(weight, None), Watch(max(2, torch.get_num_threads()))
    slower, rates = set(), {}
    fewer_bytes = getattr(head, "packed", None) is not None or getattr(head, "bfloat16_bits", None) is not None
    for step in rows.STEPS[1:] if fewer_bytes else rows.STEPS:
        count = 1 if step == rows.VERY_FEW else step
        x = torch.ones(count, weight.shape[1])
        side, narrow = rows.side_by_side(x), x.to(weight.dtype)
        ours = _fastest(partial(compiled, side, count))
        theirs = _fastest(partial(products.product, narrow, weight))
        for name, seconds in (("compiled", ours), ("torch", theirs)):
            rates[f"{name} {count}"] = round(2 * count * weight.numel() / seconds / 1e9, 1)
        if ours > MARGIN * theirs:
            slower.add(step)
    watch.look()
    return DecodingChoice(frozenset(slower) if watch.threads == watch.most else frozenset(), rates)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of three, after one that prepares."""
    work()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


@contextmanager
def using(kind: ProductKind) -> Iterator[None]:
    """Within, products are made so; the number of threads and the library are put back."""
    threads, library = torch.get_num_threads(), products.library()
    use(kind)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        products.use_library(library)


def use(kind: ProductKind) -> None:
    """From here on products are made so, in this process."""
    if kind.threads != torch.get_num_threads():
        torch.set_num_threads(kind.threads)
    products.use_library(kind.library)


def adaptable(kind: ProductKind, shapes: Iterable[tuple[int, int]]) -> bool:
    """Whether products of training with weights of these shapes (out, in) are the same to the last bit by one thread
    and by the kind's number of them: a run's sums may not depend on who else was busy."""
    random = torch.Generator().manual_seed(0)
    dtype: torch.dtype = getattr(torch, kind.dtype)
    for out, into in sorted(shapes):
        weight = torch.randn(out, into, generator=random).to(dtype)
        for count in ALIKE_ROWS:
            x = torch.randn(count, into, generator=random).to(dtype)
            dy = torch.randn(count, out, generator=random).to(dtype)
            made = []
            for threads in (1, kind.threads):
                with using(kind._replace(threads=threads)):
                    made.append(
                        (products.product(x, weight), products.product_back(dy, weight), products.product_weight(dy, x))
                    )
            if not all(torch.equal(one, other) for one, other in zip(*made, strict=True)):
                return False
    return True


def _operands(kind: ProductKind, weight: Tensor, kept: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weight and gradient of a layer as training multiplies them."""
    dtype: torch.dtype = getattr(torch, kind.dtype)
    rows = max(64, min(ROWS, (1 << 29) // weight.numel()))
    operand = weight.to(kept if kept.itemsize < dtype.itemsize else dtype)
    return torch.ones(rows, weight.shape[1], dtype=dtype), operand, torch.ones(rows, weight.shape[0], dtype=dtype)


def _rate(kind: ProductKind, weight: Tensor, kept: torch.dtype) -> float:
    """10⁹ operations a second, of the fastest round: what others on the machine take is not the kind's."""
    x, operand, dy = _operands(kind, weight, kept)
    best, began = float("inf"), time.perf_counter()
    with using(kind):
        products.product(x[:64], operand)  # makes the kernel
        products.product_back(dy[:64], operand)
        while True:
            started = time.perf_counter()
            products.product(x, operand)
            products.product_back(dy, operand)
            ended = time.perf_counter()
            best = min(best, ended - started)
            if ended - began > SECONDS:
                return 4 * len(x) * weight.numel() / best / 1e9
