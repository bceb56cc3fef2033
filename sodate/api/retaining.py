"""What a loaded model says to the rows of `evaluate/retention.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sodate.api.loading import Model, load
from sodate.core.types import Message
from sodate.evaluate.retention import probes
from sodate.release.lookup import identity, is_known
from sodate.release.registry import find_version

LONGEST = 48  # tokens of a reply: the answer comes early, or not at all


def measure(loaded: Model) -> dict[int, float]:
    """A number for each row that its engine can measure: the score of the reply, or nats a token of plain text."""
    from sodate.core.engine import Sampling

    asked = [n for n, one in enumerate(probes()) if one.prompt]
    replies = loaded.replies([[Message("user", probes()[n].prompt)] for n in asked], Sampling(max_new_tokens=LONGEST))
    found = {n: probes()[n].score(loaded.renderer.text(reply.ids)) for n, reply in zip(asked, replies, strict=True)}
    if loaded.model is not None:
        texts = [n for n, one in enumerate(probes()) if one.text]
        found |= dict(zip(texts, _nats(loaded, [probes()[n].text for n in texts]), strict=True))
    return found


def of_bases(measured: Mapping[str, str], kept: dict[str, dict[int, float]]) -> dict[str, str]:
    """Of each tuned version the name in `kept` that its base has there. Bases that are no contestant are asked here,
    and added. `measured` says what each contestant's name stood for."""
    names = {identity(exact): name for name, exact in measured.items() if name in kept and is_known(exact)}
    below: dict[str, str] = {}
    for name, exact in measured.items():
        version = find_version(exact)
        base = "" if version is None else str(version.manifest["base"])
        if name not in kept or not base or not is_known(base):
            continue
        below[name] = names.get(identity(base), base)
        if below[name] not in kept:
            loaded = load(base)
            kept[base] = measure(loaded)
            loaded.engine.close()
    return below


def _nats(loaded: Model, texts: list[str]) -> list[float]:
    """Nats a token of each text, written as it stands, with what the tokenizer begins a text with."""
    from sodate.generate import scoring

    engine: Any = loaded.engine  # torch's, which computes with the model itself
    rows = [loaded.renderer.tokenizer.encode(text).ids for text in texts]
    engine.versions.select(loaded.version)
    try:
        scored = scoring.score(loaded.model, rows)
    finally:
        engine.versions.select("")
    return [-sum(one.log_probability for one in row[:-1]) / max(1, len(row) - 1) for row in scored]
