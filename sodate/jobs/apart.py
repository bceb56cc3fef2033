"""Verbs in a process of their own, so that a server goes on answering while they compute.

    python -m sodate.jobs.apart      < {"verb": "evaluate", "given": {"models": ["orders@2"], …}}

Lines of JSON come back: progress, and at the end the result or what was wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sodate.core import progress
from sodate.core.errors import SodateError, UsageError
from sodate.core.text import en, ja, reading_in, tr
from sodate.jobs import process

COMMAND = [sys.executable, "-m"]
LOOK_SECONDS = 1.0
NICE = 5


def apart(verb: str, look: Callable[[], None] = lambda: None, module: str = __name__, **given: Any) -> Any:
    """What the verb of a module returns, as JSON has it. Its progress is reported here.

    `look` is called about once a second; what it raises ends the process. SodateError as the verb raised it, or
    `worker_crashed` where the process died.
    """
    with process.Process([*COMMAND, module], {"verb": verb, "given": given}) as child:
        last: Mapping[str, Any] = {}
        ended = False
        try:
            while not ended:
                lines, ended = child.said(LOOK_SECONDS)
                for line in lines:
                    last = line
                    if line["kind"] == "progress":
                        progress.report(line["work"], line["done"], line["total"], line["of"])
                look()
        except BaseException:
            child.kill()
            raise
    if last.get("kind") == "done":
        return last["result"]
    if last.get("kind") == "failed":
        kind = UsageError if last["usage"] else SodateError
        raise kind(tr(*last["message"]), tr(*last["fix"]), code=last["code"], param=last["param"])
    raise SodateError(
        tr(f"The process ended with status {child.status}. It may have run out of memory.",
           f"プロセスが状態 {child.status} で終了しました。メモリ不足の可能性があります。"),
        code="worker_crashed",
    )  # fmt: skip


def _why(version: str, prompt: str, reply: str, system: str, top: int) -> Any:
    from sodate.api.why import why

    return why(version, prompt, reply=reply, system=system, top=top)


def _evaluate(language: Any, **given: Any) -> Any:
    from sodate.api.evaluation import evaluate

    def heard(kind: str, about: Any) -> None:
        if kind == "loading":
            progress.report("load", 0, of=about)
        elif kind == "reply":
            progress.report("replies", about["done"], about["total"], about["model"])

    with reading_in(language):  # the report is written for whoever asked
        return {"report": evaluate(**given, on_event=heard).report.parent.name}


def main(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """Within such a process: does one of the verbs."""
    asked, say = process.told()
    os.nice(NICE)
    with progress.told_to(lambda now: say("progress", work=now.work, done=now.done, total=now.total, of=now.of)):
        try:
            say("done", result=verbs[asked["verb"]](**asked["given"]))
        except SodateError as error:
            said = {"message": [en(error.message), ja(error.message)], "fix": [en(error.fix), ja(error.fix)]}
            say("failed", code=error.code, param=error.param, usage=isinstance(error, UsageError), **said)


if __name__ == "__main__":
    main({"why": _why, "evaluate": _evaluate})
