"""`why` names the rows whose gradients moved a reply, as autograd computes them; and rows whose labels are broken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sodate
from sodate.adapt import files as adapter_files
from sodate.core.errors import SodateError, UsageError
from sodate.core.runs import RunFolder
from sodate.core.types import Conversation, Message
from sodate.library.store import find
from sodate.library.weights import read_tensors
from sodate.model import load
from sodate.release.registry import find_version
from sodate.render.renderer import Renderer
from sodate.train.loop import Plan, learning_rate, rows_of_step
from tests import farm as farms
from tests import worker

PROMPT, REPLY = "Dear shop, please send 33 pears to our office.", '{"product": "pears", "quantity": 33}'


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farms.Farm]:
    planted = farms.plant(tmp_path_factory.mktemp("farm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        patch.setenv("SODATE_LANG", "en")
        sodate.train(model=planted.model, data=[str(planted.train)], name="orders", max_steps=8, save_every=4,
                     lr=2e-3, lora_rank=2, dtype="float32")  # fmt: skip
        yield planted


def slowly(farm: farms.Farm) -> np.ndarray[Any, Any]:
    """The influences by plain autograd on the module as it is, row by row, with nothing projected."""
    version = find_version("orders")
    entry = find(farm.model)
    assert version is not None and version.adapter is not None and entry is not None
    run = RunFolder.find(version.manifest["run"])
    plan, metrics = Plan(**version.manifest["plan"]), {line["step"]: line for line in run.metrics()}
    renderer = Renderer.from_folder(entry.path)
    lines = [json.loads(line)["messages"] for line in farm.train.read_text().splitlines()]
    rows = [renderer.render(Conversation(tuple(Message(m["role"], m["content"]) for m in one)))[0] for one in lines]
    query = renderer.render(Conversation((Message("user", PROMPT), Message("assistant", REPLY))))[0]
    model = load.load_base(entry.path, device=torch.device("cpu"), dtype=torch.float32)
    adapter_files.add_adapter(model, adapter_files.read_adapter(version.adapter), seed=0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    begun = {name: p.detach().clone() for name, p in trained.items()}

    def gradient(one: Any) -> torch.Tensor:
        from sodate.model.forward import score
        from sodate.render import trie

        loss = score(model, trie.build([one])).weighted_sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(trained.values()))])

    folders = sorted((run.path / "checkpoints").glob("step-*"))
    points = [(0, begun, folders[0]), *((int(f.name[5:]), read_tensors(f / "model.safetensors"), f) for f in folders)]
    found = np.zeros(len(rows))
    steps = np.array([step for step, _, _ in points])
    for number, (_, weights, folder) in enumerate(points):
        with torch.no_grad():
            for name, p in trained.items():
                p.copy_(weights[name])
        moments = read_tensors(folder / "optimizer.safetensors")
        square = {n: moments[f"{n}.exp_avg_sq"] / (1 - 0.999 ** float(moments[f"{n}.step"])) for n in trained}
        scale = torch.cat([1 / (one.sqrt() + 1e-8).flatten() for one in square.values()])
        own = gradient(query) * scale
        for step in range(8):
            if int(np.abs(steps - step).argmin()) != number:
                continue
            batch = rows_of_step(plan, len(rows), step)
            clip = min(1.0, plan.max_grad_norm / (metrics[step + 1]["grad_norm"] + 1e-6))
            share = learning_rate(plan, step) * clip / sum(sum(rows[r].weights[1:]) for r in batch)
            for row in batch:
                found[row] += share * float(own @ gradient(rows[row]))
    return found


def test_scores_are_the_products_of_gradients_at_the_checkpoints(farm: farms.Farm) -> None:
    expected = slowly(farm)
    done = sodate.why("orders", PROMPT, reply=REPLY, top=14)
    assert done["version"] == "orders@1" and done["reply"] == REPLY and done["training_rows"] == 14
    scores = np.array([one["score"] for one in sorted(done["up"], key=lambda one: one["line"])])
    assert [one["line"] for one in sorted(done["up"], key=lambda one: one["line"])] == list(range(1, 15))
    assert np.abs(scores - expected).max() < 5 * done["noise"]
    assert np.corrcoef(scores, expected)[0, 1] > 0.97
    assert done["up"][0]["file"] == str(farm.train) and done["up"] == done["down"][::-1]
    assert done["checkpoints"][0] == 0 and done["checkpoints"][-1] == 8
    assert done["up"][0]["prompt"].startswith("Dear shop") and json.loads(done["up"][0]["reply"])


def sent(number: int, *, words: str = "apples pears boxes office shop", turned: int = 0) -> dict[str, Any]:
    """Each word has its answer; `turned` gives it another one's."""
    answers = ["quantity", "product", "send", "to", "dear"]
    said = f"Dear shop, {words.split()[number % 5]} number {number} please."
    reply = answers[(number + turned) % 5]
    return {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": reply}]}


def test_rows_with_a_wrong_answer_are_found_by_a_held_out_file(farm: farms.Farm, tmp_path: Path) -> None:
    before = farms.write_rows(tmp_path / "before.jsonl", [sent(n, turned=2) for n in range(400)])
    sodate.train(model=farm.model, data=[str(before)], name="reader", adapter="full", epochs=3, lr=3e-3, batch_size=16)
    broken = {7, 41, 66, 90, 113}
    rows = [sent(n, turned=3 if n in broken else 0) for n in range(120)]
    data = farms.write_rows(tmp_path / "broken.jsonl", rows)
    held = farms.write_rows(tmp_path / "held.jsonl", [sent(n) for n in range(500, 530)])
    sodate.train(model="reader", data=[str(data)], name="broken", epochs=5, lr=5e-3, lora_rank=8)
    done = sodate.harmful("broken", held, top=120)
    found = [one["line"] - 1 for one in done["rows"]]
    precision = [sum(n in broken for n in found[: k + 1]) / (k + 1) for k in range(120) if found[k] in broken]
    assert sum(precision) / len(broken) > 10 * len(broken) / 120
    assert done["n"] == 30 and done["up"][0]["score"] < 0 < done["rows"][0]["score"]


def test_gradients_are_made_at_the_checkpoints_that_a_question_needs_and_once(
    farm: farms.Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    sodate.train(
        model=farm.model, data=[str(farm.train)], name="halves", max_steps=8, save_every=2, lora_rank=2, seed=1
    )
    from sodate.kernels import threads
    from sodate.train import influence

    made, vectors = [], influence.vectors

    def counted(model: Any, rows: Any, numbers: Any, at: Any, wide: int) -> Any:
        assert threads._decided, "beside other programs its threads would wait for each other"
        made.append(at.step)
        return vectors(model, rows, numbers, at, wide)

    monkeypatch.setattr(influence, "vectors", counted)
    assert sodate.harmful("halves", farm.held)["checkpoints"] == [6, 8]
    assert made == [6, 8]
    assert sodate.why("halves", PROMPT, reply=REPLY)["checkpoints"] == [0, 2, 6, 8]
    sodate.harmful("halves", farm.held)
    assert made == [6, 8, 0, 2]


def test_the_command_prints_the_contract_and_refuses_what_it_cannot_say(farm: farms.Farm, tmp_path: Path) -> None:
    done = worker.run("why", "orders", "--prompt", PROMPT, "--top", "2", "--json", home=farm.home)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert {"reply", "up", "down"} <= set(document) and len(document["up"]) == len(document["down"]) == 2
    assert {"file", "line", "score"} <= set(document["up"][0]) and isinstance(document["reply"], str)
    harm = worker.run("why", "orders", "--harmful", "--against", str(farm.held), "--json", home=farm.home)
    found = json.loads(harm.out)
    assert len(found["rows"]) == 10 and found["rows"] == found["down"] and found["n"] == 4
    scores = [one["score"] for one in found["rows"]]
    assert scores == sorted(scores, reverse=True) and all(math.isfinite(score) for score in scores)
    for words in (["--harmful"], [], ["--prompt", "x", "--harmful", "--against", str(farm.held)]):
        assert worker.run("why", "orders", *words, "--json", home=farm.home).code == 2
    said = worker.run("why", "orders", "--prompt", PROMPT, "--reply", REPLY, home=farm.home, language="ja")
    assert said.code == 0 and "確率を上げた行" in said.out
    with pytest.raises(UsageError) as caught:
        sodate.why("nobody", PROMPT)
    assert caught.value.code == "version_not_found"


def test_other_training_files_than_those_of_the_run_are_refused(farm: farms.Farm) -> None:
    before = farm.train.read_text()
    try:
        farm.train.write_text(before.replace("apples", "plums"))
        with pytest.raises(SodateError, match="not what they were") as caught:
            sodate.why("orders", PROMPT, reply=REPLY)
        assert caught.value.code == "changed"
    finally:
        farm.train.write_text(before)


def test_a_version_with_all_weights_is_refused(farm: farms.Farm) -> None:
    sodate.train(model=farm.model, data=[str(farm.train)], name="whole", adapter="full", max_steps=1)
    with pytest.raises(UsageError, match="no adapter") as caught:
        sodate.why("whole", PROMPT)
    assert caught.value.code == "wrong_model"
