"""The graders of `spec.py` that are made from their options alone, and those that ask a model for a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from sodate.core.text import tr
from sodate.grade import answers, equality, languages, maths, tone, weighing
from sodate.grade.base import Grader, Repeats
from sodate.grade.consistency import SAME, consistency
from sodate.grade.options import BOOLEAN, FREE, Spec, refused
from sodate.grade.rules import pattern_grade


def _number(spec: Spec, name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise refused(
            tr(f"{name}={text} in {spec.name!r} is not a number from {low:g} to {high:g}.",
               f"{spec.name!r} の {name}={text} は {low:g}〜{high:g} の数ではありません。"),
        )  # fmt: skip
    return value


def _listed(spec: Spec, name: str, default: list[str]) -> list[str]:
    """An option that is several words: a list in an object, a+b in the short form."""
    if spec.members is not None and isinstance(spec.members.get(name), list):
        others = {key: value for key, value in spec.members.items() if key != name}
        replace(spec, members=others).options({})
        return [str(one) for one in spec.members[name]]
    given = spec.options({name: FREE}).get(name)
    return default if given is None else str(given).split("+")


def _equal(spec: Spec, base: Path) -> Grader:
    names = _listed(spec, "foldings", list(equality.FOLDINGS))
    if unknown := [name for name in names if name not in equality.FOLDINGS]:
        raise refused(
            tr(f"There is no folding {unknown[0]!r}.", f"foldings に {unknown[0]!r} は使えません。"),
            tr("Known: ", "使えるもの: ") + "+".join(equality.FOLDINGS),
        )
    return Grader(spec.name, equality.equality(names))


def _regex(spec: Spec, base: Path) -> Grader:
    # In the short form all of the text is the pattern: it may hold commas and equal signs.
    options = {"pattern": spec.rest} if spec.members is None else spec.options({"pattern": FREE, "present": BOOLEAN})
    if not options.get("pattern"):
        raise refused(tr("regex needs a pattern.", "regex にはパターンが必要です。"),
                      tr("Write regex:PATTERN.", "regex:パターン と書いてください。"))  # fmt: skip
    grade = pattern_grade(options["pattern"], options.get("present") != "false", spec.name)
    return Grader(spec.name, grade, needs_reference=False, form=True)


def _abstention(spec: Spec, base: Path) -> Grader:
    phrases = _listed(spec, "phrases", list(answers.ABSTAINING))
    return Grader(
        spec.name, answers.abstention(phrases), aggregate=answers.abstentions(phrases), whole=False, form=True
    )


def _math(spec: Spec, base: Path) -> Grader:
    text = spec.options({"tolerance": FREE}).get("tolerance", "0")
    return Grader(spec.name, maths.math(_number(spec, "tolerance", text, 0, 1)), whole=False)


def _consistency(spec: Spec, base: Path) -> Grader:
    options = spec.options({"times": FREE, "temperature": FREE, "batch": BOOLEAN, "by": FREE, "same": SAME})
    by = options.get("by", "")
    again = not by  # paraphrases in the file alone ask no model, unless it is said
    times = int(_number(spec, "times", options.get("times", "3" if again else "0"), 0, 100))
    warmth = _number(spec, "temperature", options.get("temperature", "0.7"), 0.01, 2)
    batch = options.get("batch", "true" if again else "false") == "true"
    if not (times or batch or by):
        raise refused(tr(f"{spec.name!r} compares with nothing.", f"{spec.name!r} には比べるものがありません。"),
                      tr("Give times, batch or by.", "times、batch、by のどれかを指定してください。"))  # fmt: skip
    return consistency(spec.name, Repeats(times, warmth, batch), by, options.get("same", "text"))


def _tone_ja(spec: Spec, base: Path) -> Grader:
    if spec.members is not None and "file" not in spec.members:
        house = tone.read_house(dict(spec.members), spec.name)
    else:
        file = spec.options({"file": FREE}, positional="file" if spec.rest or spec.members else "").get("file")
        house = tone.house_file(base / file) if file else tone.House()
    return Grader(spec.name, tone.tone(house), needs_reference=False, whole=False, form=True)


def _language(spec: Spec, base: Path) -> Grader:
    wanted = spec.rest if spec.members is None else spec.options({"language": languages.LANGUAGES}).get("language", "")
    if wanted and wanted not in languages.LANGUAGES:
        raise refused(
            tr(f"There is no language {wanted!r} here.", f"language に {wanted!r} は使えません。"),
            tr("Known: ", "使えるもの: ") + ", ".join(languages.LANGUAGES),
        )
    return Grader(spec.name, needs_reference=False, many=languages.language(wanted), form=True)


def _reward_model(spec: Spec, base: Path) -> Grader:
    return weighing.reward_model(spec.name, spec.options({"model": FREE}, positional="model")["model"], spec.judges)


def _perplexity(spec: Spec, base: Path) -> Grader:
    return weighing.perplexity(spec.name, spec.options({"model": FREE}, positional="model")["model"], spec.judges)


def _pair_model(spec: Spec, base: Path) -> Grader:
    options = spec.options({"model": FREE, "criteria": FREE, "engine": FREE}, positional="model")
    criteria = options.get("criteria") or weighing.CRITERIA
    return weighing.pair_model(spec.name, options["model"], criteria, options.get("engine", "torch"), spec.judges)


MAKERS: Mapping[str, Callable[[Spec, Path], Grader]] = {
    "equal": _equal,
    "regex": _regex,
    "abstention": _abstention,
    "math": _math,
    "consistency": _consistency,
    "tone_ja": _tone_ja,
    "language": _language,
    "reward_model": _reward_model,
    "perplexity": _perplexity,
    "pair_model": _pair_model,
}
