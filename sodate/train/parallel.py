"""Several processes, one run. Started by torchrun or accelerate; in a single process every function here does nothing.

A step's rows are shared out in lexicographic order, so that rows with one beginning stay in one trie. Each process sums
the loss of its share, divided by the weight of the whole step; summed over processes, gradients are those of a single
one up to rounding. The order of rows knows nothing of the number of processes, so that a run moves between numbers.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sodate.core.errors import SodateError
from sodate.core.recipe import Recipe
from sodate.core.text import tr
from sodate.model import traits

T = TypeVar("T")
BUCKET = 64 * 1024 * 1024  # bytes of gradients summed at once


def join(device: str) -> None:
    """Meets the other processes, if a launcher started several. accelerate chooses gloo, or NCCL and a GPU each."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
        atexit.register(leave)


def leave() -> None:
    """Lets go of the others before Python ends: threads that still wait then would end the process with an abort."""
    if dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def refuse_unsupported(recipe: Recipe) -> None:
    """SodateError for what several processes can't do yet."""
    if count() == 1:
        return
    if recipe.method != "sft":
        raise SodateError(
            tr(f"{recipe.method} trains in one process.", f"{recipe.method} は 1 プロセスでのみ学習できます。"),
            tr("Start it without torchrun.", "torchrun を使わずに実行してください。"),
            code="bad_value",
            param="parallel",
        )
    if recipe.parallel == "fsdp" and recipe.adapter in ("full", "last"):
        raise SodateError(
            tr("parallel=fsdp shards frozen weights, and full fine-tuning has none.",
               "parallel=fsdp が分割するのは固定された重みで、全パラメータ学習にはありません。"),
            tr("Use parallel=ddp, or an adapter.", "parallel=ddp かアダプターを使ってください。"),
            code="bad_value", param="parallel",
        )  # fmt: skip


def device(wanted: torch.device) -> torch.device:
    """This process's own GPU."""
    if count() > 1 and wanted.type == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return wanted


def wait() -> None:
    if count() > 1:
        dist.barrier()


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through the block, then the others: they find its files made and its repairs done."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def from_main(value: T) -> T:
    """The main process's value."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(value: T) -> list[T]:
    """Everybody's value, by rank."""
    if count() == 1:
        return [value]
    box: list[Any] = [None] * count()
    dist.all_gather_object(box, value)
    return box


def summed(counts: dict[str, float]) -> dict[str, float]:
    """Counts added up, in the order of ranks; a process may lack a key."""
    every = gathered(counts)
    keys = dict.fromkeys(key for one in every for key in one)
    return {key: sum(one.get(key, 0) for one in every) for key in keys}


def share(items: Sequence[T], key: Callable[[T], list[int]]) -> list[T]:
    """This process's items: a run of neighbours in the order of `key` (token ids), of about equal tokens."""
    if count() == 1:
        return list(items)
    total, before, mine = sum(len(key(item)) for item in items), 0.0, []
    for item in sorted(items, key=key):
        middle = before + len(key(item)) / 2
        if int(count() * middle / total) == dist.get_rank():
            mine.append(item)
        before += len(key(item))
    return mine


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Adds up gradients over processes, in place. One that had no rows adds zeros."""
    if count() == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(g.nbytes for g in bucket) >= BUCKET:
            _add(bucket)
            bucket = []
    _add(bucket)


def _add(bucket: list[Tensor]) -> None:
    if bucket:
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(total.view_as(gradient))


# ── a frozen base in shards ──────────────────────────────────────────────────────────────────────────────────────────


def shard(model: Any, blocks: Sequence[nn.Module]) -> None:
    """FSDP: each process keeps its part of the frozen weights of every block, and gathers a block while it computes.

    What is trained (an adapter) stays whole everywhere, and so do embedding and head, which are read directly. Raises
    SodateError for a model whose rows are computed alone: processes with unlike rows would gather unequally often.
    """
    if not traits.of(model).shares:
        raise SodateError(
            tr(f"parallel=fsdp: rows of {type(model).__name__} are computed one by one, which shards can't be.",
               f"parallel=fsdp: {type(model).__name__} は 1 行ずつ計算するため、分割できません。"),
            tr("Use parallel=ddp.", "parallel=ddp を使ってください。"),
            code="bad_value", param="parallel",
        )  # fmt: skip
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    kind = "cuda" if torch.cuda.is_available() and dist.get_backend() == "nccl" else "cpu"
    mesh = init_device_mesh(kind, (count(),))
    whole = {p for p in model.parameters() if p.requires_grad}
    for block in blocks:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    model.sharded = True


def evened(model: Any, batches: list[T], spare: Callable[[], T]) -> Iterator[tuple[T, bool]]:
    """(batch, whether it counts): where blocks are gathered, all processes must compute equally often, so that one that
    has run out of batches computes its last, or the spare one, to no effect."""
    times = max(gathered(len(batches))) if getattr(model, "sharded", False) else len(batches)
    for number in range(times):
        if number < len(batches):
            yield batches[number], True
        else:
            yield batches[-1] if batches else spare(), False
