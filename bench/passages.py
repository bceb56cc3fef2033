"""What training on passages brings: questions answered from retrieved passages, before and after.

    python bench/passages.py PASSAGES.jsonl QUESTIONS.jsonl [--model gemma3-270m] [--train 300] [--test 200] [--k 2]
        [--unanswerable 0.2]

Rows are {"id", "title", "text"} and {"id", "question", "passage_id", "answers"}, as in JSQuAD, split by article: no
article that is asked about at the end is trained on. All are questions to one index of all passages. A share of the
training rows (--unanswerable) and a third of the test rows get passages without the one that answers, which is what
search finds beside it: passages of the same article, mostly; rows whose answer stands there by chance are left out.
They have to be answered with the abstention, all others with the answer and the number of its passage.

answered × right is printed before and after, with 95 % intervals: exact match (of any of the answers, NFKC, without
marks and signs), hallucination (unanswerable, and answered all the same), over-refusal (answerable, and not answered),
and whether the passage that was cited is the one that answers.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sodate
from sodate.api import retrieval
from sodate.api.loading import load
from sodate.core.engine import Sampling
from sodate.core.types import Message
from sodate.evaluate import stats
from sodate.grade.answers import abstained

ABSTENTION = "資料に記載がありません。"
_MARK = re.compile(r"[\[［]\d+[\]］]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the model sees it; `answers` are () where its passages hold none, `cited` the number of the one."""

    prompt: str
    answers: tuple[str, ...]
    cited: str


def plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", _MARK.sub("", text)).casefold())


def rows(
    questions: Sequence[dict[str, Any]], index: str, answerable: bool, k: int, folder: Path
) -> list[dict[str, Any]]:
    """Conversations with passages, made by `data with-context`."""
    source, out = folder / "source.jsonl", folder / "out.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": one["question"]},
                      {"role": "assistant", "content": f"{one['answers'][0]} [*]"}],
         "passage": one["passage_id"], "answers": one["answers"]}
        for one in questions
    ]  # fmt: skip
    source.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    retrieval.with_context(source, index, out, k=k, answerable=float(answerable), abstention=ABSTENTION)
    made = [json.loads(line) for line in out.read_text().splitlines()]
    return [
        row
        for row in made
        if answerable or not any(answer in row["messages"][0]["content"] for answer in row["answers"])
    ]


def asked(made: Sequence[dict[str, Any]], answerable: bool) -> list[Asked]:
    found = []
    for row in made:
        prompt, reply = (message["content"] for message in row["messages"])
        mark = _MARK.search(reply)
        found.append(Asked(prompt, tuple(row["answers"]) if answerable else (), mark[0] if answerable and mark else ""))
    return found


def measure(name: str, test: Sequence[Asked]) -> dict[str, list[float]]:
    """0 or 1 for every question, by what is measured."""
    model = load(name)
    prompts = [[Message("user", one.prompt)] for one in test]
    replies = [model.renderer.text(reply.ids).strip() for reply in model.replies(prompts, Sampling(max_new_tokens=32))]
    model.engine.close()
    refused = [abstained(reply) for reply in replies]
    pairs = list(zip(test, replies, refused, strict=True))
    there = [(one, reply, no) for one, reply, no in pairs if one.answers]
    for one, reply, _ in pairs[:3]:
        print(f"    {one.prompt.rsplit('質問:', 1)[-1].strip()} → {reply!r} ({' / '.join(one.answers) or '-'})")
    return {
        "exact match": [float(plain(reply) in {plain(answer) for answer in one.answers}) for one, reply, _ in there],
        "over-refusal": [float(no) for _, _, no in there],
        "right citation": [float(one.cited in reply) for one, reply, _ in there],
        "hallucination": [float(not no) for one, _, no in pairs if not one.answers],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--k", type=int, default=2)
    parser.add_argument("--unanswerable", type=float, default=0.2, help="share of the training rows")
    parser.add_argument("--epochs", type=float, default=1.0)
    given = parser.parse_args()
    questions = [json.loads(line) for line in given.questions.read_text().splitlines()]
    draw = random.Random(0)
    articles = sorted({one["passage_id"].split("p")[0] for one in questions})
    held = set(draw.sample(articles, len(articles) // 4))
    draw.shuffle(questions)
    train = [one for one in questions if one["passage_id"].split("p")[0] not in held][: given.train]
    test = [one for one in questions if one["passage_id"].split("p")[0] in held][: given.test]
    retrieval.build_index([given.passages], "bench-passages")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cut = len(test) // 3
        tests = asked(rows(test[cut:], "bench-passages", True, given.k, place), True)
        tests += asked(rows(test[:cut], "bench-passages", False, given.k, place), False)
        cut = int(len(train) * given.unanswerable)
        lines = rows(train[cut:], "bench-passages", True, given.k, place)
        lines += rows(train[:cut], "bench-passages", False, given.k, place)
        draw.shuffle(lines)
        file = place / "train.jsonl"
        file.write_text(
            "".join(json.dumps({"messages": row["messages"]}, ensure_ascii=False) + "\n" for row in lines)
        )  # fmt: skip
        print(f"{given.model}: {len(lines)} training rows, {len(tests)} questions, {given.k} passages each", flush=True)
        before = measure(given.model, tests)
        began = time.perf_counter()
        done = sodate.train(
            method="sft", model=given.model, data=str(file), name="bench-passages", epochs=given.epochs, seed=0
        )
        print(f"trained in {time.perf_counter() - began:.0f} s", flush=True)
        after = measure(done["version"], tests)
    print(f"\n{'':16} {'n':>4}  {'before':24} {'after':24} difference")
    for what in before:
        one, two = before[what], after[what]
        diff = stats.paired_interval([b - a for a, b in zip(one, two, strict=True)])
        print(f"{what:16} {len(one):4}  {_with(one):24} {_with(two):24} {_shown(_mean(two) - _mean(one), diff)}")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _with(values: Sequence[float]) -> str:
    return _shown(_mean(values), stats.mean_ci(values))


def _shown(value: float, ci: tuple[float, float] | None) -> str:
    return f"{value:+.3f} ({ci[0]:+.3f} to {ci[1]:+.3f})" if ci else f"{value:+.3f}"


if __name__ == "__main__":
    main()
