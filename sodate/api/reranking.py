"""Passages in the order in which a model finds their question likely: one forward over a trie of all of them.

score(d) = log p(question | d), the query likelihood (Ponte & Croft 1998; by a language model, Sachan et al. 2022,
arXiv 2204.07496). A question is as long for each of its passages, so that no length has to be allowed for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sodate.api.loading import Model
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.retrieve.index import Found

MANY = 20  # passages that are read


def reranked(model: Model, query: str, found: Sequence[Found]) -> list[Found]:
    """The first MANY in the model's order, the others after them as they were. `score` is the model's, in nats."""
    from sodate.generate import scoring

    if model.model is None:
        raise UsageError(
            tr("Passages are put in order by the engine torch.", "並べ直しができるのは torch エンジンです。"),
            code="engine_refused", param="rerank",
        )  # fmt: skip
    encode = model.renderer.tokenizer.encode
    asked = encode(f"\n質問: {query}\n" if any("ぁ" <= char <= "ヿ" for char in query) else f"\nQuestion: {query}\n",
                   add_special_tokens=False).ids  # fmt: skip
    room = model.engine.context_length - len(asked) if model.engine.context_length else None
    if not found or (room is not None and room < 1):
        return list(found)
    texts = ["\n".join((*one.passage.titles, one.passage.text)) for one in found[:MANY]]
    rows = [(encode(text).ids[:room], asked) for text in texts]
    scored = [replace(one, score=score) for one, score in zip(found, scoring.ending(model.model, rows), strict=False)]
    return sorted(scored, key=lambda one: -one.score) + list(found[MANY:])
