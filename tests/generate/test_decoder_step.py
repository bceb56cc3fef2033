"""A step of very few rows in one call is what the blocks make one by one, and arrays that don't fit are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sodate.generate import decoder_step, decoding
from sodate.generate.paged_attention import DecodeAttention
from sodate.generate.pool import BLOCK, Pool, Shape
from sodate.generate.versions import Versions
from sodate.kernels import compiled, rows
from sodate.model import attention, fused
from sodate.model.load import load_base
from tests.families import FAMILIES, VOCABULARY, make, pair
from tests.generate.test_versions import KINDS, plant

pytestmark = pytest.mark.skipif(compiled is None or not compiled.FEW, reason="no code for this processor")
TABLE = np.array([[4, 1, 0], [2, 5, 3]])


def pool(model: Any, seed: int) -> Pool:
    """Two replies' blocks, full of random tokens."""
    random = torch.Generator().manual_seed(seed)
    attentions = [layer.self_attn for layer in model.get_decoder().layers]
    shapes = {a.layer: Shape(a.heads[1], a.head_dim, a.head_dim, torch.float32) for a in attentions}
    made = Pool(shapes, TABLE.size, torch.device("cpu"))
    for held in (*made.keys.values(), *made.values.values()):
        held.copy_(torch.randn(held.shape, generator=random))
    return made


def check(model: Any, held: list[tuple[int, int]], seed: int, whole: bool = False) -> None:
    """`held`: whose each row is, and how many tokens of it there are with it; `whole`: by as many calls as it takes."""
    owner, lengths = (np.array(column) for column in zip(*held, strict=True))
    tokens = torch.randint(VOCABULARY, (len(held),), generator=torch.Generator().manual_seed(seed))
    pools = [pool(model, seed) for _ in range(2)]
    ours, theirs = (DecodeAttention(one, TABLE, owner, lengths) for one in pools)
    with torch.no_grad():
        positions = torch.from_numpy(lengths - 1)
        found = decoder_step.decode(model, tokens, positions, ours) if whole else model.sodate_step(tokens, ours)
        expected = attention.decode(model, tokens, positions, theirs)
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)
    for name in ("keys", "values"):
        for one, other in zip(*(getattr(each, name).values() for each in pools), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


rows_held = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 3 * BLOCK)), min_size=1, max_size=rows.AT_ONCE, unique=True
)


@pytest.fixture(scope="module", params=FAMILIES)
def ready(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model, _ = pair(request.param, tmp_path_factory.mktemp(request.param))
    fused.replace_modules(model, torch.float32)
    decoding.freeze(model)
    return model


@given(held=rows_held, seed=st.integers(0, 2**31))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_says_what_the_blocks_say(ready: Any, held: list[tuple[int, int]], seed: int) -> None:
    assert ready.sodate_step is not None
    check(ready, sorted(held), seed)


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def versions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp(request.param)
    make(request.param).save_pretrained(folder)
    adapters = {name: plant(folder, config, seed) for seed, (name, config) in enumerate(KINDS.items())}
    model = load_base(folder, device=torch.device("cpu"), dtype=torch.float32)
    fused.replace_modules(model, torch.float32)
    decoding.freeze(model)
    for name, where in adapters.items():
        Versions.over(model).add(name, where)
    return model


@pytest.mark.parametrize("whose", [["one"], ["", "two", "three", "one"], ["two", "two"], [""]])
def test_each_row_gets_what_its_version_adds(versions: Any, whose: list[str]) -> None:
    Versions.over(versions).selection.of(whose, torch.device("cpu"))
    check(versions, [(i % 2, 7 + i) for i in range(len(whose))], 1)


@pytest.mark.parametrize("whose", [[""] * 30, ["", "one", "two", "three"] * 8])
def test_more_rows_go_sixteen_at_a_time(versions: Any, whose: list[str]) -> None:
    """The last rows of a reply see the keys of its first ones, which an earlier call put there."""
    Versions.over(versions).selection.of(whose, torch.device("cpu"))
    half = len(whose) // 2
    check(versions, [(i // half, 2 + i % half) for i in range(len(whose))], 3, whole=True)


def test_weights_that_were_published_in_bfloat16_are_read_so(tmp_path: Path) -> None:
    plain = make("llama")
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(parameter.bfloat16())
    plain.save_pretrained(tmp_path)
    model = load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    fused.replace_modules(model, torch.float32)
    decoding.freeze(model)
    bits = model.get_decoder().layers[0].mlp.down.weight.bfloat16_bits
    assert bits.dtype == np.uint16
    np.testing.assert_array_equal(
        (bits.astype(np.uint32) << 16).view(np.float32), plain.model.layers[0].mlp.down_proj.weight.detach().numpy()
    )
    check(model, [(0, 20), (1, 3)], 2)


def test_very_few_rows_take_the_step_even_where_torch_makes_one_product_faster(
    ready: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_slower", frozenset({rows.VERY_FEW, rows.AT_ONCE}))
    monkeypatch.setattr(attention, "decode", lambda *given: "block by block")
    for count in (1, rows.VERY_FEW, rows.VERY_FEW + 1):
        lengths = 1 + np.arange(count)
        attend = DecodeAttention(pool(ready, 1), TABLE, np.zeros(count, dtype=np.int64), lengths)
        with torch.no_grad():
            found = decoder_step.decode(ready, torch.arange(3, 3 + count), torch.from_numpy(lengths - 1), attend)
        assert isinstance(found, torch.Tensor) == (count <= rows.VERY_FEW)


def test_a_decoder_that_does_more_is_left_to_its_own_forward(tmp_path: Path) -> None:
    """Granite multiplies its embeddings and what its blocks add."""
    make("granite", embedding_multiplier=3.0).save_pretrained(tmp_path)
    model = load_base(tmp_path, device=torch.device("cpu"), dtype=torch.float32)
    fused.replace_modules(model, torch.float32)
    assert decoder_step.of(model) is None
    decoding.freeze(model)
    assert model.sodate_step is None


def block(**changed: Any) -> tuple[Any, ...]:
    """One of 2 query heads and 1 key head of 4 numbers, hidden size 8, MLP of 6."""
    whole: dict[str, Any] = {
        "qkv": np.zeros((16, 8), np.float32), "out": np.zeros((8, 8), np.float32),
        "wide": np.zeros((12, 8), np.float32), "down": np.zeros((8, 6), np.float32), "lora": None, "bias": None,
        "before": np.ones(8, np.float32), "query": None, "cos": np.ones((20, 4), np.float32),
        "sin": np.zeros((20, 4), np.float32),
        "keys": np.zeros((2, 1, 16, 4), np.float32), "values": np.zeros((2, 1, 16, 4), np.float32),
        "numbers": (2, 1, 6, 0, 0, 0.5, 1e-6),
    }  # fmt: skip
    of = whole | changed
    layers = ((of["qkv"], of["bias"], of["lora"]), *((of[name], None, None) for name in ("out", "wide", "down")))
    norms = (of["before"], None, np.ones(8, np.float32), None, of["query"], None)
    return layers, norms, (of["cos"], of["sin"]), (of["keys"], of["values"]), of["numbers"]


def call(
    made: tuple[Any, ...], n: int = 1, table: Any = ((0, 1),), owner: int = 0, held: int = 3, ranks: Any = None
) -> Any:
    assert compiled is not None
    x, spans = np.ones((n, 8), np.float32), None if ranks is None else np.array([ranks] * n)
    decoder = compiled.decoder([made], np.ones(8, np.float32), 0.0)
    compiled.step(decoder, x, spans, np.array(table), np.full(n, owner), np.full(n, held))
    return x


def test_weights_of_zeros_add_nothing() -> None:
    assert (call(block()) == 1).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"qkv": np.zeros((15, 8), np.float32)},
        {"qkv": np.zeros((16, 7), np.float32)},
        {"qkv": np.zeros((16, 8), np.int16)},  # x would be rounded for it
        {"out": np.zeros((8, 9), np.float32)},
        {"down": np.zeros((8, 5), np.float32)},
        {"wide": np.zeros((12, 8), np.float64)},
        {"bias": np.zeros(15, np.float32)},
        {"before": None},
        {"before": np.ones(7, np.float32)},
        {"query": np.ones(5, np.float32)},
        {"cos": np.ones((20, 6), np.float32)},
        {"sin": np.ones((19, 4), np.float32)},
        {"keys": np.zeros((2, 1, 16, 5), np.float32)},
        {"keys": np.zeros((2, 2, 16, 4), np.float32)},
        {"values": np.zeros((1, 1, 16, 4), np.float32)},
        {"numbers": (3, 1, 6, 0, 0, 0.5, 1e-6)},
        {"numbers": (2, 1, 5, 0, 0, 0.5, 1e-6)},
        {"numbers": (2, 1, 6, -1, 0, 0.5, 1e-6)},
        {"numbers": (2, 1, 6, 0, 2, 0.5, 1e-6)},
        {"lora": (np.zeros((4, 7), np.float32), (np.zeros((4, 16), np.float32),))},
        {"lora": (np.zeros((4, 8), np.float32), (np.zeros((3, 16), np.float32),))},
        {"lora": (np.zeros((4, 8), np.float32), (np.zeros((4, 15), np.float32),))},
        {"lora": (np.zeros((4, 8), np.float32), ())},
        {"lora": (np.zeros((5, 8), np.float32), (np.zeros((2, 8), np.float32),) * 2)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="step:"):
        call(block(**changed))


@pytest.mark.parametrize(
    "given_", [{"n": 17}, {"owner": 1}, {"owner": -1}, {"held": 0}, {"held": 33}, {"table": ((0, 2),), "held": 17},
               {"table": ((-1, 0),)}, {"held": 21}, {"ranks": (0, 5)}, {"ranks": (-1, 2)}, {"ranks": (3, 2)}],
)  # fmt: skip
def test_rows_that_hold_what_is_not_there_are_refused(given_: dict[str, Any]) -> None:
    """Nor any ranks but the lora's 4, nor a position that no rotation is known of."""
    lora = (np.zeros((4, 8), np.float32), (np.zeros((4, 16), np.float32),))
    with pytest.raises(ValueError, match="step:"):
        call(block(lora=lora), **given_)


def test_a_decoder_whose_weights_are_for_very_few_rows_takes_no_more() -> None:
    narrow = block(qkv=np.zeros((16, 8), np.uint16))
    assert (call(narrow, 4) == 1).all()
    with pytest.raises(ValueError, match="step:"):
        call(narrow, 5)


def test_what_is_ready_for_a_pool_goes_with_it(ready: Any) -> None:
    step, before = ready.sodate_step, len(ready.sodate_step._ready)
    held = pool(ready, 1)
    with torch.no_grad():
        step(torch.tensor([3]), DecodeAttention(held, TABLE, np.array([0]), np.array([5])))
    assert len(step._ready) == before + 1
    del held
    assert len(step._ready) == before
