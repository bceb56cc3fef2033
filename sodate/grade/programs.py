"""Graders that run code, always in the sandbox: `python` runs the user's own grader, `code` a reply against its tests.

A `python` grader defines `grade(sample, item)` as on OpenAI's platform: `sample["output_text"]` is the reply, `item`
the row. It runs beside whatever it runs itself: one that executes replies trusts them, and `code` is made for that.

`code` never lets the tested code see what is expected: it answers calls or programs, and the answers are compared here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.grade import sandbox
from sodate.grade.base import Grade, GradeFunction
from sodate.grade.strings import clip

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


def python(path: Path) -> GradeFunction:
    """The grader in a file. UsageError when it can't be read, SodateError where there is no sandbox or it fails."""
    try:
        source = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            tr(f"The grader {path} cannot be read: {error}.", f"採点ファイル {path} を読めません: {error}")
        ) from None
    sandbox.backend()

    def grade(reply: str, reference: str | None, item: Mapping[str, Any]) -> Grade:
        row = {**item, "reference_answer": item.get("reference_answer", reference)}
        (answer,) = sandbox.run(source, [{"grade": [_sample(reply), row]}])
        score = answer.value
        if answer.error is not None or isinstance(score, bool) or not isinstance(score, int | float):
            said = answer.error or tr(
                f"grade() gave {score!r}, no number", f"grade() の値 {score!r} は数ではありません"
            )
            raise SodateError(f"{path.name}: {said}")
        if not 0 <= score <= 1:
            raise SodateError(
                tr(f"{path.name}: grade() gave {score}, which is not between 0 and 1.",
                   f"{path.name}: grade() の値 {score} が 0〜1 の範囲にありません。"),
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
    """The share of the row's `tests` that the reply's code passes (its fenced blocks, or all of it).

    A test is `"assert CALL == LITERAL"`, {"call": …, "returns": …} or {"stdin": …, "stdout": …}.
    """
    jobs, wanted = _tests(item)
    source = "\n\n".join(_FENCE.findall(reply)) or reply
    answers = sandbox.run(source, jobs)
    passed = [a.error is None and _same(a.value, value) for a, value in zip(answers, wanted, strict=True)]
    reason = tr(f"{sum(passed)} of {len(passed)} tests", f"{len(passed)} 件中 {sum(passed)} 件のテストに合格")
    failed = next((i for i, good in enumerate(passed) if not good), None)
    if failed is not None:
        job = jobs[failed]
        said = answers[failed].error or repr(answers[failed].value)
        reason += f"; {clip(str(job.get('call', job.get('stdin'))))}: {clip(said, 80)}"
    return Grade(sum(passed) / len(passed), reason)


def _same(found: Any, wanted: Any) -> bool:
    """Equal, and of the same kind: True is not 1. What a program prints may end with other white space."""
    if isinstance(wanted, _Printed):
        return isinstance(found, str) and found.rstrip() == wanted.text.rstrip()
    return type(found) is type(wanted) and bool(found == wanted)


class _Printed:
    def __init__(self, text: str) -> None:
        self.text = text


def _tests(item: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[Any]]:
    """(jobs for the sandbox, what each has to give). SodateError for a row whose tests can't be judged from outside."""
    given = item.get("tests")
    if not isinstance(given, list) or not given:
        raise SodateError(tr("code needs the row's `tests`, a list.", "code には行の `tests` (リスト) が必要です。"))
    jobs, wanted = [], []
    for test in given:
        if isinstance(test, str):
            job, value = _assertion(test)
        elif isinstance(test, Mapping) and isinstance(test.get("call"), str) and "returns" in test:
            job, value = {"call": test["call"]}, test["returns"]
        elif isinstance(test, Mapping) and isinstance(test.get("stdout"), str):
            job, value = {"stdin": str(test.get("stdin", ""))}, _Printed(test["stdout"])
        else:
            raise _unknown(test)
        jobs.append(job)
        wanted.append(value)
    return jobs, wanted


def _assertion(text: str) -> tuple[dict[str, str], Any]:
    try:
        (statement,) = ast.parse(text.strip()).body
        if isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Compare):
            compare = statement.test
            if len(compare.ops) == 1 and isinstance(compare.ops[0], ast.Eq):
                return {"call": ast.unparse(compare.left)}, ast.literal_eval(compare.comparators[0])
    except (SyntaxError, ValueError):
        pass
    raise _unknown(text)


def _unknown(test: Any) -> SodateError:
    return SodateError(
        tr(f"The test {clip(str(test), 80)} can't be judged from outside the sandbox.",
           f"テスト {clip(str(test), 80)} はサンドボックスの外から判定できません。"),
        tr('Write "assert CALL == LITERAL", {"call", "returns"} or {"stdin", "stdout"}.',
           '"assert 呼び出し == リテラル"、{"call", "returns"}、{"stdin", "stdout"} のいずれかで書いてください。'),
    )  # fmt: skip
