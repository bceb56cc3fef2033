"""Influence is a sum of gradient products at the checkpoints, kept in vectors whose products are those sums."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sodate.adapt import lora
from sodate.core.errors import SodateError
from sodate.model import fused, load
from sodate.render.renderer import Rendered
from sodate.train import checkpoint, influence, kept_vectors, row_gradients
from sodate.train.loop import Plan, learning_rate, rows_of_step
from tests import tiny

PLAN = Plan(
    steps=6, batch_size=4, shuffle=True, seed=0, lr=0.1, schedule="linear", warmup_steps=1, weight_decay=0.0,
    max_grad_norm=1.0, save_every=3, eval_every=6, early_stop=None,
)  # fmt: skip


def test_a_row_weighs_at_a_checkpoint_what_its_nearest_steps_did_of_it() -> None:
    weights = [float(n + 1) for n in range(10)]
    found = influence.shares(PLAN, weights, {2: 0.5}, [0, 4], last=5)
    expected = np.zeros((10, 2))
    for step in range(5):  # step 5, the last of the plan, came after the weights that were kept
        rows = rows_of_step(PLAN, 10, step)
        for row in rows:
            clip = 0.5 if step + 1 == 2 else 1.0
            expected[row, 0 if step <= 2 else 1] += learning_rate(PLAN, step) * clip / sum(weights[r] for r in rows)
    assert found == pytest.approx(expected)
    assert np.allclose(found[:, 0] > 0, expected[:, 0] > 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("replaced", [True, False])
def test_gradients_of_rows_made_together_are_those_of_each_by_itself(
    tmp_path: Path, dtype: str, replaced: bool
) -> None:
    precision = getattr(torch, dtype)
    folder = tiny.llama_folder(tmp_path / "tiny")
    model = load.load_base(folder, device=torch.device("cpu"), dtype=precision)
    lora.add(model, lora.LoraConfig(4, 8.0, lora.all_targets(model)), seed=0)
    with torch.no_grad():
        for number, parameter in enumerate(checkpoint.trainable(model).values()):
            parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(number))
    if replaced:
        fused.replace_modules(model, precision)
    rng = np.random.default_rng(0)
    begin = [int(n) for n in rng.integers(1, 90, 12)]  # what rows share must not be computed once here

    def row(length: int) -> Rendered:
        ids = [*begin, *(int(n) for n in rng.integers(1, 90, length))]
        return Rendered(ids, [0.0] * 12 + [1.0] * length)

    rows = [[row(5)], [row(9), row(2)], [row(1)], [row(5)]]
    assert row_gradients.at_once(model) == 16
    together = row_gradients.gradients(model, rows)
    for own, whole in zip(rows, together, strict=True):
        alone = influence._gradient(model, own)
        assert float((whole - alone).norm() / alone.norm()) < (1e-5 if dtype == "float32" else 0.03)
    assert [len(g) for g in row_gradients.groups([[row(600)], [row(500)], *[[row(1)]] * 20], 16)] == [1, 16, 5]
    model.get_parameter(next(n for n, p in model.named_parameters() if not p.requires_grad)).requires_grad_(True)
    assert row_gradients.at_once(model) == 1


def test_no_more_is_kept_of_ten_thousand_rows_than_two_hundred_megabytes() -> None:
    for rows in (10, 1000, 10_000, 50_000):
        for checkpoints in (2, 4):
            wide = influence.width(rows, checkpoints)
            assert wide & (wide - 1) == 0 and rows * checkpoints * kept_vectors.record(wide).itemsize <= 200e6
    assert influence.width(2_000, 4) == influence.WIDEST


def test_vectors_are_made_once_gone_on_from_after_a_kill_and_made_anew_when_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(150, 64)).astype(np.float32) * 10.0 ** rng.integers(-12, 3, 150)[:, None]
    kind = kept_vectors.record(64)
    truth[7] = 0  # a row that no step of the run had
    asked: list[range] = []

    def vectors(block: range, until: int = 150) -> np.ndarray:
        asked.append(block)
        if block.start >= until:
            raise KeyboardInterrupt
        return truth[block.start : block.stop]

    with pytest.raises(KeyboardInterrupt):
        kept_vectors.made(tmp_path, 150, kind, lambda block: vectors(block, 64), "a test")
    with (tmp_path / "rows.part").open("ab") as file:
        file.write(b"half a row")
    kept = kept_vectors.made(tmp_path, 150, kind, vectors, "a test")
    assert [block.start for block in asked] == [0, 64, 64, 128]
    query = rng.normal(size=64).astype(np.float32)
    lengths = np.linalg.norm(truth, axis=1)
    wrong = np.abs(kept.products(query) - truth @ query)
    assert (wrong <= 1e-3 * lengths * np.linalg.norm(query)).all()
    assert kept.norms() == pytest.approx(lengths, rel=1e-3)
    kept_vectors.made(tmp_path, 150, kind, vectors, "a test")
    assert len(asked) == 4
    data = bytearray((tmp_path / "rows").read_bytes())
    data[1000] ^= 1
    (tmp_path / "rows").write_bytes(data)
    kept_vectors.made(tmp_path, 150, kind, vectors, "a test")
    assert len(asked) == 7


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SodateError) as caught:
        kept_vectors.made(
            tmp_path, 3, kept_vectors.record(8), lambda block: np.ones((3, 8), dtype=np.float32), "a test"
        )
    assert caught.value.code == "disk_full"


def test_a_row_is_as_suspect_as_it_pulls_and_as_it_pulls_against_the_question() -> None:
    # Three rows, two checkpoints; the typical lengths are 2 and 4, the question's 1 and 10.
    products = np.array([[2.0, 0.0], [-1.0, 40.0], [0.0, -40.0]])
    norms = np.array([[2.0, 0.0], [1.0, 4.0], [3.0, 8.0]])
    lengths, against = influence.pulls(products, norms, np.array([1.0, 10.0]))
    assert lengths.tolist() == [0.5, 0.75, 1.75]
    assert against.tolist() == [-0.5, -0.25, 0.5]
    none, nor_this = influence.pulls(0 * products, 0 * norms, np.zeros(2))
    assert not none.any() and not nor_this.any()
