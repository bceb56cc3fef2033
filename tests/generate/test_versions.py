"""Versions over one base, together in one step: each says what it says alone, for hardly more memory than the base."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.adapt import adapters
from sodate.adapt import files as adapter_files
from sodate.adapt.lora import LoraConfig
from sodate.core.engine import Request, Sampling
from sodate.core.errors import SodateError
from sodate.generate import decoding
from sodate.generate.torch_engine import TorchEngine
from sodate.kernels import rows
from sodate.model import fused
from sodate.model.load import load_base
from tests.families import make
from tests.generate.test_torch_engine import finish, refused, tokens

ALL = ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
KINDS = {
    "one": LoraConfig(4, 12.0, ALL),
    "two": LoraConfig(2, 9.0, ("q_proj", "v_proj")),
    "three": LoraConfig(8, 16.0, ("down_proj", "o_proj", "up_proj"), rslora=True),
}


def base(folder: Path) -> Any:
    return load_base(folder, device=torch.device("cpu"), dtype=torch.float32)


def ready(model: Any) -> Any:
    fused.replace_modules(model, torch.float32)
    decoding.freeze(model)
    return model


def plant(folder: Path, config: LoraConfig, seed: int) -> Path:
    """An adapter with random weights beside the model in `folder`; where it is."""
    model, where = base(folder), folder / f"adapter-{seed}"
    where.mkdir()
    adapter_files.add_adapter(model, config, seed=seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in adapters.layers(model):
            for tensor in layer.saved().values():
                tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.3)
    adapter_files.save_adapter(model, config, "base", where)
    return where


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp(request.param)
    make(request.param).save_pretrained(folder)
    return folder, {name: plant(folder, config, seed) for seed, (name, config) in enumerate(KINDS.items())}


def alone(folder: Path, adapter: Path | None, prompt: list[int]) -> list[int]:
    model = base(folder)
    if adapter is not None:
        adapter_files.load_adapter(model, adapter)
        adapters.merge(model)
    engine = TorchEngine(ready(model))
    engine.admit(Request(0, prompt, [], Sampling(20)))
    return finish(engine)[0]


@pytest.mark.parametrize("compiled", [True, False])
def test_greedy_replies_of_versions_together_are_those_of_each_alone(
    served: tuple[Path, dict[str, Path]], compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, kinds = served
    if not compiled:
        monkeypatch.setattr(rows, "FEW", 0)
    engine = TorchEngine(ready(base(folder)))
    for name, adapter in kinds.items():
        engine.add_version(name, adapter)
    prompts = [tokens(12, 1), tokens(40, 2)]
    names = ["", *kinds]
    for number, (prompt, name) in enumerate((prompt, name) for prompt in prompts for name in names):
        engine.admit(Request(number, prompt, [], Sampling(20), name))
    found = finish(engine)
    expected = [alone(folder, kinds.get(name), prompt) for prompt in prompts for name in names]
    assert [found[n] for n in range(8)] == expected
    assert len({tuple(ids) for ids in expected[:4]}) == 4  # they do differ


def test_no_version_finds_what_another_has_computed(served: tuple[Path, dict[str, Path]]) -> None:
    folder, kinds = served
    engine = TorchEngine(ready(base(folder)))
    prompt = tokens(50, 3)
    engine.add_version("one", kinds["one"])
    engine.admit(Request(0, prompt, [], Sampling(10)))
    finish(engine)
    engine.admit(Request(1, prompt, [], Sampling(10), "one"))
    assert finish(engine)[1] == alone(folder, kinds["one"], prompt)[:10]
    engine.remove_version("one")
    assert refused(engine, Request(2, prompt, [], version="one")) == "unknown_version"
    engine.add_version("one", kinds["two"])  # another one by the same name
    engine.admit(Request(3, prompt, [], Sampling(10), "one"))
    assert finish(engine)[3] == alone(folder, kinds["two"], prompt)[:10]


def test_a_version_is_not_let_go_of_while_it_answers(served: tuple[Path, dict[str, Path]]) -> None:
    folder, kinds = served
    engine = TorchEngine(ready(base(folder)))
    engine.add_version("one", kinds["one"])
    engine.admit(Request(0, tokens(9, 1), [], Sampling(10), "one"))
    with pytest.raises(SodateError, match="one still answers"):
        engine.remove_version("one")


def test_what_can_not_stand_beside_others_is_refused_by_name(
    served: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    folder, _ = served
    engine = TorchEngine(ready(base(folder)))
    make("llama", hidden_size=64).save_pretrained(tmp_path)
    dora = plant(tmp_path, replace(KINDS["one"], dora=True), 0)
    other = plant(tmp_path, KINDS["one"], 1)
    for adapter, said in ((dora, "kind dora"), (other, "not for this model")):
        with pytest.raises(SodateError, match=said) as caught:
            engine.add_version("odd", adapter)
        assert caught.value.code == "version_alone" and "odd" not in engine.versions


def test_eight_versions_take_hardly_more_than_one(served: tuple[Path, dict[str, Path]]) -> None:
    folder, kinds = served
    model = ready(base(folder))

    def held() -> int:
        tensors = {id(t): t for m in model.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)}
        tensors |= {id(p): p for p in model.parameters()}
        thin = {id(t): t for m in model.modules() if getattr(m, "thin", None) is not None
                for pairs in m.multi_lora.pairs.values() for pair in pairs if pair for t in pair}  # fmt: skip
        return sum(t.nbytes for t in (tensors | thin).values())

    before = held()
    engine = TorchEngine(model)
    for number in range(8):
        engine.add_version(str(number), kinds["two"])
    rank, layers = 2, model.config.num_hidden_layers
    assert held() - before <= 8 * layers * rank * 4 * 2 * (32 + 48)  # A and B of q and v alone, whatever the base has
