"""Decisions without options: replies are generated, their confidence comes from their tokens' probabilities, and a
calibration says how often replies, and fields of JSON, of such confidence are right."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sodate.api.asked import Asked
from sodate.api.calibrating import PROMISE, Calibrated, figures, keep, kept, not_calibrated, promised, squared, stamp_of
from sodate.core.files import sha256_json
from sodate.evaluate import confidence
from sodate.evaluate.calibration import rows_needed

if TYPE_CHECKING:
    from sodate.api.loading import Model
    from sodate.core.engine import Sampling

LONGEST = 256  # tokens of a reply where no row has an answer


@dataclass(frozen=True, slots=True)
class Said:
    """A generated reply: its text, the raw confidence of the whole, and of each field where it is a JSON object."""

    text: str
    confidence: float
    fields: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Known:
    """What a version's calibration says of its replies and of fields in them; None where there is none."""

    reply: Calibrated | None = None
    fields: Mapping[str, Calibrated] | None = None

    @classmethod
    def of(cls, version: str, schema: Any = None) -> Known:
        """What is kept with the version of that name about replies held to this schema, or to none."""
        found = kept(version, key(schema))
        if found is None:
            return cls()
        fields = {name: Calibrated.of_json(one) for name, one in found["fields"].items()}
        return cls(Calibrated.of_json(found["reply"]), fields)

    def confidence(self, raw: float) -> float:
        """The share of replies that are right where tokens say `raw`; that itself where nothing is known."""
        return raw if self.reply is None else self.reply.map([raw])[0]

    def field(self, name: str, raw: float) -> float:
        """The same of a field."""
        found = (self.fields or {}).get(name)
        return raw if found is None else found.map([raw])[0]


def key(schema: Any) -> str:
    """Under which the calibration of replies lies in the version: a schema changes what their tokens' probabilities
    are."""
    return "generated" if schema is None else f"generated-{sha256_json(schema)[:24]}"


def decide(
    loaded: Model, rows: Sequence[Asked], known: Sequence[Asked], promise: float | None, grader: str,
    made_of: Mapping[str, str], schema: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Replies to all rows with their confidence, after a calibration on `known` or the one that is kept.

    Replies are held to the JSON `schema`, if there is one. A reply is right where `grader` passes it, a field where
    its value equals the reference's.
    """
    if known:
        found = _calibrated(loaded, known, promise or PROMISE, grader, made_of, schema)
    else:
        found = Known.of(loaded.files.name, schema)
        if promise is not None and (found.reply is None or found.reply.promise != promise):
            raise not_calibrated(promise)
    used = found.reply or Calibrated()
    said = replies(loaded, rows, schema)
    results = []
    for row, one in zip(rows, said, strict=True):
        sure = found.confidence(one.confidence)
        fields = {}
        for name, raw in one.fields.items():
            of_field = (found.fields or {}).get(name)
            value = found.field(name, raw)
            handed = of_field.hands_over(value) if of_field else used.promise is not None
            fields[name] = {"confidence": value, "calibrated": of_field is not None, "handed_over": handed}
        results.append({
            "line": row.line, "answer": one.text, "probabilities": {one.text: sure}, "confidence": sure,
            "handed_over": used.hands_over(sure), "fields": fields,
        })  # fmt: skip
    measured = _measured(rows, said, results, grader) if all(row.answer is not None for row in rows) else {}
    about = used.about or {}
    return {
        "version": loaded.files.name,
        "n": len(rows),
        "threshold": used.threshold,
        "promise": used.promise,
        "coverage": sum(not one["handed_over"] for one in results) / len(results),
        "calibrated": found.reply is not None,
        "ece": about.get("ece"),
        "ece_by_chance": about.get("ece_by_chance"),
        "brier": about.get("brier"),
        **measured,
        "calibration": dict(about) or None,
        "results": results,
    }


def replies(loaded: Model, rows: Sequence[Asked], schema: Any = None) -> list[Said]:
    """The greedy reply to each row."""
    from sodate.api.text_stream import TokenBytes
    from sodate.core.engine import Sampling

    answers = [row.answer for row in rows if row.answer is not None]
    longest = max((loaded.renderer.token_count(answer) for answer in answers), default=0)
    room = longest + longest // 4 + 8 if longest else LONGEST
    made = loaded.replies(
        [row.prompt for row in rows], Sampling(max_new_tokens=room), tools=[row.tools for row in rows]
    )
    tokens, stops = TokenBytes(loaded.renderer), frozenset(loaded.renderer.stop_ids)
    found = []
    for reply in made:
        inside = [(tokens.scored(id, p).bytes, p) for id, p in zip(reply.ids, reply.log_probabilities, strict=True)
                  if id not in stops]  # fmt: skip
        fields = confidence.of_fields([piece for piece, _ in inside], [p for _, p in inside])
        text = loaded.renderer.text(reply.ids).strip()
        found.append(Said(text, confidence.of_reply([p for _, p in inside]), fields))
    return found


def _hits(rows: Sequence[Asked], said: Sequence[Said], grader: str) -> list[bool]:
    from sodate.evaluate.run import PASS
    from sodate.grade import case_of, parse_grader

    cases = [case_of(one.text, row.answer, row.item, row.prompt) for row, one in zip(rows, said, strict=True)]
    return [grade.score >= PASS for grade in parse_grader(grader).grade(cases)]


def _calibrated(
    loaded: Model, rows: Sequence[Asked], promise: float, grader: str, made_of: Mapping[str, str], schema: Any
) -> Known:
    said = replies(loaded, rows, schema)
    whole = promised([one.confidence for one in said], _hits(rows, said, grader), promise)
    fields = {}
    right = [confidence.values(row.answer or "") for row in rows]
    for name in dict.fromkeys(name for one in right for name in one):
        with_it = [n for n, one in enumerate(right) if name in one]
        if len(with_it) >= rows_needed(promise):
            raw = [said[n].fields.get(name, 0.0) for n in with_it]
            hits = [confidence.values(said[n].text).get(name) == right[n][name] for n in with_it]
            fields[name] = promised(raw, hits, promise)
    about = {**(whole.about or {}), "data": dict(made_of), "grader": grader}
    whole = Calibrated(whole.temperature, whole.promise, whole.threshold, about, whole.map)
    of_fields = {name: one.to_json() for name, one in fields.items()}
    keep(loaded, key(schema), {"reply": whole.to_json(), "fields": of_fields})
    return Known(whole, fields)


def _measured(
    rows: Sequence[Asked], said: Sequence[Said], results: Sequence[Mapping[str, Any]], grader: str
) -> dict[str, Any]:
    """What the answers of the data say of the replies."""
    from sodate.core.intervals import clopper_pearson

    hits = _hits(rows, said, grader)
    sure = [one["confidence"] for one in results]
    held = [hit for hit, one in zip(hits, results, strict=True) if not one["handed_over"]]
    return {
        "accuracy": sum(hits) / len(hits),
        "answered_right": sum(held) / len(held) if held else None,
        "answered_right_ci": clopper_pearson(sum(held), len(held)) if held else None,
        **figures(sure, hits),
        "brier": squared(sure, hits),
    }


# ── in a service ─────────────────────────────────────────────────────────────────────────────────────────────────────


@functools.lru_cache(256)
def _known(version: str, schema: str, stamp: tuple[int, int]) -> Known:
    return Known.of(version, json.loads(schema))


def told(
    version: str, pieces: Sequence[bytes], log_probabilities: Sequence[float | None], sampling: Sampling,
    schema: Any = None,
) -> dict[str, Any] | None:  # fmt: skip
    """How sure a served reply of an exact version is: `value`, whether that is `calibrated`, and the same of `fields`.

    None where its engine tells no probabilities. Calibrated are replies as the calibration's were: each token the
    likeliest, or drawn from the model's own probabilities.
    """
    plain = [p for p in log_probabilities if p is not None]
    if not plain or len(plain) < len(log_probabilities):
        return None
    own = sampling.temperature in (0, 1) and sampling.top_p == 1 and not sampling.bias
    own = own and not (sampling.presence_penalty or sampling.frequency_penalty)
    stamp = stamp_of(version, key(schema)) if own else None
    known = Known() if stamp is None else _known(version, json.dumps(schema, sort_keys=True), stamp)
    return {
        "value": known.confidence(confidence.of_reply(plain)),
        "calibrated": known.reply is not None,
        "fields": {
            name: {"value": known.field(name, raw), "calibrated": name in (known.fields or {})}
            for name, raw in confidence.of_fields(pieces, plain).items()
        },
    }
