"""An Ollama Modelfile: the chat template said again in Go's template language, with stops and system prompt.

Ollama does not run the template in a GGUF file unless it is one of a list it knows. What has to stand between turns is
therefore learnt from what the version's own template writes, and put into a Go template of one form. Whether that form
is the template's is then tried over real conversations: what it cannot say is refused, never approximated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.core.types import Message

USER, OTHER, REPLY, SYSTEM = "alpha", "delta", "gamma", "omega"  # words that no template has
CONTEXT = 8192  # tokens that Ollama is told to keep at most; its own number is smaller than many prompts

Write = Callable[[Sequence[Message]], str]
"""The text that a template makes of messages, up to where the assistant is to speak."""


@dataclass(frozen=True, slots=True)
class Form:
    """What stands around messages: before the first user turn, around a system text before it, between a user turn and
    the reply to it, and between a reply and the next user turn."""

    begin: str
    system: tuple[str, str] | None  # None: the template refuses one
    asked: str
    answered: str

    @property
    def default_system(self) -> str | None:
        """The system text that the template writes when it is given none."""
        if self.system is None:
            return None
        before, after = self.system
        rest = self.begin[len(before) : len(self.begin) - len(after)]
        return rest if rest and before + rest + after == self.begin else None

    def text(self, messages: Sequence[Message]) -> str:
        """What the Go template makes of messages, the last of them a user's."""
        parts = []
        for at, message in enumerate(messages):
            if message.role == "system":
                before, after = self.system or ("", "")
                parts += [before, message.content, after]
            elif message.role == "user":
                parts += [self.begin if at == 0 else "", message.content, self.asked]
            else:
                parts += [message.content, self.answered]
        return "".join(parts)

    def go(self) -> str:
        """The same as a Go template over Ollama's `.Messages`. A last turn of the assistant is left open."""
        said = {name: json.dumps(text, ensure_ascii=False) for name, text in (
            ("begin", self.begin), ("asked", self.asked), ("answered", self.answered),
            ("before", (self.system or ("", ""))[0]), ("after", (self.system or ("", ""))[1]),
        )}  # fmt: skip
        return (
            "{{- range $i, $m := .Messages -}}\n"
            f'{{{{- if eq $m.Role "system" -}}}}{{{{ {said["before"]} }}}}{{{{ $m.Content }}}}'
            f"{{{{ {said['after']} }}}}\n"
            f'{{{{- else if eq $m.Role "assistant" -}}}}{{{{ $m.Content }}}}'
            f"{{{{ if gt (len (slice $.Messages $i)) 1 }}}}{{{{ {said['answered']} }}}}{{{{ end }}}}\n"
            f"{{{{- else -}}}}{{{{ if eq $i 0 }}}}{{{{ {said['begin']} }}}}{{{{ end }}}}{{{{ $m.Content }}}}"
            f"{{{{ {said['asked']} }}}}\n"
            "{{- end -}}\n"
            "{{- end -}}"
        )


def learn(write: Write) -> Form:
    """The form of a template; raises SodateError where it has another. `check` tries whether it is the right one.

    `write` leaves out what Ollama itself puts first (BOS).
    """
    user = Message("user", USER)
    begin, asked = _around(write([user]), USER)
    both = write([user, Message("assistant", REPLY), Message("user", OTHER)])
    between = both.removeprefix(begin + USER + asked + REPLY)
    answered, _ = _around(between, OTHER)
    try:
        before, rest = _around(write([Message("system", SYSTEM), user]), SYSTEM)
        system = (before, _around(rest, USER)[0])
    except SodateError:
        system = None
    return Form(begin, system, asked, answered)


def _around(text: str, word: str) -> tuple[str, str]:
    if text.count(word) != 1:
        raise no_template()
    before, _, after = text.partition(word)
    return before, after


def check(form: Form, write: Write, conversations: Sequence[Sequence[Message]]) -> list[str]:
    """The texts of the conversations; raises SodateError where the form does not make what the template makes."""
    texts = [form.text(messages) for messages in conversations]
    if texts != [write(messages) for messages in conversations]:
        raise no_template()
    return texts


def no_template() -> SodateError:
    return SodateError(
        tr("No TEMPLATE for Ollama can be made of this chat template: it does more than stand between turns.",
           "このチャットテンプレートからは Ollama の TEMPLATE を作れません。間に文字列を置く以上の処理があります。"),
        tr("Export --to gguf: the template is inside, and llama-server --jinja runs it. Or train with template=chatml.",
           "--to gguf で書き出してください。テンプレートはファイルに入り、llama-server --jinja で動きます。"
           "または template=chatml で学習してください。"),
        code="export_unsupported", param="to",
    )  # fmt: skip


def modelfile(file: str, form: Form, stops: Sequence[str], context: int, licence: str | None) -> str:
    """The Modelfile over the GGUF `file`, for prompts of up to `context` tokens."""
    lines = [f"FROM ./{file}", f'TEMPLATE """{form.go()}"""']
    if form.default_system:
        lines.append(f'SYSTEM """{form.default_system}"""')
    # The version was measured with the likeliest token at each place.
    lines += ["PARAMETER temperature 0", f"PARAMETER num_ctx {min(context, CONTEXT)}"]
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    if licence is not None and '"""' not in licence:
        lines.append(f'LICENSE """{licence}"""')
    return "\n".join(lines) + "\n"
