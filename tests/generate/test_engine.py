"""Generation against transformers' `generate` and against whole forwards of what was generated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.core.engine import Sampling
from sodate.generate import torch_engine
from sodate.generate.engine import Reply, generate
from sodate.generate.paged_attention import PrefillAttention
from sodate.generate.sampling import TokenChoice, _drawn, choose
from sodate.model import attention
from tests.close import assert_as_exact
from tests.families import VOCABULARY, WINDOW, in_float64, pair

Models = tuple[Any, Any]


@pytest.fixture(scope="module", params=["llama", "gemma3", "qwen3"])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Models:
    return pair(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return pair("llama", tmp_path_factory.mktemp("llama"))


def prompts() -> list[list[int]]:
    """Nine prompts: five begin alike, one is a prefix of another, two are the same, one is a single token."""
    draw = torch.Generator().manual_seed(11)

    def tokens(n: int) -> list[int]:
        return torch.randint(3, VOCABULARY, (n,), generator=draw).tolist()

    head = tokens(4 * WINDOW)
    same = head + tokens(3)
    return [same, head, head + tokens(9), tokens(5), [7], same, head[:10] + tokens(2), tokens(13), tokens(2 * WINDOW)]


def with_transformers(model: Any, prompt: list[int], stop_ids: list[int], limit: int) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False, eos_token_id=stop_ids or [-1],
        pad_token_id=2,
    )  # fmt: skip
    return [int(t) for t in out[0, len(prompt) :]]


def stops(replies: list[list[int]]) -> list[int]:
    """Two tokens that end some replies early and others not at all."""
    count = Counter(t for reply in replies for t in set(reply[2:]))
    return [token for token, n in count.most_common() if n <= len(replies) // 2][:2]


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_greedy_replies_are_those_of_transformers(models: Models, batch_size: int) -> None:
    ours, plain = models
    free = [with_transformers(plain, p, [], 24) for p in prompts()]
    assert [r.ids for r in generate(ours, prompts(), [], Sampling(24), batch_size=batch_size)] == free
    stop_ids = stops(free)
    expected = [with_transformers(plain, p, stop_ids, 24) for p in prompts()]
    assert len({len(ids) for ids in expected}) > 2  # replies end at different times
    found = generate(ours, prompts(), stop_ids, Sampling(24), batch_size=batch_size)
    assert [r.ids for r in found] == expected
    assert [r.finish for r in found] == ["stop" if ids[-1] in stop_ids else "length" for ids in expected]


@pytest.mark.parametrize("alike", [False, True])
def test_prompts_are_prefilled_a_few_at_a_time_with_a_shared_beginning_computed_once_each_time(
    models: Models, alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = models
    draw = torch.Generator().manual_seed(12)
    shared, own = (24, 6) if alike else (0, 30)
    head = torch.randint(3, VOCABULARY, (shared,), generator=draw).tolist()
    many = [head + torch.randint(3, VOCABULARY, (own,), generator=draw).tolist() for _ in range(24)]
    computed: list[int] = []

    def decode(model: Any, tokens: torch.Tensor, positions: torch.Tensor, attend: Any) -> torch.Tensor:
        if isinstance(attend, PrefillAttention):
            computed.append(len(tokens))
        return real(model, tokens, positions, attend)

    real = attention.decode
    monkeypatch.setattr(attention, "decode", decode)
    expected = [with_transformers(plain, p, [], 5) for p in many]
    assert [r.ids for r in generate(ours, many, [], Sampling(5))] == expected
    assert computed == [shared + 24 * own]  # few tokens: all at once
    for limit, most in ((130, 130), (1, 4 * 30)):  # more than four prompts have, and less than what they share
        computed.clear()
        monkeypatch.setattr(torch_engine, "PREFILL_TOKENS", limit)
        assert [r.ids for r in generate(ours, many, [], Sampling(5))] == expected
        # Later prompts find the shared beginning computed, and their short rest goes along with replies under way.
        assert (len(computed) > 1 or alike) and max(computed) <= most
        assert sum(computed) <= len(computed) * shared + 24 * own
        assert sum(computed) <= 1.5 * (shared + 24 * own)


def test_replies_leave_as_they_finish_and_waiting_prompts_take_their_place(llama: Models) -> None:
    ours, plain = llama
    stop_ids = stops([with_transformers(plain, p, [], 24) for p in prompts()])
    said: list[tuple[str, int]] = []
    replies = generate(
        ours, prompts(), stop_ids, Sampling(24), batch_size=2,
        on_token=lambda number, token: said.append(("token", number)),
        on_reply=lambda number, reply: said.append(("reply", number)),
    )  # fmt: skip
    assert sorted(n for kind, n in said if kind == "reply") == list(range(9))
    for number, reply in enumerate(replies):
        assert said.count(("token", number)) == len(reply.ids)
        assert max(i for i, s in enumerate(said) if s == ("token", number)) < said.index(("reply", number))
    # Never more than two are under way, and a new one starts before the last of the first two has ended.
    running: set[int] = set()
    joined = 0
    for kind, number in said:
        if kind == "token":
            joined += number not in running and len(running) == 1 and number != said[1][1]
            running.add(number)
            assert len(running) <= 2
        else:
            running.remove(number)
    assert joined


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_log_probabilities_are_those_of_the_whole_forward(models: Models, temperature: float, top_p: float) -> None:
    ours, plain = models
    judge = in_float64(plain)
    replies = generate(ours, prompts(), [5], Sampling(12, temperature, top_p, seed=3), batch_size=4)
    for prompt, reply in zip(prompts(), replies, strict=True):

        def expected(model: Any, ids: list[int] = prompt + reply.ids, start: int = len(prompt)) -> list[float]:
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, start - 1 : -1]
            said = []
            for row, token in zip(logits, ids[start:], strict=True):
                logp = (row / (temperature or 1.0)).log_softmax(-1)
                kept = nucleus(logp.exp().tolist(), top_p)
                assert token in kept
                said.append(float(logp[token] - torch.logsumexp(logp[kept], 0)))
            return said

        assert_as_exact(reply.log_probabilities, expected(plain), expected(judge), least=1.0)


def nucleus(probabilities: list[float], top_p: float) -> list[int]:
    """The fewest most likely tokens whose probabilities reach `top_p`."""
    kept, total = [], 0.0
    for token in sorted(range(len(probabilities)), key=lambda t: -probabilities[t]):
        if total >= top_p:
            break
        kept.append(token)
        total += probabilities[token]
    return kept


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A Llama with a vocabulary of two tokens."""
    return pair(
        "llama", tmp_path_factory.mktemp("coin"), vocab_size=2, bos_token_id=None, eos_token_id=None, pad_token_id=None
    )


def share(plain: Any, prompt: list[int], temperature: float) -> float:
    with torch.no_grad():
        return float((plain(torch.tensor([prompt])).logits[0, -1] / temperature).softmax(-1)[1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_sampled_frequencies_are_the_distributions(coin: Models, temperature: float) -> None:
    ours, plain = coin
    prompt = next(p for p in ([0, 1], [1, 0, 0], [1, 1], [0, 0, 1], [1]) if 0.2 < share(plain, p, temperature) < 0.8)
    p = share(plain, prompt, temperature)
    n = 4000
    replies = generate(ours, [prompt] * n, [], Sampling(1, temperature, seed=1), batch_size=1000)
    ones = sum(r.ids == [1] for r in replies)
    # χ² of one degree of freedom: 10.83 is passed once in a thousand seeds.
    chi = (ones - n * p) ** 2 / (n * p) + ((n - ones) - n * (1 - p)) ** 2 / (n * (1 - p))
    assert chi < 10.83, (ones / n, p)


def test_a_second_token_is_sampled_given_the_first(coin: Models) -> None:
    ours, plain = coin
    n = 3000
    replies = generate(ours, [[0, 1]] * n, [], Sampling(2, 1.5, seed=2), batch_size=1000)
    counts = Counter(tuple(r.ids) for r in replies)
    chi = 0.0
    for first in (0, 1):
        for second in (0, 1):
            a, b = share(plain, [0, 1], 1.5), share(plain, [0, 1, first], 1.5)
            expected = n * (a if first else 1 - a) * (b if second else 1 - b)
            chi += (counts[first, second] - expected) ** 2 / expected
    assert chi < 16.27  # three degrees of freedom, once in a thousand seeds


def test_samples_depend_on_the_seed_and_the_prompts_number_only(llama: Models) -> None:
    ours, _ = llama
    one, again, many, other = (
        [r.ids for r in generate(ours, prompts(), [], Sampling(8, 1.0, seed=seed), batch_size=size)]
        for seed, size in ((0, 3), (0, 3), (0, 9), (1, 3))
    )
    assert one == again == many != other
    assert one[0] != one[5]  # the same prompt, another number


@pytest.mark.parametrize("top_p", [1e-9, 0.0])
def test_a_tiny_top_p_is_greedy(llama: Models, top_p: float) -> None:
    ours, _ = llama
    greedy = [r.ids for r in generate(ours, prompts(), [], Sampling(10))]
    assert [r.ids for r in generate(ours, prompts(), [], Sampling(10, 1.0, top_p=top_p))] == greedy
    sharp = generate(ours, prompts(), [], Sampling(10, temperature=1e-4))
    assert [r.ids for r in sharp] == greedy


def test_one_new_token_and_no_prompts(llama: Models) -> None:
    ours, plain = llama
    replies = generate(ours, prompts(), [], Sampling(1), batch_size=4)
    assert [r.ids for r in replies] == [with_transformers(plain, p, [], 1) for p in prompts()]
    assert {r.finish for r in replies} == {"length"} and all(len(r.log_probabilities) == 1 for r in replies)
    (stop,) = replies[3].ids
    again = generate(ours, prompts(), [stop], Sampling(1))[3]  # another batch: the same but for rounding
    assert again == Reply([stop], pytest.approx(replies[3].log_probabilities, abs=1e-5), "stop")  # type: ignore[arg-type]
    assert generate(ours, [], [], Sampling(1)) == []


def test_generation_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    ours, _ = pair("gemma3", tmp_path)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    generate(ours, prompts(), [], Sampling(5))
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())
    from sodate.model.forward import score
    from sodate.render.renderer import Rendered
    from sodate.render.trie import build

    ours.requires_grad_(True)
    ids = prompts()[0]
    loss = score(ours, build([Rendered(ids, [1.0] * len(ids))])).weighted_sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in ours.parameters())


def test_no_token_without_probability_is_drawn_however_the_sums_round() -> None:
    p = torch.zeros(3, 1000)
    p[:, 300], p[:, 310] = 0.25, 0.75  # nothing behind id 310, nor in the blocks around
    uniform = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)  # 1.0 stands for a product that rounds up to the sum
    assert _drawn(p, uniform).tolist() == [300, 310, 310]


@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-45, 1e-38, 1e-31, 1e-10])
def test_however_cold_a_row_is_it_takes_its_likeliest_token_and_no_other_row_suffers(temperature: float) -> None:
    logits = torch.randn(2, 600, generator=torch.Generator().manual_seed(1)) * 20
    likeliest = logits.argmax(-1).tolist()
    cold, greedy = (TokenChoice(Sampling(1, one), 0.999) for one in (temperature, 0.0))
    chosen = choose(logits, [cold, greedy])
    assert [one.id for one in chosen] == likeliest
    assert chosen[0].log_probability == pytest.approx(0)
