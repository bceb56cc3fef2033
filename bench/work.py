"""What is trained in bench/train.py, and TRL's own environment."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TRL = "trl==1.16.0"
SEED, RANK, ALPHA, MAX_GRAD_NORM = 0, 8, 16.0, 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the table. `turns` chains so many mails to a conversation; `shared` leaves the common prompt in."""

    name: str
    model: str = "smollm2-135m"
    example: str = "orders"
    shared: bool = True
    turns: int = 1
    full: bool = False
    batch: int = 8
    lr: float = 5e-4


WORKS = {
    work.name: work
    for work in (
        Work("orders"),
        Work("no-shared-prefix", shared=False),
        Work("support-ja", model="gemma3-270m", example="support-ja"),
        Work("full", full=True, lr=5e-5),
        Work("multi-turn", turns=4, batch=2),
    )
}


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux; there getrusage also counts what it was forked from, even after exec
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found
    return int(found[1]) * 1024


def conversations(work: Work, split: str) -> list[dict[str, Any]]:
    """The example's rows as this work wants them."""
    file = ROOT / "examples" / work.example / f"{split}.jsonl"
    rows = [json.loads(line)["messages"] for line in file.read_text("utf-8").splitlines()]
    if work.turns > 1:
        groups = [rows[i : i + work.turns] for i in range(0, len(rows) - work.turns + 1, work.turns)]
        rows = [group[0] + [m for row in group[1:] for m in row if m["role"] != "system"] for group in groups]
    if not work.shared:  # templates have a system prompt of their own where there is none: each row gets another
        rows = [[{"role": "system", "content": f"{i}"}, *(m for m in row if m["role"] != "system")]
                for i, row in enumerate(rows)]  # fmt: skip
    return [{"messages": row} for row in rows]


def prepare(work: Work, folder: Path, steps: int) -> dict[str, Any]:
    """The rows as files for sodate and as tokens for TRL, an initial adapter saved by sodate, and a home of its own."""
    import torch

    import sodate
    from sodate.adapt import files as adapter_files
    from sodate.adapt import lora
    from sodate.cli.at_hand import at_hand
    from sodate.core.home import models_dir
    from sodate.core.types import Conversation
    from sodate.model import load
    from sodate.release.lookup import look_up
    from sodate.render.renderer import Renderer

    for split, count in (("train", steps * work.batch), ("valid", 40)):
        rows = conversations(work, split)[:count]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, "utf-8")
    reference = look_up(at_hand(work.model))
    (folder / "home").mkdir()
    (folder / "home" / "models").symlink_to(models_dir())
    renderer = Renderer.from_folder(reference.folder)
    examples = [row for row in sodate.check(folder / "train.jsonl").iter_examples() if isinstance(row, Conversation)]
    rendered = [s for row in examples for s in renderer.render(row)]
    assert len(rendered) == steps * work.batch, "the example has too few rows for so many steps"
    tokens = [
        {"input_ids": r.ids, "labels": [t if w else -100 for t, w in zip(r.ids, r.weights, strict=True)]}
        for r in rendered
    ]
    adapter = None
    if not work.full:
        model = load.load_base(reference.folder, device=torch.device("cpu"), dtype=torch.float32)
        config = lora.LoraConfig(RANK, ALPHA, lora.all_targets(model))
        lora.add(model, config, seed=SEED)
        adapter = folder / "adapter"
        adapter.mkdir()
        adapter_files.save_adapter(model, config, reference.base, adapter)
    return {
        "rows": tokens, "base": str(reference.folder), "adapter": str(adapter) if adapter else None, "steps": steps,
        "batch": work.batch, "lr": work.lr, "max_grad_norm": MAX_GRAD_NORM,
    }  # fmt: skip


def recipe_keys(work: Work, folder: Path, steps: int, dtype: str) -> list[str]:
    """The same training as keys of `sodate train`."""
    start = ["adapter=full"] if work.full else [f"init_adapter={folder / 'adapter'}"]
    return [
        f"model={work.model}", f"data={folder / 'train.jsonl'}", *start, "shuffle=false", f"batch_size={work.batch}",
        f"max_steps={steps}", f"lr={work.lr}", f"max_grad_norm={MAX_GRAD_NORM}", f"dtype={dtype}", "device=cpu",
    ]  # fmt: skip


def train_sodate(folder: Path, *words: str) -> dict[str, Any]:
    """`sodate train` in a new process, in the home that `prepare` made: its checkpoints go with the folder."""
    command = [sys.executable, "-m", "sodate.cli", "train", "--json", *words]
    environment = os.environ | {"SODATE_HOME": str(folder / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def version_of(result: dict[str, Any]) -> Path:
    """The folder of the version that `sodate train` registered."""
    name, number = result["version"].split("@")
    folder: Path = Path(result["run_dir"]).parents[1] / "versions" / name / number
    return folder


def trl_python() -> str:
    """A Python that has TRL: the one named in SODATE_TRL_PYTHON, or one made here on first use (about 1.5 GB)."""
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


def run_trl(script: str, *words: str) -> None:
    """Runs a script in TRL's environment; what it prints is shown only when it fails."""
    environment = {**os.environ, "TRL_EXPERIMENTAL_SILENCE": "1", "PYTHONPATH": ""}
    done = subprocess.run([trl_python(), script, "--trl", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"TRL failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
