"""What ends a run before its plan does, and the sentence each of them leaves."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.runs import RunFolder
from sodate.core.text import tr
from sodate.model import memory


class Interrupted(SodateError):
    """Ctrl-C or SIGTERM: a checkpoint was written and the run can be continued."""

    exit_code = 130
    code = "interrupted"


class OutOfMemory(SodateError):
    """Memory ran out inside a step. The last checkpoint is as good as before."""

    code = "out_of_memory"


class Diverged(SodateError):
    """The loss is not a number. The last finite state was kept."""

    code = "diverged"


@contextlib.contextmanager
def memory_watched(step: int, lengths: Mapping[str, int], run: RunFolder) -> Iterator[None]:
    """Turns the error of an exhausted allocator into OutOfMemory. `lengths` are the tokens of the step's rows."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        name = max(lengths, key=lambda row: lengths[row])
        run.event("out of memory", step=step, longest=name, tokens=lengths[name], error=str(error).partition("\n")[0])
        raise OutOfMemory(
            tr(
                f"Step {step}: memory ran out. Its longest row is {name} with {lengths[name]} tokens.",
                f"ステップ {step}: メモリが足りません。最も長い行は {name} ({lengths[name]} トークン) です。",
            ),
            tr(
                "Start again with gradient_checkpointing=true, a smaller micro_tokens, max_length below "
                f"{lengths[name]}, or --memory with what the machine can spare. The last checkpoint is kept.",
                f"gradient_checkpointing=true、より小さな micro_tokens、{lengths[name]} 未満の max_length、"
                "または --memory を指定してやり直してください。直前のチェックポイントは残っています。",
            ),
        ) from error


def diverged(step: int, loss: float, grad_norm: float, names: list[str], run: RunFolder) -> Diverged:
    run.event("diverged", step=step, rows=names)
    return Diverged(
        tr(
            f"Step {step}: loss {loss}, gradient norm {grad_norm}. Its rows: {', '.join(names)}.",
            f"ステップ {step}: 損失 {loss}、勾配ノルム {grad_norm}。行: {', '.join(names)}",
        ),
        tr(
            "Look at these rows with `sodate data show`, or lower lr. The last finite checkpoint is kept.",
            "`sodate data show` でこれらの行を確かめるか、lr を下げてください。直前の有限な状態は残っています。",
        ),
    )


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM; the second one ends the process the ordinary way."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before: dict[int, Any] = {}

    def request(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])

    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
