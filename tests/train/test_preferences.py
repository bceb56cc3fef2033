"""Training on preferences: the pair's objective over the trie, the reference, what is logged, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sodate.core.recipe import DPORecipe, KTORecipe, RewardRecipe
from sodate.core.types import Judgement, Message, Preference, Ranking
from sodate.losses import preference
from sodate.model import scalar_head
from sodate.render.renderer import Rendered
from sodate.train import cached_reference, dpo, fit_into_memory, kto, pair_alarms, reward
from sodate.train.pairs import Pairs
from tests import worker
from tests.families import VOCABULARY, exact, pair
from tests.farm import Farm, adapter_bytes, curve, events, order, plant, the_run, write_rows
from tests.model.test_forward import one_row_at_a_time


def preferred(number: int) -> dict[str, Any]:
    asked, reply = order(number)["messages"]
    return {"prompt": [asked], "chosen": [reply], "rejected": [{**reply, "content": f"Thank you! {reply['content']}"}]}


def judged(number: int) -> dict[str, Any]:
    row = preferred(number)
    good = number % 3 != 0
    return {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}


# ── the objective over the trie ──────────────────────────────────────────────────────────────────────────────────────


def drawn(count: int, replies: int) -> list[list[Rendered]]:
    """Rows of `replies` sequences behind a prompt of their own, after 10 tokens that all share."""
    draw = torch.Generator().manual_seed(5)

    def tokens(n: int) -> list[int]:
        return torch.randint(0, VOCABULARY, (n,), generator=draw).tolist()

    head = tokens(10)
    rows = []
    for number in range(count):
        prompt = head + tokens(9 + number)
        ends = [tokens(3 + (number * 3 + side * 2) % 7) for side in range(replies)]
        rows.append([Rendered(prompt + end, [0.0] * len(prompt) + [1.0] * len(end)) for end in ends])
    return rows


def moved(model: Any) -> Any:
    """The model after a step that did it no good: what is trained is no longer the reference."""
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
    return model


def test_losses_and_gradients_of_pairs_are_those_of_whole_rows_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    model, eager = (exact(one) for one in pair("llama", tmp_path / "model", torch.float64))
    rows = drawn(5, 2)
    recipe = DPORecipe(model="m", data=("d",), beta=0.7, sft_weight=0.3)
    start = torch.stack([one_row_at_a_time(eager, row) for row in rows]).detach()
    method = Pairs(
        model, rows, rows, dpo.pair_loss(recipe), names=[str(n) for n in range(5)], micro_tokens=80,
        warn=lambda text: pytest.fail(text), start="start", likelihood_weight=recipe.sft_weight,
    )  # fmt: skip
    torch.testing.assert_close(method.references[0].double(), start, rtol=1e-5, atol=1e-5)
    moved(eager), moved(model)
    found = torch.stack([one_row_at_a_time(eager, row) for row in rows])
    h = (found - start)[:, 0] - (found - start)[:, 1]
    chosen_tokens = sum(sum(row[0].weights) for row in rows)
    loss = -torch.nn.functional.logsigmoid(0.7 * h).mean() - 0.3 * found[:, 0].sum() / chosen_tokens
    loss.backward()
    update = next(method.updates(0, range(5)))
    parts = list(update.parts)
    assert len(parts) > 1  # several micro-batches
    (torch.stack([part.loss for part in parts]).sum() / update.weight).backward()
    assert sum(part.loss.item() for part in parts) / update.weight == pytest.approx(loss.item(), abs=1e-5)
    for (name, a), b in zip(eager.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-6, msg=name)
    assert update.metrics["margin"] == pytest.approx(0.7 * h.mean().item(), abs=1e-5)
    assert update.metrics["accuracy"] == pytest.approx((h > 0).double().mean().item())
    assert update.metrics["logps/chosen"] == pytest.approx(found[:, 0].mean().item(), abs=1e-4)
    validated = method.validate()
    assert validated is not None and validated.loss == pytest.approx(loss.item(), abs=1e-5)


def test_kto_over_the_trie_is_the_formula_over_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    model, eager = (exact(one) for one in pair("llama", tmp_path / "model", torch.float64))
    sequences = [row[0] for row in drawn(4, 1)]
    wanted = [True, False, True, True]
    recipe = KTORecipe(model="m", data=("d",), beta=0.5, undesirable_weight=3.0)
    method = kto.KTO(
        model, (sequences, wanted), ([], []), recipe, names=["?"] * 4, micro_tokens=60,
        warn=lambda text: pytest.fail(text), start="start",
    )  # fmt: skip
    strangers = [stranger for _, stranger in method.train]
    own_start, far_start = one_row_at_a_time(eager, sequences).detach(), one_row_at_a_time(eager, strangers).detach()
    moved(eager), moved(model)
    own, far = one_row_at_a_time(eager, sequences), one_row_at_a_time(eager, strangers)
    z = preference.kto_divergence(far, far_start)
    expected = preference.kto(
        own, own_start, torch.tensor(wanted), z, beta=0.5, undesirable_weight=3.0
    ).mean()  # fmt: skip
    update = next(method.updates(0, range(4)))
    loss = sum(part.loss.item() for part in update.parts) / update.weight
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    assert update.metrics["kl"] == pytest.approx(z.item(), abs=1e-5)
    gains = 0.5 * (own - own_start).detach()
    assert update.metrics["rewards/chosen"] == pytest.approx(gains[[0, 2, 3]].mean().item(), abs=1e-5)
    assert update.metrics["rewards/rejected"] == pytest.approx(gains[1].item(), abs=1e-5)
    # Behind the prompt of a row stands the reply of the next one whose prompt is another.
    assert strangers[0].ids[-len(sequences[1].ids[-3:]) :] == sequences[1].ids[-3:]
    assert all(stranger.ids[:19] == own_.ids[:19] for stranger, own_ in zip(strangers, sequences, strict=True))


@pytest.mark.parametrize("method", ["pairs", "kto", "reward"])
def test_the_heaviest_micro_batch_is_the_one_that_training_meets(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    model, _ = pair("llama", tmp_path / "model")
    rows, names, warn = drawn(5, 2), ["?"] * 5, lambda text: None
    made: Any
    if method == "pairs":
        pair_loss = dpo.pair_loss(DPORecipe(model="m", data=("d",)))
        made = Pairs(model, rows, [], pair_loss, names=names, micro_tokens=80, warn=warn, start="start")
    elif method == "kto":
        judged = [row[0] for row in rows], [True, False, True, True, False]
        recipe = KTORecipe(model="m", data=("d",))
        made = kto.KTO(model, judged, ([], []), recipe, names=names, micro_tokens=60, warn=warn, start="start")
    else:
        scalar_head.add(model)
        compared = [reward.Compared([scalar_head.at_the_end(s) for s in row], (1, 2), (3, 3), 0.0) for row in rows]
        made = reward.Reward(model, compared, [], RewardRecipe(model="m", data=("d",)), names=names, micro_tokens=80)
    assert isinstance(made, fit_into_memory.Resizable)
    steps = [[0, 4, 1], [2, 3]]
    met = [part for rows_ in steps for update in made.updates(0, rows_) for part in update.parts]
    assert len(met) > len(steps)
    computed, compute = made.heaviest(iter(steps))
    largest = max(met, key=lambda part: part.computed_tokens)
    assert computed == compute().computed_tokens == largest.computed_tokens
    if method != "kto":  # its z is of all the rows in a step
        assert compute().loss.item() == pytest.approx(largest.loss.item(), rel=1e-6)


def test_the_reference_is_computed_once_and_found_again_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    model, _ = pair("llama", tmp_path / "model")
    rows = drawn(3, 2)
    computed: list[int] = []
    real = cached_reference.compute

    def compute(model: Any, rows: Any, micro_tokens: int) -> Tensor:
        computed.append(len(rows))
        return real(model, rows, micro_tokens)

    monkeypatch.setattr(cached_reference, "compute", compute)
    first = cached_reference.log_probabilities(model, rows, "start", 100)
    assert torch.equal(cached_reference.log_probabilities(moved(model), rows, "start", 100), first) and computed == [3]
    # Another start, other rows, other weights of a row: another entry.
    cached_reference.log_probabilities(model, rows, "other start", 100)
    cached_reference.log_probabilities(model, rows[:2], "start", 100)
    reweighted = [[replace(s, weights=[w / 2 for w in s.weights]) for s in row] for row in rows]
    halved = cached_reference.log_probabilities(model, reweighted, "start", 100)
    assert computed == [3, 3, 2, 3] and not torch.equal(halved, first)
    for file in (tmp_path / "cache" / "reference").iterdir():
        file.write_bytes(b"damaged")
    cached_reference.log_probabilities(model, rows, "start", 100)
    assert computed == [3, 3, 2, 3, 3]


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_falling_chosen_reward_and_an_exploding_margin_are_said_once() -> None:
    said: list[str] = []
    memory: dict[str, float] = {}
    for _ in range(9):
        pair_alarms.watch(memory, -3.0, 1.0, 0.0, said.append)
    assert not said  # nine low steps may be chance
    for _ in range(30):
        memory = json.loads(json.dumps(memory))  # a checkpoint and a resume between any two steps
        pair_alarms.watch(memory, -3.0, 1.0, 0.0, said.append)
    assert len(said) == 1 and "less likely (reward -3.00" in said[0]
    for _ in range(40):
        pair_alarms.watch(memory, 0.1, 14.0, 0.0, said.append)
    assert len(said) == 2 and "margin" in said[1]


def test_a_reward_that_only_wavers_is_not_worth_a_word() -> None:
    said: list[str] = []
    memory: dict[str, float] = {}
    for step in range(60):
        pair_alarms.watch(memory, -0.9 if step % 2 else 0.6, 2.0, 0.0, said.append)
    low: dict[str, float] = {}
    for _ in range(60):
        pair_alarms.watch(low, -8.0, 2.0, None, said.append)  # without a reference, the first step is where it began
    assert not said


def test_kto_says_when_one_side_outweighs_the_other() -> None:
    said: list[str] = []
    recipe = KTORecipe(model="m", data=("d",))
    kto._say_imbalance(recipe, torch.tensor([True] * 4 + [False]), said.append)
    assert "4 replies are wanted and 1 are not; undesirable_weight=4" in said[0]
    kto._say_imbalance(recipe, torch.tensor([True, False]), said.append)
    balanced = recipe.model_copy(update={"undesirable_weight": 4.0})
    kto._say_imbalance(balanced, torch.tensor([True] * 4 + [False]), said.append)
    assert len(said) == 1
    kto._say_imbalance(recipe, torch.tensor([False, False]), said.append)
    assert "All 2 replies are unwanted" in said[1]


# ── what a method makes of an example ────────────────────────────────────────────────────────────────────────────────


def test_kto_takes_pairs_and_rankings_apart_without_guessing() -> None:
    asked, a, b, c = (Message("user", "U"),), *((Message("assistant", text),) for text in "ABC")

    def wanted(example: Any) -> list[tuple[str, bool]]:
        return [(one.reply[0].content, one.desirable) for one in kto.takes(example)]  # type: ignore[union-attr]

    assert wanted(Preference(asked, a, b)) == [("A", True), ("B", False)]
    assert wanted(Ranking(asked, (a, b, c), (2, 1, 3))) == [("B", True), ("C", False)]  # A is neither best nor worst
    assert wanted(Ranking(asked, (a, b), (1, 1))) == []
    assert wanted(Ranking(asked, (a, b), (1, 1), all_bad=True)) == [("A", False), ("B", False)]
    assert wanted(Judgement(asked, a, True)) == [("A", True)]


# ── the whole command ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("preferences"))


@pytest.fixture(scope="module")
def pairs(farm: Farm) -> tuple[Path, Path]:
    train = write_rows(farm.home.parent / "pairs.jsonl", [preferred(n) for n in range(11, 25)])
    return train, write_rows(farm.home.parent / "held_pairs.jsonl", [preferred(n) for n in range(71, 75)])


def words(farm: Farm, files: tuple[Path, Path], method: str, *more: str) -> list[str]:
    return [
        "train", "--method", method, "--model", farm.model, "--data", str(files[0]), "--eval", str(files[1]), "--name",
        "tone", "--json", "batch_size=4", "max_steps=6", "lr=0.01", "eval_every=2", "save_every=2", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(farm: Farm, pairs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = farm.new_home(tmp_path_factory.mktemp("undisturbed") / "home")
    done = worker.run(*words(farm, pairs, "dpo"), home=home)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert set(result["held_out"]) >= {"margin", "accuracy"} and result["reference_seconds"] > 0
    return home


def test_dpo_learns_and_logs_what_it_is_watched_by(undisturbed: Path) -> None:
    lines = curve(undisturbed)
    keys = {"rewards/chosen", "rewards/rejected", "margin", "accuracy", "logps/chosen", "logps/rejected"}
    assert all(keys <= set(line) for line in lines)
    # ln 2, and behind it what a token of the chosen replies costs.
    assert lines[0]["loss"] > 0.6931472 + 0.1 and lines[0]["margin"] == pytest.approx(0, abs=1e-4)
    watched = [line for line in lines if "eval_loss" in line]
    assert [line["step"] for line in watched] == [2, 4, 6]
    assert watched[-1]["eval_margin"] > watched[0]["eval_margin"] > 0 and watched[-1]["eval_accuracy"] == 1
    # Prompts are computed once for both replies.
    assert all(line["computed_tokens"] < 0.7 * line["tokens"] for line in lines)


@pytest.mark.parametrize("write", [30, 50, 70])
def test_dpo_killed_in_a_write_and_resumed_ends_the_same(
    farm: Farm, pairs: tuple[Path, Path], undisturbed: Path, tmp_path: Path, write: int
) -> None:
    home = farm.new_home(tmp_path / "home")
    assert worker.run(*words(farm, pairs, "dpo"), home=home, kill_at_write=write).code < 0
    done = worker.run("runs", "resume", the_run(home), "--json", home=home)
    assert done.code == 0, done.err
    assert curve(home) == curve(undisturbed)
    assert adapter_bytes(home, "tone@1") == adapter_bytes(undisturbed, "tone@1")


def test_dpo_after_sft_measures_against_the_version_also_when_resumed_without_the_cache(
    farm: Farm, pairs: tuple[Path, Path], tmp_path: Path
) -> None:
    homes = [farm.new_home(tmp_path / name) for name in ("whole", "stopped")]
    lines = []
    for home in homes:
        sft = ["train", "--model", farm.model, "--data", str(farm.train), "--name", "orders", "max_steps=3", "lr=0.01"]
        assert worker.run(*sft, home=home).code == 0
        command = ["orders" if word == farm.model else word for word in words(farm, pairs, "dpo")]
        if home is homes[0]:
            done = worker.run(*command, home=home)
        else:
            assert worker.run(*command, home=home, interrupt_at_step=3).code == 130
            for file in (home / "cache" / "reference").iterdir():
                file.unlink()
            run = next(p.name for p in (home / "runs").iterdir() if p.name.startswith("dpo-"))
            done = worker.run("runs", "resume", run, "--json", home=home)
        assert done.code == 0, done.err
        (file,) = home.glob("runs/dpo-*/metrics.jsonl")
        steps = [json.loads(line) for line in file.read_text().splitlines()]
        lines.append([{key: value for key, value in step.items() if key != "seconds"} for step in steps])
    assert lines[0] == lines[1] and lines[0][0]["margin"] == pytest.approx(0, abs=1e-4)
    assert adapter_bytes(homes[0], "tone@1") == adapter_bytes(homes[1], "tone@1")
    answered = worker.run("generate", "tone", "--prompt", "12 apples", "--max-tokens", "3", home=homes[0])
    assert answered.code == 0, answered.err


@pytest.mark.parametrize("method", ["orpo", "simpo", "kto"])
def test_every_method_trains_on_pairs(farm: Farm, pairs: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    home = farm.new_home(tmp_path / "home")
    done = worker.run(*words(farm, pairs, method), home=home)
    assert done.code == 0, done.err
    held_out = [line["eval_margin"] for line in curve(home) if "eval_margin" in line]
    assert held_out[-1] > held_out[0] and json.loads(done.out)["version"] == "tone@1"


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_pairs_are_held_out_by_prompt_and_a_version_has_to_gain_on_them(
    farm: Farm, tmp_path: Path, method: str
) -> None:
    home = farm.new_home(tmp_path / "home")
    data = write_rows(tmp_path / "pairs.jsonl", [preferred(n) for n in range(10, 100)])
    command = ["train", "--method", method, "--model", farm.model, "--data", str(data), "--name", "tone", "--json",
               "batch_size=8", "max_steps=8"]  # fmt: skip
    done = worker.run(*command, "lr=0.01", home=home)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["verdict"] == "gain" and result["version"] == "tone@1" and result["best_step"] == 8
    assert curve(home)[0]["base_eval_accuracy"] in (0.5, 0.0) and curve(home)[-1]["eval_gain_p"] < 0.05
    (out,) = [e["rows"] for e in events(home) if e["kind"] == "held out"]
    rows = 2 if method == "kto" else 1  # of a pair
    assert len(out) >= 16 and all(out.count(name) == rows for name in out)
    still = farm.new_home(tmp_path / "still")  # a rate that moves nothing gains nothing
    done = worker.run(*command, "lr=1e-12", home=still)
    assert done.code == 0 and json.loads(done.out)["version"] is None, done.err
    assert "Go on using" in json.loads(done.out)["said"] and not (still / "versions").exists()


def test_kto_trains_on_single_replies(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    train = write_rows(tmp_path / "train.jsonl", [judged(n) for n in range(11, 19)])
    held = write_rows(tmp_path / "held.jsonl", [judged(n) for n in range(71, 79)])
    done = worker.run(*words(farm, (train, held), "kto"), home=home)
    assert done.code == 0, done.err
    assert {"kl", "rewards/chosen", "rewards/rejected", "margin", "accuracy"} <= set(curve(home)[-1])
    said = [event["text"] for event in events(home) if event["kind"] == "warning"]
    assert any("replies are wanted and" in text for text in said)


@pytest.mark.parametrize(
    ("method", "row", "said"),
    [
        ("dpo", order(5), "method=dpo needs prompts with a chosen and a rejected reply"),
        ("sft", preferred(5), "method=sft needs prompts with one reply each. Preference pairs are for method=dpo"),
        ("sft", judged(5), "preference-unpaired; method=sft needs prompts with one reply each"),
        ("dpo", judged(5), "Replies labelled true or false are for method=kto"),
        ("kto", order(5), "method=kto needs replies labelled true or false, or preference pairs"),
        ("orpo", order(5), "method=orpo needs prompts with a chosen and a rejected reply"),
        ("dpo", {"prompt": "U", "replies": ["A", "B"], "ranks": "tie"}, "method=dpo needs"),
    ],
)
def test_data_of_another_kind_is_refused_in_words(
    farm: Farm, tmp_path: Path, method: str, row: dict[str, Any], said: str
) -> None:
    mine = write_rows(tmp_path / "rows.jsonl", [row])
    done = worker.run("train", "--method", method, "--model", farm.model, "--data", str(mine), home=farm.home)
    assert done.code == 1 and said in " ".join(done.err.split()), done.err
