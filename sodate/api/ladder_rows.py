"""The rows of a ladder: training, development and held-out rows apart, and the prompts that its rungs are asked with.

A rung's prompts are written into a file before they are measured, so that `sodate eval` measures every rung alike and
anybody can do it again.
"""

from __future__ import annotations

import json
import math
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sodate.api.ladder_task import Given
from sodate.api.retrieval import openai_line
from sodate.core.errors import UsageError
from sodate.core.text import json_lines, tr
from sodate.core.types import Conversation, Message, TaskItem
from sodate.data.check import check
from sodate.data.examples import ParsedRow, read_examples
from sodate.data.tasks import as_task
from sodate.retrieve.context import cited, question
from sodate.retrieve.terms import terms

SHOTS = 4  # examples in a prompt
SHOT_CHARS = 4000  # that they have at most, together
DEVELOP = 16  # rows that prompts are chosen on: enough to see a prompt that breaks a small model
_JAPANESE = re.compile("[ぁ-ヿ一-鿿]")

Row = Conversation | TaskItem
Prompt = Callable[[Row], Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Rows:
    """`train` are what may be learnt and shown as examples, `develop` what prompts are chosen on, `heldout` what
    decides. `aside` rows of the first two were too like a held-out row."""

    train: tuple[Conversation, ...]
    develop: tuple[Row, ...]
    heldout: tuple[Row, ...]
    aside: int


def read(given: Given) -> Rows:
    """The rows of a task. UsageError where there are none to train on or to measure with."""
    task = given.task
    against = given.beside(task.heldout)
    aside = 0

    def usable(names: Sequence[str]) -> list[Row]:
        nonlocal aside
        files = [given.to_train_on(name) for name in names]
        checked = check(files, against=against, columns=task.columns or None, encoding=task.encoding)
        aside += checked.ledger.rows_aside
        return [one for one in checked.iter_examples() if isinstance(one, Conversation | TaskItem)]

    train = usable(task.train)
    develop = usable([task.develop]) if task.develop else []
    random.Random(task.seed).shuffle(train)
    if not task.develop:
        count = min(DEVELOP, max(1, len(train) // 5))
        develop, train = train[:count], train[count:]
    learnt = [one for one in train if isinstance(one, Conversation) and one.reply is not None][: task.rows]
    heldout: list[Row] = []
    for row in read_examples(against, task.columns or None, task.encoding)[1]:
        if isinstance(row, ParsedRow) and isinstance(row.example, Conversation | TaskItem):
            heldout.append(row.example)
    heldout = heldout[: task.heldout_rows]
    for key, rows in (("train", learnt), ("heldout", heldout), ("develop", develop)):
        if not rows:
            raise UsageError(
                tr(f"{given.path}: {key} has no conversations that can be used.",
                   f"{given.path}: {key} に使える会話の行がありません。"),
                code="no_rows", param=key, file=given.path,
            )  # fmt: skip
    return Rows(tuple(learnt), tuple(develop), tuple(heldout), aside)


def as_asked(row: Row) -> Sequence[Message]:
    """The prompt of a row as it stands in its file."""
    return row.prompt


def written(rows: Sequence[Row], prompt: Prompt) -> bytes:
    """The rows with other prompts, as JSON lines that `sodate eval` and `sodate train` read."""
    lines = []
    for row in rows:
        messages = list(prompt(row))
        if isinstance(row, Conversation):
            if row.reply is None:
                continue
            messages = [*(replace(one, weight=0.0) if one.role == "assistant" else one for one in messages), row.reply]
        lines.append(openai_line(messages, row))
    return b"".join(lines)


def lessons(rows: Sequence[Conversation]) -> bytes:
    """Training rows as they are, as JSON lines."""
    return b"".join(openai_line(one.messages, one) for one in rows)


def ungrounded(rows: Sequence[Conversation]) -> list[Conversation]:
    """Rows that are asked without passages: their replies name none."""
    return [
        replace(row, messages=tuple(replace(one, content=cited(one.content, None)) for one in row.messages))
        for row in rows
    ]


# ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Candidate:
    """A system prompt: `text` instead of the row's own, or after it. `source` says who proposed it."""

    source: str
    text: str
    instead: bool = False

    def prompt(self, row: Row) -> list[Message]:
        """The row's prompt with this system prompt."""
        own = [one for one in row.prompt[:1] if one.role == "system"]
        rest = list(row.prompt[len(own) :])
        before = "" if self.instead or not own else own[0].content.rstrip() + "\n\n"
        text = before + self.text if self.text else before.rstrip()
        return [Message("system", text), *rest] if text else rest


OWN = Candidate("own", "")


def by_rule(given: Given, rows: Rows) -> list[Candidate]:
    """Prompts that simple rules make of the task: its goal; with what is wrong today; with what the replies share."""
    task = given.task
    japanese = bool(_JAPANESE.search(task.goal))
    goal = task.goal.strip()
    rules = [RULES[wrong][japanese] for wrong in task.wrong]
    facts = _shared([one.reply.content for one in ungrounded(rows.train) if one.reply is not None], japanese)
    found = [Candidate("goal", goal), Candidate("rules", "\n".join([goal, *rules]))]
    if facts:
        found.append(Candidate("form", "\n".join([goal, *rules, *facts])))
    return found


RULES = {
    "accuracy": (
        "Use only what the message says. Copy names, numbers and dates exactly; never guess.",
        "書かれていることだけを使い、名前・数字・日付はそのまま写してください。推測はしないでください。",
    ),
    "consistency": (
        "Answer in the same form and wording every time, however the message is written.",
        "どのように書かれていても、毎回同じ形と言い回しで答えてください。",
    ),
    "banned_words": (
        "Use plain words that the company itself uses, and no exaggeration.",
        "会社で普段使っている言葉だけを使い、誇張した表現は避けてください。",
    ),
    "format": (
        "Write the answer in exactly the required form, with nothing before or after it.",
        "決められた形だけで答え、前後に何も書かないでください。",
    ),
    "tone": (
        "Write as a careful member of staff would write to a customer.",
        "お客様に対する担当者として、丁寧な言葉で書いてください。",
    ),
}
"""What a prompt says to each of the things that can be wrong, in English and in Japanese."""


def _shared(replies: Sequence[str], japanese: bool) -> list[str]:
    """What the right replies have in common: how they begin and end, and how long they are."""
    found = []
    first = replies[0]
    size = next((n for n in range(len(first)) if any(one[: n + 1] != first[: n + 1] for one in replies)), len(first))
    head = first[:size].strip()
    if len(head) >= 2:
        found.append(f"答えは必ず「{head}」で始めてください。" if japanese else f"Every answer begins with: {head}")
    typical = statistics.median(len(one) for one in replies)
    limit = max(10, math.ceil(typical / 10) * 10)
    found.append(f"長さは {limit} 文字ほどです。" if japanese else f"An answer has about {limit} characters.")
    return found


def request(given: Given, rows: Rows) -> str:
    """What the model is asked, so that it proposes a system prompt itself."""
    japanese = bool(_JAPANESE.search(given.task.goal))
    shown = sorted(rows.train, key=lambda one: len(question(one.prompt)))[:3]
    pairs = "\n\n".join(
        f"{'入力' if japanese else 'Input'}: {question(one.prompt)}\n"
        f"{'答え' if japanese else 'Answer'}: {one.reply.content if one.reply else ''}"
        for one in shown
    )
    if japanese:
        return (
            f"次の仕事を AI に任せます: {given.task.goal}\n\n{pairs}\n\n"
            "この仕事を任せる指示文を、3 文以内で書いてください。指示文だけを書いてください。"
        )
    return (
        f"An assistant has this job: {given.task.goal}\n\n{pairs}\n\n"
        "Write the instruction for the assistant in at most three sentences. Write the instruction alone."
    )


def by_model(replies: Sequence[str], rows: Rows) -> list[Candidate]:
    """The model's proposals: in place of the rows' own system prompt, where it is the same in all."""
    own = {row.prompt[0].content if row.prompt[0].role == "system" else "" for row in (*rows.train, *rows.heldout)}
    texts = dict.fromkeys(text for one in replies if 20 <= len(text := one.strip()) <= 1500)
    return [Candidate("model", text, instead=len(own) == 1) for text in texts]


# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _turns(shots: Sequence[Conversation]) -> list[Message]:
    """Examples as turns before a question, without their system turns; as many as SHOT_CHARS hold, one at least."""
    found: list[Message] = []
    for one in ungrounded(shots):
        turns = [m for m in (*one.prompt, one.reply) if m is not None and m.role != "system"]
        if found and sum(len(m.content) for m in (*found, *turns)) > SHOT_CHARS:
            break
        found += turns
    return found


def _with_turns(prompt: Sequence[Message], turns: Sequence[Message]) -> list[Message]:
    head = [m for m in prompt[:1] if m.role == "system"]
    return [*head, *turns, *prompt[len(head) :]]


def fixed_shots(rows: Rows, prompt: Prompt) -> Prompt:
    """The prompt with the same examples before every question: training rows from short replies to long ones."""
    ordered = sorted(rows.train, key=lambda one: len(one.reply.content) if one.reply else 0)
    count = min(SHOTS, len(ordered))
    turns = _turns([ordered[(2 * n + 1) * len(ordered) // (2 * count)] for n in range(count)])
    return lambda row: _with_turns(prompt(row), turns)


def nearest_shots(rows: Rows, prompt: Prompt) -> Prompt:
    """The prompt with the training rows whose questions are most like its own before it, the nearest last.

    Alike is what shares rare terms: cosine of term counts weighted by how few training rows have a term.
    """
    counts = [Counter(terms(question(one.prompt))) for one in rows.train]
    having = Counter(term for one in counts for term in one)
    weight = {term: math.log((1 + len(counts)) / (1 + n)) + 1 for term, n in having.items()}

    def vector(found: Counter[str]) -> dict[str, float]:
        weighted = {term: n * weight[term] for term, n in found.items() if term in weight}
        length = math.sqrt(sum(value * value for value in weighted.values())) or 1.0
        return {term: value / length for term, value in weighted.items()}

    vectors = [vector(one) for one in counts]

    def near(row: Row) -> list[Message]:
        own = vector(Counter(terms(question(row.prompt))))
        scores = [sum(value * other.get(term, 0.0) for term, value in own.items()) for other in vectors]
        best = sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:SHOTS]
        # The nearest are kept where not all fit, and stand next to the question.
        kept = _turns([rows.train[n] for n in best])
        count = sum(m.role == "assistant" for m in kept)
        return _with_turns(prompt(row), _turns([rows.train[n] for n in reversed(best[:count])]))

    return near


def kept_replies(result: dict[str, Any]) -> dict[str, Any]:
    """What a ladder keeps of an evaluation besides its result: each reply with its scores, in the order of the rows."""
    lines = json_lines(Path(result["report"]).with_name("replies.jsonl").read_text("utf-8"))
    rows = sorted((json.loads(line) for line in lines), key=lambda one: int(one["item"]))
    return {"replies": [one["reply"] for one in rows], "scores": [one["scores"] for one in rows]}


def heldout_tasks(rows: Rows) -> list[tuple[str, str]]:
    """The question and the right reply of every held-out row, for examples."""
    found = []
    for row in rows.heldout:
        task = as_task(row)
        answer = "" if task is None else str(task.item.get("reference_answer", ""))
        found.append((question(row.prompt), answer))
    return found
