"""DPO beside TRL: same pairs token for token, same initial adapter, same order, reference included.

    python bench/dpo.py [--rounds 2] [--pairs 32] [--dtype bfloat16]

The pairs are order mails of examples/orders; the rejected reply is the chosen one behind a sentence nobody asked for.
Each round runs sodate and TRL in turn, each in a process of its own. Seconds are those of the training loop and of the
reference's log-probabilities, without loading; memory is the process's highest resident size. The held-out loss of
both adapters is measured by sodate. Both multiply in `--dtype`. Fails when the losses differ by more than 2 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from work import MAX_GRAD_NORM, ROOT, WORKS, peak_bytes, prepare, run_trl, train_sodate, version_of

ALLOWED, BATCH, LR, BETA = 0.02, 8, 5e-5, 0.1
Result = dict[str, Any]


def write_pairs(file: Path, split: str, count: int) -> None:
    lines = (ROOT / "examples" / "orders" / f"{split}.jsonl").read_text("utf-8").splitlines()[:count]
    rows = []
    for *prompt, reply in (json.loads(line)["messages"] for line in lines):
        wordy = {**reply, "content": f"Sure! Here is the order: {reply['content']}"}
        rows.append({"prompt": prompt, "chosen": [reply], "rejected": [wordy]})
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def rendered(base: Path, file: Path) -> list[Any]:
    import sodate
    from sodate.render.renderer import Renderer
    from sodate.train import pairs

    renderer = Renderer.from_folder(base)
    return [pairs.render(renderer, row) for row in sodate.check(file).iter_examples()]


def tokens(base: Path, file: Path) -> list[dict[str, list[int]]]:
    """The pairs as TRL keeps them: ids of the prompt and of each reply, which ends at its stop token."""
    found = []
    for chosen, rejected in rendered(base, file):
        start = next(i for i, weight in enumerate(chosen.weights) if weight)
        sides = ([i for i, weight in zip(s.ids, s.weights, strict=True) if weight] for s in (chosen, rejected))
        found.append(dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), (chosen.ids[:start], *sides), strict=True)))
    return found


def ours(folder: Path, dtype: str) -> Result:
    """One `sodate train` in a new process, its reference computed anew."""
    shutil.rmtree(folder / "home" / "cache" / "reference", ignore_errors=True)
    result = train_sodate(
        folder, "--method", "dpo", "--name", "bench-dpo", "model=smollm2-135m", f"data={folder / 'pairs.jsonl'}",
        f"init_adapter={folder / 'adapter'}", "shuffle=false", f"batch_size={BATCH}", "epochs=1", f"lr={LR}",
        f"beta={BETA}", "sft_weight=0", f"max_grad_norm={MAX_GRAD_NORM}", f"dtype={dtype}", "device=cpu",
    )  # fmt: skip
    weights = version_of(result) / "adapter"
    seconds = result["train_seconds"] + result["reference_seconds"]
    return {"seconds": seconds, "bytes": result["peak_rss_bytes"], "weights": str(weights)}


def trl(folder: Path) -> Result:
    run_trl(__file__, str(folder / "task.json"), str(folder / "trl"))
    value: Result = json.loads((folder / "trl" / "result.json").read_text())
    return value


def theirs(task: Path, out: Path) -> None:
    """Runs in TRL's environment."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    class Tokenised(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_args: Any, **_keys: Any) -> Any:
            return dataset

    work = json.loads(task.read_text())
    model = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    config = DPOConfig(
        output_dir=str(out), num_train_epochs=1, per_device_train_batch_size=BATCH, beta=BETA, learning_rate=LR,
        lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=MAX_GRAD_NORM, max_length=None,
        train_sampling_strategy="sequential", bf16=work["dtype"] == "bfloat16", use_cpu=True,
        gradient_checkpointing=False, save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(work["base"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = Tokenised(
        model=PeftModel.from_pretrained(model, work["adapter"], is_trainable=True), args=config,
        train_dataset=Dataset.from_list(work["pairs"]), processing_class=tokenizer,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(out / "weights", selected_adapters=["default"])
    (out / "result.json").write_text(
        json.dumps({"seconds": seconds, "bytes": peak_bytes(), "weights": str(out / "weights")})
    )


def held_out(folder: Path, base: Path, weights: Path) -> tuple[float, float]:
    """Loss and margin of an adapter on held-out pairs, against the model without it."""
    import torch

    from sodate.adapt import files as adapter_files
    from sodate.core.recipe import DPORecipe
    from sodate.model import load
    from sodate.train import cached_reference, dpo
    from sodate.train.pairs import Pairs

    rows = rendered(base, folder / "held_out.jsonl")
    model = load.load_base(base, device=torch.device("cpu"), dtype=torch.float32)
    start = cached_reference.compute(model, rows, 2048)
    adapter_files.load_adapter(model, weights)
    pair_loss = dpo.pair_loss(DPORecipe(model="", data=("",), beta=BETA))
    method = Pairs(model, [], rows, pair_loss, names=[], micro_tokens=2048, warn=print)
    method.references[1] = start
    found = method.validate()
    assert found is not None
    return found.loss, found.metrics["eval_margin"]


def main() -> None:
    if sys.argv[1:2] == ["--trl"]:
        theirs(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = prepare(WORKS["orders"], folder, 1)  # for the base and the initial adapter
        base = Path(task["base"])
        write_pairs(folder / "pairs.jsonl", "train", args.pairs)
        write_pairs(folder / "held_out.jsonl", "valid", 16)
        task["pairs"] = tokens(base, folder / "pairs.jsonl")
        (folder / "task.json").write_text(json.dumps(task | {"dtype": args.dtype}))
        runs: dict[str, list[Result]] = {"sodate": [], "TRL": []}
        for number in range(args.rounds):
            runs["sodate"].append(ours(folder, args.dtype))
            runs["TRL"].append(trl(folder))
            print(
                f"round {number + 1}: " + ", ".join(f"{k} {v[-1]['seconds']:.1f} s" for k, v in runs.items()),
                flush=True,
            )
        measured = {name: held_out(folder, base, Path(many[-1]["weights"])) for name, many in runs.items()}
    print(f"\nDPO LoRA r=8, smollm2-135m, {args.pairs} pairs of order mails, batch {BATCH}, one epoch, {args.dtype}")
    print(f"{'':8}  {'seconds':>8}  {'memory GB':>9}  {'held-out loss':>13}  {'margin':>7}")
    for side, many in runs.items():
        seconds, memory = (statistics.median(r[key] for r in many) for key in ("seconds", "bytes"))
        print(f"{side:8}  {seconds:8.1f}  {memory / 1e9:9.2f}  {measured[side][0]:13.4f}  {measured[side][1]:7.3f}")
    ratio = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True))
    share = statistics.median(a["bytes"] / b["bytes"] for a, b in zip(*runs.values(), strict=True))
    print(f"{ratio:.2f}× faster than TRL, {share:.2f} of its memory")
    sys.exit(abs(measured["sodate"][0] / measured["TRL"][0] - 1) > ALLOWED)


if __name__ == "__main__":
    main()
