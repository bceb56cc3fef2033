"""POST /v1/completions and /v1/embeddings against transformers' own numbers."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
import torch

from tests.serve.running import Running

IDS = [[60, 70, 80, 90, 100], [60, 70, 81, 91], [65, 66]]


def post(served: Running, path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    with served.http() as http:
        answer = http.post(path, json={"model": "orders", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def own(served: Running, ids: list[int]) -> torch.Tensor:
    """Log-probabilities (tokens, vocabulary) after each of `ids`, by transformers."""
    with torch.inference_mode():
        return served.engine.models["orders@1"](input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


def test_the_likelihood_of_ones_own_text_is_the_models(served: Running) -> None:
    """What lm-eval's local-completions asks: lists of ids, echo, one token; it slices [ctxlen:-1]."""
    body = post(served, prompt=IDS, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1234)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    for ids, choice in zip(IDS, body["choices"], strict=True):
        logp, told = own(served, ids), choice["logprobs"]
        assert {len(values) for values in told.values()} == {len(ids) + 1}
        assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
        expected = [float(logp[i, id]) for i, id in enumerate(ids[1:])] + [float(logp[-1].max())]
        assert told["token_logprobs"][1:] == pytest.approx(expected, abs=1e-4)
        for value, top, i in zip(told["token_logprobs"][1:], told["top_logprobs"][1:], range(len(ids)), strict=True):
            assert max(top.values()) == pytest.approx(float(logp[i].max()), abs=1e-4)
            assert value in top.values()


def test_scoring_with_and_without_the_engine_gives_the_same(served: Running) -> None:
    """A stop string makes the engine write the token; without one, the scoring forward has found it."""
    given = {"prompt": IDS, "echo": True, "logprobs": 2, "max_tokens": 1, "temperature": 0}
    scored, written = post(served, **given), post(served, **given, stop=["never to be seen"])
    for a, b in zip(scored["choices"], written["choices"], strict=True):
        assert a["text"] == b["text"] and a["finish_reason"] == b["finish_reason"]
        assert a["logprobs"]["tokens"] == b["logprobs"]["tokens"]
        assert a["logprobs"]["token_logprobs"][1:] == pytest.approx(b["logprobs"]["token_logprobs"][1:], abs=1e-4)


def test_offsets_count_characters_of_the_text(served: Running) -> None:
    text = "Dear shop, ご注文 please"
    told = post(served, prompt=text, echo=True, logprobs=0, max_tokens=0)["choices"][0]
    assert told["text"].endswith(text) and told["finish_reason"] == "length"
    for token, offset in zip(told["logprobs"]["tokens"], told["logprobs"]["text_offset"], strict=True):
        if not token.startswith("bytes:"):
            assert told["text"][offset : offset + len(token)] == token


def test_several_prompts_and_choices_come_in_order(served: Running) -> None:
    body = post(served, prompt=["apple", "pear"], n=2, max_tokens=4, temperature=0)
    texts = [choice["text"] for choice in body["choices"]]
    assert len(texts) == 4 and texts[0] == texts[1] and texts[2] == texts[3]
    assert texts[0] == post(served, prompt="apple", max_tokens=4, temperature=0)["choices"][0]["text"]


def test_a_reply_that_a_stop_string_cuts_says_what_of_its_prompt_was_known(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"prompt": "apple", "max_tokens": 6, "temperature": 0}
    monkeypatch.setattr(served.engine, "known", 4)
    whole = post(served, **given)
    cut = post(served, **given, stop=whole["choices"][0]["text"][1])
    assert cut["choices"][0]["finish_reason"] == "stop" and len(cut["choices"][0]["text"]) == 1
    for told in (whole, cut):
        assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 4


def test_the_best_of_several_is_the_likeliest(served: Running) -> None:
    given = {"prompt": "apple", "max_tokens": 3, "seed": 5, "logprobs": 0}
    many = post(served, **given, n=6)["choices"]
    (best,) = post(served, **given, best_of=6, n=1)["choices"]
    means = [sum(c["logprobs"]["token_logprobs"]) for c in many]
    assert best["text"] == many[means.index(max(means))]["text"]


def test_a_streamed_completion_says_what_the_whole_one_says(served: Running) -> None:
    given = {"model": "orders", "prompt": "apple", "max_tokens": 8, "temperature": 0, "logprobs": 1, "echo": True}
    whole = served.client().completions.create(**given)
    chunks = list(served.client().completions.create(**given, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    told = [c.choices[0].logprobs for c in chunks if c.choices and c.choices[0].logprobs]
    assert [t for one in told for t in one.tokens] == whole.choices[0].logprobs.tokens
    assert [t for one in told for t in one.text_offset] == whole.choices[0].logprobs.text_offset
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_a_stream_may_say_best_of_where_all_are_told(served: Running) -> None:
    with served.http() as http:
        ask = {"model": "orders", "prompt": "a", "max_tokens": 2, "stream": True}
        assert http.post("/v1/completions", json={**ask, "best_of": 1}).status_code == 200
        assert http.post("/v1/completions", json={**ask, "best_of": 2, "n": 2}).status_code == 200
        refused = http.post("/v1/completions", json={**ask, "best_of": 2})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "best_of"


@pytest.mark.parametrize(("body", "param"), [
    ({"prompt": "a", "suffix": "b"}, "suffix"), ({"prompt": "a", "best_of": 1, "n": 2}, "best_of"),
    ({"prompt": [10**6]}, "prompt"), ({"prompt": "a", "logprobs": 50}, "logprobs"), ({"prompt": "a", "n": 999}, "n"),
    ({"prompt": "a", "max_tokens": 10**9}, "max_tokens"), ({"prompt": "a", "best_of": 21}, "best_of"),
    ({"prompt": "a", "max_tokens": 5000}, "max_tokens"), ({"prompt": [5] * 1100}, "prompt"),
    ({"prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias"), ({"prompt": "a", "temperature": 3}, "temperature"),
    ({"prompt": "a", "colour": 1}, "colour"),
    ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
])  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name_before_anything_is_made(
    served: Running, body: dict[str, Any], param: str
) -> None:
    steps = served.engine.steps
    with served.http() as http:
        answer = http.post("/v1/completions", json={"model": "orders", **body})
    assert answer.status_code == 400 and answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["param"] == param and answer.json()["error"]["code"]
    assert served.engine.steps == steps


# ── embeddings ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_embedding_is_the_mean_of_the_last_hidden_states(served: Running) -> None:
    tokenizer = served.service.find("orders").renderer.tokenizer
    texts = ["red apples", "ご注文"]
    vectors = [item.embedding for item in served.client().embeddings.create(model="orders", input=texts).data]
    for text, vector in zip(texts, vectors, strict=True):
        with torch.inference_mode():
            ids = torch.tensor([tokenizer.encode(text).ids])
            mean = served.engine.models["orders@1"].model(input_ids=ids).last_hidden_state[0].mean(0)
        assert vector == pytest.approx((mean / mean.norm()).tolist(), abs=1e-4)


def test_base64_holds_the_same_floats_and_fewer_dimensions_have_length_1(served: Running) -> None:
    floats = post(served, "/v1/embeddings", input="apple", encoding_format="float")["data"][0]["embedding"]
    coded = post(served, "/v1/embeddings", input="apple", encoding_format="base64")["data"][0]["embedding"]
    raw = base64.b64decode(coded)
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(floats)
    short = post(served, "/v1/embeddings", input="apple", dimensions=4)["data"][0]["embedding"]
    assert len(short) == 4 and sum(x * x for x in short) == pytest.approx(1)
    assert short[0] / short[1] == pytest.approx(floats[0] / floats[1])


@pytest.mark.parametrize(("body", "hint"), [
    ({"input": [[1, 2, 3]]}, "check_embedding_ctx_length=False"), ({"input": [1, 2]}, "check_embedding_ctx_length"),
    ({"input": ""}, "must have 1 to"), ({"input": []}, "input"), ({"input": "a", "dimensions": 10_000}, "dimensions"),
    ({"input": "a " * 2000}, "must have 1 to"),
])  # fmt: skip
def test_what_cannot_be_embedded_is_refused_with_the_way_out(served: Running, body: dict[str, Any], hint: str) -> None:
    with served.http() as http:
        answer = http.post("/v1/embeddings", json={"model": "orders", **body})
    assert answer.status_code == 400 and hint in answer.json()["error"]["message"]
