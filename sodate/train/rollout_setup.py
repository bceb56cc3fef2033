"""What GRPO and PPO are built from: the tasks in the rows, the reward, and rollouts that sample and score replies."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.recipe import RolloutRecipe
from sodate.core.text import tr
from sodate.core.types import Example, TaskItem
from sodate.data import tasks
from sodate.model import attention
from sodate.render.renderer import Rendered, Renderer
from sodate.train import acts
from sodate.train.methods import Setup
from sodate.train.rewards import MODEL, Task, parse_rewards, relative
from sodate.train.rollout import Rollouts
from sodate.train.rows import Rows


def takes(example: Example) -> Sequence[Example]:
    """The example as a task, where it can be one."""
    task = tasks.as_task(example)
    return (task,) if task else ()


def wants() -> str:
    """What rows of tasks are, as a person reads it."""
    return tr("prompts with what their graders need, such as reference_answer",
              "プロンプトと採点に必要な項目 (reference_answer など)")  # fmt: skip


def render(renderer: Renderer, example: Example) -> list[Rendered]:
    """The prompt, without anything to supervise."""
    assert isinstance(example, TaskItem)
    ids = renderer.prompt(example.prompt, example.tools)
    return [Rendered(ids, [0.0] * len(ids))]


def tasks_of(rows: Rows) -> list[Task]:
    """Each row as a task: its prompt in token ids, and what graders need."""
    found = []
    for example, (sequence,), name in zip(rows.examples, rows.sequences, rows.names, strict=True):
        assert isinstance(example, TaskItem)
        answer = tasks.reference(example)
        found.append(Task(sequence.ids, answer, example.item, name, example.prompt, example.tools))
    return found


def rollouts(setup: Setup, recipe: RolloutRecipe) -> Rollouts:
    """Raises UsageError for rewards and engine, SodateError when a prompt leaves no room for its reply."""
    if recipe.engine != "torch":
        raise UsageError(
            tr(f"Rollouts need exact log-probabilities of the weights as they are, which the engine {recipe.engine} "
               "can't give: it has weights of its own.",
               f"ロールアウトには現在の重みでの正確な対数確率が必要です。エンジン {recipe.engine} は別の重みを持つため"
               "使えません。"),
            "engine: torch",
            code="engine_refused", param="engine",
        )  # fmt: skip
    train, held_out = tasks_of(setup.train), tasks_of(setup.held_out)
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
    acting = acts.of(setup)
    memory = acting.memory
    others = {MODEL: lambda name: relative(f"{MODEL}:{name}", setup.judge(name), memory)}
    reward = parse_rewards(recipe.rewards, Path(recipe.rewards_from or ""), others, setup.judges).with_references(
        [*train, *held_out]
    )
    for note in reward.notes:
        setup.say(note)
    renderer = setup.renderer()
    text = functools.partial(tasks.generated, renderer)
    return Rollouts(
        setup.model, train, held_out, reward, text=text, stop_ids=renderer.stop_ids,
        samples=recipe.samples, max_new_tokens=recipe.max_new_tokens, seed=recipe.seed,
        micro_tokens=setup.micro_tokens, say=setup.say, memory=memory,
        acts=acting,
    )  # fmt: skip


def report(method: Any) -> dict[str, Any]:
    """What a finished run says of its rollouts: the seconds that scoring the start and looking took."""
    return {"look_seconds": method.memory.get("look_seconds", 0.0)}
