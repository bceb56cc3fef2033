"""A model gives way before each block and behind it on the way back, and its numbers stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sodate.core import giving_way
from sodate.train.giving_way import between_blocks
from tests.families import make


def test_every_block_gives_way_on_both_ways_and_computes_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama")
    ids = torch.arange(12)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    asked: list[int] = []
    monkeypatch.setattr(giving_way, "give_way", lambda: asked.append(1))
    with between_blocks(model):
        model(input_ids=ids, labels=ids).loss.backward()
    assert len(asked) == 2 * model.config.num_hidden_layers
    assert all(torch.equal(p.grad, expected[name]) for name, p in model.named_parameters() if p.grad is not None)
    model(input_ids=ids)
    assert len(asked) == 2 * model.config.num_hidden_layers and not giving_way._watched
