"""Curves of runs: read as they grow, thinned without losing a spike; a run is stopped only where it is known."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from sodate.api import curves
from sodate.core import home as homes
from tests.serve import filled


def test_thinning_keeps_every_spike_and_both_ends() -> None:
    random = np.random.default_rng(0)
    y = random.normal(size=100_003)
    y[[17, 50_000, 99_998]] = [40.0, -40.0, 41.0]
    kept = curves.thinned(y, 1000)
    assert len(kept) <= 1002 and {0, 17, 50_000, 99_998, 100_002} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)
    assert curves.thinned(y[:9], 1000).tolist() == list(range(9))


def test_curves_are_read_as_they_grow_and_again_where_a_resumed_run_wrote_them_anew(home: Path) -> None:
    path = home / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": NaN, "eval_loss": 1}\n{"step": 3, "lo')
    first = curves.drawn(path, 100)
    assert first["last_step"] == 2 and first["series"]["loss"] == {"x": [1], "y": [2.0], "not_finite": []}
    with path.open("a") as stream:
        stream.write('ss": Infinity}\n{"step": 4, "loss": 1.5, "kl": 0.25}\n')
    grown = curves.drawn(path, 100)
    assert grown["series"]["loss"] == {"x": [1, 4], "y": [2.0, 1.5], "not_finite": [3]}
    assert grown["series"]["kl"]["x"] == [4] and grown["series"]["eval_loss"]["x"] == [2]
    assert curves.drawn(path, 100, 4, 4)["series"]["loss"]["x"] == [4]
    again = path.with_suffix(".new")
    again.write_text('{"step": 1, "loss": 7.0}\n')
    again.rename(path)
    assert curves.drawn(path, 100)["series"]["loss"]["y"] == [7.0]
    assert curves.last_lines(path, 5) == [{"step": 1, "loss": 7.0}]


def test_a_run_of_a_hundred_thousand_steps_is_drawn_at_once(home: Path) -> None:
    name = filled.run("done", "sft", 3)
    path = homes.runs_dir() / name / "metrics.jsonl"
    line = (
        '{"step": %d, "steps": 100000, "loss": %f, "lr": 0.0004, "grad_norm": 1.25, "tokens": 4000, "seconds": 0.4}\n'
    )
    path.write_text("".join(line % (n, 1 / n + (n == 77_777)) for n in range(1, 100_001)))
    began = time.perf_counter()
    told = curves.drawn(path, 1000)
    took = time.perf_counter() - began
    assert max(told["series"]["loss"]["y"]) == pytest.approx(1, abs=1e-4) and 77_777 in told["series"]["loss"]["x"]
    assert took < 2  # 0.2 s on a quiet machine, where bench/pages.py prints it


def test_a_run_is_asked_to_stop_by_signal_only_where_its_process_is_known(home: Path) -> None:
    from sodate.api.runs import stop_run
    from sodate.core.errors import SodateError

    name = filled.run("running", "sft", 3)
    with pytest.raises(SodateError) as caught:
        stop_run(name)
    assert caught.value.code == "not_running"
    (homes.runs_dir() / name / "lock").write_text("pid 1 on elsewhere since never")
    with pytest.raises(SodateError):
        stop_run(name)
