"""Tool calls in the template's own form, whatever the family; where that is impossible it is said."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sodate.core.types import Conversation, Message, ToolCall
from sodate.render import toolcalls
from sodate.render.renderer import BrokenTemplate, Renderer
from sodate.render.template import TemplateError
from tests import templates, tiny

RENDERERS = {name: templates.renderer(template) for name, template in templates.CALLING.items()}
ONE_A_TURN = {"llama", "harmony"}
OWN_MARKS = {
    "hermes": '<tool_call>\n{"name": "post"', "qwen": '<tool_call>\n{"name": "post"', "mistral": '[TOOL_CALLS][{"name"',
    "mistral-marks": "[TOOL_CALLS]post[CALL_ID]", "llama": '{"name": "post", "parameters": {', "xml": "<function=post>",
    "argument-tags": "<tool_call>post\n<arg_key>", "gemma": "<start_function_call>call:post{text:<escape>",
    "deepseek": "<｜tool▁sep｜>post\n```json\n{",
    "counted": "<|tool_call_begin|>functions.post:0<|tool_call_argument_begin|>",
    "python": '<|tool_call_start|>[post(text="', "harmony": " to=functions.post<|channel|>commentary json<|message|>{",
}  # fmt: skip
QUESTION = Message("user", "q")
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "post",
            "description": "Posts.",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"}, "times": {"type": "integer"}, "now": {"type": "boolean"},
                    "tags": {"type": "array"}, "more": {"type": "object"},
                },
            },
        },
    },
)  # fmt: skip
letters = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufdd0<>|"), max_size=12)
given_arguments = st.fixed_dictionaries(
    {"text": letters.map(str.strip)},
    optional={
        "times": st.integers(-9, 9), "now": st.booleans(),
        "tags": st.lists(st.integers(0, 9) | st.just("a b"), max_size=3),
        "more": st.fixed_dictionaries({"k": st.just("v")}),
    },
)  # fmt: skip


def call(number: int = 0, **arguments: Any) -> ToolCall:
    return ToolCall(f"c{number}", "post", json.dumps(arguments, ensure_ascii=False))


def asked(*calls: ToolCall, content: str = "") -> Message:
    return Message("assistant", content, calls)


def plain(calls: tuple[ToolCall, ...]) -> list[tuple[str, Any]]:
    return [(one.name, toolcalls.arguments(one)) for one in calls]


def trained(renderer: Renderer, *turns: Message) -> list[int]:
    sequence = renderer.render(Conversation(turns, TOOLS))[-1]
    return [i for i, weight in zip(sequence.ids, sequence.weights, strict=True) if weight]


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_a_call_is_written_in_the_templates_own_form(family: str) -> None:
    renderer = RENDERERS[family]
    text = renderer.decode(trained(renderer, QUESTION, asked(call(text="hi"))))
    assert OWN_MARKS[family] in text
    assert renderer.about["tool_calls"] == "template" and renderer.why_no_tool_form == ""
    if family not in ("hermes", "qwen"):
        assert '<tool_call>\n{"name"' not in text


@given(st.sampled_from(sorted(RENDERERS)), given_arguments)
@settings(max_examples=200, deadline=None)
def test_parsing_gives_back_the_call(family: str, arguments: dict[str, Any]) -> None:
    renderer = RENDERERS[family]
    message = renderer.parse(trained(renderer, QUESTION, asked(call(**arguments))), TOOLS)
    assert plain(message.tool_calls) == [("post", arguments)]
    assert message.content == "" and message.reasoning == ""


@pytest.mark.parametrize("family", sorted(set(RENDERERS) - ONE_A_TURN))
def test_parallel_calls_are_read_back_in_order_and_their_results_follow(family: str) -> None:
    renderer = RENDERERS[family]
    both = asked(call(1, text="a", times=1), call(2, text="b"))
    message = renderer.parse(trained(renderer, QUESTION, both), TOOLS)
    assert plain(message.tool_calls) == plain(both.tool_calls)
    assert len({one.id for one in message.tool_calls}) == 2
    results = [Message("tool", "first", tool_call_id="c1"), Message("tool", "second", tool_call_id="c2")]
    ids = trained(renderer, QUESTION, both, *results, Message("assistant", "done"))
    assert renderer.parse(ids[-len(renderer.reply(Message("assistant", "done"))) :]).content == "done"
    prompt = renderer.decode(renderer.prompt((QUESTION, both, *results), TOOLS))
    assert prompt.index("first") < prompt.index("second")


@pytest.mark.parametrize("family", sorted(ONE_A_TURN))
def test_parallel_calls_are_written_one_a_turn_where_the_template_knows_no_more(family: str) -> None:
    renderer = RENDERERS[family]
    both = asked(call(1, text="a"), call(2, text="b"))
    results = [Message("tool", "first", tool_call_id="c1"), Message("tool", "second", tool_call_id="c2")]
    row = Conversation((QUESTION, both, *results, Message("assistant", "done")), TOOLS)
    sequences = renderer.render(row)
    text = renderer.decode(sequences[-1].ids)
    places = [text.index(word) for word in ('"text": "a"', "first", '"text": "b"', "second", "done")]
    assert places == sorted(places)
    assert all("calls-in-turn" in sequence.left_out for sequence in sequences)
    with pytest.raises(TemplateError, match="one tool call a turn"):
        renderer.render(Conversation((QUESTION, both), TOOLS))


@pytest.mark.parametrize("family", ["mistral", "mistral-marks"])
@pytest.mark.parametrize("call_id", ["c1", "", "call_0123456789abcdef", "abcDEF123"])
def test_ids_have_nine_characters_where_a_family_wants_them_the_same_for_call_and_result(
    family: str, call_id: str
) -> None:
    renderer = RENDERERS[family]
    one = asked(ToolCall(call_id, "post", '{"text": "hi"}'))
    prompt = renderer.decode(renderer.prompt((QUESTION, one, Message("tool", "ok", tool_call_id=call_id)), TOOLS))
    (written,) = renderer.parse(trained(renderer, QUESTION, one), TOOLS).tool_calls
    assert len(written.id) == 9 and written.id.isalnum() and prompt.count(written.id) == 2
    if len(call_id) == 9:
        assert written.id == call_id
    again = renderer.decode(
        renderer.prompt((QUESTION, asked(written), Message("tool", "ok", tool_call_id=written.id)), TOOLS)
    )
    assert again == prompt


def test_words_beside_a_call_that_the_template_leaves_out_are_named() -> None:
    for family, renderer in RENDERERS.items():
        row = Conversation((QUESTION, asked(call(text="hi"), content="Let me see.")), TOOLS)
        (sequence,) = renderer.render(row)
        dropped = family in ("mistral", "llama", "harmony")
        assert sequence.left_out == (("content-dropped",) if dropped else ())
        read = renderer.parse([i for i, w in zip(sequence.ids, sequence.weights, strict=True) if w], TOOLS)
        assert read.content == ("" if dropped else "Let me see.")


def test_a_row_whose_calls_the_template_drops_is_refused() -> None:
    template = templates.HERMES.replace("m.tool_calls or []", "([] if m.content else m.tool_calls or [])")
    renderer = templates.renderer(template)
    with pytest.raises(BrokenTemplate) as caught:
        renderer.render(Conversation((QUESTION, asked(call(text="hi"), content="Let me see.")), TOOLS))
    assert caught.value.law == "every tool call is written"


@pytest.mark.parametrize("template", [tiny.CHATML, templates.ENDLESS, templates.ALTERNATING])
def test_a_form_that_cannot_be_used_is_replaced_and_named(template: str) -> None:
    renderer = templates.renderer(template)
    row = Conversation((QUESTION, asked(call(text="hi"))), TOOLS)
    (sequence,) = renderer.render(row)
    assert sequence.left_out == ("tool-form",)
    assert renderer.about["tool_calls"] == "text" and renderer.about["why"] == renderer.why_no_tool_form != ""
    assert plain(renderer.parse(trained(renderer, *row.messages), TOOLS).tool_calls) == [("post", {"text": "hi"})]
    assert renderer.render(Conversation((QUESTION, Message("assistant", "a"))))[0].left_out == ()


def test_why_a_form_cannot_be_used_is_said() -> None:
    assert "not followed by a stop token" in templates.renderer(templates.ENDLESS).why_no_tool_form


def test_results_of_parallel_calls_are_one_turn_under_a_template_that_wants_turns_to_alternate() -> None:
    renderer = templates.renderer(templates.ALTERNATING)
    both = asked(call(1, text="a"), call(2, text="b"))
    results = [Message("tool", "first", tool_call_id="c1"), Message("tool", "second", tool_call_id="c2")]
    turns = (Message("system", "s"), QUESTION, both, *results, Message("user", "go on"), Message("assistant", "done"))
    (sequence,) = renderer.render(Conversation(turns, TOOLS))
    text = renderer.decode(sequence.ids)
    one_turn = "<tool_response>\nfirst\n</tool_response>\n<tool_response>\nsecond\n</tool_response>\ngo on<end_of_turn>"
    assert one_turn in text
    assert sequence.ids[: len(renderer.prompt(turns[:-1], TOOLS))] == renderer.prompt(turns[:-1], TOOLS)


def test_a_system_message_amid_the_turns_does_not_make_two_user_turns() -> None:
    renderer = templates.renderer(templates.ALTERNATING)
    turns = (QUESTION, Message("system", "be brief"), Message("assistant", "a"), QUESTION, Message("assistant", "b"))
    (sequence,) = renderer.render(Conversation(turns))
    assert renderer.decode(sequence.ids).count("be brief") == 1


def test_tools_are_described_where_the_template_lists_none() -> None:
    prompt = RENDERERS["deepseek"].decode(RENDERERS["deepseek"].prompt((QUESTION,), TOOLS))
    assert '"name": "post"' in prompt and "<tool_call>" not in prompt


@pytest.mark.parametrize(("family", "written"), [
    ("mistral", '[TOOL_CALLS] [{"arguments": {"text": "hi"}, "name": "post", "id": "abcdefghi"}]'),
    ("hermes", '<tool_call>{"arguments":{"text":"hi"},"name":"post"}</tool_call>'),
    ("llama", ' {"name":"post","parameters":{"text":"hi"}} '),
    ("xml", "<tool_call><function=post><parameter=text>hi</parameter></function></tool_call>"),
    ("xml", "<tool_call>\n<function=post>\n<parameter=text>\nhi\n</parameter>\n</function>\n</tool_call>"),
    ("deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>post\n```json\n"
     '{ "text":"hi"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>'),
    ("harmony", ' to=functions.post <|channel|>commentary json <|message|>{"text":"hi"}'),
    ("harmony", '<|channel|>commentary to=functions.post <|constrain|>json<|message|>{"text":"hi"}'),
])  # fmt: skip
def test_a_call_is_read_as_models_write_it(family: str, written: str) -> None:
    renderer = RENDERERS[family]
    ids = renderer.tokenizer.encode(written, add_special_tokens=False).ids
    message = renderer.parse(ids, TOOLS)
    assert plain(message.tool_calls) == [("post", {"text": "hi"})]
    assert message.content == ""


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_an_answer_is_not_a_call(family: str) -> None:
    renderer = RENDERERS[family]
    for answer in ("Posted.", '{"name": "other", "parameters": {}}', "[TOOL", "call:post", '["a"]', "post(text=1)"):
        message = renderer.parse(renderer.reply(Message("assistant", answer)), TOOLS)
        assert message == Message("assistant", answer)


@given(st.sampled_from(sorted(RENDERERS)), st.text(max_size=40), st.sampled_from(sorted(OWN_MARKS.values())))
@settings(max_examples=150, deadline=None)
def test_whatever_a_model_writes_it_is_read_without_an_error(family: str, text: str, mark: str) -> None:
    renderer = RENDERERS[family]
    renderer.parse(renderer.tokenizer.encode(mark + text, add_special_tokens=False).ids, TOOLS)


@pytest.mark.parametrize("depth", [101, 400, 900, 100_000])
def test_arguments_that_are_nested_too_deep_to_be_followed_are_text(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    assert toolcalls.arguments(ToolCall("a", "f", deep)) == deep
    assert toolcalls.arguments(ToolCall("a", "f", "[" * 100 + "]" * 100)) != deep
    turns = [QUESTION, asked(ToolCall("c0", "post", f'{{"text": {deep}}}')), Message("tool", "b", tool_call_id="c0")]
    for renderer in RENDERERS.values():
        with contextlib.suppress(TemplateError):  # one wants them key by key, as with any text that is not JSON
            assert renderer.prompt(turns)
