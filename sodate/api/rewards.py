"""Reward models, ready to score replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sodate.api.loading import with_adapter
from sodate.core.errors import SodateError, UsageError
from sodate.core.recipe import Recipe, RolloutRecipe
from sodate.core.text import tr
from sodate.core.types import Conversation
from sodate.release.lookup import look_up
from sodate.release.registry import Version, find_version

if TYPE_CHECKING:
    from sodate.render.renderer import Renderer

MICRO_TOKENS = 2048


class RewardModel:
    """Scores replies: the higher, the better people would have liked it. Only differences mean anything.

    `worth` is what held-out pairs said of it (see `sodate/train/reward_report.py`); `worth["trustworthy"]` is whether
    it beats chance and the rule that the longer reply is better.
    """

    def __init__(self, name: str, renderer: Renderer, model: Any, worth: dict[str, Any]) -> None:
        self.name = name
        self.renderer = renderer
        self.model = model
        self.worth = worth

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """A score for the last assistant message of each conversation. Shared prompts are computed once."""
        import torch

        from sodate.model import scalar_head
        from sodate.render import trie

        rows = []
        for one in conversations:
            if one.reply is None:
                raise UsageError(
                    tr("A conversation without a reply has no score.", "返答のない会話は採点できません。"),
                    code="wrong_rows",
                )
            asked = one.prompt
            (rendered,) = self.renderer.render_replies(asked, (one.messages[len(asked) : len(asked) + 1],), one.tools)
            rows.append(scalar_head.at_the_end(rendered))
        scores = [0.0] * len(rows)
        with torch.inference_mode():
            for numbers in trie.pack(rows, MICRO_TOKENS):
                found = scalar_head.row_scores(self.model, trie.build([rows[n] for n in numbers]))
                for number, score in zip(numbers, found.tolist(), strict=True):
                    scores[number] = score
        return scores


def load_reward(name: str, *, device: str = "auto", dtype: str = "auto") -> RewardModel:
    """The reward model of a version trained with method=reward; UsageError when the version is none."""
    from sodate.adapt import adapters
    from sodate.adapt import files as adapter_files
    from sodate.model import scalar_head
    from sodate.render.renderer import Renderer

    version = _found(name)
    files = look_up(version.id)
    model, config = with_adapter(files, device, dtype)
    if config is None or adapter_files.merges(config):
        adapters.merge(model)
    scalar_head.load(model, version.path)
    renderer = Renderer.from_folder(files.folder, files.template, date=files.date)
    return RewardModel(version.id, renderer, model, version.manifest["report"]["reward_model"])


def settled(recipe: Recipe) -> Recipe:
    """The recipe with every reward model as the version that its name means now, so that a resumed run asks the same.

    UsageError for one that is none, SodateError for one that held-out pairs don't speak for, unless `trust_reward`.
    """
    if not isinstance(recipe, RolloutRecipe):
        return recipe
    from sodate.train.rewards import MODEL, split

    rewards, models = [], 0
    for spec in recipe.rewards:
        weight, kind, name = split(spec)
        if kind == MODEL:
            models += 1
            version = _found(name)
            if recipe.trust_reward is None:
                _refuse_unproven(version.id, version.manifest["report"]["reward_model"])
            spec = f"{weight:g}*{MODEL}:{version.id}"
        rewards.append(spec)
    if recipe.trust_reward is not None and not models:
        raise UsageError(
            tr("trust_reward is for a reward model, and rewards names none.",
               "trust_reward は報酬モデル用ですが、rewards に報酬モデルがありません。"),
            tr("Leave it out.", "指定を外してください。"),
            code="bad_value", param="trust_reward",
        )  # fmt: skip
    return recipe.model_copy(update={"rewards": tuple(rewards)})


def proven(name: str) -> str:
    """The version that a name means, if held-out pairs speak for its scores; SodateError if they don't."""
    version = _found(name)
    _refuse_unproven(version.id, version.manifest["report"]["reward_model"])
    return version.id


def _found(name: str) -> Version:
    version = find_version(name)
    if version is None or version.head is None:
        raise UsageError(
            tr(f"{name} is not a reward model.", f"{name} は報酬モデルではありません。"),
            tr("Train one: sodate train --method reward --data PAIRS.jsonl",
               "作るには: sodate train --method reward --data PAIRS.jsonl"),
            code="wrong_model", param="rewards",
        )  # fmt: skip
    return version


def _refuse_unproven(name: str, worth: dict[str, Any]) -> None:
    """SodateError unless the scores beat chance and the rule that the longer reply is better, on held-out pairs."""
    if worth["trustworthy"]:
        return
    fix = tr(
        'Train it on more pairs and with eval. To use it as it is, say why: trust_reward="...". The run keeps that.',
        "学習する組を増やし、eval も指定してください。このまま使うなら、"
        'trust_reward="..." に理由を書いてください (記録に残ります)。',
    )
    if not worth["prompts"]:
        raise SodateError(
            tr(f"It is not known how good the scores of {name} are: it was trained without held-out pairs.",
               f"{name} は検証用の組なしで学習されたため、点数の信頼性が分かりません。"),
            fix,
            code="untrusted_reward", param="rewards",
        )  # fmt: skip
    n, right, longer, (low, high) = (
        worth[key] for key in ("prompts", "accuracy", "longer_is_better_accuracy", "accuracy_ci")
    )
    raise SodateError(
        tr(
            f"{name} is not good enough to learn from: on {n} held-out prompts it is right in {right:.0%} (95 % "
            f"interval {low:.0%} to {high:.0%}), and the rule that the longer reply is better in {longer:.0%}.",
            f"{name} は学習の基準にできません。検証用のプロンプト {n} 個での正解率は {right:.0%} "
            f"(95% 信頼区間 {low:.0%}〜{high:.0%})、「長い返答ほど良い」という規則では {longer:.0%} です。",
        ),
        fix,
        code="untrusted_reward",
        param="rewards",
    )
