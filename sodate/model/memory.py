"""Memory: what a run will need, what there is, and what was really used.

    bytes = process + weights + gradients + optimiser + activations of the heaviest micro-batch

Weights, gradients and AdamW's two moments are counted exactly. Activations are estimated, per computed token:

    all blocks kept      element · SAVED · Σ (in + out)                     over the matrices of all blocks
    recomputed           element · (blocks · hidden + SAVED_ONE · Σ (in + out) / blocks)

and a chunk of logits with a block of it (`linear_cross_entropy`) for the head. The constants are set a little high, for
`--memory` is a promise; `tests/test_memory.py` holds them against the measured peak of a real model.
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

import torch

from sodate.core.text import tr
from sodate.losses.linear_cross_entropy import BLOCK_ELEMENTS, CHUNK_BYTES
from sodate.model.forecast import Facts
from sodate.model.quantise import NF4

PROCESS_BYTES = 450_000_000  # Python, torch, transformers, tokenizer and a few rows
SAVED = 0.9  # a fused block in float32 keeps 0.6 to 0.7; others more
SAVED_ONE = 2.5


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

    def __str__(self) -> str:
        parts = (
            (tr("process", "プロセス"), self.process), (tr("weights", "重み"), self.weights),
            (tr("gradients", "勾配"), self.gradients), (tr("optimiser", "オプティマイザ"), self.optimizer),
            (tr("activations", "活性値"), self.activations),
        )  # fmt: skip
        return ", ".join(f"{name} {size(value)}" for name, value in parts if value)


def activations(facts: Facts, tokens: int, element: int, recompute: bool) -> int:
    """Bytes that a micro-batch of `tokens` computed tokens keeps for backward, and of the head's chunk of logits."""
    logits = min(CHUNK_BYTES, element * tokens * facts.vocabulary) + 4 * BLOCK_ELEMENTS
    kept = SAVED * facts.width
    if recompute:
        kept = facts.blocks * facts.hidden + SAVED_ONE * facts.width / facts.blocks
    return int(element * kept * tokens) + logits


def need(facts: Facts, *, weights: int, trained: int, element: int, tokens: int, recompute: bool, gpu: bool) -> Memory:
    """The estimate: `weights` bytes in all, `trained` of them trainable, `element` bytes of an activation's number."""
    return Memory(
        process=0 if gpu else PROCESS_BYTES,
        weights=weights,
        gradients=trained,
        optimizer=2 * trained,
        activations=activations(facts, tokens, element, recompute),
    )


def weight_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """(bytes of all weights and buffers, bytes of the trainable ones); what is tied counts once."""
    every = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers())}
    quantised = {id(w): w.nbytes for m in model.modules() if isinstance(w := getattr(m, "weight", None), NF4)}
    total = sum(t.numel() * t.element_size() for t in every.values()) + sum(quantised.values())
    return total, sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


# ── what there is ────────────────────────────────────────────────────────────────────────────────────────────────────


def available(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes this process can have in all, what it holds already included. `root` holds proc and sys."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    try:
        own = _kilobytes(root / "proc/self/status", "RssAnon")
        free = _kilobytes(root / "proc/meminfo", "MemAvailable")
    except (OSError, ValueError):  # not Linux: all there is, as nobody says what is free
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return own + min([free, *_left_in_cgroups(root)])


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


def peak(device: torch.device) -> int:
    """Highest memory so far: resident bytes of this process, or what torch took on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far."""
    with contextlib.suppress(OSError, ValueError):  # getrusage counts what it was forked from, even after exec
        return _kilobytes(Path("/proc/self/status"), "VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


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


def size(count: int) -> str:
    """Bytes as a person says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, torch's on the CPU (a plain RuntimeError) or on a GPU."""
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)
    )
