"""sodate raises a language model you own: `pull` a base, `check` data, `train`, `evaluate`, `load`.

What is heavy is imported late: a name is looked up the first time it is used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sodate.api.data import check as check
    from sodate.api.deciding import decide as decide
    from sodate.api.evaluation import evaluate as evaluate
    from sodate.api.exporting import export as export
    from sodate.api.loading import load as load
    from sodate.api.merging import merge as merge
    from sodate.api.models import pull as pull
    from sodate.api.models import verifying as verifying
    from sodate.api.rewards import load_reward as load_reward
    from sodate.api.training import resume as resume
    from sodate.api.training import train as train
    from sodate.api.why import harmful as harmful
    from sodate.api.why import why as why
    from sodate.core.engine import Sampling as Sampling
    from sodate.core.errors import SodateError as SodateError
    from sodate.core.errors import UsageError as UsageError
    from sodate.core.recipe import Recipe as Recipe
    from sodate.core.types import Message as Message

    __version__: str

_WHERE = {
    "check": "api.data", "decide": "api.deciding", "evaluate": "api.evaluation", "export": "api.exporting",
    "load": "api.loading", "load_reward": "api.rewards", "merge": "api.merging", "pull": "api.models",
    "resume": "api.training", "train": "api.training", "harmful": "api.why", "why": "api.why",
    "Message": "core.types", "Recipe": "core.recipe", "Sampling": "core.engine", "SodateError": "core.errors",
    "UsageError": "core.errors", "verifying": "api.models",
}  # fmt: skip
__all__ = [
    "Message", "Recipe", "Sampling", "SodateError", "UsageError", "__version__", "check", "decide", "evaluate",
    "export", "harmful", "load", "load_reward", "merge", "pull", "resume", "train", "verifying", "why",
]  # fmt: skip


class _Package(ModuleType):
    """`sodate.train` is the verb. Importing the room sodate/train would bind its module under the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("sodate")  # its import takes longer than all of this
    if name not in _WHERE:
        raise AttributeError(f"module 'sodate' has no attribute {name!r}")
    return getattr(import_module(f"sodate.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
