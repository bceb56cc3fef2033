"""How well and how fast an index finds: recall on questions with known passages, and speed over many chunks.

    python bench/index.py PASSAGES.jsonl QUESTIONS.jsonl [--chunks 100000]

Rows are {"id", "title", "text"} and {"question", "passage_id"}, as in JSQuAD. Recall is of three kinds of terms and two
engines: this project's postings, and SQLite's FTS5 over the same terms. Many chunks are made of sentences of the
passages, drawn with a seed; questions are those of the file. Each figure is of this process, on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sodate.retrieve import postings
from sodate.retrieve.index import Weights
from sodate.retrieve.terms import folded, terms

Terms = Callable[[str], list[str]]
Ask = Callable[[str, int], list[int]]


def pairs(text: str) -> list[str]:
    """Every pair of neighbouring characters."""
    parts = re.sub(r"[\W_]+", " ", folded(text)).split()
    return [part[i : i + 2] for part in parts for i in range(len(part) - 1)]


def words(text: str) -> list[str]:
    """Words between spaces and signs, as for English."""
    return re.findall(r"\w+", folded(text))


def ours(texts: Sequence[list[str]] | Iterator[list[str]], split: Terms, folder: Path) -> Ask:
    weights = Weights()
    opened = postings.Postings(folder, postings.write(folder, texts, k1=weights.k1, b=weights.b), weights.k1)
    return lambda question, k: postings.best(opened.scores(split(question)), k)


def fts5(texts: Sequence[list[str]], split: Terms) -> Ask:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE t USING fts5(x, content='', tokenize=\"unicode61 remove_diacritics 0\")")
    # Terms as hexadecimal words: what they are made of must not be cut again.
    base.executemany(
        "INSERT INTO t(rowid, x) VALUES (?, ?)",
        ((n, " ".join("x" + term.encode().hex() for term in text)) for n, text in enumerate(texts)),
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
        texts = [split(row["text"]) + split(row["title"]) * Weights().titles for row in passages]
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


def speed(passages: list[dict[str, str]], questions: list[dict[str, str]], count: int) -> None:
    draw = random.Random(0)
    sentences = [one + "。" for row in passages for one in row["text"].split("。") if one]
    size = 0

    def chunks() -> Iterator[list[str]]:
        nonlocal size
        for _ in range(count):
            text = "".join(draw.sample(sentences, 4))
            size += len(text.encode())
            yield terms(text)

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        ask = ours(chunks(), terms, Path(folder))
        spent = time.perf_counter() - began
        held = sum(file.stat().st_size for file in Path(folder).iterdir())
        times = []
        for row in draw.sample(questions, min(len(questions), 500)):
            began = time.perf_counter()
            ask(row["question"], 5)
            times.append(1e3 * (time.perf_counter() - began))
    p95 = statistics.quantiles(times, n=20)[-1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{count} chunks: {count / spent:.0f} chunks/s, postings {held / size:.2f} of the text, search p50 "
        f"{statistics.median(times):.1f} ms, p95 {p95:.1f} ms, peak {peak:.0f} MB"
    )


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
    for count in args.chunks:
        speed(passages, questions, count)


if __name__ == "__main__":
    main()
