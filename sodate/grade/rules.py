"""Rules for free text, from a YAML file: length, です・ます, required parts in order, patterns, banned words, graders.

    rules:
      - {kind: length, min: 80, max: 400}
      - {kind: desu_masu, min_ratio: 0.9}
      - kind: sections
        sections:
          - {name: apology, any_of: [申し訳, お詫び]}
          - {name: steps, any_of: [手順, "1."]}
      - {kind: banned_words, words: [絶対, 必ず直ります], must: true}

The score is the weighted mean of the rules. A rule with `must` that is not met in full makes the whole score 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sodate.core.complaints import in_file
from sodate.core.errors import UsageError
from sodate.core.text import en, ja, tr
from sodate.core.yaml_files import yaml_value
from sodate.grade.answers import length
from sodate.grade.base import Case, Grade, GradeFunction, Grader
from sodate.grade.normalise import fold
from sodate.grade.options import read_spec
from sodate.grade.patterns import checked, found
from sodate.grade.sentences import polite_ratio
from sodate.grade.strings import banned_words

ParseGrader = Callable[[str | Mapping[str, Any], Path], Grader]


def _visible(word: str) -> str:
    """Every text holds a word of nothing: such a word would be banned, or found, always."""
    if not fold(word):
        raise ValueError(tr(f"{word!r} has no character to look for", f"{word!r} には探す文字がありません"))
    return word


Word = Annotated[str, AfterValidator(_visible)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rule(_Strict):
    name: str = ""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    must: bool = False


class Length(_Rule):
    """Characters without white space, after NFKC. Outside the range the score falls in proportion."""

    kind: Literal["length"]
    min: int = Field(default=1, ge=1)
    max: int = Field(default=1_000_000, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Length:
        if self.min > self.max:
            raise ValueError("min is greater than max")
        return self


class DesuMasu(_Rule):
    """The share of sentences that end politely, against `min_ratio`."""

    kind: Literal["desu_masu"]
    min_ratio: float = Field(default=0.9, gt=0, le=1)


class Section(_Strict):
    """A part of the reply, known by any of some phrases (found as `banned_words` finds them)."""

    name: str
    any_of: tuple[Word, ...] = Field(min_length=1)


class Sections(_Rule):
    """The share of sections that are there; `ordered` counts the longest run in the given order."""

    kind: Literal["sections"]
    sections: tuple[Section, ...] = Field(min_length=1)
    ordered: bool = True


class Pattern(_Rule):
    """A regular expression (ECMA-262) that must occur, or with `present: false` must not."""

    kind: Literal["pattern"]
    pattern: str
    present: bool = True


class BannedWords(_Rule):
    kind: Literal["banned_words"]
    words: tuple[Word, ...] = Field(min_length=1)


class OtherGrader(_Rule):
    """Any grader, such as `json_schema:schema.json` or the same as an object; paths start at the rules file."""

    kind: Literal["grader"]
    grader: str | dict[str, Any]


Rule = Annotated[Length | DesuMasu | Sections | Pattern | BannedWords | OtherGrader, Field(discriminator="kind")]


class Rules(_Strict):
    rules: tuple[Rule, ...] = Field(min_length=1)


def _desu_masu(rule: DesuMasu) -> GradeFunction:
    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        ratio = polite_ratio(reply)
        if ratio is None:
            return Grade(0.0, tr("no sentence", "文がない"))
        return Grade(min(1.0, ratio / rule.min_ratio), f"です・ます {ratio:.0%}")

    return grade


def longest_run(places: list[list[tuple[int, int]]]) -> int:
    """How many sections can be read in order, without overlap, when section i stands at any of `places[i]`
    (start, end)."""
    ends = [0]  # ends[k]: the earliest end of a run of k sections
    for spots in places:
        for k in range(len(ends) - 1, -1, -1):
            end = min((end for start, end in spots if start >= ends[k]), default=None)
            if end is None:
                continue
            if k + 1 == len(ends):
                ends.append(end)
            else:
                ends[k + 1] = min(ends[k + 1], end)
    return len(ends) - 1


def _sections(rule: Sections) -> GradeFunction:
    phrases = [[fold(phrase) for phrase in section.any_of] for section in rule.sections]

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        text = fold(reply)
        places = [
            [(m.start(), m.end()) for phrase in group for m in re.finditer(re.escape(phrase), text)]
            for group in phrases
        ]
        missing = [section.name for section, spots in zip(rule.sections, places, strict=True) if not spots]
        there = len(places) - len(missing)
        count = longest_run(places) if rule.ordered else there
        reason = tr(f"{count} of {len(places)} parts", f"{len(places)} 要素中 {count}")
        if missing:
            reason += tr("; missing: ", "、不足: ") + ", ".join(missing)
        if count < there:
            reason += tr("; out of order", "、順序が違う")
        return Grade(count / len(places), reason)

    return grade


def _modifiers_around(pattern: str) -> str:
    """`(?m)…`, as Python writes it and rules have always taken it, is ECMA's `(?m:…)`."""
    first = re.match(r"\(\?([ims]+)\)", pattern)
    return f"(?{first[1]}:{pattern[first.end() :]})" if first else pattern


def pattern_grade(written: str, present: bool, where: str) -> GradeFunction:
    """1 where the pattern occurs in the reply, or with `present` False where it does not. UsageError, naming `where` it
    stands, for one that is no regular expression."""
    pattern = _modifiers_around(written)
    checked(pattern, where)

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        there = found(pattern, reply)
        if there is None:
            said = tr("can't be searched for within its limit", "照合が制限内に終わらない")
        else:
            said = tr("occurs", "あり") if there else tr("does not occur", "なし")
        return Grade(float(there == present), f"{written}: {said}")

    return grade


def _rule_grader(rule: Rule, path: Path, parse: ParseGrader) -> Grader:
    name = rule.name or rule.kind
    if isinstance(rule, Length):
        return Grader(name, length(rule.min, rule.max), needs_reference=False)
    if isinstance(rule, DesuMasu):
        return Grader(name, _desu_masu(rule), needs_reference=False)
    if isinstance(rule, Sections):
        return Grader(name, _sections(rule), needs_reference=False)
    if isinstance(rule, Pattern):
        return Grader(name, pattern_grade(rule.pattern, rule.present, str(path)), needs_reference=False)
    if isinstance(rule, BannedWords):
        return Grader(name, banned_words(rule.words), needs_reference=False)
    if read_spec(rule.grader).kind == "rules":
        raise UsageError(
            tr(f"{path}: a rule cannot be a rules file.", f"{path}: ルールの中で rules は使えません。"),
            code="bad_rules",
            param="grader",
            file=path,
        )
    inner = parse(rule.grader, path.parent)
    return replace(inner, name=rule.name or inner.name)


def load_rules(name: str, path: Path, parse: ParseGrader) -> Grader:
    """The grader, called `name`, that a rules file describes. `parse` makes the graders that rules name.

    UsageError names the file and the rule for anything that is not understood: no key is ignored.
    """
    given: Any = None
    try:
        given = yaml_value(path.read_text("utf-8-sig"))
        rules = Rules.model_validate(given)
    except FileNotFoundError:
        raise UsageError(
            tr(f"The rules file {path} is missing.", f"ルールファイル {path} がありません。"),
            code="file_missing",
            param="grader",
            file=path,
        ) from None
    except ValidationError as error:
        said = in_file(error.errors(), given)
        raise UsageError(
            tr(f"{path}: {en(said)}", f"{path}: {ja(said)}"),
            tr(
                "Kinds: length, desu_masu, sections, pattern, banned_words, grader.",
                "使える kind: length, desu_masu, sections, pattern, banned_words, grader",
            ),
            code="bad_rules",
            param="grader",
            file=path,
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            tr(f"{path} cannot be read: {error}.", f"{path} を読めません: {error}"),
            code="file_unreadable",
            param="grader",
            file=path,
        ) from None
    graders = [_rule_grader(rule, path, parse) for rule in rules.rules]
    names = [grader.name for grader in graders]
    if len(set(names)) < len(names):
        raise UsageError(
            tr(f"{path}: two rules have the same name.", f"{path}: 同じ名前のルールが二つあります。"),
            tr("Give each rule a `name`.", "それぞれに `name` を付けてください。"),
            code="bad_rules",
            param="grader",
            file=path,
        )
    return _weighed(name, rules, graders)


def _weighed(name: str, rules: Rules, graders: Sequence[Grader]) -> Grader:
    """The weighted mean of the graders of some rules."""
    total = sum(rule.weight for rule in rules.rules)
    names = [grader.name for grader in graders]

    def one(grades: Sequence[Grade]) -> Grade:
        mean = sum(rule.weight * grade.score for rule, grade in zip(rules.rules, grades, strict=True)) / total
        broken = any(rule.must and grade.score < 1 for rule, grade in zip(rules.rules, grades, strict=True))
        said = [f"{name}: {grade.reason}" for name, grade in zip(names, grades, strict=True) if grade.score < 1]
        reason = "; ".join(said) or tr("all rules met", "すべてのルールを満たす")
        parts = {name: grade.score for name, grade in zip(names, grades, strict=True)}
        return Grade(0.0 if broken else min(1.0, mean), reason, parts)

    def many(cases: Sequence[Case]) -> list[Grade]:
        return [one(grades) for grades in zip(*(grader.grade(cases) for grader in graders), strict=True)]

    form = all(not isinstance(rule, OtherGrader) or one.form for rule, one in zip(rules.rules, graders, strict=True))
    needs = any(grader.needs_reference for grader in graders)
    notes = tuple(note for grader in graders for note in grader.notes)
    asks = tuple(dict.fromkeys(model for grader in graders for model in grader.asks))
    return Grader(
        name, None, needs, notes=notes, many=many, asks=asks, form=form,
        knowing=lambda references: _weighed(name, rules, [one.with_references(references) for one in graders]),
    )  # fmt: skip
