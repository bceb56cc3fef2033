"""Every kind of training end to end on a tiny model: train, resume, go on, merge, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import sodate
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json
from sodate.core.runs import RunFolder
from sodate.model.difference import View, difference
from sodate.model.head import Head
from sodate.release.lookup import look_up
from sodate.release.registry import find_version
from tests import farm as farming

KINDS = ("lora", "rslora", "dora", "qlora", "bottleneck", "last", "full")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farming.Farm]:
    planted = farming.plant(tmp_path_factory.mktemp("farm"), num_hidden_layers=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        yield planted


def train(farm: farming.Farm, name: str, **keys: Any) -> dict[str, Any]:
    wanted = {"model": farm.model, "data": [str(farm.train)], "max_steps": 4, "lr": 0.01, "dtype": "float32", **keys}
    return sodate.train(name=name, **wanted)


def weights(version: str) -> bytes:
    found = find_version(version)
    assert found is not None
    return next(found.path.rglob("*model.safetensors")).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_resumes_bit_for_bit_answers_and_goes_on_as_what_it_is(kind: str, farm: farming.Farm) -> None:
    keys = {"adapter": kind, "save_every": 2, "batch_size": 14, "lr": 0.003}  # every step has all rows
    done = train(farm, kind, **keys)
    assert done["final_loss"] < done["first_loss"]

    def stop(what: str, data: Any) -> None:
        if what == "step" and data["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(farm, f"{kind}-cut", **keys, on_event=stop)
    cut = next(
        r for r in (farm.home / "runs").iterdir() if read_json(r / "run.json")["recipe"]["name"] == f"{kind}-cut"
    )
    assert sodate.resume(cut.name)["version"] == f"{kind}-cut@1"
    assert weights(f"{kind}-cut@1") == weights(f"{kind}@1")

    assert sodate.load(f"{kind}@1").reply("hello", max_new_tokens=3).role == "assistant"
    further = train(farm, f"{kind}-on", model=f"{kind}@1", max_steps=1, lr=1e-9, batch_size=64, adapter=_again(kind))
    assert further["first_loss"] < done["first_loss"]
    made = find_version(f"{kind}-on@1")
    assert made is not None and made.manifest["adapter"] == kind


def _again(kind: str) -> str:
    """A version with an adapter says what it is; whole weights don't."""
    return kind if kind in ("last", "full") else "auto"


@pytest.mark.parametrize("kind", ["rslora", "dora", "qlora"])
def test_a_merged_version_answers_as_the_one_it_was_made_of_and_the_difference_is_told(
    kind: str, farm: farming.Farm
) -> None:
    train(farm, f"{kind}-m", adapter=kind)
    done = sodate.merge(f"{kind}-m", data=farm.held)
    assert done["version"] == f"{kind}-m@2" and done["from"] == f"{kind}-m@1" and done["rows"] == 4
    gap = done["difference"]
    assert 0 < gap["logit_max"] < 1e-3 and gap["kl_max"] < 1e-5 and gap["same_top"] == 1
    reference = look_up(f"{kind}-m@2")
    assert reference.adapter is None and not reference.quantised and reference.base == f"{kind}-m@2"
    one, two = (sodate.load(f"{kind}-m@{n}").reply("send 12 apples", max_new_tokens=8) for n in (1, 2))
    assert one == two
    further = train(farm, f"{kind}-over", model=f"{kind}-m@2", max_steps=1)
    assert look_up(further["version"]).base == f"{kind}-m@2"


def test_merging_into_bfloat16_rounds_the_weights_and_tells_a_larger_difference(farm: farming.Farm) -> None:
    train(farm, "half", adapter="lora")
    exact, rounded = (sodate.merge("half@1", dtype=dtype)["difference"] for dtype in ("float32", "bfloat16"))
    assert rounded["logit_max"] > 10 * exact["logit_max"] and rounded["kl_mean"] > exact["kl_mean"]
    folder = farm.home / "versions" / "half" / "3" / "model"
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"
    assert 2 * (folder / "model.safetensors").stat().st_size < 1.1 * len(weights("half@2"))


def test_what_cannot_be_merged_is_refused_with_the_way_out(farm: farming.Farm, tmp_path: Path) -> None:
    train(farm, "neck", adapter="bottleneck", max_steps=1)
    with pytest.raises(SodateError, match="Bottleneck adapters can't be merged"):
        sodate.merge("neck")
    with pytest.raises(UsageError, match=r"neck@1 has bottleneck adapters, which can't become part of the weights"):
        train(farm, "no", model="neck@1", adapter="full")
    with pytest.raises(UsageError, match=f"{farm.model} is not a version with an adapter"):
        sodate.merge(farm.model)
    gone = farming.write_rows(tmp_path / "gone.jsonl", [farming.order(1)])
    train(farm, "gone", data=[str(gone)], max_steps=1)
    gone.unlink()
    with pytest.raises(UsageError, match=r"files gone@1 was trained on are gone(.|\n)*--data FILE"):
        sodate.merge("gone")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"adapter": "full", "lora_rank": 4},
            r"lora_rank has no meaning for adapter=full(.|\n)*lora, rslora, dora, qlora",
        ),
        ({"adapter": "lora", "last_layers": 2}, r"last_layers has no meaning for adapter=lora(.|\n)*adapter=last\."),
        ({"bottleneck_size": 8}, r"bottleneck_size has no meaning for adapter=lora"),
        ({"adapter": "last", "last_layers": 9}, r"last_layers = 9, but the model has 4 layers"),
        ({"adapter": "lora", "model": "turned@1"}, r"adapter of turned@1 is dora(.|\n)*sodate versions merge turned@1"),
        ({"lora_rank": 3, "model": "turned@1"}, r"lora_rank = 3, but the adapter in .* has 16"),
        ({"adapter": "last", "init_adapter": "turned"}, r"init_adapter has no meaning for adapter=last"),
        (
            {"adapter": "qlora", "init_adapter": "turned"},
            r"adapter=qlora, but the adapter of .* is dora(.|\n)*Leave adapter",
        ),
        ({"model": "turned@1", "init_adapter": "turned"}, r"turned@1 has an adapter already"),
    ],
)
def test_keys_that_do_not_fit_are_refused_before_anything_is_trained(
    keys: dict[str, Any], said: str, farm: farming.Farm
) -> None:
    if find_version("turned") is None:
        train(farm, "turned", adapter="dora", max_steps=1)
    if "init_adapter" in keys:
        keys = keys | {"init_adapter": str(farm.home / "versions" / "turned" / "1" / "adapter")}
    with pytest.raises(UsageError, match=said):
        train(farm, "never", **keys)
    assert find_version("never") is None


def test_an_adapter_whose_weights_are_no_safetensors_is_refused(farm: farming.Farm, tmp_path: Path) -> None:
    train(farm, "opened", adapter="lora", max_steps=1)
    shutil.copy(farm.home / "versions" / "opened" / "1" / "adapter" / "adapter_config.json", tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(UsageError, match=r"has no adapter_model\.safetensors(.|\n)*\.bin"):
        train(farm, "never", init_adapter=str(tmp_path))


def test_an_adapter_from_a_file_can_be_trained_on_over_4_bits_and_keeps_its_numbers(farm: farming.Farm) -> None:
    train(farm, "file", adapter="lora", lora_rank=2, lora_alpha=6, lora_targets=["v_proj", "q_proj"], max_steps=1)
    folder = str(farm.home / "versions" / "file" / "1" / "adapter")
    done = train(farm, "packed", adapter="qlora", init_adapter=folder, max_steps=1)
    config = read_json(farm.home / "versions" / "packed" / "1" / "adapter" / "adapter_config.json")
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (2, 6, ["q_proj", "v_proj"])
    assert look_up("packed").quantised
    decided = {d["key"] for d in RunFolder.find(done["run"]).manifest["decisions"]}
    assert not decided & {"lora_rank", "lora_alpha", "lora_targets", "adapter"}


def test_the_difference_of_two_views_by_hand() -> None:
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    one = View(hidden, Head(torch.eye(2), None, 1.0, None))  # logits (1, 0) and (0, 1)
    other = View(hidden, Head(torch.tensor([[1.0, 0.0], [0.0, -1.0]]), None, 1.0, None))  # (1, 0) and (0, -1)
    # p = (1/(1+e), e/(1+e)); the other's log q = (0, -1) - log(1 + 1/e), one's log p = (0, 1) - log(1 + e).
    p = torch.tensor([0.0, 1.0]).softmax(0)
    kl = float((p * (torch.tensor([0.0, 1.0]).log_softmax(0) - torch.tensor([0.0, -1.0]).log_softmax(0))).sum())
    assert difference(one, other) == pytest.approx({
        "predictions": 2, "logit_max": 2.0, "logit_mean": 0.5, "kl_max": kl, "kl_mean": kl / 2, "same_top": 0.5,
    })  # fmt: skip
    assert difference(one, one) == {
        "predictions": 2, "logit_max": 0, "logit_mean": 0, "kl_max": 0, "kl_mean": 0, "same_top": 1,
    }  # fmt: skip
