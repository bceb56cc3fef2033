"""Whether an export answers as the version does: asked of its own engine, in a process of its own, and compared.

Over twenty conversations (`release.references`): the ids of the prompt, the greedy reply, the distribution of the next
token at its beginning and in its middle, and that the tokens which end a reply do end it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr
from sodate.core.types import Conversation, Message
from sodate.release.references import REFERENCES

if TYPE_CHECKING:
    from sodate.api.loading import Model
    from sodate.render.renderer import Renderer

REPLY = 32  # tokens of a greedy reply that are compared
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Bound:
    """How far an export may be from its version: KL(version ‖ export) of the next token in nats, the mean over all
    places and the largest; and by how many nats a greedy token may have been the less likely one, where replies part.
    """

    kl_mean: float
    kl_max: float
    gap: float


# Two to ten times what versions of both real models came to (docs/export.md): wide enough for another model of their
# size, narrow enough for a tensor in the wrong order. Larger models lose less.
BOUNDS = {
    "f32": Bound(2e-4, 5e-3, 0.05),  # the engine's own rounding; GELU is a table of 16-bit numbers there
    "f16": Bound(5e-4, 1e-2, 0.1),  # llama.cpp rounds in attention, too
    "bf16": Bound(1e-2, 0.2, 0.5),  # 8 bits of a weight are kept, and transformers multiplies in them
    "q8_0": Bound(0.03, 0.5, 1.0),  # what multiplies the weights is rounded to 8 bits as well, which is most of it
    "q5_1": Bound(0.5, 5.0, 3.0),
    "q5_0": Bound(0.5, 5.0, 3.0),
    "q4_1": Bound(3.0, 10.0, 8.0),
    "q4_0": Bound(3.0, 10.0, 8.0),  # 16 steps for 32 numbers: models this small become others
}


@dataclass(frozen=True, slots=True)
class Own:
    """What the version itself says: prompts and greedy replies as ids, each reply with the token that ended it; the
    places whose distributions are compared, and log-probabilities there, (places, V)."""

    asked: list[Any]  # turns and tools of each conversation, as another program gives them to the template
    prompts: list[list[int]]
    replies: list[list[int]]
    places: list[list[int]]
    log_probabilities: Array
    stops: tuple[int, ...]
    control: frozenset[int]  # tokens that no text spells; engines end replies at some of them, whatever the file says


def conversations(renderer: Renderer, room: int) -> list[Conversation]:
    """The references, long ones cut until prompt and reply fit into `room` tokens."""
    found = []
    for one in REFERENCES:
        messages = list(one.messages)
        while len(renderer.prompt(messages, one.tools)) + REPLY > room:
            longest = max(range(len(messages)), key=lambda i: len(messages[i].content))
            if len(messages[longest].content) < 8:
                raise SodateError(
                    tr(f"The model reads {room} tokens: too few for the conversations an export is compared over.",
                       f"このモデルが読めるのは {room} トークンまでで、書き出しを確かめる会話が入りません。"),
                    code="export_unsupported", param="version",
                )  # fmt: skip
            text = messages[longest].content
            messages[longest] = replace(messages[longest], content=text[: len(text) // 2])
        found.append(Conversation(tuple(messages), one.tools))
    return found


def own_replies(model: Model, asked: Sequence[Conversation]) -> list[list[int]]:
    """The version's greedy replies, by the engine that `load` gives."""
    from sodate.core.engine import Sampling

    told: list[Sequence[Message]] = [one.messages for one in asked]
    made = model.replies(told, Sampling(max_new_tokens=REPLY), tools=[one.tools for one in asked])
    return [list(one.ids) for one in made]


def own_answers(renderer: Renderer, merged: Any, asked: Sequence[Conversation], replies: list[list[int]]) -> Own:
    """What the version says, beside its replies: distributions by its weights in float32."""
    from sodate.generate.scoring import following

    prompts = [renderer.prompt(one.messages, one.tools) for one in asked]
    places = [row for ids, reply in zip(prompts, replies, strict=True) for row in (ids, ids + reply[: len(reply) // 2])]
    given = [list(renderer.given(one.messages, one.tools)) for one in asked]
    logs = following(merged, places).numpy()
    added = renderer.tokenizer.get_added_tokens_decoder()
    control = frozenset(number for number, token in added.items() if token.special)
    return Own(given, prompts, replies, places, logs, renderer.stop_ids, control)


def ask_reader(reader: str, job: dict[str, Any], own: Own) -> tuple[dict[str, Any], Array]:
    """What the engine behind `reader` answers: answers.json, and log-probabilities (places, V), NaN where not told."""
    with tempfile.TemporaryDirectory(prefix="sodate-") as name:
        folder = Path(name)
        places, size = own.log_probabilities.shape
        more = {
            "asked": own.asked, "prompts": own.prompts, "positions": own.places, "stops": own.stops, "limit": REPLY,
            "vocabulary": size, "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps({**job, **more}), "utf-8")
        with (folder / "said").open("wb") as said:
            done = subprocess.run(
                [sys.executable, "-m", reader, str(folder / "job.json")], stdout=said, stderr=said, check=False,
                stdin=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
        if done.returncode:
            raise _does_not_load(done.returncode, (folder / "said").read_text("utf-8", "replace"))
        answers = json.loads((folder / "answers.json").read_text("utf-8"))
        logs = np.fromfile(folder / "answers.f32", np.float32).reshape(places, size)
    return answers, logs


def _does_not_load(status: int, said: str) -> SodateError:
    lines = [line for line in said.splitlines() if line.strip()]
    why = lines[-1][:300] if lines else signal.Signals(-status).name if status < 0 else str(status)
    return SodateError(
        tr(f"The exported files don't load in their own engine: {why}",
           f"書き出したファイルを、それを使うエンジンで読み込めません: {why}"),
        tr("Nothing was exported.", "書き出しは行われていません。"),
        code="export_differs",
    )  # fmt: skip


def divergence(own: Array, other: Array) -> Array:
    """(places,) KL(own ‖ other) in nats of log-probabilities (places, V), NaN where `other` told nothing.

    Both are made to sum to one over what was told: llama.cpp adds up its own in float32, and they sum to 1.0001. Where
    more than a tenth of `own` was not told, it is infinite.
    """
    told = ~np.isnan(other)
    p = np.where(told, np.exp(own.astype(np.float64)), 0.0)
    q = np.where(told, np.exp(other.astype(np.float64)), 0.0)
    mass = p.sum(-1)
    p, q = p / mass[:, None], q / q.sum(-1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # of what can't follow, 0 · log 0 is left out
        found = np.where(p > 0, p * np.log(p / q), 0.0).sum(-1)
    return np.asarray(np.where(mass < 0.9, np.inf, np.maximum(found, 0.0)))


def compare(own: Own, merged: Any, answers: dict[str, Any], logs: Array, bound: Bound) -> dict[str, Any]:
    """The figures of the agreement; raises SodateError naming the first thing in which the export differs."""
    for number, (ours, theirs) in enumerate(zip(own.prompts, answers["ids"], strict=True)):
        if ours != theirs:
            raise differs(*_ids_differ(number, ours, theirs))
    for stop, ended in zip(own.stops, answers["stops"], strict=True):
        if not ended:
            raise differs(f"token {stop} ends a reply here and not there", f"トークン {stop} で返答が終わりません")
    kl = divergence(own.log_probabilities, logs)
    mean, largest = float(kl.mean()), float(kl.max())
    if mean > bound.kl_mean or largest > bound.kl_max:
        figures = f"{mean:.2g}, {largest:.2g}"
        raise differs(
            f"KL of the next token is {figures} nats (mean, largest); this format's bound is {bound.kl_mean:g}, "
            f"{bound.kl_max:g}",
            f"次のトークンの KL が {figures} ナット (平均、最大) で、この形式の上限 "
            f"{bound.kl_mean:g}、{bound.kl_max:g} を超えています",
        )
    same = 0
    for number, (prompt, ours, theirs) in enumerate(zip(own.prompts, own.replies, answers["replies"], strict=True)):
        at = _parting(own, ours, theirs)
        if at is None:
            same += 1
            continue
        gap = _gap(own, merged, [*prompt, *ours[:at]], ours[at:], theirs[at:])
        if gap > bound.gap:
            raise differs(
                f"the greedy reply to conversation {number + 1} parts at a token that is {gap:.2g} nats less likely; "
                f"this format's bound is {bound.gap:g}",
                f"会話 {number + 1} への貪欲な返答が、{gap:.2g} ナット低いトークンで分かれます（この形式の上限は "
                f"{bound.gap:g}）",
            )
    return {
        "token_ids": True, "greedy_equal": same / len(own.prompts), "kl_mean": mean, "kl_max": largest, "stops": True,
        "conversations": len(own.prompts), "places": len(own.places),
        "ended": sum(bool(reply) and reply[-1] in own.stops for reply in own.replies),
    }  # fmt: skip


def _parting(own: Own, ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """Where two replies part; None where they don't. Of the tokens that end a reply any will do, and one that goes on
    behind another control token here may have ended at it there."""
    for at, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine in own.stops and other in own.stops:
            return None
        if mine != other:
            return at
    ended_there = len(theirs) < len(ours) and theirs[-1:] and theirs[-1] in own.control
    return None if len(ours) == len(theirs) or ended_there else min(len(ours), len(theirs))


def _gap(own: Own, merged: Any, before: list[int], ours: list[int], theirs: list[int]) -> float:
    """By how many nats the version likes its own next token better than the other's."""
    from sodate.generate.scoring import following

    if not ours or not theirs:
        return float("inf")
    logs = following(merged, [before])[0]
    liked, other = (max(float(logs[stop]) for stop in own.stops) if token in own.stops else float(logs[token])
                    for token in (ours[0], theirs[0]))  # fmt: skip
    return liked - other


def _ids_differ(number: int, ours: list[int], theirs: list[int]) -> tuple[str, str]:
    at = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    place = min(len(ours), len(theirs)) if at is None else at
    here, there = ours[place : place + 4], theirs[place : place + 4]
    return (
        f"conversation {number + 1} has other token ids from place {place} on: {here} here, {there} there",
        f"会話 {number + 1} のトークン ID が {place} 番目から異なります (こちら {here}、相手 {there})",
    )


def differs(english: str, japanese: str) -> SodateError:
    """The error of an export that is not its version."""
    what = tr(english, japanese)
    return SodateError(
        tr(f"The export does not answer as the version does: {en(what)}.",
           f"書き出した内容がバージョンと一致しません: {ja(what)}。"),
        tr("Nothing was exported. Choose a wider --format, or another --to.",
           "書き出しは行われていません。より精度の高い --format か、別の --to を選んでください。"),
        code="export_differs",
    )  # fmt: skip
