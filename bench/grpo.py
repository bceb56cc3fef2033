"""One GRPO step beside TRL's, and a PPO step beside it: 4 prompts × 8 samples × 64 tokens, a reward that costs nothing.

    python bench/grpo.py [--rounds 3] [--prompts 4] [--samples 8] [--tokens 64]

SmolLM2-135M with LoRA of rank 8 on all linear layers, float32, no divergence to pay, replies of exactly 64 tokens.
Every round runs sodate's GRPO, TRL's and sodate's PPO in a process each and times its second step; the ratio is taken
round by round. `SODATE_TRL_PYTHON` names the interpreter that has TRL.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from work import trl_python

MODEL = "smollm2-135m"
STEPS = 2
ROWS = Path(__file__).parents[1] / "examples" / "orders" / "train.jsonl"


def ours(method: str, work: dict[str, Any]) -> float:
    """Seconds of the second step, and nothing but the method and the loop around it."""
    import torch

    from sodate.adapt import lora
    from sodate.cli.at_hand import at_hand
    from sodate.core.runs import RunFolder
    from sodate.grade import Case, Grade, Grader
    from sodate.model import fused, load
    from sodate.release.lookup import look_up
    from sodate.train import grpo, loop, ppo
    from sodate.train.rewards import Reward, Task
    from sodate.train.rollout import Rollouts

    model = load.load_base(look_up(at_hand(MODEL)).folder, device=torch.device("cpu"), dtype=torch.float32)
    lora.add(model, lora.LoraConfig(8, 16.0, lora.all_targets(model)), seed=0)
    fused.replace_modules(model, torch.float32)
    tasks = [Task(ids, None, {}, str(i)) for i, ids in enumerate(work["prompts"])]

    def free(cases: Sequence[Case]) -> list[Grade]:
        return [Grade((int(case.reply) % 97) / 97, "") for case in cases]

    grader = Grader("free", needs_reference=False, many=free)
    rollouts = Rollouts(
        model, tasks, [], Reward(((1.0, grader),)), text=lambda ids, tools: str(sum(ids)), stop_ids=[], seed=0,
        samples=work["samples"], max_new_tokens=work["tokens"], micro_tokens=2048, say=print,
        memory={"base_reward": 0.0},
    )  # fmt: skip
    rollouts.tried = lambda drawn: {}  # type: ignore[method-assign]  # only the steps are compared
    names = [task.name for task in tasks]
    made: Any
    if method == "grpo":
        made = grpo.GRPO(model, rollouts, grpo.GRPOSettings("grpo", 0.0, 0.2, 0.2, 1, 1), names=names)
    else:
        made = ppo.PPO(model, rollouts, ppo.PPOSettings(0.05, None, 1, 0.2, 0.2, 0.1, 0.0, 1.0, 0.95, 1), names=names)
    plan = loop.Plan(
        steps=STEPS, batch_size=len(tasks), shuffle=False, seed=0, lr=1e-4, schedule="constant", warmup_steps=0,
        weight_decay=0.0, max_grad_norm=1.0, save_every=99, eval_every=99, early_stop=None,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        with run.locked():
            loop.train(model, made, plan, run, lambda line: None)
        return float(run.metrics()[-1]["seconds"])


def theirs(work: dict[str, Any]) -> float:
    """Runs in TRL's environment."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(work["base"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    model.generation_config.eos_token_id = None
    batch = len(work["prompts"]) * work["samples"]
    config = GRPOConfig(
        output_dir=work["out"], max_steps=STEPS, per_device_train_batch_size=batch, num_generations=work["samples"],
        max_completion_length=work["tokens"], learning_rate=1e-4, lr_scheduler_type="constant", beta=0.0, bf16=False,
        use_cpu=True, gradient_checkpointing=False, save_strategy="no", report_to=[], disable_tqdm=True,
        temperature=1.0, shuffle_dataset=False, generation_kwargs={"min_new_tokens": work["tokens"]},
    )  # fmt: skip
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    def free(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [(sum(ids) % 97) / 97 for ids in completion_ids]

    trainer = GRPOTrainer(
        model=model, args=config, reward_funcs=free, processing_class=tokenizer, callbacks=[Clock()],
        train_dataset=Dataset.from_list([{"prompt": text} for text in work["texts"]]),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    # Rollouts happen before `on_step_begin` of their step is over: from the end of one step to the end of the next.
    return times[3] - times[1]


def prepare(prompts: int, samples: int, tokens: int, folder: Path) -> dict[str, Any]:
    from sodate.cli.at_hand import at_hand
    from sodate.data.examples import ParsedRow, read_examples
    from sodate.release.lookup import look_up
    from sodate.render.renderer import Renderer

    base = look_up(at_hand(MODEL)).folder
    renderer = Renderer.from_folder(base)
    rows = [row.example for row in read_examples(ROWS, None, None)[1] if isinstance(row, ParsedRow)][:prompts]
    ids = [renderer.prompt(row.prompt) for row in rows]
    texts = [renderer.decode(one) for one in ids]
    return {"prompts": ids, "texts": texts, "samples": samples, "tokens": tokens, "base": str(base), "out": str(folder)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    if args.side:
        work = json.loads(args.work.read_text())
        print(json.dumps(theirs(work) if args.side == "trl" else ours(args.side, work)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        file.write_text(json.dumps(prepare(args.prompts, args.samples, args.tokens, Path(folder))))
        seconds: dict[str, list[float]] = {"grpo": [], "trl": [], "ppo": []}
        for _ in range(args.rounds):
            for side, values in seconds.items():
                python = trl_python() if side == "trl" else sys.executable
                command = [python, __file__, "--side", side, "--work", str(file)]
                environment = {**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1"}
                done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                values.append(float(done.stdout.strip().splitlines()[-1]))
                print(f"{side}: {values[-1]:.1f} s", file=sys.stderr, flush=True)
    ratios = [a / b for a, b in zip(seconds["trl"], seconds["grpo"], strict=True)]
    beside = [a / b for a, b in zip(seconds["ppo"], seconds["grpo"], strict=True)]
    medians = {f"{side}_seconds": statistics.median(values) for side, values in seconds.items()}
    found = {"ratio": statistics.median(ratios), "ppo_to_grpo": statistics.median(beside), **medians}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
