"""The loss curve beside TRL's: same rows (token for token), same initial adapter, same order, float32. Prints both.

    python bench/trl_curve.py [STEPS]

TRL is no dependency: it gets an environment of its own in build/trl-venv (about 1.5 GB, made on the first run), or name
the Python of one that has it in SODATE_TRL_PYTHON. Exit code 1 when the first losses differ by more than 1e-4.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TRL = "trl==1.16.0"
BATCH, LR, MAX_GRAD_NORM, RANK, ALPHA = 8, 5e-4, 1.0, 8, 16.0
MODEL, DATA = "smollm2-135m", ROOT / "examples" / "orders" / "train.jsonl"
ALLOWED = 1e-4  # of the first loss, relative


def trl_python() -> str:
    """A Python that has TRL."""
    given = os.environ.get("SODATE_TRL_PYTHON")
    if given:
        return given
    folder = ROOT / "build" / "trl-venv"
    python = folder / "bin" / "python"
    if not (folder / ".done").exists():
        print(f"Installing {TRL} into {folder} (a few minutes) …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # Torch, transformers and peft at the versions sodate itself is pinned to: only the training loops differ.
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), TRL, "peft"], check=True)
        (folder / ".done").touch()
    return str(python)


def prepare(work: Path, steps: int) -> dict[str, Any]:
    """The rows as TRL takes them and an initial adapter saved by sodate."""
    import torch

    import sodate
    from sodate.api.loading import refer
    from sodate.model import load, lora
    from sodate.render.renderer import Renderer

    lines = DATA.read_text("utf-8").splitlines(keepends=True)[: steps * BATCH]
    (work / "rows.jsonl").write_text("".join(lines), "utf-8")
    reference = refer(MODEL)
    renderer = Renderer.from_folder(reference.folder)
    rows = [sequence for row in sodate.check(work / "rows.jsonl").iter_examples() for sequence in renderer.render(row)]
    tokens = [
        {"input_ids": r.ids, "labels": [t if w else -100 for t, w in zip(r.ids, r.weights, strict=True)]} for r in rows
    ]
    model = load.load_base(reference.folder, device=torch.device("cpu"), dtype=torch.float32)
    config = lora.LoraConfig(RANK, ALPHA, lora.all_targets(model))
    lora.add(model, config, seed=0)
    (work / "adapter").mkdir()
    load.save_adapter(model, config, reference.base, work / "adapter")
    return {"rows": tokens, "base": str(reference.folder), "adapter": str(work / "adapter"), "steps": steps}


def ours(work: Path, steps: int) -> list[float]:
    import sodate

    result = sodate.train(
        model=MODEL, data=[str(work / "rows.jsonl")], init_adapter=str(work / "adapter"), name="trl-curve",
        shuffle=False, batch_size=BATCH, max_steps=steps, lr=LR, max_grad_norm=MAX_GRAD_NORM, dtype="float32",
        device="cpu",
    )  # fmt: skip
    lines = (Path(result["run_dir"]) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


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
        output_dir=str(task.parent / "trl"), max_steps=work["steps"], per_device_train_batch_size=BATCH,
        learning_rate=LR, lr_scheduler_type="linear", warmup_steps=0, weight_decay=0.0, max_grad_norm=MAX_GRAD_NORM,
        train_sampling_strategy="sequential", max_length=None, bf16=False, use_cpu=True, gradient_checkpointing=False,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True,
    )  # fmt: skip
    Recorded(
        model=PeftModel.from_pretrained(base, work["adapter"], is_trainable=True),
        args=config,
        train_dataset=Dataset.from_list(work["rows"]),
        processing_class=AutoTokenizer.from_pretrained(work["base"]),
    ).train()
    task.with_name("losses.json").write_text(json.dumps(losses))


def main() -> None:
    if sys.argv[1:2] == ["--trl"]:
        theirs(Path(sys.argv[2]))
        return
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        task = work / "task.json"
        task.write_text(json.dumps(prepare(work, steps)))
        command = [trl_python(), __file__, "--trl", str(task)]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"}
        )
        trl = json.loads((work / "losses.json").read_text())
        mine = ours(work, steps)
    differences = [abs(a - b) / abs(b) for a, b in zip(mine, trl, strict=True)]
    print("step     sodate        TRL   difference (relative)")
    for step, (a, b, difference) in enumerate(zip(mine, trl, differences, strict=True), 1):
        print(f"{step:4d}  {a:.7f}  {b:.7f}   {difference:.1e}")
    print(f"largest: {max(differences):.1e}; first: {differences[0]:.1e}, allowed {ALLOWED:.0e}")
    sys.exit(differences[0] > ALLOWED)


if __name__ == "__main__":
    main()
