"""Training speed and memory beside TRL: same rows token for token, same initial adapter, same order, float32.

    python bench/train.py [--rounds 3] [--rows 64]

Each round runs sodate, TRL padded and TRL packed in turn, each in a process of its own; the ratio is taken round by
round against the faster TRL, so that a machine whose speed drifts does not decide. Seconds are those of the training
loop without loading; memory is the process's highest resident size. Fails when the held-out loss differs from that of
TRL padded by more than 2 % (packing changes which rows share a step, so its loss is only reported).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from trl_curve import BATCH, DATA, LR, MAX_GRAD_NORM, MODEL, prepare, trl_python

ALLOWED = 0.02


def ours(work: Path, rows: int) -> dict[str, Any]:
    """One `sodate train` in a new process; its adapter is copied out of the version."""
    command = [
        sys.executable, "-m", "sodate.cli", "train", "--model", MODEL, "--data", str(work / "rows.jsonl"),
        "--init-adapter", str(work / "adapter"), "--name", "bench", "--json", "shuffle=false", f"batch_size={BATCH}",
        f"max_steps={rows // BATCH}", f"lr={LR}", f"max_grad_norm={MAX_GRAD_NORM}", "dtype=float32", "device=cpu",
    ]  # fmt: skip
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    name, number = result["version"].split("@")
    adapter = Path(result["run_dir"]).parents[1] / "versions" / name / number / "adapter"
    return {"seconds": result["train_seconds"], "bytes": result["peak_rss_bytes"], "adapter": str(adapter)}


def trl(work: Path, packing: bool) -> dict[str, Any]:
    out = work / f"trl-{'packed' if packing else 'padded'}"
    command = [trl_python(), __file__, "--trl", str(work / "task.json"), str(out), str(int(packing))]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"})
    value: dict[str, Any] = json.loads((out / "result.json").read_text())
    return value


def theirs(task: Path, out: Path, packing: bool) -> None:
    """Runs in TRL's environment."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    work = json.loads(task.read_text())
    base = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    config = SFTConfig(
        output_dir=str(out), num_train_epochs=1, per_device_train_batch_size=1 if packing else BATCH, packing=packing,
        learning_rate=LR, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=MAX_GRAD_NORM,
        train_sampling_strategy="sequential", max_length=1024 if packing else None, bf16=False, use_cpu=True,
        gradient_checkpointing=False, save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=PeftModel.from_pretrained(base, work["adapter"], is_trainable=True),
        args=config,
        train_dataset=Dataset.from_list(work["rows"]),
        processing_class=AutoTokenizer.from_pretrained(work["base"]),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(out / "adapter")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (out / "result.json").write_text(json.dumps({"seconds": seconds, "bytes": peak, "adapter": str(out / "adapter")}))


def held_out_loss(base: Path, adapter: Path) -> float:
    """Mean loss of an adapter on the example's validation rows, by one measure for all."""
    import torch

    import sodate
    from sodate.model import load
    from sodate.render.renderer import Renderer
    from sodate.train.sft import SFT

    renderer = Renderer.from_folder(base)
    rows = [renderer.render(row) for row in sodate.check(DATA.with_name("valid.jsonl")).iter_examples()]
    model = load.load_base(base, device=torch.device("cpu"), dtype=torch.float32)
    load.load_adapter(model, adapter)
    found = SFT(model, [], rows, names=[], micro_tokens=2048).validate()
    assert found is not None
    return found.loss


def main() -> None:
    if sys.argv[1:2] == ["--trl"]:
        theirs(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "1")
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        task = prepare(work, args.rows // BATCH)
        (work / "task.json").write_text(json.dumps(task))
        runs: dict[str, list[dict[str, Any]]] = {"sodate": [], "TRL padded": [], "TRL packed": []}
        for number in range(args.rounds):
            runs["sodate"].append(ours(work, args.rows))
            runs["TRL padded"].append(trl(work, packing=False))
            runs["TRL packed"].append(trl(work, packing=True))
            print(
                f"round {number + 1}: " + ", ".join(f"{k} {v[-1]['seconds']:.1f} s" for k, v in runs.items()),
                flush=True,
            )
        ratios = [
            min(a["seconds"], b["seconds"]) / mine["seconds"]
            for mine, a, b in zip(runs["sodate"], runs["TRL padded"], runs["TRL packed"], strict=True)
        ]
        losses = {name: held_out_loss(Path(task["base"]), Path(many[-1]["adapter"])) for name, many in runs.items()}
    print(f"\nSFT LoRA r=8, {MODEL}, {args.rows} order mails, batch {BATCH}, one epoch, {args.rounds} rounds")
    print(f"{'':12}  {'seconds':>8}  {'rows/s':>7}  {'memory GB':>9}  {'held-out loss':>13}")
    for name, many in runs.items():
        seconds = statistics.median(r["seconds"] for r in many)
        memory = statistics.median(r["bytes"] for r in many) / 1e9
        print(f"{name:12}  {seconds:8.1f}  {args.rows / seconds:7.2f}  {memory:9.2f}  {losses[name]:13.4f}")
    print(f"faster than the faster TRL: {statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})")
    drift = abs(losses["sodate"] - losses["TRL padded"]) / losses["TRL padded"]
    print(f"held-out loss against TRL padded: {100 * drift:.2f} % apart, allowed {100 * ALLOWED:.0f} %")
    sys.exit(drift > ALLOWED)


if __name__ == "__main__":
    main()
