"""Graders that run code, always in the sandbox: `python` runs the user's own grader, `code` a reply against its tests.

A `python` grader defines `grade(sample, item)` as on OpenAI's platform: `sample["output_text"]` is the reply, `item`
the row. It runs beside whatever it runs itself: one that executes replies trusts them, and `code` is made for that.

`code` never lets the tested code see what is expected: it answers calls or programs, and the answers are compared here.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sodate.core import literals
from sodate.core.errors import SodateError, UsageError
from sodate.core.paths import refusal
from sodate.core.text import en, ja, tr
from sodate.grade import sandbox
from sodate.grade.base import CannotGradeError, Case, Grade, GradeFunction, Many
from sodate.grade.strings import clip

_FENCE = re.compile(r"```([^\n`]*)\n(.*?)```", re.DOTALL)
_PYTHON = re.compile(r"\s*py(?:thon)?[\d.]*(?:\s.*)?", re.IGNORECASE)  # ```python, ```Python, ```python3, ```py title=…

Judge = Callable[[Any], bool]


def python(path: Path) -> GradeFunction:
    """The grader in a file. UsageError when it can't be read, SodateError where there is no sandbox or it fails."""
    try:
        source = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(error)
        raise UsageError(
            tr(f"The grader {path} cannot be read: {en(why)}.", f"採点ファイル {path} を読めません: {ja(why)}"),
            code="file_unreadable",
            param="grader",
            file=path,
        ) from None
    sandbox.backend()

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        row = {**item, "reference_answer": item.get("reference_answer", reference)}
        (answer,) = sandbox.run(source, [{"grade": [_sample(reply), row]}])
        score = answer.value
        if answer.error is not None or isinstance(score, bool) or not isinstance(score, int | float):
            said = answer.error or tr(
                f"grade() gave {clip(repr(score))}, which is not a number",
                f"grade() の値 {clip(repr(score))} は数ではありません",
            )
            raise SodateError(f"{path.name}: {said}", code="grader_failed", file=path)
        if not 0 <= score <= 1:
            raise SodateError(
                tr(f"{path.name}: grade() gave {clip(repr(score))}, which is not between 0 and 1.",
                   f"{path.name}: grade() の値 {clip(repr(score))} が 0〜1 の範囲にありません。"),
                code="grader_failed", file=path,
            )  # fmt: skip
        return Grade(float(score), f"{path.name}: {score:g}")

    return grade


def _sample(reply: str) -> dict[str, Any]:
    """OpenAI's sample: the text, and the JSON it is, if it is any."""
    try:
        parsed = json.loads(reply)
    except (ValueError, RecursionError):
        parsed = None
    return {"output_text": reply, "output_json": parsed}


def code(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
    """The share of the row's `tests` that the reply's code passes.

    A test is `"assert CALL == LITERAL"`, {"call": …, "returns": …} or {"stdin": …, "stdout": …}. Values are equal as
    Python's assert has it (2.0 is 2), but True is not 1. `returns` is JSON, which knows no tuple: there it is a list.
    """
    jobs, judges = _tests(item)
    answers = sandbox.run(_source(reply), jobs)
    passed = [_passes(answer, judge) for answer, judge in zip(answers, judges, strict=True)]
    reason = tr(f"{sum(passed)} of {len(passed)} tests", f"{len(passed)} 件中 {sum(passed)} 件のテストに合格")
    failed = next((i for i, good in enumerate(passed) if not good), None)
    if failed is not None:
        job = jobs[failed]
        said = answers[failed].error or repr(answers[failed].value)
        reason += f"; {clip(str(job.get('call', job.get('stdin'))))}: {clip(said, 80)}"
    return Grade(sum(passed) / len(passed), reason)


def _passes(answer: sandbox.Answer, judge: Judge) -> bool:
    """Whether a test passes; an answer that can't even be compared doesn't."""
    try:
        return answer.error is None and judge(answer.value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False


def at_once(function: GradeFunction) -> Many:
    """`function` for many cases, as many jails at a time as there are processors."""

    def many(cases: Sequence[Case]) -> list[Grade]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            waiting = [
                pool.submit(function, case.reply, next(iter(case.references), None), case.item) for case in cases
            ]
            grades = []
            for index, one in enumerate(waiting):
                try:
                    grades.append(one.result())
                except Exception as error:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise CannotGradeError(index, error) from error
            return grades

    return many


def _source(reply: str) -> str:
    """The reply's program: its fenced blocks of Python, else those of no named language, else all of it."""
    blocks = [match.groups() for match in _FENCE.finditer(reply)]
    python = [text for language, text in blocks if _PYTHON.fullmatch(language)]
    return "\n\n".join(python or [text for language, text in blocks if not language.strip()]) or reply


def _gives(wanted: Any, as_json: bool) -> Judge:
    """Whether an answer equals `wanted`."""
    return lambda found: _comparable(found, as_json) == _comparable(wanted, as_json)


def _comparable(value: Any, as_json: bool) -> Any:
    """A form that is equal where the values are: True apart from 1, and tuples as lists `as_json`."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list | tuple):
        return ("list" if as_json else type(value).__name__, *(_comparable(one, as_json) for one in value))
    if isinstance(value, set):
        return {_comparable(one, as_json) for one in value}
    if isinstance(value, dict):
        return {_comparable(key, as_json): _comparable(inner, as_json) for key, inner in value.items()}
    return value


def _prints(wanted: str) -> Judge:
    """Whether a program printed `wanted`; it may end with other white space."""
    return lambda found: isinstance(found, str) and found.rstrip() == wanted.rstrip()


def _tests(item: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[Judge]]:
    """(jobs for the sandbox, a judge for each). SodateError for a row whose tests can't be judged from outside."""
    given = item.get("tests")
    if not isinstance(given, list) or not given:
        raise SodateError(
            tr("code needs the row's `tests`, a list.", "code には行の `tests` (リスト) が必要です。"),
            code="bad_reference",
            param="tests",
        )
    jobs, judges = [], []
    for test in given:
        if isinstance(test, str):
            job, judge = _assertion(test)
        elif isinstance(test, Mapping) and isinstance(test.get("call"), str) and "returns" in test:
            job, judge = {"call": test["call"]}, _gives(test["returns"], as_json=True)
        elif isinstance(test, Mapping) and isinstance(test.get("stdout"), str):
            job, judge = {"stdin": str(test.get("stdin", ""))}, _prints(test["stdout"])
        else:
            raise _unknown(test)
        jobs.append(job)
        judges.append(judge)
    return jobs, judges


def _assertion(text: str) -> tuple[dict[str, str], Judge]:
    try:
        (statement,) = literals.parse(text.strip()).body
        if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
            compare = statement.test
            if len(compare.ops) == 1 and isinstance(compare.ops[0], ast.Eq):
                wanted = ast.literal_eval(compare.comparators[0])
                return {"call": ast.unparse(compare.left)}, _gives(wanted, as_json=False)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    raise _unknown(text)


def _unknown(test: Any) -> SodateError:
    return SodateError(
        tr(f"The test {clip(str(test), 80)} can't be judged from outside the sandbox.",
           f"テスト {clip(str(test), 80)} はサンドボックスの外から判定できません。"),
        tr('Write "assert CALL == LITERAL", {"call", "returns"} or {"stdin", "stdout"}.',
           '"assert 呼び出し == リテラル"、{"call", "returns"}、{"stdin", "stdout"} のいずれかで書いてください。'),
        code="bad_reference", param="tests",
    )  # fmt: skip
