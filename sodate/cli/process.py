"""What the command line sets up around a verb: how threads wait, and progress where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import sys

# Rounds that a thread of OpenMP waits actively for the slowest before it sleeps, a fraction of a millisecond: more than
# lies between two products of a decoding step, and little beside the time that another program may keep the core.
SPINS = "10000"


def wait_briefly() -> None:
    """Says how OpenMP's threads wait, unless the environment does. Read when torch loads OpenMP, so call it before."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def watched() -> contextlib.AbstractContextManager[None]:
    """Progress as lines where stderr is not a terminal, by the one of several processes that speaks."""
    if sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        return contextlib.nullcontext()
    from sodate.terminal import lines

    return lines.printed()
