"""Memory: what a run will need, what there is, and what was really used.

    bytes = process + weights + gradients + optimiser + activations of the heaviest micro-batch

Weights, gradients and AdamW's two moments are counted exactly. Activations are estimated, per computed token:

    all blocks kept      element · SAVED · Σ (in + out)                     over the matrices of all blocks
    recomputed           element · (blocks · hidden + SAVED_ONE · Σ (in + out) / blocks)

and tiles of logits (`linear_cross_entropy`) for the head. A method that decodes holds keys and
values of its replies and a copy of the blocks' weights meanwhile, and no activations. The constants are set a little
high, for `--memory` is a promise; `tests/model/test_memory.py` holds them against the measured peak of a real model.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sodate.adapt.quantise import NF4
from sodate.core.text import Sentence, size, tr
from sodate.kernels.linear_cross_entropy import peak_logits
from sodate.model.forecast import ModelSize

PROCESS_BYTES = 450_000_000  # Python, torch, transformers, tokenizer and a few rows
SAVED = 0.9  # a fused block in float32 keeps 0.6 to 0.7; others more
SAVED_ONE = 2.5

RESTARTED = 16_000_000  # a peak no further above what is resident was counted anew (one is read after the other)

_earlier = 0  # highest resident bytes before the peak was last restarted


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one training process (`process` is 0 on a GPU), by what they are for."""

    process: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.process + self.weights + self.gradients + self.optimizer + self.activations

    def sentence(self) -> Sentence:
        parts = (
            (tr("process", "プロセス"), self.process), (tr("weights", "重み"), self.weights),
            (tr("gradients", "勾配"), self.gradients), (tr("optimiser", "オプティマイザー"), self.optimizer),
            (tr("activations", "活性値"), self.activations),
        )  # fmt: skip
        return tr(", ", "、").join(name + f" {size(value)}" for name, value in parts if value)


def activation_element(dtype: torch.dtype, device: torch.device) -> int:
    """Bytes of a number that is kept. On a CPU the residual stream and attention, half of it, stay in float32."""
    return (4 + dtype.itemsize) // 2 if device.type == "cpu" else dtype.itemsize


def activations(facts: ModelSize, tokens: int, element: int, recompute: bool) -> int:
    """Bytes that a micro-batch of `tokens` computed tokens keeps for backward, and of the head's logits."""
    logits = 4 * peak_logits(tokens)
    kept = SAVED * facts.width
    if recompute:
        kept = facts.blocks * facts.hidden + SAVED_ONE * facts.width / facts.blocks
    return int(element * kept * tokens) + logits


def need(
    facts: ModelSize, *, weights: int, trained: int, element: int, tokens: int, recompute: bool, process: int = 0,
    decoding: int = 0,
) -> Memory:  # fmt: skip
    """The estimate: `weights` bytes in all, `trained` of them trainable, `element` bytes of an activation's number, and
    `decoding` bytes where replies are made in between."""
    return Memory(
        process=process,
        weights=weights,
        gradients=trained,
        optimizer=2 * trained,
        activations=max(activations(facts, tokens, element, recompute), decoding),
    )


def cache_bytes(model: Any) -> int:
    """Keys and values of one token in all layers, as decoding keeps them."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # On a CPU attention is computed in float32, whatever the products are made in.
    element = 4 if model.device.type == "cpu" else model.dtype.itemsize
    return int(2 * config.num_hidden_layers * heads * width * element)


def weight_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """(bytes of all weights and buffers, bytes of the trainable ones); what is tied counts once."""
    every = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    quantised = {id(w): w.nbytes for m in model.modules() if isinstance(w := getattr(m, "weight", None), NF4)}
    total = sum(t.numel() * t.element_size() for t in every.values()) + sum(quantised.values())
    return total, sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def available(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes this process can have in all, what it holds already included. `root` holds proc and sys. Processes that one
    launcher started on this machine share what is free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    try:
        own = _kilobytes(root / "proc/self/status", "RssAnon")
        free = _kilobytes(root / "proc/meminfo", "MemAvailable")
    except (OSError, ValueError):  # not Linux: all there is, as nobody says what is free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return own + min([free, *_left_in_cgroups(root)]) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _kilobytes(file: Path, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    if not found:
        raise ValueError(key)
    return int(found[1]) * 1024


def _left_in_cgroups(root: Path) -> Iterator[int]:
    """What the limits of this process's control group and the groups above it leave. Cached files can be dropped."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            base, limit, used, cache = root / "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in kinds.split(","):
            base = root / "sys/fs/cgroup/memory"
            limit, used, cache = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        inner = base / path.strip("/")
        for group in (inner, *inner.parents):
            if not group.is_relative_to(base):
                break
            try:
                allowed = (group / limit).read_text().strip()
                taken = int((group / used).read_text())
                dropped = re.search(rf"^{cache} (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
            except (OSError, ValueError):
                continue  # inside a container the path is that of the host, and only the root is there
            if allowed != "max":
                yield int(allowed) - taken + (int(dropped[1]) if dropped else 0)


# ── what was used ────────────────────────────────────────────────────────────────────────────────────────────────────


def resident() -> int:
    """Bytes of this process in memory now, or 0 where nobody says."""
    with contextlib.suppress(OSError, ValueError):
        return _kilobytes(Path("/proc/self/status"), "VmRSS")
    return 0


def peak(device: torch.device) -> int:
    """Highest memory since `restart_peak`: resident bytes of this process, or what torch took on the GPU."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else _peak_rss()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process since `forget_peak`."""
    return max(_earlier, _peak_rss())


def _peak_rss() -> int:
    with contextlib.suppress(OSError, ValueError):  # getrusage counts what it was forked from, even after exec
        return _kilobytes(Path("/proc/self/status"), "VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def restart_peak(device: torch.device) -> bool:
    """Counts `peak` anew from here, and says whether it does: only Linux can, and some containers don't let it. The
    peak then goes on from what it was."""
    global _earlier
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    _earlier = max(_earlier, _peak_rss())
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_rss() < resident() + RESTARTED


def forget_peak() -> None:
    """Lets a run count its own peak, not that of what the process did before."""
    global _earlier
    restart_peak(torch.device("cpu"))
    _earlier = 0


def remember_few_shapes() -> None:
    """Lets torch and oneDNN remember few shapes of products. Has to be said before the first product.

    Both keep what they prepared for a shape, up to 1,024 of them, and every micro-batch has shapes of its own: a run
    grew by 22 MB with each step. The blocks of a model repeat the same few; forgetting the others costs no time.
    """
    os.environ.setdefault("LRU_CACHE_CAPACITY", "16")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


def return_heap() -> None:
    """Gives the free pages of glibc's heap back to the kernel, as after the work that came before a training."""
    _glibc("malloc_trim", 0)


def return_freed_memory() -> None:
    """Tells glibc to take tensors of 1 MiB and more from the kernel, and to give them back when they are freed.

    By default it learns to keep them in its heap, where the holes between them can't be given back: on SmolLM2 with
    recomputed blocks this halves what 2,000 tokens take. Every page is then cleared anew, so it is not the default.
    """
    _glibc("mallopt", -3, 1 << 20)  # M_MMAP_THRESHOLD; setting it ends the learning


def _glibc(name: str, *numbers: int) -> None:
    """Calls a function of glibc, where that is the C library."""
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None  # musl has none
    if function is not None:
        function(*numbers)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on the CPU (a plain RuntimeError) or on a GPU."""
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)
    )
