"""How well and how fast an index finds: recall on questions with known passages, and speed over many chunks.

    python bench/index.py PASSAGES.jsonl QUESTIONS.jsonl [--chunks 100000 1000000]

Rows are {"id", "title", "text"} and {"question", "passage_id"}, as in JSQuAD. Recall is of three kinds of terms and two
engines: this project's postings, and SQLite's FTS5 over the same terms; then of an index as `index build` makes it.
Many chunks are made of sentences of the passages, drawn with a seed, and written as documents that `index build` reads;
questions are those of the file. Each figure is of one core, in processor time, which other programs on the machine
change less than the clock's; of a build also by the clock. Memory is the most that building held, and what the process
that searches has of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sodate.retrieve import postings, tuning
from sodate.retrieve.build import build
from sodate.retrieve.catalogue import find
from sodate.retrieve.index import Weights, phrases_of
from sodate.retrieve.terms import folded, terms

Terms = Callable[[str], Mapping[str, int]]
Ask = Callable[[str, int], list[int]]
FILE = 20_000  # chunks of a document


def pairs(text: str) -> Counter[str]:
    """Every pair of neighbouring characters."""
    parts = re.sub(r"[\W_]+", " ", folded(text)).split()
    return Counter(part[i : i + 2] for part in parts for i in range(len(part) - 1))


def words(text: str) -> Counter[str]:
    """Words between spaces and signs, as for English."""
    return Counter(re.findall(r"\w+", folded(text)))


def ours(texts: Sequence[Mapping[str, int]], split: Terms, folder: Path) -> Ask:
    weights = Weights()
    opened = postings.Postings(folder, postings.write(folder, texts, k1=weights.k1, b=weights.b), weights.k1)
    return lambda question, k: [hit.number for hit in postings.search([opened], split(question), k)[0]]


def fts5(texts: Sequence[Mapping[str, int]], split: Terms) -> Ask:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE t USING fts5(x, content='', tokenize=\"unicode61 remove_diacritics 0\")")
    # Terms as hexadecimal words: what they are made of must not be cut again.
    base.executemany(
        "INSERT INTO t(rowid, x) VALUES (?, ?)",
        (
            (n, " ".join("x" + term.encode().hex() for term, often in text.items() for _ in range(often)))
            for n, text in enumerate(texts)
        ),
    )

    def ask(question: str, k: int) -> list[int]:
        query = " OR ".join('"x' + term.encode().hex() + '"' for term in dict.fromkeys(split(question)))
        found = base.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT ?", (query, k)) if query else ()
        return [row[0] for row in found]

    return ask


def recall(passages: list[dict[str, str]], questions: list[dict[str, str]]) -> None:
    number = {row["id"]: at for at, row in enumerate(passages)}
    print(f"{len(questions)} questions over {len(passages)} passages")
    print(f"{'terms':18} {'engine':8} recall@1  recall@5    mrr  ms a question")
    for name, split in (("words", words), ("pairs", pairs), ("terms.py", terms)):
        texts = [Counter(split(row["text"])) for row in passages]
        for text, row in zip(texts, passages, strict=True):
            for term, often in split(row["title"]).items():
                text[term] += often * Weights().titles
        with tempfile.TemporaryDirectory() as folder:
            for engine, ask in (("ours", ours(texts, split, Path(folder))), ("FTS5", fts5(texts, split))):
                began, ranks = time.perf_counter(), []
                for row in questions:
                    found, right = ask(row["question"], 100), number[row["passage_id"]]
                    ranks.append(found.index(right) + 1 if right in found else 0)
                spent = (time.perf_counter() - began) / len(ranks)
                first, five = (sum(0 < rank <= k for rank in ranks) / len(ranks) for k in (1, 5))
                mrr = sum(1 / rank for rank in ranks if rank) / len(ranks)
                print(f"{name:18} {engine:8} {first:8.4f}  {five:8.4f} {mrr:6.4f}  {1e3 * spent:13.2f}", flush=True)


def whole(file: Path, questions: list[dict[str, str]]) -> None:
    """The same of an index as `index build` makes it, and of the questions in which something is quoted."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SODATE_HOME"] = folder
        index = build([file], "bench").index
        asked = [tuning.Question(row["question"], None, row["passage_id"], 0) for row in questions]
        quoting = [one for one in asked if phrases_of(one.text)]
        for name, some in (("the index", asked), ("  quoting", quoting)):
            began = time.perf_counter()
            found = tuning.recall(tuning.ranks(index, tuning.by_words(index), some))
            spent = 1e3 * (time.perf_counter() - began) / max(len(some), 1)
            print(f"{name:18} {len(some):8} {found.first:8.4f}  {found.five:8.4f} {found.mrr:6.4f}  {spent:13.2f}")


def speed(passages: list[dict[str, str]], questions: list[dict[str, str]], count: int) -> None:
    draw = random.Random(0)
    sentences = [one + "。" for row in passages for one in row["text"].split("。") if one]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SODATE_HOME"] = f"{folder}/home"
        docs, size = Path(folder) / "docs", 0
        docs.mkdir()
        for start in range(0, count, FILE):
            with (docs / f"{start}.jsonl").open("w") as out:
                for number in range(start, min(start + FILE, count)):
                    text = "".join(draw.sample(sentences, 4))
                    size += len(text.encode())
                    out.write(json.dumps({"id": str(number), "text": text}, ensure_ascii=False) + "\n")
        began = time.perf_counter()
        child = os.fork()  # its time and memory are counted apart
        if not child:
            build([docs], "bench")
            os._exit(0)
        _, failed, used = os.wait4(child, 0)
        if failed:
            sys.exit("the build failed")
        spent, own = time.perf_counter() - began, used.ru_utime + used.ru_stime
        index = find("bench")
        held = sum(file.stat().st_size for file in index.path.iterdir())
        times = []
        for row in draw.sample(questions, min(len(questions), 500)):
            start_of_it = time.process_time()
            index.search(row["question"], 5)
            times.append(1e3 * (time.process_time() - start_of_it))
        made = index.manifest["passages"]
    p95 = statistics.quantiles(times, n=20)[-1]
    print(
        f"{count} chunks, {made} kept: {count / own:.0f} chunks/s ({count / spent:.0f} by the clock) in "
        f"{used.ru_maxrss / 1e3:.0f} MB, index {held / size:.2f} of the text; search p50 "
        f"{statistics.median(times):.1f} ms, p95 {p95:.1f} ms, in {own_memory():.0f} MB"
    )


def own_memory() -> float:
    """Memory of this process alone, MB: pages of files that are mapped are the system's."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("passages", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--chunks", type=int, nargs="*", default=[])
    args = parser.parse_args()
    passages, questions = (
        [json.loads(line) for line in f.read_text().splitlines()] for f in (args.passages, args.questions)
    )
    recall(passages, questions)
    whole(args.passages, questions)
    for count in args.chunks:
        speed(passages, questions, count)


if __name__ == "__main__":
    main()
