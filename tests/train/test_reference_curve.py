"""The loss curve beside a loop that shares no code with ours: padded batches, eager attention, peft, plain AdamW."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import sodate
from sodate.adapt import files as adapter_files
from sodate.adapt.lora import LoraConfig, add, all_targets
from sodate.model import load
from tests.close import assert_as_exact
from tests.families import in_float64
from tests.farm import Farm, adapter_bytes, curve, plant

ROWS = 14
STEPS, BATCH, LR = 12, 4, 3e-2


def initial_adapter(farm: Farm, folder: Path) -> Path:
    """An adapter saved by sodate, for both to start from."""
    model = load.load_base(farm.folder, device=torch.device("cpu"), dtype=torch.float32)
    config = LoraConfig(4, 8.0, all_targets(model))
    add(model, config, seed=5)
    folder.mkdir()
    adapter_files.save_adapter(model, config, "tiny", folder)
    return folder


def reference(farm: Farm, adapter: Path, dtype: torch.dtype) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Loss of every step and the trained adapter, from transformers, peft and torch alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(farm.folder)
    rows = []
    for line in farm.train.read_text("utf-8").splitlines():
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(messages)["input_ids"]
        # The reply ends with its stop token; the line break the template puts behind is not trained.
        end = len(whole) - whole[::-1].index(tokenizer.convert_tokens_to_ids("<|im_end|>"))
        rows.append((whole, [-100] * len(prompt) + whole[len(prompt) : end] + [-100] * (len(whole) - end)))
    base = AutoModelForCausalLM.from_pretrained(farm.folder, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    model = in_float64(model) if dtype == torch.float64 else model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    losses = []
    for step in range(STEPS):
        start = step * BATCH % (-(-ROWS // BATCH) * BATCH)
        batch = rows[start : start + BATCH]
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.tensor([ids + [2] * (longest - len(ids)) for ids, _ in batch])
        labels = torch.tensor([labels + [-100] * (longest - len(labels)) for _, labels in batch])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in batch])
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 0.3)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return losses, {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
def test_the_loss_curve_is_that_of_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    farm = plant(tmp_path)
    adapter = initial_adapter(farm, tmp_path / "adapter")
    expected, tensors = reference(farm, adapter, torch.float32)
    exactly, judge = reference(farm, adapter, torch.float64)
    monkeypatch.setenv("SODATE_HOME", str(farm.home))
    keys: dict[str, Any] = {"model": farm.model, "data": [str(farm.train)], "init_adapter": str(adapter)}
    keys["dtype"] = "float32"
    sodate.train(**keys, shuffle=False, batch_size=BATCH, max_steps=STEPS, lr=LR, weight_decay=0.01, max_grad_norm=0.3)
    found = [line["loss"] for line in curve(farm.home)]
    assert_as_exact(found[0], expected[0], exactly[0])
    assert_as_exact(found, expected, exactly, floor=1e-4)  # AdamW follows the sign of gradients near 0
    assert expected[-1] < 0.95 * expected[0]  # something was learnt
    trained = safetensors.torch.load(adapter_bytes(farm.home))
    assert len(trained) == len(tensors)
    for name, tensor in tensors.items():
        assert_as_exact(trained[name.replace(".default", "")], tensor, judge[name], floor=2e-3, what=name)
