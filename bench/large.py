"""Files of many rows: rows per second and memory of checking, tokenising and the first step, beside `datasets.map`.

    python bench/large.py [--sizes 10000,100000,1000000] [--model smollm2-135m] [--no-map]

The rows are invented support chats under one system prompt, the same for the same seed, about 440 bytes each. Every
figure comes from a process of its own. Memory is RssAnon, what the process holds for itself: pages of mapped files can
be taken back at any time. `datasets.map` runs in TRL's environment (SODATE_TRL_PYTHON) with the same tokenizer and
template, in one process; it renders and tokenises, and neither checks the rows nor says which tokens have loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from work import trl_python

SYSTEM = "You answer the customers of a small shop. Be brief and exact, and never promise a date."
SYLLABLES = [consonant + vowel for consonant in "bdgklmnrst" for vowel in "aeio"]
OPENINGS = ("I ordered", "Last week I bought", "My neighbour recommended", "Could you tell me about", "I would return")
CLOSINGS = ("Is that possible?", "What do you suggest?", "Please let me know.", "How long does it take?", "Thank you.")


def words(rng: random.Random, count: int) -> list[str]:
    """A vocabulary of invented words of two to four syllables."""
    return ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(count)]


def write(path: Path, rows: int, seed: int = 0) -> None:
    """About 400 bytes a row. No two rows are alike, none holds personal data."""
    rng = random.Random(seed)
    vocabulary = words(rng, 20_000)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            picked = rng.choices(vocabulary, k=rng.randint(16, 32))
            cut = len(picked) // 2
            asked = f"{rng.choice(OPENINGS)} {' '.join(picked[:cut])}. {rng.choice(CLOSINGS)}"
            reply = f"We have {' '.join(picked[cut:])}, article {number}."
            messages = [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": reply},
            ]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


class Memory:
    """Highest RssAnon since it was made, looked at ten times a second."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def now(self) -> int:
        """Bytes; also counted in the peak."""
        lines = Path("/proc/self/status").read_text().splitlines()
        found = int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024
        self.peak = max(self.peak, found)
        return found

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.now()


def check(file: Path) -> dict[str, Any]:
    """`sodate data check FILE`."""
    import sodate

    memory = Memory()
    started = time.perf_counter()
    checked = sodate.check(file)
    return {"seconds": time.perf_counter() - started, "rows": checked.ledger.rows_used, "bytes": memory.peak}


def first_step(file: Path, model: str) -> dict[str, Any]:
    """`sodate train` up to its first step. Everything before the model is loaded counts as preparation."""
    import sodate

    memory = Memory()
    started = time.perf_counter()
    found: dict[str, Any] = {}

    def note(kind: str, _: Any) -> None:
        if kind in ("run", "step"):
            found[kind] = {"seconds": time.perf_counter() - started, "bytes": memory.peak, "now": memory.now()}

    sodate.train(
        model=model, data=str(file), name="large", max_steps=1, batch_size=8, epochs=1, dtype="float32", device="cpu",
        on_event=note,
    )  # fmt: skip
    return found


def map_datasets(file: Path, folder: str) -> dict[str, Any]:
    """Runs in TRL's environment: what its trainer does with rows of messages, without the mask."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    memory = Memory()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=str(file), split="train", cache_dir=cache)
        loaded = time.perf_counter() - started
        done = rows.map(
            lambda row: tokenizer.apply_chat_template(row["messages"], return_dict=True), remove_columns=["messages"]
        )
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "loaded": loaded, "bytes": memory.peak, "first": done[0]["input_ids"]}


def stage(python: str, *words: str, home: Path) -> dict[str, Any]:
    environment = {**os.environ, "SODATE_HOME": str(home), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([python, __file__, "--stage", *words], check=True, stdout=subprocess.PIPE, env=environment)
    value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return value


def main() -> None:
    if sys.argv[1:2] == ["--stage"]:
        stages: dict[str, Callable[..., Any]] = {"check": check, "first-step": first_step, "map": map_datasets}
        print(json.dumps(stages[sys.argv[2]](Path(sys.argv[3]), *sys.argv[4:])))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--no-map", action="store_true")
    args = parser.parse_args()
    from sodate.core import home
    from sodate.release.lookup import look_up
    from sodate.render.renderer import Renderer

    folder = look_up(args.model).folder
    columns = ("rows", "check", "check MB", "check + tokenise", "MB", "again, s", "first step, s", "MB",
               "datasets.map", "MB")  # fmt: skip
    print("rows/s of each stage, the highest RssAnon of its process in MB, and seconds until there")
    print(" | ".join(columns), flush=True)
    for size in map(int, args.sizes.split(",")):
        with tempfile.TemporaryDirectory() as work:
            file, own = Path(work) / "rows.jsonl", Path(work) / "home"
            own.mkdir()
            (own / "models").symlink_to(home.models_dir())
            write(file, size)
            checked = stage(sys.executable, "check", str(file), home=own)
            cold = stage(sys.executable, "first-step", str(file), args.model, home=own)
            warm = stage(sys.executable, "first-step", str(file), args.model, home=own)
            cells: list[Any] = [
                size, round(size / checked["seconds"]), checked["bytes"] >> 20,
                round(size / cold["run"]["seconds"]), cold["run"]["bytes"] >> 20, round(warm["run"]["seconds"], 1),
                round(warm["step"]["seconds"], 1), warm["step"]["bytes"] >> 20,
            ]  # fmt: skip
            if not args.no_map:
                theirs = stage(trl_python(), "map", str(file), str(folder), home=own)
                with file.open() as lines:
                    (ours,) = Renderer.from_folder(folder).render(_conversation(lines.readline()))
                assert theirs["first"] == ours.ids, "the two do not make the same tokens"
                cells += [round(size / theirs["seconds"]), theirs["bytes"] >> 20]
            print(" | ".join(map(str, cells)), flush=True)


def _conversation(line: str) -> Any:
    from sodate.core.types import Conversation, Message

    return Conversation(tuple(Message(m["role"], m["content"]) for m in json.loads(line)["messages"]))


if __name__ == "__main__":
    main()
