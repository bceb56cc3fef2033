"""The CUDA path: does it agree with the CPU, and how fast is it beside transformers' padded forward?

    python bench/gpu.py [--device cuda] [--quick]

First agreement, on tiny models of four families with random weights: losses and gradients of the trie forward on the
device beside float64 on the CPU, greedy replies beside the CPU's, and one training run twice. Then speed, on models of
135 million and 1.5 billion random weights: a LoRA step of 32 rows that share most of their prompt, by sodate and by
transformers and PEFT (padded, where PEFT is installed); and decoding beside `generate` of transformers. A line for each
figure; exit status 1 where something disagrees or fails.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests.families and tests.farm

import torch
from torch import Tensor

from sodate.adapt import lora
from sodate.core.engine import Sampling
from sodate.generate import decoding
from sodate.generate.engine import generate
from sodate.model import fused
from sodate.model.forward import score
from sodate.model.load import load_base
from sodate.render.renderer import Rendered
from sodate.render.trie import Trie, build

SHAPES = {
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "vocab_size": 49152},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 1024},
}  # fmt: skip
FAILED: list[str] = []


def say(what: str, value: object, good: bool = True) -> None:
    print(f"{'' if good else 'DISAGREES '}{what:58} {value}", flush=True)
    if not good:
        FAILED.append(what)


def rows(vocabulary: int, count: int, shared: int, own: int) -> list[Rendered]:
    """`count` rows that begin with `shared` common tokens; loss on the second half of each row's own tokens."""
    draw = torch.Generator().manual_seed(1)
    head: list[int] = torch.randint(3, vocabulary, (shared,), generator=draw).tolist()
    made = []
    for _ in range(count):
        tail = torch.randint(3, vocabulary, (own,), generator=draw).tolist()
        made.append(Rendered(head + tail, [0.0] * (shared + own // 2) + [1.0] * (own - own // 2)))
    return made


def loss_and_gradients(model: Any, batch: Trie) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    loss = score(model, batch).weighted_sum()
    loss.backward()
    return loss.item(), {n: p.grad.double().cpu() for n, p in model.named_parameters() if p.grad is not None}


def apart(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """Norm of the difference of all gradients over the norm of the exact ones."""
    pairs = [(found[name], exact[name]) for name in exact]
    return float((sum((a - b).square().sum() for a, b in pairs) / sum(b.square().sum() for _, b in pairs)) ** 0.5)


def agreement(device: torch.device) -> None:
    from tests.families import FAMILIES, VOCABULARY, make

    torch.backends.cuda.matmul.allow_tf32 = False
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # FlexAttention's kernels want heads of at least 16 numbers.
            make(family, head_dim=16).save_pretrained(folder)
            batch = build(rows(VOCABULARY, 6, 90, 60))

            def made(where: str, dtype: torch.dtype, folder: Path = folder) -> Any:
                model = load_base(folder, device=torch.device(where), dtype=dtype)
                lora.add(model, lora.LoraConfig(4, 8.0, lora.all_targets(model)), 0)
                with torch.no_grad():
                    for layer in model.modules():
                        if isinstance(b := getattr(layer, "lora_B", None), torch.nn.Parameter):
                            b.normal_(0, 0.1, generator=None)
                fused.replace_modules(model, dtype)
                return model

            torch.manual_seed(0)
            exact_model = made("cpu", torch.float64)
            loss, exact = loss_and_gradients(exact_model, batch)
            state = {n: p.detach().clone() for n, p in exact_model.named_parameters() if p.requires_grad}
            for dtype, loss_bound, bound in ((torch.float32, 1e-5, 1e-4), (torch.bfloat16, 0.01, 0.4)):
                model = made(str(device), dtype)
                with torch.no_grad():
                    for n, p in model.named_parameters():
                        if n in state:
                            p.copy_(state[n])
                found, gradients = loss_and_gradients(model, batch)
                far = abs(found - loss) / abs(loss)
                say(f"{family} {str(dtype)[6:]}: loss, relative", f"{far:.1e}", far < loss_bound)
                far = apart(gradients, exact)
                say(f"{family} {str(dtype)[6:]}: gradients, relative", f"{far:.1e}", far < bound)
            prompts = [row.ids[:n] for row, n in zip(rows(VOCABULARY, 5, 20, 9), (20, 24, 29, 11, 25), strict=True)]
            replies = {}
            for where in ("cpu", str(device)):
                model = load_base(folder, device=torch.device(where), dtype=torch.float32)
                fused.replace_modules(model, torch.float32)
                decoding.freeze(model)
                replies[where] = [r.ids for r in generate(model, prompts, [1], Sampling(max_new_tokens=24))]
            same = sum(a == b for a, b in zip(*replies.values(), strict=True)) if len(replies) == 2 else len(prompts)
            say(f"{family} float32: greedy replies as on the CPU", f"{same}/{len(prompts)}", same == len(prompts))


def training(device: torch.device) -> None:
    """A run of the tiny model through the whole of `sodate.train`, and the same run again."""
    import sodate
    from tests import farm

    with tempfile.TemporaryDirectory() as name:
        planted = farm.plant(Path(name))
        os.environ["SODATE_HOME"] = str(planted.home)
        about: dict[str, Any] = {"model": planted.model, "data": str(planted.train), "eval": str(planted.held),
                                 "device": str(device), "max_steps": 8, "lr": 0.01, "batch_size": 4}  # fmt: skip
        ended = [sodate.train(name=name, **about) for name in ("first", "again")]
        losses = [round(run["final_loss"], 5) for run in ended]
        say("sodate train: first → last loss", f"{ended[0]['first_loss']:.3f} → {losses[0]:.3f}",
            ended[0]["final_loss"] < ended[0]["first_loss"])  # fmt: skip
        say("the same run twice: last losses", losses, abs(losses[0] - losses[1]) < 1e-3)


def timed(call: Callable[[], Any], device: torch.device, times: int) -> float:
    """Median seconds of a call, after two that are not counted (they compile)."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    seconds = []
    for number in range(times + 2):
        wait()
        started = time.perf_counter()
        call()
        wait()
        if number >= 2:
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak(device: torch.device) -> str:
    return f"{torch.cuda.max_memory_allocated() / 1e9:.2f} GB" if device.type == "cuda" else "-"


def fresh_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def speed(device: torch.device, shape: str, count: int, shared: int, own: int, times: int) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    dtype = torch.bfloat16
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, tie_word_embeddings=True, pad_token_id=2)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder)
        batch = rows(config.vocab_size, count, shared, own)
        trie = build(batch)
        model = load_base(folder, device=device, dtype=dtype)
        lora.add(model, lora.LoraConfig(16, 32.0, lora.all_targets(model)), 0)
        fused.replace_modules(model, dtype)
        fresh_peak(device)

        def ours(model: Any = model) -> None:
            model.zero_grad()
            score(model, trie).weighted_sum().backward()

        mine = timed(ours, device, times)
        tokens = sum(len(row.ids) for row in batch)
        what = f"{shape}, {count} rows of {shared} shared + {own} own tokens"
        say(f"{what}: sodate", f"{mine * 1e3:.0f} ms a step, {tokens / mine:,.0f} tokens/s, {peak(device)}")
        del model
        fresh_peak(device)
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            return
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(device)
        plain = get_peft_model(plain, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
        ids = torch.tensor([row.ids for row in batch], device=device)
        labels = torch.where(torch.tensor([row.weights for row in batch], device=device) > 0, ids, -100)

        def theirs() -> None:
            plain.zero_grad()
            for part in range(0, count, 8):  # the logits of all rows at once would be the most of the memory
                plain(input_ids=ids[part : part + 8], labels=labels[part : part + 8]).loss.backward()

        other = timed(theirs, device, times)
        say(
            f"{what}: transformers + PEFT",
            f"{other * 1e3:.0f} ms a step, {peak(device)}; {other / mine:.1f} times ours",
        )


def decoding_speed(device: torch.device, shape: str, times: int) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, tie_word_embeddings=True, pad_token_id=2)
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
        for count in (1, 16, 64):
            prompts = [row.ids for row in rows(config.vocab_size, count, 200, 20)]
            model = load_base(folder, device=device, dtype=torch.bfloat16)
            fused.replace_modules(model, torch.bfloat16)
            decoding.freeze(model)

            def ours(model: Any = model, prompts: list[list[int]] = prompts, count: int = count) -> None:
                generate(model, prompts, [], Sampling(max_new_tokens=64), batch_size=count)

            mine = timed(ours, device, times)
            del model
            plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()
            ids = torch.tensor(prompts, device=device)

            def theirs(plain: Any = plain, ids: Tensor = ids) -> None:
                plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, min_new_tokens=64,
                               do_sample=False, pad_token_id=2)  # fmt: skip

            other = timed(theirs, device, times)
            say(f"{shape}, {count} replies of 64 tokens", f"{count * 64 / mine:,.0f} tokens/s, transformers "
                f"{count * 64 / other:,.0f}: {other / mine:.1f} times")  # fmt: skip
            del plain


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny model in place of the large ones")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    about = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(json.dumps({"device": about, "torch": torch.__version__}))
    failed = []
    works: list[tuple[str, Callable[[], None]]] = [
        ("agreement", lambda: agreement(device)),
        ("training", lambda: training(device)),
    ]
    if asked.quick:
        works += [
            ("speed", lambda: speed(device, "tiny", 4, 20, 10, 2)),
            ("decode", lambda: decoding_speed(device, "tiny", 1)),
        ]
    else:
        works += [
            ("speed 135M", lambda: speed(device, "135M", 32, 300, 100, 8)),
            ("speed 1.5B", lambda: speed(device, "1.5B", 32, 1500, 200, 5)),
            ("decoding 135M", lambda: decoding_speed(device, "135M", 2)),
        ]
    for name, work in works:
        try:
            work()
        except Exception as error:
            failed.append(name)
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:2000]}", flush=True)
            traceback.print_exc()
    sys.exit(bool(failed or FAILED))


if __name__ == "__main__":
    main()
