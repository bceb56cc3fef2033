"""From what was prepared to a method that learns from rewards: tasks, the reward, and the rollouts of GRPO and PPO."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sodate.core.errors import SodateError
from sodate.core.recipe import GRPORecipe, PPORecipe, RolloutRecipe
from sodate.core.text import tr
from sodate.core.types import Example, TaskItem
from sodate.data import tasks
from sodate.model import attention
from sodate.render.renderer import Rendered, Renderer
from sodate.train.grpo import GRPO, Objective
from sodate.train.ppo import PPO
from sodate.train.ppo import Objective as PPOObjective
from sodate.train.rewards import MODEL, Task, parse_rewards, relative
from sodate.train.rollout import Rollouts

if TYPE_CHECKING:
    from sodate.train.methods import Rows, Setup

CLIP_HIGHER = 0.28  # DAPO's (2503.14476, sec. 4.1)


def as_tasks(example: Example) -> Sequence[Example]:
    """The example as a task, where it can be one."""
    task = tasks.as_task(example)
    return (task,) if task else ()


def render_prompt(renderer: Renderer, example: Example) -> list[Rendered]:
    """The prompt, without anything to supervise."""
    assert isinstance(example, TaskItem)
    ids = renderer.prompt(example.prompt, example.tools)
    return [Rendered(ids, [0.0] * len(ids))]


def rendered_tasks(rows: Rows) -> list[Task]:
    made = []
    for example, (sequence,), name in zip(rows.examples, rows.sequences, rows.names, strict=True):
        assert isinstance(example, TaskItem)
        answer = tasks.reference(example)
        made.append(Task(sequence.ids, answer, example.item, name, example.prompt, example.tools))
    return made


def rollouts(setup: Setup, recipe: RolloutRecipe, memory: dict[str, float]) -> Rollouts:
    """Raises UsageError for the rewards, SodateError when a prompt leaves no room for its reply."""
    train, held_out = rendered_tasks(setup.train), rendered_tasks(setup.held_out)
    limit = attention.context_length(setup.model.config)
    for task in (*train, *held_out):
        if len(task.prompt) + recipe.max_new_tokens > limit:
            raise SodateError(
                tr(f"{task.name}: its prompt of {len(task.prompt)} tokens and {recipe.max_new_tokens} new ones are "
                   f"more than the model's {limit}.",
                   f"{task.name}: プロンプト {len(task.prompt)} トークンと返答 {recipe.max_new_tokens} トークンが、"
                   f"モデルの上限 {limit} を超えます。"),
                tr("Lower max_new_tokens, or set max_length to leave long rows aside.",
                   "max_new_tokens を下げるか、max_length で長い行を除いてください。"),
                code="too_long", param="max_new_tokens",
            )  # fmt: skip
    if recipe.trust_reward is not None:
        setup.say(
            tr(f"The reward model was not asked what it is worth on held-out pairs: {recipe.trust_reward}",
               f"報酬モデルの信頼性は検証用の組で確かめずに使います: {recipe.trust_reward}")
        )  # fmt: skip
    others = {MODEL: lambda name: relative(f"{MODEL}:{name}", setup.judge(name), memory)}
    reward = parse_rewards(recipe.rewards, Path(recipe.rewards_from or ""), others).told([*train, *held_out])
    for note in reward.notes:
        setup.say(note)
    renderer = setup.renderer()
    text = functools.partial(tasks.generated, renderer)
    return Rollouts(
        setup.model, train, held_out, reward, text=text, stop_ids=renderer.stop_ids,
        samples=recipe.samples, max_new_tokens=recipe.max_new_tokens, seed=recipe.seed,
        micro_tokens=setup.micro_tokens, say=setup.say, memory=memory,
    )  # fmt: skip


def grpo(setup: Setup) -> GRPO:
    recipe = setup.recipe
    assert isinstance(recipe, GRPORecipe)
    high = recipe.clip_low if recipe.variant != "dapo" else CLIP_HIGHER
    objective = Objective(
        recipe.variant, recipe.kl_coefficient, recipe.clip_low,
        high if recipe.clip_high == "auto" else recipe.clip_high, recipe.updates,
    )  # fmt: skip
    return GRPO(setup.model, rollouts(setup, recipe, {}), objective, names=setup.train.names)


def ppo(setup: Setup) -> PPO:
    recipe = setup.recipe
    assert isinstance(recipe, PPORecipe)
    objective = PPOObjective(
        recipe.kl_coefficient, recipe.kl_target if recipe.kl_control == "adaptive" else None, recipe.kl_horizon,
        recipe.clip_low, recipe.value_clip, recipe.value_coefficient, recipe.entropy_coefficient, recipe.gamma,
        recipe.gae_lambda, recipe.updates,
    )  # fmt: skip
    return PPO(setup.model, rollouts(setup, recipe, {}), objective, names=setup.train.names)
