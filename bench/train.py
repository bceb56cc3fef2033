"""Training speed and memory beside TRL: same rows token for token, same initial weights, same order.

    python bench/train.py [--rounds 2] [--rows 24] [--work orders,full,…] [--json FILE]

Every run is a process of its own, in turn, none with gradient checkpointing. Where the CPU has instructions for
bfloat16: sodate as it decides by itself (in bfloat16 then), sodate in float32, and TRL in float32 padded, bfloat16
padded and bfloat16 packed. Where it has none, and bfloat16 takes many times as long in both: sodate, and TRL in
float32, padded and packed. Later rounds run only the fastest of TRL's settings and the fastest that takes the same
steps: packing makes other steps of the rows, and ends at another loss. The ratios to both are taken round by round, so
that a machine whose speed drifts does not decide. Seconds are those of the training loop without loading; memory is the
process's highest resident size.
Fails when a held-out loss of sodate differs by more than 2 % from that of TRL in the same precision, padded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from work import WORKS, Work, peak_bytes, prepare, recipe_keys, run_trl, train_sodate, version_of

ALLOWED = 0.02
SODATE = {"sodate": "auto", "sodate float32": "float32"}
TRL = {  # bfloat16, packing
    "TRL float32": (False, False), "TRL float32 packed": (False, True),
    "TRL bfloat16": (True, False), "TRL bfloat16 packed": (True, True),
}  # fmt: skip
Result = dict[str, Any]


def settings() -> tuple[dict[str, str], list[str]]:
    """What runs on this machine: sodate's settings with their dtype, and TRL's."""
    from sodate.model.load import cpu_has_bfloat16

    if cpu_has_bfloat16():
        return SODATE, ["TRL float32", "TRL bfloat16", "TRL bfloat16 packed"]
    return {"sodate": "auto"}, ["TRL float32", "TRL float32 packed"]


def ours(work: Work, folder: Path, steps: int, dtype: str) -> Result:
    """One `sodate train` in a new process."""
    result = train_sodate(folder, "--name", "bench", *recipe_keys(work, folder, steps, dtype))
    weights = version_of(result) / ("model" if work.full else "adapter")
    return {"seconds": result["train_seconds"], "bytes": result["peak_rss_bytes"], "weights": str(weights)}


def trl(folder: Path, setting: str) -> Result:
    out = folder / setting.replace(" ", "-")
    run_trl(__file__, str(folder / "task.json"), str(out), setting)
    value: Result = json.loads((out / "result.json").read_text())
    return value


def theirs(task: Path, out: Path, setting: str) -> None:
    """Runs in TRL's environment."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    bf16, packing = TRL[setting]
    work = json.loads(task.read_text())
    model = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    if work["adapter"]:
        model = PeftModel.from_pretrained(model, work["adapter"], is_trainable=True)
    config = SFTConfig(
        output_dir=str(out), num_train_epochs=1, per_device_train_batch_size=1 if packing else work["batch"],
        packing=packing, learning_rate=work["lr"], lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0,
        max_grad_norm=work["max_grad_norm"], train_sampling_strategy="sequential",
        max_length=1024 if packing else None, bf16=bf16, use_cpu=True, gradient_checkpointing=False,
        save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(work["base"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(work["rows"]), processing_class=tokenizer
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(out / "weights")
    (out / "result.json").write_text(
        json.dumps({"seconds": seconds, "bytes": peak_bytes(), "weights": str(out / "weights")})
    )


def held_out_loss(work: Work, folder: Path, base: Path, weights: Path) -> float:
    """Mean loss in float32 on the example's validation rows, by one measure for all."""
    import torch

    import sodate
    from sodate.adapt import files as adapter_files
    from sodate.core.types import Conversation
    from sodate.model import load
    from sodate.render.renderer import Renderer
    from sodate.train.sft import SFT

    renderer = Renderer.from_folder(base)
    examples = sodate.check(folder / "valid.jsonl").iter_examples()
    rows = [renderer.render(row) for row in examples if isinstance(row, Conversation)]
    model = load.load_base(weights if work.full else base, device=torch.device("cpu"), dtype=torch.float32)
    if not work.full:
        adapter_files.load_adapter(model, weights)
    found = SFT(model, [], rows, names=[], micro_tokens=2048).validate()
    assert found is not None
    return found.loss


def measure(work: Work, rows: int, rounds: int) -> Result:
    """All runs of one row of the table."""
    mine, rivals = settings()
    runs: dict[str, list[Result]] = {name: [] for name in (*mine, *rivals)}
    steps = rows // work.turns // work.batch
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = prepare(work, folder, steps)
        (folder / "task.json").write_text(json.dumps(task))
        for number in range(rounds):
            for kind, dtype in mine.items():
                runs[kind].append(ours(work, folder, steps, dtype))
            for setting in rivals:
                runs[setting].append(trl(folder, setting))
            if number == 0:
                order = sorted(rivals, key=lambda setting: runs[setting][0]["seconds"])
                same_steps = next(setting for setting in order if not TRL[setting][1])
                rivals = [same_steps] if order[0] == same_steps else [same_steps, order[0]]
            said = ", ".join(f"{k} {v[number]['seconds']:.1f} s" for k, v in runs.items() if len(v) > number)
            print(f"{work.name}, round {number + 1}: {said}", flush=True)
        losses = {kind: held_out_loss(work, folder, Path(task["base"]), Path(many[-1]["weights"]))
                  for kind, many in runs.items()}  # fmt: skip
    return {
        "work": work.name, "rows": steps * work.batch, "rivals": rivals, "losses": losses,
        "seconds": {kind: statistics.median(r["seconds"] for r in many) for kind, many in runs.items()},
        "bytes": {kind: statistics.median(r["bytes"] for r in many) for kind, many in runs.items()},
        "ratios": {kind: {rival: [b["seconds"] / a["seconds"] for a, b in zip(runs[kind], runs[rival], strict=True)]
                          for rival in rivals}
                   for kind in mine},
    }  # fmt: skip


def show(result: Result) -> bool:
    """Prints one row's figures; returns whether the losses agree."""
    from sodate.model.load import cpu_has_bfloat16

    losses = result["losses"]
    print(f"\n{result['work']}: {result['rows']} rows")
    print(f"{'':20}  {'seconds':>8}  {'rows/s':>7}  {'memory GB':>9}  {'held-out loss':>13}")
    for kind, seconds in result["seconds"].items():
        speed, memory = result["rows"] / seconds, result["bytes"][kind] / 1e9
        print(f"{kind:20}  {seconds:8.1f}  {speed:7.2f}  {memory:9.2f}  {losses[kind]:13.4f}")
    agree = True
    for kind, against in result["ratios"].items():
        twin = "TRL bfloat16" if SODATE[kind] == "auto" and cpu_has_bfloat16() else "TRL float32"
        drift = abs(losses[kind] - losses[twin]) / losses[twin]
        agree &= drift <= ALLOWED
        print(f"{kind}: held-out loss {100 * drift:.2f} % from {twin}")
        for rival, ratios in against.items():
            print(f"  {statistics.median(ratios):.2f}× the rows/s ({min(ratios):.2f} to {max(ratios):.2f}) and "
                  f"{result['bytes'][kind] / result['bytes'][rival]:.2f}× the memory of {rival}")  # fmt: skip
    return agree


def main() -> None:
    if sys.argv[1:2] == ["--trl"]:
        theirs(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--work", default=",".join(WORKS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results, agree = [], True
    for name in args.work.split(","):
        results.append(measure(WORKS[name], args.rows, args.rounds))
        if args.json:
            args.json.write_text(json.dumps(results, indent=1))
        agree &= show(results[-1])
    if not agree:
        sys.exit(f"The held-out losses are more than {100 * ALLOWED:.0f} % apart.")


if __name__ == "__main__":
    main()
