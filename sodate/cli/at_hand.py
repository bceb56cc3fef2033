"""Models that a person names on the command line: what is not in the store yet is pulled, and said.

This is an act of the command line alone. No name in a recipe file, a request or a call from Python does it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from sodate.core.text import tr, visible


def at_hand(
    name: str, engine: str = "torch", *, quiet: bool = False, first: Callable[[], object] = lambda: None
) -> str:
    """The name that the verbs know this model by, pulled now if it is built in, a model folder or a .gguf file. What a
    server upstream answers by has its name there.

    Any other name is returned as it is: the verb says what it thinks of it. `quiet` leaves out the progress bar.
    `first` is called where a model will be fetched: it refuses what is wrong with the rest of the command, so that
    nobody waits for half a gigabyte to be told of a misspelt file.
    """
    from sodate.api import models

    if engine.startswith("upstream:"):
        return name
    if models.is_here(name) or not models.may_come(name):
        return name
    import sodate
    from sodate import terminal

    first()
    said = tr(f"{name} is not among the models here yet: pulling it.", f"{name} はまだ手元にないため、取り込みます。")
    print(visible(said), file=sys.stderr)
    with terminal.pulling(quiet=quiet) as listen:
        entry = sodate.pull(name, on_progress=listen, wait=os.environ.get("WORLD_SIZE", "1") != "1")
    return models.name_of(entry)
