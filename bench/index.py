"""How well and how fast an index finds: recall on questions with known passages, and speed over many chunks.

    python bench/index.py PASSAGES.jsonl QUESTIONS.jsonl [--chunks 100000 1000000] [--copies 1] [--no-recall]

Rows are {"id", "title", "text"} and {"question", "passage_id"}, as in JSQuAD. Recall is of three kinds of terms and two
engines: this project's postings, and SQLite's FTS5 over the same terms; then of an index as `index build` makes it.
Many chunks are made of sentences of the passages, drawn with a seed, and written as documents that `index build` reads;
questions are those of the file. Each figure is of one core, in processor time, which other programs on the machine
change less than the clock's; of a build also by the clock. Memory is the most that building held, and what the process
that searches has of its own. With --copies what was built is searched as so many copies of it side by side in one
index: as many chunks as it would take 10 minutes to build, in half a minute.
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
from dataclasses import replace
from pathlib import Path

import numpy as np

from sodate.retrieve import postings, store, tuning
from sodate.retrieve.build import build
from sodate.retrieve.catalogue import find
from sodate.retrieve.index import Index, Weights, phrases_of
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


def copied(index: Index, copies: int) -> Index:
    """An index of the passages of another one, all of them so many times; those of the last block that is not full are
    left out, so that every copy begins with a block."""
    made = replace(index, path=index.path.with_name("copies"))
    made.path.mkdir()
    count = index.manifest["passages"] // store.BLOCK * store.BLOCK
    starts, owners, levels, blocks = (
        np.fromfile(index.path / name, kind)
        for name, kind in (("starts.i64", "i8"), ("passages.i32", "i4"), ("weights.u8", "u1"), ("blocks.i64", "i8"))
    )
    term = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    kept = owners < count
    term, owners, levels = term[kept], owners[kept], levels[kept]
    often = np.bincount(term, minlength=len(starts) - 1)
    more = np.concatenate([[0], np.cumsum(often * copies)])
    place = more[term] + np.arange(len(term)) - (np.cumsum(often) - often)[term]
    all_owners, all_levels = np.zeros(len(term) * copies, np.int32), np.zeros(len(term) * copies, np.uint8)
    for copy in range(copies):
        all_owners[place + copy * often[term]] = owners + copy * count
        all_levels[place + copy * often[term]] = levels
    blocks = blocks[: count // store.BLOCK + 1]
    each = np.concatenate([blocks[:-1] + copy * blocks[-1] for copy in range(copies)])
    for name, values in (("starts.i64", more), ("passages.i32", all_owners), ("weights.u8", all_levels),
                         ("blocks.i64", np.append(each, copies * blocks[-1]))):  # fmt: skip
        values.tofile(made.path / name)
    (made.path / "terms.u64").write_bytes((index.path / "terms.u64").read_bytes())
    (made.path / "passages.z").write_bytes((index.path / "passages.z").read_bytes()[: blocks[-1]] * copies)
    (made.path / "index.json").write_text(json.dumps({**index.manifest, "passages": count * copies}))
    return made


def speed(passages: list[dict[str, str]], questions: list[dict[str, str]], count: int, copies: int) -> None:
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
        index = copied(index, copies) if copies > 1 else index
        times, quoting = [], []
        for row in draw.sample(questions, min(len(questions), 500)):
            start_of_it = time.process_time()
            index.search(row["question"], 5)
            times.append(1e3 * (time.process_time() - start_of_it))
            quoting += times[-1:] if phrases_of(row["question"]) else []
        made = index.manifest["passages"]
    p95, most = (statistics.quantiles(some, n=20)[-1] for some in (times, quoting))
    print(
        f"{count} chunks, {made} searched: {count / own:.0f} chunks/s ({count / spent:.0f} by the clock) in "
        f"{used.ru_maxrss / 1e3:.0f} MB, index {held / size:.2f} of the text; search p50 "
        f"{statistics.median(times):.1f} ms, p95 {p95:.1f} ms ({len(quoting)} that quote: "
        f"{statistics.median(quoting):.1f} and {most:.1f} ms), in {own_memory():.0f} MB"
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
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--no-recall", action="store_true")
    args = parser.parse_args()
    passages, questions = (
        [json.loads(line) for line in f.read_text().splitlines()] for f in (args.passages, args.questions)
    )
    if not args.no_recall:
        recall(passages, questions)
        whole(args.passages, questions)
    for count in args.chunks:
        speed(passages, questions, count, args.copies)


if __name__ == "__main__":
    main()
