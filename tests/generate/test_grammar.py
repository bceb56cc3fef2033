"""Replies held to a form: whatever a model with random weights says fits it, and what can't be enforced is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from sodate.core.engine import Constraint, Done, Request, Sampling, Token
from sodate.core.errors import SodateError
from sodate.generate.grammar import Grammars, misread
from sodate.generate.torch_engine import TorchEngine
from sodate.model.load import load_base
from tests.tiny import llama_folder, tokenizer

END = 4  # <|im_end|>


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    folder = llama_folder(tmp_path_factory.mktemp("tiny") / "tiny")
    model = load_base(folder, device=torch.device("cpu"), dtype=torch.float32)
    return TorchEngine(model, tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")))


numbers = iter(range(10**9))


def said(
    engine: TorchEngine, constraint: Constraint, seed: int = 0, temperature: float = 1.5, most: int = 300
) -> tuple[str, Done, int]:
    """The reply's text, how it ended, and the steps that it took."""
    number, ids, steps = next(numbers), list[int](), 0
    sampling = Sampling(most, temperature, seed=seed)
    engine.admit(Request(number, [11, 12, 13], [END, 1], sampling, constraint=constraint))
    while True:
        steps += 1
        for event in engine.step():
            if isinstance(event, Done):
                assert engine._grammars is not None
                text = bytes(engine._grammars._made[END, 1].decode_bytes([i for i in ids if i not in (END, 1)]))
                return text.decode(errors="replace"), event, steps
            ids.append(event.id)


WORDS = st.text(st.sampled_from('abア東"\\\n é'), min_size=1, max_size=5)
LEAVES = st.one_of(
    st.just({"type": "integer", "minimum": 0, "maximum": 120}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just({"type": "string", "maxLength": 4}),
    st.just({"type": "string", "pattern": r"^\d{3}-\d{4}$"}),
    st.just({"type": "string", "format": "date"}),
    st.lists(WORDS, min_size=1, max_size=3, unique=True).map(lambda values: {"enum": values}),
    WORDS.map(lambda value: {"const": value}),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda names, parts: {
                "type": "object",
                "properties": dict(zip(names, parts, strict=False)),
                "required": names[: len(parts)],
                "additionalProperties": False,
            },
            st.lists(WORDS, min_size=3, max_size=3, unique=True),
            st.lists(inner, min_size=1, max_size=3),
        ),
        inner.map(lambda part: {"type": "array", "items": part, "maxItems": 2}),
        st.lists(inner, min_size=2, max_size=2).map(lambda parts: {"anyOf": parts}),
    ),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, seed=st.integers(0, 2**31), temperature=st.sampled_from([0.0, 2.0]))
def test_whatever_a_random_model_says_fits_its_schema(
    engine: TorchEngine, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    text, done, _ = said(engine, Constraint("json_schema", json.dumps(schema)), seed, temperature)
    assert done.error is None and done.finish == "stop", (text, done)
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@pytest.mark.parametrize("seed", range(5))
def test_expressions_and_choices_are_kept(engine: TorchEngine, seed: int) -> None:
    assert re.fullmatch(r"[0-9]{3}-[0-9]{4}", said(engine, Constraint("regex", "[0-9]{3}-[0-9]{4}"), seed)[0])
    choices = ("はい", "いいえ", 'say "no"\n', "はいはい")
    assert said(engine, Constraint("choice", choices), seed)[0] in choices


def test_what_a_grammar_forces_takes_no_step(engine: TorchEngine) -> None:
    text = "これは長い文ですが、選ぶ余地がありません。" * 40  # far more tokens than Python has frames
    schema = {"const": text}
    found, done, steps = said(engine, Constraint("json_schema", json.dumps(schema)), most=10_000)
    if done.finish == "length":  # the tiny model's context ends before
        assert json.dumps(text, ensure_ascii=False).startswith(found.rstrip("\ufffd"))
    assert steps == 1
    record = {"type": "object", "properties": {"a long name of a key": {"type": "boolean"}},
              "required": ["a long name of a key"], "additionalProperties": False}  # fmt: skip
    found, _, steps = said(engine, Constraint("json_schema", json.dumps(record)))
    assert json.loads(found)["a long name of a key"] in (True, False)
    assert steps <= 5  # a blank or none, which value, and the rest is known


def test_a_held_reply_says_how_much_of_its_prompt_was_known(engine: TorchEngine) -> None:
    """Though its grammar forces the first tokens, which come before the prompt is computed."""
    prompt = [11, 12, 13, 14, 15, 16, 17, 18] * 5
    constraint = Constraint("json_schema", json.dumps({"const": {"a": 1}}))
    cached = []
    for _ in range(2):
        engine.admit(Request(next(numbers), prompt, [END, 1], Sampling(40), constraint=constraint))
        while engine.requests.running:
            cached += [event.cached for event in engine.step() if isinstance(event, Done)]
    assert cached == [0, 32]


def test_free_and_held_requests_run_side_by_side(engine: TorchEngine) -> None:
    def alone(number: int, constraint: Constraint | None) -> list[int]:
        engine.admit(Request(number, [20, 21, 22, 23], [END], Sampling(30), constraint=constraint))
        ids = []
        while engine.requests.running:
            ids += [event.id for event in engine.step() if isinstance(event, Token)]
        return ids

    held = Constraint("json_schema", json.dumps({"type": "array", "items": {"enum": ["東", "西"]}, "maxItems": 3}))
    expected = [alone(next(numbers), one) for one in (None, held)]
    together: dict[int, list[int]] = {}
    first = next(numbers)
    second = next(numbers)
    engine.admit(Request(first, [20, 21, 22, 23], [END], Sampling(30)))
    engine.admit(Request(second, [20, 21, 22, 23], [END], Sampling(30), constraint=held))
    while engine.requests.running:
        for event in engine.step():
            if isinstance(event, Token):
                together.setdefault(event.number, []).append(event.id)
    assert [together[first], together[second]] == expected


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        (Constraint("json_schema", '{"type": "array", "uniqueItems": true}'), "uniqueItems"),
        (Constraint("json_schema", '{"not": {"type": "string"}}'), "not"),
        (Constraint("json_schema", '{"type": "string", "format": "shoe-size"}'), "shoe-size"),
        (Constraint("json_schema", '{"$ref": "http://example.com/schema"}'), "example.com"),
        (Constraint("json_schema", '{"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}'), "no text"),
        (Constraint("json_schema", '{"a":' * 10_000 + "1" + "}" * 10_000), "64 levels"),
        (Constraint("json_schema", '{"enum": []}'), "empty"),
        (Constraint("json_schema", "{nonsense"), "double quotes"),
        (Constraint("json_schema", '["a"]'), "object"),
        (Constraint("json_schema", '{"oneOf": [{"x-guidance": {"coerce_one_of": true}}]}'), "x-guidance"),
        (Constraint("json_schema", json.dumps({"enum": ["a" * (1 << 20)]})), "characters"),
        (Constraint("json_schema", '{"const": 9007199254740993}'), "9007199254740993"),
        (Constraint("json_schema", '{"type": "integer", "maximum": 1e300}'), "2^53"),
        (Constraint("json_schema", '{"items": {"enum": [{"a": [-9007199254740993]}]}}'), "2^53"),
        *[
            (Constraint("json_schema", json.dumps({"properties": {"a": {"pattern": f"^x[{held}]$"}}})), said)
            for held, said in (
                ("a-z--b", "--"),
                ("a~~b", "~~"),
                ("a&&b", "&&"),
                ("a[b", "[ in"),
                ("]a", "[]"),
                ("^]a", "[]"),
                (r"\]a&&b", "&&"),
            )
        ],
        (Constraint("json_schema", '{"patternProperties": {"[a--b]": {}}}'), "--"),
        (Constraint("regex", "[a&&b]"), "&&"),
        (Constraint("regex", "(a|"), "unclosed"),
        (Constraint("regex", "a(?=b)"), "look"),
        (Constraint("choice", ()), "nothing"),
        (Constraint("choice", ("a", "")), "nothing"),
    ],
)
def test_what_can_not_be_enforced_is_refused_and_says_why(
    engine: TorchEngine, constraint: Constraint, why: str
) -> None:
    running = len(engine.requests.running)
    with pytest.raises(SodateError, match=re.escape(why)) as caught:
        engine.admit(Request(next(numbers), [11], [END], constraint=constraint))
    assert caught.value.code == "constraint_unsupported"
    assert len(engine.requests.running) == running


@pytest.mark.parametrize("schema", [
    {"const": 9007199254740992}, {"enum": [{"pattern": "[a&&b]"}]}, {"type": "string", "pattern": "^[a-z-]-+&&[~]$"},
    {"type": "string", "pattern": r"^[\[\]a\-\-b]$"}, {"type": "string", "default": {"x": 10**30}},
    {"type": "object", "properties": {"pattern": {"type": "string"}}},
])  # fmt: skip
def test_what_every_dialect_reads_alike_is_taken(schema: dict[str, Any]) -> None:
    assert misread(schema) == ""


def test_an_engine_without_a_tokenizer_says_so(engine: TorchEngine) -> None:
    bare = TorchEngine(engine.model)
    with pytest.raises(SodateError, match="no tokenizer"):
        bare.admit(Request(0, [11], [END], constraint=Constraint("choice", ("a",))))


def sentencepiece() -> Tokenizer:
    """A BPE as Gemma's: ▁ for blanks, and bytes where a character has no token of its own."""
    letters = ["▁", "a", "b", "東", "京", '"', "{", "}", ":", ",", "0", "1", "2"]
    words = ["<pad>", "<eos>", "<bos>", *(f"<0x{n:02X}>" for n in range(256)), *letters, "東京"]
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [("東", "京")], byte_fallback=True,
                                fuse_unk=True, unk_token="<pad>"))  # fmt: skip
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens([AddedToken(word, special=True) for word in ("<pad>", "<eos>", "<bos>")])
    return made


@pytest.mark.parametrize(("made", "end"), [(tokenizer(), END), (sentencepiece(), 1)])
@pytest.mark.parametrize("text", ["東京", "髙﨑 a 🍎", "b東a"])
def test_a_token_is_the_bytes_it_stands_for(made: Tokenizer, end: int, text: str) -> None:
    """The only choice there is has to be spelled out, by whole tokens or by bytes of a character."""
    ids: list[int] = []
    matcher = Grammars(made, made.get_vocab_size()).start(Constraint("choice", (text,)), [end])
    for token in made.encode(text, add_special_tokens=False).ids:
        assert matcher.fits([token]) == 1
        ids.append(token)
        matcher.take(token)
    assert made.decode(ids) == text
    assert matcher.forced() == [end]


def test_a_grammar_is_read_once_and_a_tokenizer_once_for_its_stops(tmp_path: Path) -> None:
    made = tokenizer()
    grammars = Grammars(made, made.get_vocab_size())
    one = Constraint("regex", "[ab]+")
    assert grammars.start(one, [END]).allowed().tolist() == grammars.start(one, [END]).allowed().tolist()
    assert len(grammars._made) == 1 and len(grammars._known) == 1
    grammars.start(one, [END, 1])
    assert len(grammars._made) == 2
