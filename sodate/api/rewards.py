"""Reward models, ready to score replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sodate.api.loading import refer, with_adapter
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.core.types import Conversation
from sodate.release.registry import find_version

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

        from sodate.model import heads
        from sodate.render import trie

        rows = []
        for one in conversations:
            if one.reply is None:
                raise UsageError(tr("A conversation without a reply has no score.", "返答のない会話は採点できません。"))
            asked = one.prompt
            (rendered,) = self.renderer.render_replies(asked, (one.messages[len(asked) : len(asked) + 1],), one.tools)
            rows.append(heads.at_the_end(rendered))
        scores = [0.0] * len(rows)
        with torch.inference_mode():
            for numbers in trie.pack(rows, MICRO_TOKENS):
                found = heads.row_scores(self.model, trie.build([rows[n] for n in numbers]))
                for number, score in zip(numbers, found.tolist(), strict=True):
                    scores[number] = score
        return scores


def load_reward(name: str, *, device: str = "auto", dtype: str = "auto") -> RewardModel:
    """The reward model of a version trained with method=reward; UsageError when the version is none."""
    from sodate.model import adapters, heads, load
    from sodate.render.renderer import Renderer

    version = find_version(name)
    if version is None or version.head is None:
        raise UsageError(
            tr(f"{name} is not a reward model.", f"{name} は報酬モデルではありません。"),
            tr("Train one: sodate train --method reward --data PAIRS.jsonl",
               "作るには: sodate train --method reward --data PAIRS.jsonl"),
        )  # fmt: skip
    reference = refer(version.id)
    model, config = with_adapter(reference, device, dtype)
    if config is None or load.merges(config):
        adapters.merge(model)
    heads.load(model, version.path)
    renderer = Renderer.from_folder(reference.folder, reference.template)
    return RewardModel(version.id, renderer, model, version.manifest["report"]["reward_model"])
