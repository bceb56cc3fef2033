"""The rungs in their order, from cheap and outside the model to dear and inside it, and how each is built.

The model as it is, a prompt, examples, retrieval, training on some rows and on all, training with retrieval,
preferences, reinforcement. What a rung needs is built when it is its turn, and no sooner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sodate.api import ladder_rows
from sodate.api.ladder_rows import Candidate, Prompt, Rows
from sodate.api.ladder_steps import Done, Workshop
from sodate.api.ladder_task import Given
from sodate.core.text import Sentence, tr
from sodate.core.types import Conversation

PROPOSALS = 2  # prompts that the model proposes itself
LONGEST_REPLY = 256  # tokens of a reply that reinforcement samples, at most
LEAST_SHARE = 8  # rows of the smaller share of training rows


@dataclass(frozen=True, slots=True)
class Way:
    """A rung before it is measured: who is asked, with which file of prompts, and what was built for it.

    `again` are the builds that have to be repeated when knowledge changes.
    """

    name: str
    label: Sentence
    model: str
    data: Path
    builds: tuple[Done, ...] = ()
    again: tuple[Done, ...] = ()
    index: str | None = None


@dataclass(frozen=True, slots=True)
class Ladder:
    """A task with its rows, where its steps are kept, and the exact id of its model."""

    given: Given
    rows: Rows
    shop: Workshop
    model: str

    @property
    def clusters(self) -> list[str] | None:
        """For each held-out row what it has in common with others, or None where all are independent."""
        column = self.given.task.cluster
        if column is None:
            return None
        return [
            f"={row.item.get(column)}" for row in self.rows.heldout if not isinstance(row, Conversation) or row.reply
        ]

    def heldout(self, prompt: Prompt = ladder_rows.as_asked) -> Path:
        """The held-out rows with these prompts, as a file."""
        return self.shop.file(ladder_rows.written(self.rows.heldout, prompt))

    def measure(
        self, model: str, data: Path, *more: str, needs: Sequence[str] = (), deciding: bool = True
    ) -> Done:  # fmt: skip
        """What `sodate eval` says of a model on a file of prompts; they are held-out rows where they are `deciding`.
        Of others only the mean is used, and they need no column that says which of them are related."""
        task = self.given.task
        graders = [word for one in self.graders for word in ("--grader", one)]
        cluster = ["--cluster", task.cluster] if task.cluster and deciding else []
        longest = ["--max-tokens", str(task.max_tokens)] if task.max_tokens else []
        more = (*more, *longest, "--seed", str(task.seed), "--no-baselines")  # every rung is one
        words = ["eval", model, "--data", str(data), *graders, *cluster, *more]
        return self.shop.done(words, [model, *needs], ladder_rows.kept_replies)

    @property
    def graders(self) -> list[str]:
        """The task's graders, and whether a reply fits the schema where there is one."""
        task = self.given.task
        fits = task.structure and not any(one.startswith("json_schema") for one in task.grader)
        return [*task.grader, *([f"json_schema:{task.structure}"] if fits else [])]


def ways(whole: Ladder) -> Iterator[Way]:
    """Every way, in the order of the ladder; what one needs is built when it is asked for."""
    task = whole.given.task
    base = Way("base", tr("the given model", "元のモデル"), whole.model, whole.heldout())
    yield base
    chosen, tried = choose_prompt(whole)
    label = tr(f"a prompt ({chosen.source})", f"プロンプト ({chosen.source})")
    if chosen is ladder_rows.OWN:
        label = tr("the rows' own prompt: no other was better", "元のプロンプト（より良いものはなし）")
    prompt = replace(base, name="prompt", label=label, data=whole.heldout(chosen.prompt), builds=tried)
    yield prompt
    shots = whole.heldout(ladder_rows.fixed_shots(whole.rows, chosen.prompt))
    yield replace(prompt, name="few-shots", label=tr("prompt with fixed examples", "プロンプトと固定の例"), data=shots)
    near = whole.heldout(ladder_rows.nearest_shots(whole.rows, chosen.prompt))
    yield replace(prompt, name="nearest-shots", label=tr("prompt with the nearest examples", "プロンプトと近い例"),
                  data=near)  # fmt: skip
    made = None
    if task.documents:
        made = whole.shop.done(["index", "build", *task.documents, "--name", whole.given.name])
        yield replace(
            prompt, name="retrieval", label=tr("prompt with retrieval", "プロンプトと検索"), index=made.result["index"],
            builds=(*tried, made), again=(made,),
        )  # fmt: skip
    yield from trained(whole, base, made)


def choose_prompt(whole: Ladder) -> tuple[Candidate, tuple[Done, ...]]:
    """The candidate with the best mean on the development rows, the rows' own where none is better, and what it took.
    Rules and the task propose some, the model itself others."""
    rows, task = whole.rows, whole.given.task
    asking = ["generate", whole.model, "--prompt", ladder_rows.request(whole.given, rows), "--samples", str(PROPOSALS),
              "--temperature", "0.7", "--max-tokens", "160", "--seed", str(task.seed)]  # fmt: skip
    proposed = whole.shop.done(asking, [whole.model])
    candidates = [
        ladder_rows.OWN,
        *(Candidate("task", text, instead=True) for text in task.prompts),
        *ladder_rows.by_rule(whole.given, rows),
        *ladder_rows.by_model(proposed.result[0]["replies"], rows),
    ]
    develop = rows.develop[: ladder_rows.DEVELOP]
    tried = []
    for one in candidates:
        data = whole.shop.file(ladder_rows.written(develop, one.prompt))
        tried.append(whole.measure(whole.model, data, deciding=False))
    first = tried[0].result["results"][0]["grader"]
    means = [mean([one[first] for one in done.kept["scores"]]) for done in tried]
    best = max(range(len(means)), key=lambda n: (means[n], -n))
    return candidates[best], (proposed, *tried)


def trained(whole: Ladder, base: Way, made: Done | None) -> Iterator[Way]:
    """Training on a quarter of the rows and on all, with retrieval, then preferences and reinforcement if asked."""
    task, rows = whole.given.task, whole.rows.train
    own = [one for one in whole.rows.develop if isinstance(one, Conversation) and one.reply is not None]
    plain = [ladder_rows.ungrounded(one) for one in (rows, own)]
    watched = whole.shop.file(ladder_rows.lessons(plain[1])) if own else None
    small = len(rows) // 4
    best = None
    for count in (*((small,) if small >= LEAST_SHARE else ()), len(rows)):
        lessons = whole.shop.file(ladder_rows.lessons(plain[0][:count]))
        best = fit(whole, f"sft-{count}", whole.model, lessons, watched)
        yield replace(
            base, name=f"sft-{count}", label=tr(f"trained on {count} rows", f"{count} 行で学習"),
            model=best.result["version"], builds=(best,), again=(best,),
        )  # fmt: skip
    assert best is not None
    steps: tuple[Done, ...] = (best,)
    if made is not None:
        index = made.result["index"]
        shown, *seen = (grounded(whole, whole.shop.file(ladder_rows.lessons(one)), index) for one in (rows, own) if one)
        files = [Path(one.result["out"]) for one in (shown, *seen)]
        both = fit(whole, f"sft-{len(rows)}-retrieval", whole.model, files[0], files[1] if seen else None)
        steps = (made, shown, *seen, both)
        yield replace(
            base, name=f"sft-{len(rows)}+retrieval", model=both.result["version"], builds=steps, again=(made,),
            label=tr(f"trained on {len(rows)} rows, with retrieval", f"{len(rows)} 行で学習、検索つき"), index=index,
        )  # fmt: skip
    inside: list[tuple[str, Sentence, str | None, list[str]]] = [
        (
            "preference",
            tr("preferences after training", "学習後に選好"),
            task.preferences,
            ["method=dpo", "register_no_gain=true"],
        ),
        (
            "reinforcement",
            tr("reinforcement after training", "学習後に強化学習"),
            task.tasks,
            [
                "method=grpo",
                f"rewards={' + '.join(task.grader)}",
                f"max_new_tokens={_room(rows)}",
                "register_no_gain=true",
            ],
        ),
    ]  # fmt: skip  (a ladder measures them itself)
    for name, label, data, words in inside:
        if data is None:
            continue
        before, learnt = steps[-1].result["version"], whole.given.to_train_on(data)
        if made is not None:  # what is learnt is asked as it will be
            steps = (*steps, grounded(whole, learnt, made.result["index"]))
            learnt = Path(steps[-1].result["out"])
        done = fit(whole, name, before, learnt, None, *words)
        steps = (*steps, done)
        grounded_name = name if made is None else f"{name}+retrieval"
        yield replace(
            base, name=grounded_name, label=label, model=done.result["version"], builds=steps,
            again=steps if made is None else (made,), index=None if made is None else made.result["index"],
        )  # fmt: skip


def _room(rows: Sequence[Conversation]) -> int:
    """Tokens of a sampled reply: a quarter more than the longest right one can have, which is a token a byte."""
    longest = max(len(row.reply.content.encode("utf-8", "replace")) for row in rows if row.reply is not None)
    return min(LONGEST_REPLY, longest + longest // 4 + 8)


def grounded(whole: Ladder, data: Path, index: str) -> Done:
    """The rows of a file with passages before their questions, in a file of the ladder's."""
    out = whole.shop.folder / "files" / f"{data.stem}-{index.replace('@', '-')}.jsonl"
    words = ["data", "with-context", str(data), "--index", index, "--out", str(out)]
    return whole.shop.done([*words, "--seed", str(whole.given.task.seed)], [index])


def fit(whole: Ladder, suffix: str, model: str, data: Path, watched: Path | None, *more: str) -> Done:
    """A version trained from `model`, as `sodate train` makes it."""
    task = whole.given.task
    own = [] if more else [f"{key}={_written(value)}" for key, value in task.training.items()]
    held_out = [f"eval={watched}"] if watched else []
    words = ["train", f"model={model}", f"data={data}", *held_out, f"name={whole.given.name}-{suffix}",
             f"seed={task.seed}", *more, *own]  # fmt: skip
    return whole.shop.done(words, [model])


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def mean(values: Sequence[float]) -> float:
    """Of one value or more."""
    return sum(values) / len(values)
