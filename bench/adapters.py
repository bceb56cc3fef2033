"""Every kind of training on the same order mails: what is trained, what it takes, what it gives.

    python bench/adapters.py                      # 256 rows of examples/orders, one epoch, SmolLM2-135M
    python bench/adapters.py --steps 8 --kinds lora qlora
    python bench/adapters.py --steps 1 --kinds lora qlora --large   # random weights in the shape of SmolLM2-1.7B

Each kind runs in a process of its own, with every `auto` as it is. Seconds are those of training without validation.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sodate.cli.at_hand import at_hand
from sodate.core.home import models_dir
from sodate.core.recipe import ADAPTER_KEYS
from sodate.library.checks import read_shapes
from sodate.release.lookup import look_up

ORDERS = Path(__file__).parents[1] / "examples" / "orders"


LARGE = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
         "num_key_value_heads": 32, "head_dim": 64}  # fmt: skip


def make_large(folder: Path) -> Path:
    """SmolLM2's tokenizer and 1.7 billion random weights: what training takes does not depend on what they know."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = look_up(at_hand("smollm2-135m")).folder
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    config = AutoConfig.from_pretrained(source)
    config.update(LARGE)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def run(kind: str, steps: int | None, held_out: int, home: Path, model: str) -> dict[str, Any]:
    """The result of one `sodate train`, with the number of trainable parameters."""
    watched = home / "held_out.jsonl"
    watched.write_text("".join((ORDERS / "valid.jsonl").read_text("utf-8").splitlines(True)[:held_out]), "utf-8")
    words = ["train", "--model", model, "--data", str(ORDERS / "train.jsonl"), "--eval", str(watched),
             "--adapter", kind, "--name", kind, "epochs=1", "--json"]  # fmt: skip
    # One look at the held-out rows, at the end.
    words += [f"max_steps={steps}", f"eval_every={steps}"] if steps else ["eval_every=1000"]
    done = subprocess.run(
        [sys.executable, "-m", "sodate.cli", *words], check=True, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"SODATE_HOME": str(home)},
    )  # fmt: skip
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    checkpoint = sorted((Path(result["run_dir"]) / "checkpoints").glob("step-*"))[-1]
    result["trainable"] = sum(math.prod(shape) for shape in read_shapes(checkpoint / "model.safetensors").values())
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int)
    parser.add_argument("--held-out", type=int, default=48)
    parser.add_argument("--kinds", nargs="+", choices=list(ADAPTER_KEYS), default=list(ADAPTER_KEYS))
    parser.add_argument("--large", action="store_true")
    asked = parser.parse_args()
    models = models_dir()
    made = tempfile.TemporaryDirectory()
    model = str(make_large(Path(made.name))) if asked.large else "smollm2-135m"
    print("| `adapter` | trainable parameters | peak memory | seconds | first loss | held-out loss |")
    print("|---|---|---|---|---|---|")
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "models").symlink_to(models)
            r = run(kind, asked.steps, asked.held_out, Path(folder), model)
        print(
            f"| `{kind}` | {r['trainable'] / 1e6:.2f} M | {r['peak_rss_bytes'] / 1e9:.2f} GB "
            f"| {r['train_seconds']:.0f} | {r['first_loss']:.3f} | {r['best_eval_loss']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
