"""What training on passages brings: questions answered from retrieved passages, before and after.

    python bench/passages.py PASSAGES.jsonl QUESTIONS.jsonl [--model gemma3-270m] [--train 480] [--test 160] [--k 1]
        [--unanswerable 0.15] [--out ROWS.jsonl]

Rows are {"id", "title", "text"} and {"id", "question", "passage_id", "answers"}, as in JSQuAD, split by article: no
article that is asked about at the end is trained on. All are questions to one index of all passages. A share of the
training rows (--unanswerable) and a third of the test rows get passages without the one that answers, which is what
search finds beside it: passages of the same article, mostly; rows whose answer stands there by chance are left out.
They have to be answered with the abstention, all others with the answer and the number of its passage. Questions are
taken passage by passage, and rows with the same passages stand together (`shuffle: false`): what they share is computed
once.

answered × right is printed before and after, with 95 % intervals: exact match (of any of the answers, NFKC, without
marks and signs), hallucination (unanswerable, and answered all the same), over-refusal (answerable, and not answered),
and whether the passage that was cited is the one that answers. A third column is the trained model with a threshold:
where the reply is less sure (the geometric mean of its tokens' probabilities), it counts as the abstention. The
threshold is the lowest that catches half of the unanswerable ones among --calibrate questions to articles of the
training rows that were not trained on. --out keeps every reply with its confidence.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sodate
from sodate.api import grounding, retrieval
from sodate.api.answers import of_content
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


@dataclass(frozen=True, slots=True)
class Said:
    """A reply, how sure its tokens were, and whether it abstains."""

    text: str
    sure: float
    refused: bool


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
    grounding.with_context(source, index, out, k=k, answerable=float(answerable), abstention=ABSTENTION)
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


def replied(name: str, test: Sequence[Asked]) -> list[Said]:
    model = load(name)
    prompts = [[Message("user", one.prompt)] for one in test]
    made = model.replies(prompts, Sampling(max_new_tokens=24))
    texts = [model.renderer.text(reply.ids).strip() for reply in made]
    sure = [of_content(model.renderer, reply) or 0.0 for reply in made]
    model.engine.close()
    for one, text in list(zip(test, texts, strict=True))[:3]:
        print(f"    {one.prompt.rsplit('質問:', 1)[-1].strip()} → {text!r} ({' / '.join(one.answers) or '-'})")
    return [Said(text, value, abstained(text)) for text, value in zip(texts, sure, strict=True)]


def measured(test: Sequence[Asked], said: Sequence[Said], least: float = 0.0) -> dict[str, list[float]]:
    """0 or 1 for every question, by what is measured; replies less sure than `least` count as abstentions."""
    found: dict[str, list[float]] = {name: [] for name in ("exact match", "over-refusal", "right citation")}
    found["hallucination"] = []
    for one, reply in zip(test, said, strict=True):
        refused = reply.refused or reply.sure < least
        if not one.answers:
            found["hallucination"].append(float(not refused))
            continue
        right = plain(reply.text) in {plain(answer) for answer in one.answers}
        found["exact match"].append(float(right and not refused))
        found["over-refusal"].append(float(refused))
        found["right citation"].append(float(one.cited in reply.text and not refused))
    return found


def threshold(test: Sequence[Asked], said: Sequence[Said]) -> float:
    """The lowest confidence that half of the unanswerable questions stay under, those that were refused counted in."""
    unanswerable = [0.0 if reply.refused else reply.sure for one, reply in zip(test, said, strict=True)
                    if not one.answers]  # fmt: skip
    return statistics.median(unanswerable) + 1e-9


def by_passage(questions: Sequence[dict[str, Any]], articles: set[str], draw: random.Random) -> list[dict[str, Any]]:
    """The questions to some articles, passage by passage in an order that is drawn."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in questions:
        if one["passage_id"].split("p")[0] in articles:
            groups.setdefault(one["passage_id"], []).append(one)
    return [one for passage in draw.sample(sorted(groups), len(groups)) for one in groups[passage]]


def together(rows: Sequence[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Rows with the same passages one after the other, these groups in an order that is drawn."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["messages"][0]["content"].rsplit("質問:", 1)[0], []).append(row)
    return [row for key in draw.sample(sorted(groups), len(groups)) for row in groups[key]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--model", default="gemma3-270m")
    parser.add_argument("--train", type=int, default=480)
    parser.add_argument("--test", type=int, default=160)
    parser.add_argument("--calibrate", type=int, default=60)
    parser.add_argument("--k", type=int, default=1)
    parser.add_argument("--unanswerable", type=float, default=0.15, help="share of the training rows")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    questions = [json.loads(line) for line in given.questions.read_text().splitlines()]
    draw = random.Random(0)
    articles = sorted({one["passage_id"].split("p")[0] for one in questions})
    held = set(draw.sample(articles, len(articles) // 4))
    known = by_passage(questions, set(articles) - held, draw)
    train, aside = known[: given.train], known[given.train :][: given.calibrate]
    test = by_passage(questions, held, draw)[: given.test]
    retrieval.build_index([given.passages], "bench-passages")
    with tempfile.TemporaryDirectory() as folder:

        def both(some: list[dict[str, Any]], share: float) -> list[tuple[list[dict[str, Any]], bool]]:
            cut = int(len(some) * share)
            mixed = draw.sample(some, len(some))
            return [
                (rows(part, "bench-passages", answerable, given.k, Path(folder)), answerable)
                for part, answerable in ((mixed[cut:], True), (mixed[:cut], False))
            ]

        tests, checks = (
            [one for some, answerable in both(part, 1 / 3) for one in asked(some, answerable)] for part in (test, aside)
        )
        lines = together([row for some, _ in both(train, given.unanswerable) for row in some], draw)
        file = Path(folder) / "train.jsonl"
        file.write_text(
            "".join(json.dumps({"messages": row["messages"]}, ensure_ascii=False) + "\n" for row in lines)
        )  # fmt: skip
        print(f"{given.model}: {len(lines)} training rows, {len(tests)} questions, {given.k} passages each", flush=True)
        first = replied(given.model, tests)
        began = time.perf_counter()
        done = sodate.train(
            method="sft", model=given.model, data=str(file), name="bench-passages", epochs=given.epochs, seed=0,
            shuffle=False,
        )  # fmt: skip
        print(f"trained in {time.perf_counter() - began:.0f} s", flush=True)
        checked = replied(done["version"], checks)
        last = replied(done["version"], tests)
    least = threshold(checks, checked)
    if given.out:
        kept = [("before", tests, first), ("calibrate", checks, checked), ("after", tests, last)]
        lines_out = [
            {"part": part, "question": one.prompt.rsplit("質問:", 1)[-1].strip(), "answers": one.answers,
             "cited": one.cited, "reply": reply.text, "sure": reply.sure, "refused": reply.refused}
            for part, asks, said in kept for one, reply in zip(asks, said, strict=True)
        ]  # fmt: skip
        given.out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines_out))
    before, after, under = measured(tests, first), measured(tests, last), measured(tests, last, least)
    print(f"\nthreshold {least:.3f}, from {len(checks)} other questions")
    print(f"{'':16} {'n':>4}  {'before':24} {'after':24} {'difference':24} with the threshold")
    for what, one in before.items():
        two, three = after[what], under[what]
        diff = stats.paired_interval([b - a for a, b in zip(one, two, strict=True)])
        print(f"{what:16} {len(one):4}  {_with(one):24} {_with(two):24} {_shown(_mean(two) - _mean(one), diff):24} "
              f"{_with(three)}")  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _with(values: Sequence[float]) -> str:
    return _shown(_mean(values), stats.mean_ci(values))


def _shown(value: float, ci: tuple[float, float] | None) -> str:
    return f"{value:+.3f} ({ci[0]:+.3f} to {ci[1]:+.3f})" if ci else f"{value:+.3f}"


if __name__ == "__main__":
    main()
