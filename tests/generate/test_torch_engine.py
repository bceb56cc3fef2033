"""The engine step by step: who joins, who waits, what is found again, and what is refused before anything is taken."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.core.engine import Done, Request, Sampling, Token
from sodate.core.errors import SodateError
from sodate.generate import decoder_step, decoding, torch_engine
from sodate.generate.drafts import PromptLookup, StepTimes
from sodate.generate.paged_attention import PrefillAttention
from sodate.generate.pool import BLOCK
from sodate.generate.torch_engine import TorchEngine
from sodate.model import attention, fused
from tests.families import VOCABULARY, pair
from tests.generate.test_engine import with_transformers

Models = tuple[Any, Any]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return pair("llama", tmp_path_factory.mktemp("llama"))


def tokens(count: int, seed: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def finish(engine: TorchEngine, replies: dict[int, list[int]] | None = None) -> dict[int, list[int]]:
    """Steps until all is said; the ids of every reply by its number."""
    replies = {} if replies is None else replies
    while engine.requests.running:
        for event in engine.step():
            if isinstance(event, Token):
                replies.setdefault(event.number, []).append(event.id)
    return replies


def ask(engine: TorchEngine, *prompts: Sequence[int], **sampling: Any) -> dict[int, list[int]]:
    for number, prompt in enumerate(prompts):
        engine.admit(Request(number, prompt, [], Sampling(**({"max_new_tokens": 12} | sampling))))
    return finish(engine)


def refused(engine: TorchEngine, request: Request) -> str:
    with pytest.raises(SodateError) as caught:
        engine.admit(request)
    return caught.value.code


def test_requests_join_and_leave_while_others_are_under_way(llama: Models) -> None:
    ours, plain = llama
    engine = TorchEngine(ours, slots=3)
    prompts = [tokens(n, n) for n in (5, 40, 17, 70)]
    replies: dict[int, list[int]] = {}
    waiting = list(enumerate(prompts))
    while waiting or engine.requests.running:
        if waiting and len(engine.requests.running) < 3:
            number, prompt = waiting.pop(0)
            engine.admit(Request(number, prompt, [], Sampling(10 + number)))
        for event in engine.step():
            if isinstance(event, Token):
                replies.setdefault(event.number, []).append(event.id)
    assert replies == {n: with_transformers(plain, p, [], 10 + n) for n, p in enumerate(prompts)}


def test_a_long_prompt_comes_in_pieces_and_nobody_waits_for_all_of_it(
    llama: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = llama
    engine = TorchEngine(ours, beside=32)
    engine.drafts = False
    short, long = tokens(6, 1), tokens(200, 2)
    engine.admit(Request(0, short, [], Sampling(40)))
    engine.step()
    engine.admit(Request(1, long, [], Sampling(5)))
    pieces: list[int] = []
    real = attention.decode

    def decode(model: Any, ids: torch.Tensor, positions: torch.Tensor, attend: Any) -> torch.Tensor:
        if isinstance(attend, PrefillAttention):
            pieces.append(len(ids))
        return real(model, ids, positions, attend)

    monkeypatch.setattr(attention, "decode", decode)
    for _ in range(5):
        assert [e.number for e in engine.step()] == [0]  # a token for the one under way with every piece
    events = engine.step()
    assert [e.number for e in events] == [0, 1]  # the last eight go along with it
    assert pieces == [32] * 6
    assert isinstance(events[1], Token)
    replies = finish(engine, {1: [events[1].id]})
    assert replies[1] == with_transformers(plain, long, [], 5)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Prepared for decoding, so that short prompts go through a decoder's step as rows."""
    ours, plain = pair("llama", tmp_path_factory.mktemp("prepared"))
    fused.replace_modules(ours, torch.float32)
    decoding.freeze(ours)
    if ours.sodate_step is None:
        pytest.skip("no code for this processor")
    return ours, plain


def test_short_prompts_that_begin_alike_go_as_rows_and_share_whole_blocks(
    prepared: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = prepared
    engine = TorchEngine(ours)
    begin = tokens(2 * BLOCK + 5, 1)
    prompts = [begin + tokens(n, n) for n in (1, 7, 30)] + [begin[:BLOCK] * 2, tokens(9, 9)]
    rows: list[int] = []
    real = decoder_step.decode

    def decode(model: Any, ids: torch.Tensor, *given: Any) -> torch.Tensor:
        rows.append(len(ids))
        return real(model, ids, *given)

    monkeypatch.setattr(decoder_step, "decode", decode)
    assert ask(engine, *prompts) == {n: with_transformers(plain, p, [], 12) for n, p in enumerate(prompts)}
    # Two blocks of three, the first of the fourth too; its last block is its own, as its last token's state is wanted.
    assert rows[0] == sum(map(len, prompts)) - 2 * 2 * BLOCK - BLOCK


def test_short_prompts_wait_for_each_other_while_replies_are_under_way(prepared: Models) -> None:
    ours, plain = prepared
    engine = TorchEngine(ours, beside=48)
    engine.drafts = False
    prompts = [tokens(n, n) for n in (6, 40, 41, 90)]
    engine.admit(Request(0, prompts[0], [], Sampling(12)))
    engine.step()
    for number in (1, 2, 3):
        engine.admit(Request(number, prompts[number], [], Sampling(12)))
    began: list[list[int]] = []
    replies: dict[int, list[int]] = {}
    for _ in range(3):
        events = engine.step()
        began.append([event.number for event in events])
        for event in events:
            if isinstance(event, Token):
                replies.setdefault(event.number, []).append(event.id)
    assert began == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]
    finish(engine, replies)
    for number in (1, 2, 3):
        assert replies[number] == with_transformers(plain, prompts[number], [], 12)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_without_numbers_ends_its_own_reply_and_no_other(
    prepared: Models, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    ours, _ = prepared
    prompts = [tokens(5, 1), tokens(7, 2), tokens(9, 3)]
    alone = ask(TorchEngine(ours), *prompts, temperature=temperature, top_p=0.9, seed=3)
    engine = TorchEngine(ours)
    engine.drafts = False
    right, steps = torch_engine.choose, itertools.count()

    def broken(logits: torch.Tensor, choices: Any) -> Any:
        if next(steps) == 4:
            logits[1] = float("nan")
        return right(logits, choices)

    monkeypatch.setattr(torch_engine, "choose", broken)
    for number, prompt in enumerate(prompts):
        engine.admit(Request(number, prompt, [], Sampling(12, temperature=temperature, top_p=0.9, seed=3)))
    events = []
    while engine.requests.running:
        events += engine.step()
    said = {n: [one.id for one in events if isinstance(one, Token) and one.number == n] for n in alone}
    assert said == {**alone, 1: alone[1][:4]}
    errors = {one.number: one.cause.code for one in events if isinstance(one, Done) and one.cause is not None}
    assert errors == {1: "engine_failed"}


def test_cancelled_requests_are_gone_before_the_next_step(llama: Models) -> None:
    ours, plain = llama
    engine = TorchEngine(ours, slots=2)
    first, second = tokens(20, 1), tokens(30, 2)
    engine.admit(Request(0, first, [], Sampling(50)))
    engine.admit(Request(1, second, [], Sampling(6)))
    engine.step()
    free = engine.requests.pool.available
    engine.cancel(0)
    engine.cancel(77)  # nobody's
    assert engine.requests.pool.available > free
    engine.admit(Request(2, first, [], Sampling(4)))
    replies = finish(engine)
    assert set(replies) == {1, 2} and replies[2] == with_transformers(plain, first, [], 4)


def test_what_can_not_be_answered_is_refused_and_takes_no_memory(llama: Models) -> None:
    ours, _ = llama
    engine = TorchEngine(ours, slots=2, tokens=4 * BLOCK)
    for prompt in ([], [VOCABULARY], [-1, 3]):
        assert refused(engine, Request(0, prompt, [])) == "invalid_prompt"
    assert refused(engine, Request(0, tokens(4 * BLOCK, 1), [])) == "context_length_exceeded"
    assert refused(engine, Request(0, [3], [], version="orders@1")) == "unknown_version"
    assert refused(TorchEngine(ours), Request(0, tokens(256, 1), [])) == "context_length_exceeded"  # the model's own
    assert engine._requests is None  # nothing was allocated for any of them
    engine.admit(Request(1, tokens(2 * BLOCK, 1), [], Sampling(4)))
    assert refused(engine, Request(2, tokens(2 * BLOCK, 2), [])) == "busy"  # no room now
    engine.admit(Request(3, [3], [], Sampling(4)))
    assert refused(engine, Request(4, [4], [])) == "busy"  # no slot
    finish(engine)
    engine.admit(Request(5, tokens(2 * BLOCK, 2), [], Sampling(4)))


def test_a_reply_ends_where_the_context_or_the_memory_does(llama: Models) -> None:
    ours, _ = llama
    engine = TorchEngine(ours, tokens=3 * BLOCK)
    engine.admit(Request(0, tokens(40, 1), [], Sampling(100)))
    assert len(finish(engine)[0]) == 8


@pytest.mark.parametrize("drafts", [False, True])
def test_replies_that_outgrow_the_memory_take_turns_and_say_the_same(llama: Models, drafts: bool) -> None:
    ours, plain = llama
    engine = TorchEngine(ours, slots=4, tokens=7 * BLOCK)
    engine.drafts = drafts
    prompts = [tokens(10 + n, n) for n in range(4)]  # each will want four blocks in the end
    found = ask(engine, *prompts, max_new_tokens=45)
    assert found == {n: with_transformers(plain, p, [], 45) for n, p in enumerate(prompts)}
    assert engine.requests.pool.available == 7


def test_known_beginnings_are_found_again_by_the_same_version_and_tenant_only(llama: Models) -> None:
    ours, plain = llama
    engine = TorchEngine(ours)
    head = tokens(5 * BLOCK + 3, 1)
    prompts = [head + tokens(9, n) for n in range(3)]
    cached = []
    for number, (prompt, tenant) in enumerate(zip(prompts, ("a", "a", "b"), strict=True)):
        engine.admit(Request(number, prompt, [], Sampling(8), tenant=tenant))
        said: list[int] = []
        told = set[int]()
        while engine.requests.running:
            for event in engine.step():
                if isinstance(event, Done):
                    cached.append(event.cached)
                else:
                    said.append(event.id)
                    told.add(event.cached)
        assert said == with_transformers(plain, prompt, [], 8) and told == {cached[-1]}
    assert cached == [0, 5 * BLOCK, 0]


def test_a_conversation_finds_its_own_replies_again(llama: Models) -> None:
    ours, plain = llama
    engine = TorchEngine(ours)
    turns = tokens(20, 1)
    for number in range(3):
        engine.admit(Request(number, turns, [], Sampling(16)))
        while engine.requests.running:
            done = [event for event in engine.step() if isinstance(event, Done)]
        assert done[0].cached == (len(turns) - 7) // BLOCK * BLOCK if number else done[0].cached == 0
        turns = [*turns, *with_transformers(plain, turns, [], 16), *tokens(7, number)]


def test_requests_that_come_together_hold_what_they_share_once(llama: Models) -> None:
    ours, _ = llama
    engine = TorchEngine(ours, tokens=40 * BLOCK)
    head = tokens(10 * BLOCK, 1)
    for number in range(9):  # nine times eleven blocks would not fit
        engine.admit(Request(number, head + tokens(5, number), [], Sampling(12)))
        engine.step()
    assert 40 - engine.requests.pool.available == 10 + 9
    engine = TorchEngine(ours, tokens=100 * BLOCK)
    for number in range(9):
        engine.admit(Request(number, head + tokens(5, number), [], Sampling(12)))
    engine.step()
    assert 100 - engine.requests.pool.available == 10 + 9


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_drafts_change_nothing_and_save_steps(
    llama: Models, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepTimes, "took", lambda self, rows, seconds: None)  # a busy machine's times prove nothing
    ours, _ = llama
    loop = tokens(7, 3) * 8  # much to copy
    prompts = [loop + tokens(2, n) for n in range(3)]
    said, steps = [], []
    for drafts in (False, True):
        engine = TorchEngine(ours)
        engine.drafts = drafts
        for number, prompt in enumerate(prompts):
            engine.admit(Request(number, prompt, [], Sampling(60, temperature, seed=5, stream=number)))
        replies: dict[int, list[int]] = {}
        steps.append(0)
        while engine.requests.running:
            steps[-1] += 1
            for event in engine.step():
                if isinstance(event, Token):
                    replies.setdefault(event.number, []).append(event.id)
        said.append(replies)
    assert said[0] == said[1]
    if not temperature:  # random weights soon repeat themselves
        assert steps[1] < steps[0]


def test_with_drafts_every_reply_has_the_models_own_probability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By enumeration: two tokens, three places, eight replies; 3,000 samples with drafts, which are often wrong."""
    ours, plain = pair("llama", tmp_path, vocab_size=2, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    prompt = [0, 1, 1, 0, 1, 0, 0, 1]
    engine = TorchEngine(ours, slots=500)
    counts = dict.fromkeys(itertools.product((0, 1), repeat=3), 0)
    guesses: list[bool] = []
    monkeypatch.setattr(PromptLookup, "saw", lambda self, right: guesses.append(right))
    for start in range(0, 3000, 500):
        for number in range(start, start + 500):
            engine.admit(Request(number, prompt, [], Sampling(3, 1.7, seed=9, stream=number)))
            if number % 5 == 4:  # few at a time, so that there are lanes for drafts
                for reply in finish(engine).values():
                    counts[tuple(reply)] += 1
    assert 200 < sum(guesses) < len(guesses) - 200
    chi = 0.0
    for reply, seen in counts.items():
        with torch.no_grad():
            logits = plain(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1]
        logp = (logits / 1.7).log_softmax(-1).gather(1, torch.tensor(reply)[:, None]).sum()
        expected = 3000 * float(logp.exp())
        chi += (seen - expected) ** 2 / expected
    assert chi < 24.3  # seven degrees of freedom, once in a thousand seeds


def test_bias_and_penalties_by_hand(llama: Models) -> None:
    ours, plain = llama
    prompt = tokens(9, 1)
    with torch.no_grad():
        logits = plain(torch.tensor([prompt])).logits[0, -1]
    first = int(logits.argmax())
    engine = TorchEngine(ours)
    engine.admit(Request(0, prompt, [], Sampling(1, bias={first: -100.0, 7: 2.5}, top_logprobs=3)))
    token, done = engine.step()
    assert isinstance(token, Token) and isinstance(done, Done)
    logits[first] -= 100
    logits[7] += 2.5
    expected = logits.log_softmax(-1)
    assert token.id == int(expected.argmax())
    assert token.log_probability == pytest.approx(float(expected.max()), abs=1e-4)
    assert [i for i, _ in token.top] == expected.topk(3).indices.tolist()
    # A frequency penalty counts: with 1,000 per use nothing is said twice before all has been said once.
    (reply,) = ask(engine, prompt, max_new_tokens=40, frequency_penalty=1000.0).values()
    assert len(set(reply)) == 40
    (reply,) = ask(engine, prompt, max_new_tokens=40, presence_penalty=1000.0).values()
    assert len(set(reply)) == 40


def test_each_row_has_its_own_settings(llama: Models) -> None:
    ours, plain = llama
    prompt = tokens(9, 1)
    kinds = [{}, {"temperature": 1.0}, {"temperature": 2.0, "top_p": 0.5, "seed": 3}, {"bias": {5: 50.0}}]
    alone = []
    for kind in kinds:
        engine = TorchEngine(ours)
        alone.append(ask(engine, prompt, **kind)[0])
    engine = TorchEngine(ours)
    for number, kind in enumerate(kinds):
        engine.admit(Request(number, prompt, [], Sampling(**({"max_new_tokens": 12} | kind))))
    together = finish(engine)
    assert [together[n] for n in range(4)] == alone
    assert alone[0] == with_transformers(plain, prompt, [], 12) and set(alone[3]) == {5}


def test_memory_is_bounded_by_what_is_free(llama: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = llama
    one = BLOCK * 2 * 2 * (8 + 8) * 4  # two layers, two heads of keys and values of 8 floats
    monkeypatch.setattr(torch_engine.memory, "available", lambda device: 40 * one)
    monkeypatch.setattr(torch_engine.memory, "resident", lambda: 0)
    assert TorchEngine(ours).blocks == 10
