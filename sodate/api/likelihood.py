"""How likely a model finds replies that are there already."""

from __future__ import annotations

from collections.abc import Sequence

from sodate.api.loading import files_of, renderer_of, with_adapter
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.grade.outcome import Turns

MICRO_TOKENS = 2048


class Reader:
    """A base or version that reads replies and writes none."""

    def __init__(self, name: str) -> None:
        from sodate.adapt import adapters
        from sodate.adapt import files as adapter_files

        files = files_of(name)
        self.model, config = with_adapter(files, "auto", "auto")
        if config is None or adapter_files.merges(config):
            adapters.merge(self.model)
        self.renderer = renderer_of(files)

    def likelihoods(self, conversations: Sequence[Turns]) -> list[tuple[float, int]]:
        """(log-probability in nats, tokens) of the last message of each conversation, with the token that ends it.

        Shared beginnings are computed once. UsageError for a conversation without a reply.
        """
        import torch

        from sodate.model.forward import score
        from sodate.render import trie

        rows = []
        for turns in conversations:
            if not turns or turns[-1].role != "assistant":
                raise UsageError(
                    tr("A conversation without a reply has no likelihood.", "返答のない会話の確率は求められません。"),
                    code="wrong_rows",
                )
            rows += self.renderer.render_replies(turns[:-1], ((turns[-1],),))
        found: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
        with torch.inference_mode():
            for numbers in trie.pack(rows, MICRO_TOKENS):
                logp = score(self.model, trie.build([rows[n] for n in numbers])).row_log_probabilities()
                for number, value in zip(numbers, logp.tolist(), strict=True):
                    found[number] = value, sum(weight > 0 for weight in rows[number].weights)
        return found
