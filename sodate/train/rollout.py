"""What GRPO and PPO share: sampling replies with the policy, rewarding them, and packing them for the trainer.

A rollout is a pure function of (weights, seed, step): every reply has its own random stream. Replies are sampled at
temperature 1 from the whole vocabulary, so that the policy that is trained is the one that was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sodate.core.engine import Sampling
from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.generate.decoding import frozen
from sodate.generate.engine import generate
from sodate.losses import policy
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train.acts import Acts
from sodate.train.alarms import Alarms
from sodate.train.gain import HeldOut
from sodate.train.loop import MicroBatchLoss, Validation
from sodate.train.rewards import Answer, Reward, Task

SLOTS = 64  # replies decoded at once, where memory allows it
FEW_TEACH = 0.2  # share of tasks whose replies earn different rewards, below which it is said
BASE_TASKS = 16  # prompts that have to be tried before it is said that none of them teaches


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled reply: `log_p` (nats) as the engine drew its tokens, `reward` in [0, 1], `group` its task."""

    answer: Answer
    log_p: list[float]
    reward: float
    group: int
    finished: bool  # it ended with a stop token

    def sequence(self) -> Rendered:
        """Prompt and reply, the reply's tokens scored."""
        prompt, ids = self.answer.task.prompt, self.answer.ids
        return Rendered([*prompt, *ids], [0.0] * len(prompt) + [1.0] * len(ids))


@dataclass(frozen=True, slots=True)
class Pack:
    """Samples that are computed together. E tokens of replies, sample by sample, each in order."""

    samples: list[int]
    batch: trie.Trie
    row: Tensor  # (E,) index into `samples`
    prediction: Tensor  # (E,) index into the scores of the trie
    old: Tensor  # (E,) log-probabilities at the time of sampling

    def log_p(self, model: Any) -> Tensor:
        """(E,) under the model as it is."""
        return -score(model, self.batch).nll[self.prediction]

    def spread(self, values: Tensor) -> Tensor:
        """(E,) from one value per sample of the rollout."""
        return values[torch.as_tensor(self.samples)].to(self.old)[self.row]


class Rollouts:
    """The policy's replies to tasks, k each, and their rewards. `text` makes of ids and tools what graders read."""

    def __init__(
        self,
        model: Any,
        tasks: Sequence[Task],
        held_out: Sequence[Task],
        reward: Reward,
        *,
        text: Callable[[Sequence[int], Sequence[Mapping[str, Any]]], str],
        stop_ids: Sequence[int],
        samples: int,
        max_new_tokens: int,
        seed: int,
        micro_tokens: int,
        say: Callable[[str], None],
        memory: dict[str, float],
        acts: Acts | None = None,
    ) -> None:
        self.model = model
        self.tasks = tasks
        self.held_out = held_out
        self.reward = reward
        self.text = text
        self.stop_ids = stop_ids
        self.samples = samples
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.micro_tokens = micro_tokens
        self.say = say
        self.acts = acts
        self.alarms = Alarms(memory, say, acts) if acts else Alarms(memory, say)
        self.start = HeldOut(memory, [tuple(task.prompt) for task in held_out])
        self.memory = memory
        self.steps_done = 0
        self.slots = SLOTS
        self.reach = max((len(task.prompt) for task in (*tasks, *held_out)), default=0) + max_new_tokens

    def length(self, row: int) -> int:
        """Tokens of a task's prompt with the longest reply it may get."""
        return len(self.tasks[row].prompt) + self.max_new_tokens

    def draw(self, tasks: Sequence[Task], step: int, attempt: int = 0) -> list[Sample]:
        """k replies to each task, in the tasks' order. Another `attempt` at the same step draws other replies."""
        many = [task for task in tasks for _ in range(self.samples)]
        seed = (self.seed << 64) + ((step + 1) << 16) + attempt
        answers, replies = self._answers(many, Sampling(self.max_new_tokens, 1.0, seed=seed))
        rewards, _ = self.reward(answers)
        return [
            Sample(answer, reply.log_probabilities, value, i // self.samples, reply.finish == "stop")
            for i, (answer, reply, value) in enumerate(zip(answers, replies, rewards, strict=True))
        ]

    def _answers(self, tasks: Sequence[Task], sampling: Sampling) -> tuple[list[Answer], list[Any]]:
        prompts = [task.prompt for task in tasks]
        with frozen(self.model):
            replies = generate(self.model, prompts, self.stop_ids, sampling, batch_size=self.slots)
        answers = [Answer(t, r.ids, self.text(r.ids, t.tools)) for t, r in zip(tasks, replies, strict=True)]
        return answers, replies

    def packs(self, samples: Sequence[Sample]) -> list[Pack]:
        """The samples packed into tries of at most `micro_tokens`: a group's prompt is computed once."""
        sequences = [sample.sequence() for sample in samples]
        packs = []
        for numbers in trie.pack(sequences, self.micro_tokens):
            batch = trie.build([sequences[i] for i in numbers])
            device = self.model.device
            old = [value for i in numbers for value in samples[i].log_p]
            packs.append(Pack(
                numbers, batch, torch.as_tensor(batch.entry_row, device=device),
                torch.as_tensor(batch.entry_prediction, device=device), torch.tensor(old, device=device),
            ))  # fmt: skip
        return packs

    def tried(self, drawn: Sequence[Sample]) -> dict[str, float]:
        """Of the first step's replies, which are the base's: what it can do already, as metrics of that step's line.

        Where no group has anything to teach, more tasks are tried, and SodateError if those have nothing either.
        """
        rewards, flat = flat_groups(drawn, self.samples)
        if bool(flat.all()) and len(flat) < BASE_TASKS:
            with self.start.timed():
                drawn = self.draw(self.tasks[:: math.ceil(len(self.tasks) / BASE_TASKS)], -1)
            rewards, flat = flat_groups(drawn, self.samples)
        low, high = float(rewards.min()), float(rewards.max())
        if bool(flat.all()):
            example = drawn[0].answer
            raise SodateError(
                tr(
                    f"Nothing to learn: each of {len(rewards)} prompts got one and the same reward for all of its "
                    f"{self.samples} replies ({low:.2f} to {high:.2f}).\n  One reply, to {example.task.name}: "
                    f"{example.text[:200]!r}",
                    f"学ぶものがありません。{len(rewards)} 個のプロンプトのどれでも、{self.samples} 個の返答の報酬が"
                    f"すべて同じでした ({low:.2f}〜{high:.2f})。\n  {example.task.name} への返答の例: "
                    f"{example.text[:200]!r}",
                ),
                tr(
                    "All wrong: begin with supervised fine-tuning, easier items, or a reward that pays for parts of "
                    "the way. All right: there is nothing left to gain.",
                    "全部不正解なら、先に教師あり学習をするか、易しい問題や部分点のある報酬にしてください。"
                    "全部正解なら、これ以上の改善はありません。",
                ),
                code="nothing_to_learn",
                param="rewards",
            )
        mixed = 1 - float(flat.double().mean())
        if mixed < FEW_TEACH:
            tried, teach = len(rewards), round(mixed * len(rewards))
            self.say(tr(
                f"Of {tried} tasks tried before training, {teach} got replies of different reward, and only such tasks "
                "teach. sodate data check --for grpo --model says more of them.",
                f"学習前に試した {tried} 件のうち、返答によって報酬が違ったのは {teach} 件でした。学べるのはそうした"
                "問題だけです。詳しくは sodate data check --for grpo --model で調べられます。",
            ))  # fmt: skip
        looked = self.start.first(self.validate, self.say, self.acts)
        return {"base_reward": float(rewards.mean()), "base_in_between": mixed, **looked}

    def validate(self) -> Validation | None:
        """The mean reward of greedy replies to held-out tasks, with the normal interval of a mean at 95 %.

        Its `loss` is the negative reward.
        """
        if not self.held_out:
            return None
        with self.start.timed():
            answers, _ = self._answers(self.held_out, Sampling(self.max_new_tokens))
            rewards, parts = self.reward(answers)
        mean, half = interval(rewards)
        self.alarms.held_out(self.steps_done, mean, half)
        by_part = {f"eval_{name}": sum(v) / len(v) for name, v in parts.items() if len(parts) > 1}
        gained = self.start.look(rewards)
        return Validation(-mean, {
            "eval_reward": mean, "eval_reward_low": max(0.0, mean - half), "eval_reward_high": min(1.0, mean + half),
            **gained, **by_part,
        })  # fmt: skip

    def step_done(self, step: int, metrics: Mapping[str, float], flat: float) -> None:
        """Behind 0-based `step` with these metrics: whatever is wrong with it is said. `flat`: the share of the batch
        that taught nothing."""
        self.steps_done = step + 1
        self.alarms.step(step + 1, metrics["reward_mean"], flat, metrics["entropy"], metrics.get("kl"))

    def metrics(self, samples: Sequence[Sample], flat: Tensor) -> dict[str, float]:
        """What a rollout's line shows; `flat` (G,) marks groups without variance. Entropy is the mean of -log p."""
        rewards = torch.tensor([s.reward for s in samples], dtype=torch.float64)
        tokens = sum(len(s.log_p) for s in samples)
        return {
            "reward_mean": float(rewards.mean()),
            "reward_std": float(rewards.std(unbiased=False)),
            "entropy": -sum(math.fsum(s.log_p) for s in samples) / tokens,
            "completion_length": tokens / len(samples),
            "finished": sum(s.finished for s in samples) / len(samples),
            "zero_variance_groups": float(flat.double().mean()),
        }


def grouped(samples: Sequence[Sample], k: int) -> Tensor:
    """(G, k) rewards."""
    return torch.tensor([s.reward for s in samples], dtype=torch.float64).view(-1, k)


def flat_groups(samples: Sequence[Sample], k: int) -> tuple[Tensor, Tensor]:
    """(G, k) rewards, and (G,) which groups have one reward for all their replies."""
    rewards = grouped(samples, k)
    return rewards, policy.zero_variance(rewards)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half the width of its 95 % interval: 1.96 standard errors)."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 1.0
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, 1.96 * math.sqrt(variance / len(values))


class Agreement:
    """How far the trainer's log-probabilities are from the engine's for the same tokens and weights."""

    def __init__(self) -> None:
        self.tokens = 0
        self.divergence = self.widest = 0.0

    def add(self, trainer: Tensor, engine: Tensor) -> None:
        difference = (trainer.detach() - engine).double()
        self.tokens += len(difference)
        self.divergence += float((difference.exp() - 1 - difference).sum())
        self.widest = max(self.widest, float(difference.abs().max()))

    def metrics(self) -> dict[str, float]:
        """engine_kl: KL(engine ‖ trainer), estimated by k3, nats a token; engine_gap: the widest difference."""
        return {"engine_kl": self.divergence / max(1, self.tokens), "engine_gap": self.widest}


def part_of(pack: Pack, samples: Sequence[Sample], loss: Tensor) -> MicroBatchLoss:
    """What the loop backpropagates and counts of a pack of these samples."""
    tokens = sum(len(samples[i].answer.task.prompt) + len(samples[i].log_p) for i in pack.samples)
    return MicroBatchLoss(loss, tokens=tokens, supervised_tokens=len(pack.old), computed_tokens=pack.batch.computed)
