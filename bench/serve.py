"""What answers cost, beside llama.cpp's server and `transformers serve`: every side over HTTP, asked in turn.

    python bench/serve.py [--row NAME …] [--rounds 3]

Each row of the table is measured by itself, both sides round by round; the ratio is the median over the rounds. "same"
says whether the greedy replies of both sides were the same text. Figures: docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import serve_files
from serve_files import MODEL
from serve_sides import Llama, Ours, Told, Transformers, resident

ORDERS = Path(__file__).parents[1] / "examples" / "orders"
TOPICS = ("a lighthouse", "two brothers", "a lost letter", "a long winter", "an old clock", "the first train")
WORDS = "river stone apple cloud lantern garden winter silver paper bridge candle forest market copper window harbour"


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table: what each side reached, in `unit`; whether their greedy replies were the same."""

    ours: list[float]
    theirs: list[float]
    unit: str
    target: str
    same: str = "-"
    less: bool = False  # less is better

    def __str__(self) -> str:
        ratios = [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        mine, other = statistics.median(self.ours), statistics.median(self.theirs)
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        return (f"sodate {mine:.4g} {self.unit}, beside {other:.4g}: {statistics.median(ratios):.2f} times ({each}), "
                f"target {self.target}; same replies: {self.same}")  # fmt: skip


class Prompts:
    """Prompts as token ids, by the renderer that both sides are asked through."""

    def __init__(self) -> None:
        from sodate.render.renderer import Renderer

        self.renderer = Renderer.from_folder(serve_files.base())

    def chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        from sodate.core.types import Message

        return list(self.renderer.prompt([Message(m["role"], m["content"]) for m in messages]))  # type: ignore[arg-type]

    def story(self, number: int) -> list[int]:
        return self.chat([{"role": "user", "content": f"Write a long story about {TOPICS[number % len(TOPICS)]}."}])

    def noise(self, seed: int, tokens: int) -> list[int]:
        """So many tokens of words in no order."""
        chosen = random.Random(seed)
        text = " ".join(chosen.choice(WORDS.split()) for _ in range(2 * tokens))
        ids: list[int] = self.renderer.tokenizer.encode(text, add_special_tokens=False).ids
        return ids[:tokens]


def _same(pairs: Sequence[tuple[Told, Told]]) -> str:
    return f"{sum(a.text == b.text for a, b in pairs)} of {len(pairs)}"


def _by_turns(rounds: int, ours: Callable[[int], Told], theirs: Callable[[int], Told]) -> list[tuple[Told, Told]]:
    """A reply of each side for every round, who is first changing; one round before that counts is left out."""
    pairs = []
    for number in range(-1, rounds):
        sides = [ours, theirs] if number % 2 else [theirs, ours]
        told = [side(number) for side in sides]
        if number >= 0:
            pairs.append((told[0], told[1]) if number % 2 else (told[1], told[0]))
            mine, other = pairs[-1]
            print(f"  round {number + 1}: {mine.seconds:.2f} s beside {other.seconds:.2f} s", flush=True)
    return pairs


def _stream(rounds: int, name: str, file: Path, target: str, full: bool = False) -> Line:
    prompts = Prompts()
    with closing(Ours([name])) as ours, closing(Llama(file, full=full)) as llama:
        pairs = _by_turns(
            rounds,
            lambda n: ours.ask(name, prompts.story(n), 64),
            lambda n: llama.ask(prompts.story(n), 64),
        )
    mine, other = ([told.count / told.seconds for told in side] for side in zip(*pairs, strict=True))
    return Line(mine, other, "tokens/s", target, _same(pairs))


def stream_q4(rounds: int, work: Path) -> Line:
    """One stream of free text, weights as they were published."""
    return _stream(rounds, MODEL, serve_files.published(work), "≥ 1.0")


def stream_f32(rounds: int, work: Path) -> Line:
    """The same with float32 weights that no fewer bits hold."""
    return _stream(rounds, *serve_files.in_full(work, "f32"), "≥ 1.2", full=True)


def stream_bf16(rounds: int, work: Path) -> Line:
    """The same with bfloat16 weights."""
    return _stream(rounds, *serve_files.in_full(work, "bf16"), "≥ 1.2")


def prefill(rounds: int, work: Path) -> Line:
    """A new prompt of 1,000 tokens."""
    prompts = Prompts()
    with closing(Ours([MODEL])) as ours, closing(Llama(serve_files.published(work))) as llama:
        pairs = _by_turns(
            rounds,
            lambda n: ours.ask(MODEL, prompts.noise(n, 1000), 1),
            lambda n: llama.ask(prompts.noise(n, 1000), 1),
        )
    mine, other = ([1000 / told.seconds for told in side] for side in zip(*pairs, strict=True))
    return Line(mine, other, "tokens/s", "≥ 3", _same(pairs))


def known_prefix(rounds: int, work: Path) -> Line:
    """Time to the first token after 1,500, of which 1,400 are known."""
    prompts = Prompts()
    known = prompts.noise(99, 1400)
    with closing(Ours([MODEL])) as ours, closing(Llama(serve_files.published(work))) as llama:
        pairs = _by_turns(
            rounds,
            lambda n: ours.ask(MODEL, known + prompts.noise(n, 100), 1),
            lambda n: llama.ask(known + prompts.noise(n, 100), 1, cache_prompt=True),
        )
    mine, other = ([told.first for told in side] for side in zip(*pairs, strict=True))
    return Line(mine, other, "s", "≤ 1.0", _same(pairs))


def order_mails(rounds: int, work: Path) -> Line:
    """Held-out order mails to JSON with a schema, after three examples; llama.cpp with its best lookup."""
    prompts = Prompts()
    schema = json.loads((ORDERS / "schema.json").read_text("utf-8"))
    plain = _without_notes(schema)
    shots = [m for line in (ORDERS / "fewshot.jsonl").read_text("utf-8").splitlines()
             for m in json.loads(line)["messages"] if m["role"] != "system"]  # fmt: skip
    mails = [json.loads(line)["messages"] for line in (ORDERS / "heldout.jsonl").read_text("utf-8").splitlines()]
    asked = [[mail[0], *shots, mail[1]] for mail in mails]
    file = serve_files.published(work)
    settings = ("", "COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE", "COMMON_SPECULATIVE_TYPE_NGRAM_MAP_K",
                "COMMON_SPECULATIVE_TYPE_NGRAM_MOD", "COMMON_SPECULATIVE_TYPE_NGRAM_CACHE")  # fmt: skip

    def tried(setting: str) -> float:
        try:
            with closing(Llama(file, context=4096, lookup=setting)) as llama:
                told = [llama.ask(prompts.chat(asked[-n]), 200, json_schema=plain) for n in range(1, 4)]
        except (RuntimeError, OSError):
            return float("inf")
        return sum(one.seconds for one in told[1:])

    seconds = {setting: tried(setting) for setting in settings}
    best = min(seconds, key=lambda setting: seconds[setting])
    print(f"  llama.cpp's lookup: { ({k.rpartition('TYPE_')[2] or 'none': round(v, 2) for k, v in seconds.items()}) }")
    with closing(Ours([MODEL])) as ours, closing(Llama(file, context=4096, lookup=best)) as llama:
        pairs = _by_turns(
            rounds * 2,
            lambda n: ours.held(MODEL, asked[n], plain, 200),
            lambda n: llama.ask(prompts.chat(asked[n]), 200, json_schema=plain),
        )
    mine, other = ([1 / told.seconds for told in side] for side in zip(*pairs, strict=True))
    alike = sum(_json(a.text) == _json(b.text) is not None for a, b in pairs)
    return Line(mine, other, "requests/s", "≥ 2", f"{alike} of {len(pairs)} as JSON")


def _without_notes(schema: Any) -> Any:
    """A schema without the keys that only people read."""
    if isinstance(schema, dict):
        return {k: _without_notes(v) for k, v in schema.items() if k not in ("$schema", "title", "description")}
    return [_without_notes(v) for v in schema] if isinstance(schema, list) else schema


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _at_once(asks: Sequence[Callable[[], Told]]) -> tuple[float, list[Told]]:
    """Seconds until all have answered, asked together."""
    with ThreadPoolExecutor(len(asks)) as pool:
        start = time.perf_counter()
        told = [future.result() for future in [pool.submit(ask) for ask in asks]]
        return time.perf_counter() - start, told


def many_versions(rounds: int, work: Path) -> Line:
    """16 streams over 8 versions of one base."""
    prompts, file = Prompts(), serve_files.published(work)
    serve_files.own_home(work)
    names, adapters = serve_files.versions(work, 8)
    mine, other, pairs = [], [], []
    with closing(Ours(names)) as ours, closing(Llama(file, slots=16, context=512, adapters=adapters)) as llama:
        for number in range(-1, rounds):
            told = {}
            sides: dict[str, Callable[[int], Told]] = {
                "sodate": lambda i: ours.ask(names[i % 8], prompts.story(i), 32),
                "llama.cpp": lambda i: llama.ask(prompts.story(i), 32, adapter=i % 8),
            }
            for side in sorted(sides, reverse=bool(number % 2)):
                told[side] = _at_once([lambda i=i, ask=sides[side]: ask(i) for i in range(16)])  # type: ignore[misc]
            if number >= 0:
                mine.append(sum(t.count for t in told["sodate"][1]) / told["sodate"][0])
                other.append(sum(t.count for t in told["llama.cpp"][1]) / told["llama.cpp"][0])
                pairs += list(zip(told["sodate"][1], told["llama.cpp"][1], strict=True))
    return Line(mine, other, "tokens/s", "≥ 5", _same(pairs))


def many_streams(rounds: int, work: Path) -> Line:
    """16 streams of one version, beside transformers' continuous batching, float32."""
    prompts, mine, other, pairs = Prompts(), [], [], []
    asked = [[{"role": "user", "content": f"Write story {i} about {TOPICS[i % 6]}."}] for i in range(16)]
    folder = Path(
        shutil.copytree(serve_files.base(), work / "model", dirs_exist_ok=True)
    )  # an @ in a name means a revision there
    with closing(Ours([MODEL])) as ours, closing(Transformers(folder)) as theirs:
        for number in range(-1, rounds):
            a = _at_once([lambda m=m: ours.ask(MODEL, prompts.chat(m), 48) for m in asked])  # type: ignore[misc]
            b = _at_once([lambda m=m: theirs.chat(m, 48) for m in asked])  # type: ignore[misc]
            if number >= 0:
                mine.append(sum(t.count for t in a[1]) / a[0])
                other.append(sum(t.count for t in b[1]) / b[0])
                pairs += list(zip(a[1], b[1], strict=True))
    return Line(mine, other, "tokens/s", "≥ 5", _same(pairs))


LOAD = """
import sys, json, sodate
from sodate.api.loading import load, load_together
names = sys.argv[2:]
models = load_together(names) if sys.argv[1] == "together" else [load(name) for name in names]
for model in models:
    model.reply("Hello.", max_new_tokens=4)
print("ready", flush=True)
sys.stdin.read()
"""


def memory(rounds: int, work: Path) -> Line:
    """Resident memory of 8 versions of one base, beside `load` of each."""
    serve_files.own_home(work)
    names, _ = serve_files.versions(work, 8)

    def held(how: str) -> float:
        process = subprocess.Popen([sys.executable, "-c", LOAD, how, *names], text=True, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)  # fmt: skip
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "ready"
            return resident(process.pid) / 1e9
        finally:
            process.kill()
            process.wait()

    return Line([held("together")], [held("each")], "GB", "≤ 0.25", less=True)


def evaluation(before: Path) -> Line:
    """100 held-out mails through `sodate eval`, beside another checkout of sodate."""
    words = ["eval", MODEL, "--data", str(ORDERS / "heldout.jsonl"), "--grader", "exact", "--json"]

    def took(tree: Path) -> tuple[float, list[str]]:
        start = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        command = [sys.executable, "-m", "sodate.cli", *words]
        done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.perf_counter() - start
        replies = Path(json.loads(done.stdout)["report"]).with_name("replies.jsonl").read_text("utf-8")
        return seconds, [json.loads(line)["reply"] for line in replies.splitlines()]

    mine, other = took(Path(__file__).parents[1]), took(before)
    same = sum(a == b for a, b in zip(mine[1], other[1], strict=True))
    return Line([100 / mine[0]], [100 / other[0]], "mails/s", "≥ 2", f"{same} of {len(mine[1])}")


ROWS: dict[str, Callable[[int, Path], Line]] = {
    "stream-q4": stream_q4, "stream-f32": stream_f32, "stream-bf16": stream_bf16, "prefill": prefill,
    "order-mails": order_mails, "many-versions": many_versions, "many-streams": many_streams,
    "known-prefix": known_prefix, "memory": memory,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=[*ROWS, "eval"], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="an older checkout of sodate, built: for the row `eval`")
    parser.add_argument("--work", type=Path, help="a folder whose files are kept, so that the next time is shorter")
    given = parser.parse_args()
    if given.before is None and "eval" in (given.row or ()):
        parser.error("the row `eval` needs --before")
    for name in given.row or [*ROWS, *(["eval"] if given.before else [])]:
        with tempfile.TemporaryDirectory() if given.work is None else contextlib.nullcontext(given.work) as work:
            folder = Path(work)
            line = evaluation(given.before) if name == "eval" else ROWS[name](given.rounds, folder)
        print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
