"""The Renderer: the only thing that turns messages into token ids with a loss mask, and token ids back into messages.

Structure, never marker search, decides what is trained. A reply's span is what the template adds when that turn is
appended to its own generation prompt, up to and including the stop token:

    text(messages[:i], generation prompt) + reply_i = text(messages[:i+1])

Text is encoded piece by piece, cut where a reply begins, because that is where a served model begins: a merge across
the cut would train on tokens that inference never sees. Text from data is broken with a sentinel inside every control
token it happens to contain, and cut there too, so that no user can forge a turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from sodate.core.errors import SodateError
from sodate.core.files import sha256_json
from sodate.core.text import en, ja, tr
from sodate.core.types import Conversation, Message, Preference
from sodate.render import sources, toolcalls
from sodate.render.fold import fold_system
from sodate.render.guard import CUT, Piece, guard_for, guarded, is_markup, weighted
from sodate.render.template import TemplateError, compile_template

# Quotes, markup and Japanese, so that a template that escapes or rewrites text is caught.
_PROBE = 'Zq7 "probe" <b> 日本'


@dataclass(frozen=True, slots=True)
class Rendered:
    """One token sequence. `weights[t]` is the loss weight of predicting `ids[t]` (0 for everything not trained)."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """A preference: two sequences that share the prompt's ids and weigh only the reply's tokens."""

    chosen: Rendered
    rejected: Rendered


class BrokenTemplate(SodateError):
    """The template breaks a law of rendering, so training on it would not be what serving does."""

    code = "template_broken"

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(
            tr(
                f"The chat template breaks the law '{law}': {en(detail)}",
                f"チャットテンプレートが規則「{law}」を破っています: {ja(detail)}",
            ),
            tr(
                "Use another template: template=chatml, gemma, llama3, plain or a .jinja file.",
                "別のテンプレートを指定してください: template=chatml、gemma、llama3、plain、または .jinja ファイル。",
            ),
        )
        self.law = law


class Renderer:
    """Built once per model. Construction probes the template and refuses one that breaks a law, by the law's name."""

    def __init__(
        self, tokenizer: Tokenizer, template: str, *, bos_token: str = "", eos_token: str = "", source: str = "model"
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.template = template
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._template = compile_template(template)
        added = tokenizer.get_added_tokens_decoder()
        special = [token.content for token in added.values() if token.special]
        # Tokens such as <think> or <tool_call> are not marked special but steer the model all the same.
        steering = [
            t.content for t in added.values() if not t.special and is_markup(t.content) and t.content in template
        ]
        self._special_ids = {i for i, token in added.items() if token.special}
        self._forgeable = guard_for(special + steering)
        self._special = guard_for(special)
        self._pad_piece = self._encode_pads()
        self._fold_system = False
        self._native_tools = False
        self._learn_structure()

    @classmethod
    def from_folder(cls, folder: Path, template: str | None = None) -> Renderer:
        """From a model folder (tokenizer.json, tokenizer_config.json, chat_template.jinja).

        `template` overrides: the name of a built-in one, a path ending in .jinja, or the template text itself.
        A base model without a template gets `plain`; `source` says so.
        """
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config_path = folder / "tokenizer_config.json"
        config = json.loads(config_path.read_text("utf-8")) if config_path.exists() else {}
        text, source = sources.pick(folder, config, template)
        bos, eos = (sources.token_text(config.get(key)) for key in ("bos_token", "eos_token"))
        return cls(tokenizer, text, bos_token=bos, eos_token=eos, source=source)

    @property
    def digest(self) -> str:
        """Content address of everything that decides ids: vocabulary, template, tokens. Keys caches and versions."""
        return sha256_json([self.tokenizer.to_str(), self.template, self.bos_token, self.eos_token])

    # ── messages → ids ───────────────────────────────────────────────────────────────────────────────────────────

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Ids a model is shown before it replies: the conversation and the template's generation prompt."""
        text = self._text(messages, tools, generation=True)
        return self._encode(text, self._reply_starts(messages, tools, text))

    def render(self, conversation: Conversation) -> list[Rendered]:
        """Supervised sequences of a conversation: one, unless the template rewrites history (then one per reply).

        Raises BrokenTemplate when a reply does not follow its own generation prompt.
        """
        return self._rendered([self._pieces(conversation)])[0]

    def render_many(self, conversations: Iterable[Conversation]) -> list[list[Rendered] | SodateError]:
        """`render` of each, or its error. The tokenizer is called once, and lets other threads run meanwhile."""
        found: list[list[list[Piece]] | SodateError] = []
        for conversation in conversations:
            try:
                found.append(self._pieces(conversation))
            except SodateError as error:
                found.append(error)
        rendered = iter(self._rendered([row for row in found if not isinstance(row, SodateError)]))
        return [row if isinstance(row, SodateError) else next(rendered) for row in found]

    def _pieces(self, conversation: Conversation) -> list[list[Piece]]:
        """The texts of the supervised sequences, cut where encoding must not merge."""
        messages, tools = conversation.messages, conversation.tools
        full = self._text(messages, tools)
        sequences: list[tuple[str, list[int], list[tuple[int, int, float]]]] = []
        starts: list[int] = []
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self._text(messages[:i], tools, generation=True)
            text = full if full.startswith(prompt) and i == len(messages) - 1 else self._text(messages[: i + 1], tools)
            if not text.startswith(prompt):
                raise BrokenTemplate(
                    "prompt + reply = sequence", f"turn {i + 1} does not follow its generation prompt."
                )
            if not sequences or not text.startswith(sequences[-1][0]):
                sequences.append((text, self._reply_starts(messages[:i], tools, text), []))
            _, starts, spans = sequences[-1]
            starts.append(len(prompt))
            spans.append((len(prompt), self._reply_end(text, len(prompt)), message.weight))
            sequences[-1] = (text, starts, spans)
        if sequences and full.startswith(sequences[-1][0]):
            sequences[-1] = (full, *sequences[-1][1:])
        return [
            list(weighted(text, starts, spans))
            for text, starts, spans in sequences
            if any(weight for _, _, weight in spans)
        ]

    def render_pair(self, pair: Preference) -> RenderedPair:
        """Both replies behind the same prompt; raises BrokenTemplate where a reply is not one sequence."""
        return RenderedPair(*self.render_replies(pair.prompt, (pair.chosen, pair.rejected), pair.tools))

    def render_replies(
        self, prompt: Sequence[Message], replies: Sequence[Sequence[Message]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[Rendered]:
        """Each reply behind the same prompt, its tokens alone supervised; raises BrokenTemplate as `render_pair`."""
        asked = tuple(replace(m, weight=0.0) if m.role == "assistant" else m for m in prompt)
        rendered = [self.render(Conversation((*asked, *reply), tuple(tools))) for reply in replies]
        if any(len(sequences) != 1 for sequences in rendered):
            raise BrokenTemplate("one sequence per reply", "a preference's reply spans rewritten history.")
        return [sequence for sequences in rendered for sequence in sequences]

    def reply(self, message: Message) -> list[int]:
        """Ids of one reply with its stop token, as `render` would supervise them after any prompt."""
        question = (Message("user", _PROBE),)
        prompt = self._text(question, (), generation=True)
        text = self._text((*question, message), ())
        end = self._reply_end(text, len(prompt))
        return self._encode(text[len(prompt) : end], [])

    # ── ids → messages ───────────────────────────────────────────────────────────────────────────────────────────

    def parse(self, ids: Sequence[int], tools: Sequence[Mapping[str, Any]] = ()) -> Message:
        """The message a reply's ids spell: the inverse of `render`. Reads up to the first stop token.

        Tagged calls are always calls; a bare JSON object is one only when it names one of the `tools` on offer.
        """
        content, calls = toolcalls.parse(self.text(ids), tools)
        return Message("assistant", content, tool_calls=calls)

    def text(self, ids: Sequence[int]) -> str:
        """A reply's text as written, up to the first stop token, without what the template puts around it."""
        body = []
        for token in ids:
            if token in self.stop_ids:
                break
            body.append(token)
        text = self.decode(body)
        if self._reply_prefix and text.startswith(self._reply_prefix):
            text = text[len(self._reply_prefix) :]
        return text.removesuffix(self._reply_suffix)

    def decode(self, ids: Sequence[int]) -> str:
        """Exact text of ids, control tokens spelled out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def control_text(self, text: str) -> list[str]:
        """Control tokens of this model that appear in `text` as plain characters."""
        return self._forgeable(text)[1]

    def token_count(self, text: str) -> int:
        return sum(map(len, self._encode_pieces([text] if text else [])))

    def _text(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, generation: bool = False
    ) -> str:
        if not self._native_tools:
            messages, tools = toolcalls.as_text(messages, tools)
        if self._fold_system:
            messages = fold_system(messages)
        return self._template(
            messages=[self._as_dict(m) for m in messages],
            tools=[guarded(t, self._forgeable) for t in tools] or None,
            add_generation_prompt=generation,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
        )

    def _as_dict(self, message: Message) -> dict[str, Any]:
        """The message as templates expect it, every string from data guarded."""
        # A reply may hold steering tokens the model itself writes (<think>), never special ones.
        guard = self._special if message.role == "assistant" else self._forgeable
        out: dict[str, Any] = {"role": message.role, "content": guard(message.content)[0]}
        if message.tool_calls:
            out["tool_calls"] = [
                {
                    "type": "function",
                    "id": guard(call.id)[0],
                    "function": {
                        "name": guard(call.name)[0],
                        "arguments": guarded(toolcalls.arguments(call), guard),
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            out["tool_call_id"] = guard(message.tool_call_id)[0]
        if message.name is not None:
            out["name"] = guard(message.name)[0]
        return out

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

    def _rendered(self, rows: Sequence[list[list[Piece]]]) -> list[list[Rendered]]:
        """Ids and weights of the pieces of many rows' sequences."""
        encoded = iter(self._encode_pieces([text for row in rows for sequence in row for text, _ in sequence]))

        def joined(sequence: list[Piece]) -> Rendered:
            ids: list[int] = []
            weights: list[float] = []
            for _, weight in sequence:
                piece = next(encoded)
                ids += piece
                weights += [weight] * len(piece)
            return Rendered(ids, weights)

        return [[joined(sequence) for sequence in row] for row in rows]

    def _reply_starts(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], text: str) -> list[int]:
        """Character offsets in `text` where each assistant turn of `messages` begins."""
        starts = []
        for i, message in enumerate(messages):
            if message.role == "assistant":
                prompt = self._text(messages[:i], tools, generation=True)
                if text.startswith(prompt):
                    starts.append(len(prompt))
        return starts

    def _reply_end(self, text: str, start: int) -> int:
        """Offset just behind the stop token that ends the reply beginning at `start`."""
        end = text.rfind(self.stop_token, start)
        if end < 0:
            raise BrokenTemplate("the stop token is supervised", "a reply is not followed by the stop token.")
        return end + len(self.stop_token)

    # ── probing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _learn_structure(self) -> None:
        """Finds the stop token, the reply prefix, and what the template can't express; refuses what breaks a law."""
        user, answer, again = (
            Message("user", "Q" + _PROBE),
            Message("assistant", "A" + _PROBE),
            Message("user", "R" + _PROBE),
        )
        prompt = self._text((user,), (), generation=True)
        text = self._text((user, answer), ())
        if not text.startswith(prompt):
            detail = tr(
                "a reply does not start where its generation prompt ends.", "返答が生成プロンプトの直後に続きません。"
            )
            raise BrokenTemplate("prompt + reply = sequence", detail)
        later = self._text((user, answer, again), (), generation=True)
        for message in (user, answer, again):
            if later.count(message.content) != 1:
                detail = tr(
                    f"a {message.role} message appears {later.count(message.content)} times, unchanged, in its text.",
                    f"{message.role} のメッセージがそのままの形で {later.count(message.content)} 回現れます。",
                )
                raise BrokenTemplate("every message appears once", detail)
        self._reply_prefix, tail = text[len(prompt) :].split(answer.content)
        stop = next((i for i in self._encode(tail, ()) if i in self._special_ids), None)
        if stop is None:
            detail = tr(
                f"a reply is followed by {tail[:20]!r}, which has no control token: a model never learns to stop.",
                f"返答の後の {tail[:20]!r} に制御トークンがなく、モデルは止まることを学べません。",
            )
            raise BrokenTemplate("the stop token is supervised", detail)
        self.stop_token: str = str(self.tokenizer.id_to_token(stop))
        self._reply_suffix = tail[: tail.index(self.stop_token)]
        self.stop_ids = tuple(dict.fromkeys([stop, *self._eos_ids()]))
        self._check_one_bos(text)
        system = Message("system", "S" + _PROBE)
        try:
            self._fold_system = system.content not in self._text((system, user), ())
        except TemplateError:  # "System role not supported"
            self._fold_system = True
        self._native_tools = self._tools_survive()

    def _eos_ids(self) -> list[int]:
        token = self.tokenizer.token_to_id(self.eos_token) if self.eos_token else None
        return [] if token is None else [token]

    def _check_one_bos(self, text: str) -> None:
        bos = self.bos_token
        if not bos or bos == self.stop_token or not text.startswith(bos):
            return
        # SmolLM2's BOS is <|im_start|>, which opens every turn; there the count means nothing.
        opens_turns = text.count(bos) == self._text((Message("user", "Q"),), ()).count(bos) + 1
        if text.count(bos) != 1 and not opens_turns:
            raise BrokenTemplate("exactly one BOS", f"{bos} × {text.count(bos)}")

    def _tools_survive(self) -> bool:
        """Whether a tool call rendered by the template itself parses back; otherwise calls are written as text."""
        tool = {
            "type": "function",
            "function": {"name": "zq_tool", "description": "", "parameters": {"type": "object"}},
        }
        call = toolcalls.probe()
        self._native_tools = True
        try:
            question = (Message("user", "Q"),)
            prompt = self._text(question, (tool,), generation=True)
            text = self._text(
                (*question, call, Message("tool", "zq_result", tool_call_id=call.tool_calls[0].id)), (tool,)
            )
            alone = self._text((*question, call), (tool,))
            if "zq_tool" not in prompt or "zq_result" not in text or not alone.startswith(prompt):
                return False
            reply = self._encode(alone[len(prompt) :], ())
            back = self.parse(reply, (tool,)).tool_calls
        except (TemplateError, BrokenTemplate):
            return False
        finally:
            self._native_tools = False
        return len(back) == 1 and toolcalls.arguments(back[0]) == toolcalls.arguments(call.tool_calls[0])
