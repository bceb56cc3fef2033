"""The Modelfile says to Ollama what the chat template says here, or is not made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from sodate.core.errors import SodateError
from sodate.core.types import Message
from sodate.release import modelfile
from sodate.release.references import REFERENCES
from sodate.render.renderer import Renderer
from tests import tiny
from tests.release.gotemplate import evaluate

# SmolLM2's way: a system text of its own where none is given.
WITH_DEFAULT = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are \"helpful\".<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Numbers the turns: nothing that stands between them says that.
COUNTING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + loop.index|string + '\n' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' + (messages|length + 1)|string + '\n' }}"
    "{% endif %}"
)
TEMPLATES = {**tiny.TEMPLATES, "default": WITH_DEFAULT}
TALKS = [[m for m in one.messages if m.role != "tool" and not m.tool_calls] for one in REFERENCES]


def writing(template: str) -> modelfile.Write:
    renderer = Renderer(tiny.tokenizer(), template, bos_token="<bos>", eos_token="<eos>")
    return lambda messages: renderer.decode(renderer.prompt(messages))


def told(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"Role": m.role, "Content": m.content} for m in messages]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_the_go_template_writes_what_the_chat_template_writes(name: str) -> None:
    write = writing(TEMPLATES[name])
    form = modelfile.learn(write)
    texts = modelfile.check(form, write, TALKS)
    assert [evaluate(form.go(), told(messages)) for messages in TALKS] == texts


def test_a_last_turn_of_the_assistant_stays_open_to_be_gone_on_with() -> None:
    form = modelfile.learn(writing(tiny.CHATML))
    open_turn = [Message("user", "Count."), Message("assistant", "1, 2,")]
    assert evaluate(form.go(), told(open_turn)).endswith("<|im_start|>assistant\n1, 2,")


def test_a_system_text_that_the_template_adds_by_itself_is_found() -> None:
    form = modelfile.learn(writing(WITH_DEFAULT))
    assert form.default_system == 'You are "helpful".'
    said = modelfile.modelfile("a.gguf", form, ["<|im_end|>"], 100_000, None)
    assert 'SYSTEM """You are "helpful"."""' in said and "PARAMETER num_ctx 8192" in said
    assert modelfile.learn(writing(tiny.CHATML)).default_system is None


def test_the_licence_goes_along() -> None:
    form = modelfile.learn(writing(tiny.CHATML))
    assert 'LICENSE """Do as you like."""' in modelfile.modelfile("a.gguf", form, [], 512, "Do as you like.")


@pytest.mark.parametrize("template", [COUNTING])
def test_a_template_that_does_more_is_refused_with_what_to_do(template: str) -> None:
    write = writing(template)
    with pytest.raises(SodateError, match="No TEMPLATE for Ollama") as caught:
        modelfile.check(modelfile.learn(write), write, TALKS)
    assert "--to gguf" in caught.value.fix


def test_the_oracle_trims_and_branches_as_go_does() -> None:
    """Worked by hand after the documentation of text/template."""
    source = (
        "{{- range $i, $m := .Messages }} {{ if eq $i 0 }}<{{ else if gt $i 1 }}!{{ else }},{{ end -}} \n x {{- end }}."
    )
    messages: list[Any] = [{"Role": "a", "Content": "b"}] * 3
    assert evaluate(source, messages) == " <x ,x !x."
