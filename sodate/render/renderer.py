"""The Renderer: the only thing that turns messages into token ids with a loss mask, and token ids back into messages.

Structure, never marker search, decides what is trained. A reply's span is what the template adds when that turn is
appended to its own generation prompt, up to and including the stop token:

    text(messages[:i], generation prompt) + reply_i = text(messages[:i+1])

Text is encoded piece by piece, cut where a reply begins, because that is where a served model begins: a merge across
the cut would train on tokens that inference never sees. Text from data is broken with a sentinel inside every control
token it happens to contain, and cut there too, so that no user can forge a turn.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sodate.core.errors import SodateError
from sodate.core.files import sha256_json
from sodate.core.text import tr
from sodate.core.types import Conversation, Message, Preference
from sodate.render import sources, toolcalls
from sodate.render.guard import CUT, Piece, guard_for, is_markup, weighted
from sodate.render.laws import BrokenTemplate
from sodate.render.probe import Controls, probe
from sodate.render.reasoning import ReplyForm
from sodate.render.texts import Texts, Turn
from sodate.render.toolcalls import Tools

__all__ = ["BrokenTemplate", "Rendered", "RenderedPair", "Renderer"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One token sequence. `weights[t]` is the loss weight of predicting `ids[t]` (0 for everything not trained).

    `left_out` holds the ledger's codes for what the template did not write as the row has it.
    """

    ids: list[int]
    weights: list[float]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """A preference: two sequences that share the prompt's ids and weigh only the reply's tokens."""

    chosen: Rendered
    rejected: Rendered


Sequences = list[tuple[list[Piece], tuple[str, ...]]]
"""The texts of a row's sequences, cut where encoding must not merge, and what was left out of each."""


class Renderer:
    """Built once per model. Construction probes the template and refuses one that breaks a law, by the law's name.

    `date` is the day that a template which prints one is told, in training and ever after; None is today. `stops` are
    ids that end a reply beside those the template writes.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: str, *, bos_token: str = "", eos_token: str = "", source: str = "model",
        date: datetime.date | None = None, stops: Sequence[int] = (),
    ) -> None:  # fmt: skip
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.template = template
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self.dated = "strftime_now" in template
        added = tokenizer.get_added_tokens_decoder()
        special = [token.content for token in added.values() if token.special]
        # Tokens such as <think> or <tool_call> are not marked special but steer the model all the same.
        steering = [
            t.content for t in added.values() if not t.special and is_markup(t.content) and t.content in template
        ]
        self._forgeable = guard_for(special + steering)
        self._pad_piece = self._encode_pads()
        tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._texts = Texts(template, self._forgeable, guard_for(special), tokens, date or datetime.date.today())
        longest_first = sorted(filter(None, special), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self.why_no_tool_form = probe(self._texts, Controls(pattern, bos_token))
        own = (self.tokenizer.token_to_id(token) for token in (*self._texts.stops, eos_token) if token)
        self.stop_ids = tuple(dict.fromkeys([i for i in own if i is not None] + list(stops)))

    @classmethod
    def from_folder(cls, folder: Path, template: str | None = None, *, date: datetime.date | None = None) -> Renderer:
        """From a model folder (tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json).

        `template` overrides: the name of a built-in one, a path ending in .jinja, or the template text itself.
        A base model without a template gets `plain`; `source` says so.
        """
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config_path = folder / "tokenizer_config.json"
        config = json.loads(config_path.read_text("utf-8")) if config_path.exists() else {}
        text, source = sources.pick(folder, config, template)
        bos, eos = (sources.token_text(config.get(key)) for key in ("bos_token", "eos_token"))
        stops = sources.stop_ids(folder, tokenizer.get_vocab_size())
        return cls(tokenizer, text, bos_token=bos, eos_token=eos, source=source, date=date, stops=stops)

    @property
    def date(self) -> datetime.date | None:
        """The day that the template prints; None for one that prints none."""
        return self._texts.date if self.dated else None

    @property
    def digest(self) -> str:
        """Content address of all that decides ids: vocabulary, template, tokens, day. Keys caches and versions."""
        day = [self.date.isoformat()] if self.date else []
        return sha256_json([self.tokenizer.to_str(), self.template, self.bos_token, self.eos_token, *day])

    @property
    def thinks(self) -> bool:
        """Whether the template has a place for reasoning: then a reply may be longer than its answer."""
        return bool(self._texts.form.close)

    @property
    def form(self) -> ReplyForm:
        """What stands around the parts of a reply."""
        return self._texts.form

    @property
    def about(self) -> dict[str, Any]:
        """How tool calls and reasoning are written, and the pinned day: for a version's manifest."""
        return {
            "tool_calls": "template" if self._texts.conventions else "text",
            **({"why": self.why_no_tool_form} if self.why_no_tool_form else {}),
            "reasoning": "template" if self.thinks else "left out",
        }

    def given(self, messages: Sequence[Message], tools: Tools = ()) -> tuple[list[Turn], list[Any] | None]:
        """Turns and tools as another program gives them to this template: in the form that it takes, unguarded."""
        prepared, offered = self._texts.prepared(messages, tools)
        given = json.dumps([self._texts.turns(prepared), self._texts.tools(offered)], ensure_ascii=False)
        turns, listed = json.loads(given.replace(CUT, ""))
        return turns, listed

    # ── messages → ids ───────────────────────────────────────────────────────────────────────────────────────────

    def prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids a model is shown before it replies: the conversation and the template's generation prompt."""
        prepared, offered = self._texts.prepared(messages, tools)
        turns, listed = self._texts.turns(prepared), self._texts.tools(offered)
        text = self._texts.text(turns, listed, generation=True)
        return self._encode(text, self._reply_starts(turns, listed, text))

    def render(self, conversation: Conversation) -> list[Rendered]:
        """Supervised sequences of a conversation: one, unless the template rewrites history (then one per reply).

        Raises BrokenTemplate when a reply does not follow its own generation prompt.
        """
        return self._rendered([self._pieces(conversation)])[0]

    def render_many(self, conversations: Iterable[Conversation]) -> list[list[Rendered] | SodateError]:
        """`render` of each, or its error. The tokenizer is called once, and lets other threads run meanwhile."""
        found: list[Sequences | SodateError] = []
        for conversation in conversations:
            try:
                found.append(self._pieces(conversation))
            except SodateError as error:
                found.append(error)
        rendered = iter(self._rendered([row for row in found if not isinstance(row, SodateError)]))
        return [row if isinstance(row, SodateError) else next(rendered) for row in found]

    def _pieces(self, conversation: Conversation) -> Sequences:
        messages, tools = self._texts.prepared(conversation.messages, conversation.tools)
        turns, listed = self._texts.turns(messages), self._texts.tools(tools)
        full = self._texts.text(turns, listed)
        sequences: list[tuple[str, list[int], list[tuple[int, int, float]]]] = []
        left_out = set(self._replaced(conversation, len(messages)))
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt, text = self._texts.reply(turns, i, listed, full if i == len(messages) - 1 else "")
            if not sequences or not text.startswith(sequences[-1][0]):
                sequences.append((text, self._reply_starts(turns[:i], listed, text), []))
            _, starts, spans = sequences[-1]
            starts.append(len(prompt))
            spans.append((len(prompt), self._reply_end(text, len(prompt)), message.weight))
            sequences[-1] = (text, starts, spans)
            if message.weight and (message.reasoning or message.tool_calls):
                left_out |= self._left_out(message, text[len(prompt) : spans[-1][1]], conversation.tools)
        if sequences and full.startswith(sequences[-1][0]):
            sequences[-1] = (full, *sequences[-1][1:])
        return [
            (list(weighted(text, starts, spans)), tuple(sorted(left_out)))
            for text, starts, spans in sequences
            if any(weight for _, _, weight in spans)
        ]

    def _replaced(self, conversation: Conversation, turns: int) -> list[str]:
        """What of a row's tool calls is written in another form than the template's or the row's own."""
        if not conversation.tools and not any(m.tool_calls for m in conversation.messages):
            return []
        if self._texts.conventions is None:
            return ["tool-form"]
        one_a_turn = self._texts.conventions.one_a_turn and turns > len(conversation.messages)
        return ["calls-in-turn"] if one_a_turn else []

    def _left_out(self, message: Message, reply: str, tools: Tools) -> set[str]:
        written = reply.replace(CUT, "")
        if message.tool_calls and self._texts.reader is not None:
            for stop in self._texts.stops:
                written = written.removesuffix(stop)
            read = self._texts.reader(self._texts.form.read(written)[1], tools)
            if read is None or [call.name for call in read[1]] != [call.name for call in message.tool_calls]:
                detail = tr("the calls of a message can't be read back from what the template writes.",
                            "テンプレートの書き方ではツール呼び出しを読み戻せません。")  # fmt: skip
                raise BrokenTemplate("every tool call is written", detail)
        found = set()
        if message.reasoning.strip() and message.reasoning.strip() not in written:
            found.add("reasoning-dropped")
        if message.tool_calls and message.content.strip() not in written:
            found.add("content-dropped")
        return found

    def render_pair(self, pair: Preference) -> RenderedPair:
        """Both replies after the same prompt; raises BrokenTemplate where a reply is not one sequence."""
        return RenderedPair(*self.render_replies(pair.prompt, (pair.chosen, pair.rejected), pair.tools))

    def render_replies(
        self, prompt: Sequence[Message], replies: Sequence[Sequence[Message]], tools: Tools = ()
    ) -> list[Rendered]:
        """Each reply after the same prompt, its tokens alone supervised; raises BrokenTemplate as `render_pair`."""
        asked = tuple(replace(m, weight=0.0) if m.role == "assistant" else m for m in prompt)
        rendered = [self.render(Conversation((*asked, *reply), tuple(tools))) for reply in replies]
        if any(len(sequences) != 1 for sequences in rendered):
            raise BrokenTemplate("one sequence per reply", "a preference's reply spans rewritten history.")
        return [sequence for sequences in rendered for sequence in sequences]

    def reply(self, message: Message) -> list[int]:
        """Ids of one reply with its stop token, as `render` would supervise them after any prompt."""
        messages, _ = self._texts.prepared((Message("user", "Q"), message), ())
        prompt, text = self._texts.reply(self._texts.turns(messages), len(messages) - 1, None)
        return self._encode(text[len(prompt) : self._reply_end(text, len(prompt))], [])

    # ── ids → messages ───────────────────────────────────────────────────────────────────────────────────────────

    def parse(self, ids: Sequence[int], tools: Tools = ()) -> Message:
        """The message a reply's ids spell: the inverse of `render`. Reads up to the first stop token.

        Tagged calls are always calls; a bare JSON object is one only when it names one of the `tools` on offer.
        """
        reasoning, text = self.split(ids)
        read = self._texts.reader(text, tools) if self._texts.reader else None
        content, calls = read if read is not None else toolcalls.parse(text, tools)
        return Message("assistant", content, tool_calls=tuple(calls), reasoning=reasoning)

    def split(self, ids: Sequence[int]) -> tuple[str, str]:
        """(reasoning, answer) of a reply as written, up to the first stop token, without what the template adds.

        A reply that was ended while it still thought has no answer.
        """
        body = []
        for token in ids:
            if token in self.stop_ids:
                break
            body.append(token)
        return self._texts.form.read(self.decode(body))

    def text(self, ids: Sequence[int]) -> str:
        """The answer of a reply, as `split` reads it: what is graded, and shown as the reply."""
        return self.split(ids)[1]

    def decode(self, ids: Sequence[int]) -> str:
        """Exact text of ids, control tokens spelled out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def control_text(self, text: str) -> list[str]:
        """Control tokens of this model that appear in `text` as plain characters."""
        return self._forgeable(text)[1]

    def token_count(self, text: str) -> int:
        return sum(map(len, self._encode_pieces([text] if text else [])))

    # ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _encode_pads(self) -> bool:
        """Whether the tokenizer puts a space before every piece (SentencePiece's dummy prefix)."""
        return bool(self.tokenizer.encode("a", add_special_tokens=False).tokens[0].startswith("▁"))

    def _encode_pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that are not empty, each encoded for itself."""
        # Behind a control token the dummy prefix is what the model saw when it was trained.
        guard = (self.eos_token or self.bos_token) if self._pad_piece else ""
        encoded = self.tokenizer.encode_batch_fast([guard + text for text in texts], add_special_tokens=False)
        return [encoding.ids[1:] if guard else encoding.ids for encoding in encoded]

    def _encode(self, text: str, starts: Iterable[int]) -> list[int]:
        pieces: list[str] = []
        at = 0
        for start in (*starts, len(text)):
            pieces += [piece for piece in text[at:start].split(CUT) if piece]
            at = start
        return [i for piece in self._encode_pieces(pieces) for i in piece]

    def _rendered(self, rows: Sequence[Sequences]) -> list[list[Rendered]]:
        """Ids and weights of the pieces of many rows' sequences."""
        encoded = iter(self._encode_pieces([text for row in rows for sequence, _ in row for text, _ in sequence]))

        def joined(sequence: list[Piece], left_out: tuple[str, ...]) -> Rendered:
            ids: list[int] = []
            weights: list[float] = []
            for _, weight in sequence:
                piece = next(encoded)
                ids += piece
                weights += [weight] * len(piece)
            return Rendered(ids, weights, left_out)

        return [[joined(*sequence) for sequence in row] for row in rows]

    def _reply_starts(self, turns: Sequence[Turn], tools: list[Any] | None, text: str) -> list[int]:
        """Character offsets in `text` where each assistant turn of `turns` begins."""
        starts = []
        for i, turn in enumerate(turns):
            if turn["role"] == "assistant":
                prompt = self._texts.text(turns[:i], tools, generation=True)
                if text.startswith(prompt):
                    starts.append(len(prompt))
        return starts

    def _reply_end(self, text: str, start: int) -> int:
        """Offset just after the stop token that ends the reply beginning at `start`."""
        ends = [at + len(stop) for stop in self._texts.stops if (at := text.rfind(stop, start)) >= 0]
        if not ends:
            detail = tr("a reply is not followed by the stop token.", "返答の後に終了トークンがありません。")
            raise BrokenTemplate("the stop token is supervised", detail)
        return max(ends)
