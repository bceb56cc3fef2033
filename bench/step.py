"""Where the seconds of one training step go, beside the floor of its matrix products.

    python bench/step.py [--work orders] [--dtype auto] [--stored bfloat16]

Eight rows of a work of bench/train.py (two conversations for multi-turn). The floor is the operations that no
implementation can leave out, at the best rate that this machine reaches on a product of the model's largest layer.
`--stored`: the model as if it was published in that precision, its weights rounded to it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from torch.profiler import ProfilerActivity, profile
from work import ALPHA, RANK, SEED, WORKS, Work, conversations

import sodate
from sodate.adapt import adapters, lora
from sodate.cli.at_hand import at_hand
from sodate.core import text
from sodate.core.types import Conversation
from sodate.kernels.machine import try_training, use
from sodate.kernels.products import product
from sodate.library import weights
from sodate.library.checks import weight_files
from sodate.model import fused, load, memory, stored_precision, stream
from sodate.model.forecast import model_size
from sodate.model.forward import score
from sodate.release.lookup import look_up
from sodate.render.renderer import Renderer
from sodate.render.trie import Trie, build

GROUPS = {
    "products": ("aten::mm", "aten::addmm", "aten::addmm_", "mkldnn::_linear_pointwise"),
    "attention": ("_Attended", "_AttendedBackward", "aten::_scaled_dot_product_flash_attention_for_cpu",
                  "aten::_scaled_dot_product_flash_attention_for_cpu_backward"),  # torch's, without the compiled one
    "activation of the MLP": ("_GatedMLP", "_GatedMLPBackward", "aten::silu", "aten::silu_backward", "aten::gelu",
                              "aten::gelu_backward"),
    "softmax of the head": ("_LinearNLL", "aten::exp_", "aten::amax", "aten::gather", "aten::scatter_"),
    "copies and conversions": ("aten::copy_", "aten::cat"),
    "sums and multiplications": ("aten::mul", "aten::mul_", "aten::add", "aten::add_", "aten::sub_", "aten::sum",
                                 "aten::addcmul_", "aten::linalg_vector_norm"),
}  # fmt: skip


def rounded(base: Path, stored: torch.dtype, folder: Path) -> Path:
    """The model of `base` with weights in `stored`, written into a new folder."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    held = {name: tensor.read(stored) for file in weight_files(base) for name, tensor in stream.tensors(file)}
    weights.write_tensors(folder / "model.safetensors", held, {"format": "pt"})
    return folder


def setup(
    work: Work, dtype: torch.dtype, stored: torch.dtype | None = None, rows: int | None = None
) -> tuple[Any, Trie]:
    """The model as training has it, and the trie of its first step, or of its first `rows`."""
    base = look_up(at_hand(work.model)).folder
    renderer = Renderer.from_folder(base)
    with tempfile.TemporaryDirectory() as folder:
        if stored is not None:
            base = rounded(base, stored, Path(folder) / "base")
        file = Path(folder) / "rows.jsonl"
        taken = conversations(work, "train")[: rows or work.batch]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in taken), "utf-8")
        talks = [row for row in sodate.check(file).iter_examples() if isinstance(row, Conversation)]
        sequences = [s for row in talks for s in renderer.render(row)]
        loaded = torch.float32 if work.full else dtype
        kept = loaded if work.full else stored_precision.precision(base, dtype)
        model = load.load_base(base, device=torch.device("cpu"), dtype=loaded, kept=kept)
    if not work.full:
        lora.add(model, lora.LoraConfig(RANK, ALPHA, lora.all_targets(model)), SEED)
    fused.replace_modules(model, dtype)
    return model, build(sequences)


def floor(model: Any, trie: Trie, full: bool) -> dict[str, float]:
    """Operations of a step by kind: 4 a token for a frozen weight, 6 for a trained one; 14 per pair in attention."""
    head = model.get_output_embeddings().weight.numel()
    adapter = sum(p.numel() for layer in adapters.layers(model) for p in layer[1].parameters() if p.requires_grad)
    blocks = sum(p.numel() for p in model.get_decoder().layers.parameters()) - adapter
    config, tokens, times = model.config, len(trie.tokens), 6 if full else 4
    width = config.num_attention_heads * (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    lengths = [s.end - s.start for s in trie.segments]
    pairs = sum(
        n * (sum(lengths[a] for a in s.path) + (n + 1) / 2) for n, s in zip(lengths, trie.segments, strict=True)
    )
    return {
        "blocks": tokens * blocks * times,
        "head": len(trie.source) * head * times,
        "adapters": tokens * adapter * 6,
        "attention": pairs * width * config.num_hidden_layers * 14,
    }


def best_rate(model: Any, tokens: int, dtype: torch.dtype) -> float:
    """Operations a second of x Wᵀ on the model's widest kind of layer."""
    config = model.config
    x, weight = (
        torch.randn(tokens, config.hidden_size).to(dtype),
        torch.randn(config.intermediate_size, config.hidden_size),
    )
    weight = weight.to(dtype)
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        product(x, weight)
        seconds.append(time.perf_counter() - started)
    return 2 * tokens * weight.numel() / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=WORKS, default="orders")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--stored", choices=("float32", "bfloat16"))
    args = parser.parse_args()
    work, chosen = WORKS[args.work], args.dtype
    if chosen == "auto":
        choice = try_training(model_size(look_up(at_hand(work.model)).folder).largest, torch.float32)
        use(choice.kind)
        chosen = choice.kind.dtype
    dtype = getattr(torch, chosen)
    model, trie = setup(work, dtype, args.stored and getattr(torch, args.stored))
    memory.return_heap()
    memory.forget_peak()

    def step() -> float:
        model.zero_grad()
        started = time.perf_counter()
        score(model, trie).weighted_sum().backward()
        return time.perf_counter() - started

    seconds, peak = sorted(step() for _ in range(6))[2], text.size(memory.peak_rss_bytes())
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    times = {event.key: event.self_cpu_time_total / 1e6 for event in recorded.key_averages()}
    rate = best_rate(model, len(trie.tokens), dtype)
    operations = floor(model, trie, work.full)
    print(f"{work.name}, {dtype}, {torch.get_num_threads()} threads: {len(trie.tokens)} computed tokens, "
          f"{len(trie.source)} with loss")  # fmt: skip
    print(f"{'floor':26}  {'operations':>10}  seconds at {rate / 1e9:.0f} GFLOP/s")
    for name, count in (*operations.items(), ("sum", sum(operations.values()))):
        print(f"{name:26}  {count / 1e9:8.1f} G  {count / rate:7.2f}")
    total = sum(times.values())
    ratio = seconds * rate / sum(operations.values())
    print(f"{'measured':26}  {seconds:10.2f} s, {ratio:.2f}× the floor, {peak} of memory")
    grouped = {group: sum(times.get(name, 0.0) for name in names) for group, names in GROUPS.items()}
    for group, value in (*grouped.items(), ("all else", total - sum(grouped.values()))):
        print(f"{group:26}  {100 * value / total:9.1f} %")


if __name__ == "__main__":
    main()
