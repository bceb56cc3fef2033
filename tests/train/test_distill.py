"""On-policy distillation: the loss over a trie is that of whole logits, a student becomes like its teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import sodate
from sodate.core.errors import UsageError
from sodate.losses.distill import generalised_jsd
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train.distill import Distill, DistillSettings, prompt_of
from tests.tiny import llama_folder


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_the_prompt_of_a_sequence_ends_where_its_last_reply_begins() -> None:
    assert prompt_of(Rendered([1, 2, 3, 4, 5, 6], [0, 1, 0, 0, 1, 1])) == [1, 2, 3, 4]


def test_the_loss_over_a_trie_is_that_of_whole_logits(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from sodate.model import load

    here = torch.device("cpu")
    student, teacher = (load.load_base(one, device=here, dtype=torch.float32)
                        for one in (folder, llama_folder(tmp_path / "teacher", seed=7)))  # fmt: skip
    rows = [[Rendered([5, 6, 7, 8, 9], [0, 0, 1, 1, 1])], [Rendered([5, 6, 7, 10], [0, 0, 1, 0.5])]]
    settings = DistillSettings(0.0, 0.3, 2.0, 8, 0)
    method = Distill(student, teacher, rows, [], settings=settings, stop_ids=[1], names=["a", "b"], micro_tokens=64)
    loss, _ = method._divergence(trie.build([one for row in rows for one in row]))
    oracles = [AutoModelForCausalLM.from_pretrained(one) for one in (folder, tmp_path / "teacher")]
    expected = 0.0
    for (one,) in rows:
        ids = torch.tensor([one.ids])
        with torch.no_grad():
            mine, theirs = ((model(input_ids=ids).logits[0] / 2.0).log_softmax(-1) for model in oracles)
        each = generalised_jsd(mine, theirs, 0.3)
        expected += sum(float(each[i - 1]) * w for i, w in enumerate(one.weights) if i)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert all(p.grad is None for p in teacher.parameters()) and student.lm_head.weight.grad is not None


def test_a_student_becomes_like_its_teacher_by_its_own_replies(home: Path, folder: Path, tmp_path: Path) -> None:
    model = sodate.pull(str(folder)).name
    data = write(tmp_path / "data.jsonl", [{"prompt": f"two boxes {n}", "completion": "red apples"} for n in range(16)])
    test = write(tmp_path / "test.jsonl", [{"prompt": f"two pears {n}", "completion": "red apples"} for n in range(6)])
    keys: dict[str, Any] = {"model": model, "data": data, "eval": test, "adapter": "full", "lr": 0.01, "batch_size": 8}
    taught = sodate.train(**keys, name="teacher", epochs=6)
    asked = {**keys, "method": "distill", "teacher": "teacher", "max_new_tokens": 8, "on_policy": 0.5, "epochs": 6}
    result = sodate.train(**asked, name="student")
    assert taught["version"] == "teacher@1" and result["version"] == "student@1"
    assert result["best_eval_loss"] < 0.2 * result["first_loss"]


def test_a_teacher_with_other_tokens_is_refused_by_name(home: Path, folder: Path, tmp_path: Path) -> None:
    other = llama_folder(tmp_path / "other", gpt2=True)
    file = other / "tokenizer.json"
    about = json.loads(file.read_text("utf-8"))
    words = list(about["model"]["vocab"])
    first, second = words[-1], words[-2]
    about["model"]["vocab"][first], about["model"]["vocab"][second] = (
        about["model"]["vocab"][second], about["model"]["vocab"][first],
    )  # fmt: skip
    file.write_text(json.dumps(about), "utf-8")
    model, teacher = sodate.pull(str(folder)).name, sodate.pull(str(other)).name
    data = write(tmp_path / "data.jsonl", [{"prompt": "two boxes", "completion": "red apples"}])
    with pytest.raises(UsageError, match="one tokenizer") as error:
        sodate.train(model=model, data=data, method="distill", teacher=teacher, max_new_tokens=4, name="x")
    assert error.value.param == "teacher"
