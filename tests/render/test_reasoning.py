"""Reasoning apart from the answer: in every family that writes it, and never silently in or out of training."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sodate.core.types import Conversation, Message
from sodate.data import tasks
from sodate.render.reasoning import ReplyForm, ReplyStream
from sodate.render.renderer import Renderer
from tests import templates, tiny

RENDERERS = {name: templates.renderer(template) for name, template in templates.THINKING.items()}
families = st.sampled_from(sorted(RENDERERS))
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufdd0<>|"), min_size=1, max_size=24)
words = texts.map(str.strip).filter(bool)
QUESTION = Message("user", "q")


def supervised(renderer: Renderer, message: Message, before: tuple[Message, ...] = (QUESTION,)) -> list[int]:
    sequence = renderer.render(Conversation((*before, message)))[-1]
    return [i for i, weight in zip(sequence.ids, sequence.weights, strict=True) if weight]


@given(families, words, words | st.just(""))
@settings(max_examples=120, deadline=None)
def test_parsing_gives_back_reasoning_and_answer_apart(family: str, answer: str, thought: str) -> None:
    renderer = RENDERERS[family]
    message = Message("assistant", answer, reasoning=thought)
    assert renderer.parse(supervised(renderer, message)) == message
    assert renderer.parse(renderer.reply(message)) == message


@given(families, words, words | st.just(""))
@settings(max_examples=60, deadline=None)
def test_prompt_and_reply_are_the_trained_sequence(family: str, answer: str, thought: str) -> None:
    renderer = RENDERERS[family]
    message = Message("assistant", answer, reasoning=thought)
    (sequence,) = renderer.render(Conversation((QUESTION, message)))
    whole = renderer.prompt((QUESTION,)) + renderer.reply(message)
    assert sequence.ids[: len(whole)] == whole
    assert not any(sequence.weights[: len(renderer.prompt((QUESTION,)))])


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_the_answer_is_what_is_graded(family: str) -> None:
    renderer = RENDERERS[family]
    ids = renderer.reply(Message("assistant", "42", reasoning="6 times 7"))
    assert tasks.generated(renderer, ids, ()) == "42" == renderer.text(ids)
    assert renderer.split(ids) == ("6 times 7", "42")


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_a_thought_that_was_cut_off_is_not_an_answer(family: str) -> None:
    renderer = RENDERERS[family]
    ids = renderer.reply(Message("assistant", "42", reasoning="6 times 7 and so on"))
    begun = ids[: len(ids) // 2 - 2]
    reasoning, answer = renderer.split(begun)
    assert answer == "" and "6 times" in reasoning


def test_a_thought_in_the_content_is_a_thought() -> None:
    message = Message("assistant", "<think>\n6 times 7\n</think>\n\n42")
    for family in ("qwen", "opened", "dropped", "emptied", "inline", "harmony"):
        assert RENDERERS[family].parse(supervised(RENDERERS[family], message)) == Message(
            "assistant", "42", reasoning="6 times 7"
        )
    assert tasks.reply_text(message) == "42"


@pytest.mark.parametrize(("written", "read"), [
    ("<think>a\nb</think>42", ("a\nb", "42")), ("<think>\n\n</think>\n\n42", ("", "42")),
    ("\n<think>\na\n</think>\n42", ("a", "42")), ("42", ("", "42")), ("<think>never ended", ("never ended", "")),
    ("42 </think> 43", ("", "42 </think> 43")),
])  # fmt: skip
@pytest.mark.parametrize("family", ["qwen", "inline", "plain"])
def test_a_models_own_white_space_does_not_matter(family: str, written: str, read: tuple[str, str]) -> None:
    renderer = RENDERERS.get(family) or templates.renderer(tiny.CHATML)
    ids = renderer.tokenizer.encode(written, add_special_tokens=False).ids
    assert renderer.split(ids) == read


def test_where_the_prompt_begins_the_thought_its_end_alone_is_in_the_reply() -> None:
    renderer = RENDERERS["opened"]
    for written, read in [
        ("a\n</think>\n\n42", ("a", "42")),
        ("a</think>42", ("a", "42")),
        ("a, then", ("a, then", "")),
    ]:
        assert renderer.split(renderer.tokenizer.encode(written, add_special_tokens=False).ids) == read


FORMS = [renderer.form for renderer in RENDERERS.values()] + [ReplyForm("", ""), ReplyForm("", "\n")]
MARKS = sorted(
    {mark for form in FORMS for mark in (form.open, form.close, form.plain, form.end, "<think>", "</think>")}
)


@given(
    st.sampled_from(FORMS),
    st.lists(st.sampled_from([*MARKS, *(mark.strip() for mark in MARKS), "<thi", "</", "a", "42 ", "\n"]), max_size=8),
    st.lists(st.integers(0, 60), max_size=8),
)
@settings(max_examples=600, deadline=None)
def test_a_reply_that_still_comes_is_told_apart_as_the_whole_one_is(
    form: ReplyForm, pieces: list[str], cuts: list[int]
) -> None:
    text = "".join(pieces)
    # Of several ends, a whole reply is cut at the one in the template's own spacing; a stream knows the first alone.
    assume(not form.close or text.count(form.close.strip()) <= 1)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    stream, given = ReplyStream(form), {"reasoning": "", "content": ""}
    kinds: list[str] = []
    for start, end in itertools.pairwise(places):
        for kind, part in stream.push(text[start:end]):
            given[kind] += part
            kinds.append(kind)
    for kind, part in stream.flush():
        given[kind] += part
        kinds.append(kind)
    reasoning, content = form.read(text)
    assert given["reasoning"] == reasoning.strip()
    assert given["content"].strip() == content.strip()
    assert kinds == sorted(kinds, reverse=True)  # the thought first


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_a_template_that_begins_the_thought_says_how_it_ends(family: str) -> None:
    renderer = RENDERERS[family]
    begins = renderer.decode(renderer.prompt((QUESTION,))).rstrip().endswith("<think>")
    assert renderer.form.thought_end == ("</think>" if begins else "")


def test_harmonys_channels_are_reasoning_and_answer() -> None:
    renderer = RENDERERS["harmony"]
    text = "<|channel|>analysis<|message|>six sevens<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>"
    assert renderer.split(renderer.tokenizer.encode(text, add_special_tokens=False).ids) == ("six sevens", "42")


def test_reasoning_without_a_place_is_left_out_and_named() -> None:
    renderer = templates.renderer(templates.HERMES)
    asked = Message("assistant", "42", reasoning="6 times 7")
    (sequence,) = renderer.render(Conversation((QUESTION, asked)))
    assert sequence.left_out == ("reasoning-dropped",)
    assert "6 times 7" not in renderer.decode(sequence.ids)
    (untrained, last) = (Message("assistant", "1", reasoning="x", weight=0.0), Message("assistant", "2"))
    (sequence,) = renderer.render(Conversation((QUESTION, untrained, QUESTION, last)))
    assert sequence.left_out == ()


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_reasoning_with_a_place_is_trained_and_not_named(family: str) -> None:
    renderer = RENDERERS[family]
    asked = Message("assistant", "42", reasoning="6 times 7")
    (sequence,) = renderer.render(Conversation((QUESTION, asked)))
    assert sequence.left_out == ()
    assert "6 times 7" in renderer.decode(supervised(renderer, asked))


@pytest.mark.parametrize("family", sorted(RENDERERS))
def test_every_turn_of_a_conversation_is_trained_with_its_own_thought(family: str) -> None:
    renderer = RENDERERS[family]
    replies = [Message("assistant", f"answer {n}", reasoning=f"thought {n}") for n in range(2)]
    turns = (QUESTION, replies[0], QUESTION, replies[1])
    trained = []
    for sequence in renderer.render(Conversation(turns)):
        runs: list[list[int]] = [[]]
        for i, weight in zip(sequence.ids, sequence.weights, strict=True):
            runs[-1].append(i) if weight else runs.append([])
        trained += [renderer.parse(run) for run in runs if run]
    assert trained == replies


def test_a_chat_goes_on_from_what_was_read() -> None:
    for renderer in RENDERERS.values():
        first = renderer.parse(renderer.reply(Message("assistant", "one", reasoning="a thought")))
        turns = (QUESTION, first, QUESTION)
        (*_, sequence) = renderer.render(Conversation((*turns, Message("assistant", "two"))))
        assert sequence.ids[: len(renderer.prompt(turns))] == renderer.prompt(turns)
