"""The loss curve beside TRL's: same rows (token for token), same initial adapter, same order, float32. Prints both,
and how far each one's first loss is from float64, which is as far as the precision itself goes.

    python bench/trl_curve.py [STEPS]

TRL is no dependency: it gets an environment of its own in build/trl-venv (about 1.5 GB, made on the first run), or name
the Python of one that has it in SODATE_TRL_PYTHON. Exit code is 1 when the first losses differ by more than 1e-4.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from work import WORKS, prepare, recipe_keys, run_trl, train_sodate

WORK = WORKS["orders"]
ALLOWED = 1e-4  # of the first loss, relative


def ours(folder: Path, steps: int) -> list[float]:
    """Through the command line, like a user; its losses are in the run's metrics."""
    result = train_sodate(folder, "--name", "trl-curve", *recipe_keys(WORK, folder, steps, "float32"))
    lines = (Path(result["run_dir"]) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def exact(rows: list[dict[str, list[int]]], base: str) -> float:
    """The first step's loss by transformers in float64, a row at a time. (A fresh adapter adds nothing.)"""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    summed, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            summed += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            count += int((labels != -100).sum())
    return summed / count


def theirs(task: Path) -> None:
    """Runs in TRL's environment: reads the task, writes the losses beside it."""
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    work = json.loads(task.read_text())
    losses: list[float] = []

    class Recorded(SFTTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            out = super().compute_loss(*args, **kwargs)
            losses.append(float((out[0] if isinstance(out, tuple) else out).detach()))
            return out

    base = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    config = SFTConfig(
        output_dir=str(task.parent / "trl"), max_steps=work["steps"], per_device_train_batch_size=work["batch"],
        learning_rate=work["lr"], lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0,
        max_grad_norm=work["max_grad_norm"],
        train_sampling_strategy="sequential", max_length=None, bf16=False, use_cpu=True, gradient_checkpointing=False,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    Recorded(
        model=PeftModel.from_pretrained(base, work["adapter"], is_trainable=True),
        args=config,
        train_dataset=Dataset.from_list(work["rows"]),
        processing_class=AutoTokenizer.from_pretrained(work["base"]),
    ).train()
    found = {"losses": losses, "exact": exact(work["rows"][: work["batch"]], work["base"])}
    task.with_name("found.json").write_text(json.dumps(found))


def main() -> None:
    if sys.argv[1:2] == ["--trl"]:
        theirs(Path(sys.argv[2]))
        return
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        task = work / "task.json"
        task.write_text(json.dumps(prepare(WORK, work, steps)))
        run_trl(__file__, str(task))
        found = json.loads((work / "found.json").read_text())
        mine, trl = ours(work, steps), found["losses"]
    differences = [abs(a - b) / abs(b) for a, b in zip(mine, trl, strict=True)]
    print("step     sodate        TRL   difference (relative)")
    for step, (a, b, difference) in enumerate(zip(mine, trl, differences, strict=True), 1):
        print(f"{step:4d}  {a:.7f}  {b:.7f}   {difference:.1e}")
    print(f"largest: {max(differences):.1e}; first: {differences[0]:.1e}, allowed {ALLOWED:.0e}")
    beside = (f"{name} {loss / found['exact'] - 1:+.1e}" for name, loss in (("sodate", mine[0]), ("TRL", trl[0])))
    print(f"first loss in float64: {found['exact']:.7f}; beside it {', '.join(beside)}")
    sys.exit(differences[0] > ALLOWED)


if __name__ == "__main__":
    main()
