"""sodate raises a language model you own: `pull` a base, `check` data, `train`, `evaluate`, `load`.

What is heavy is imported late.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sodate.api.data import check as check
    from sodate.api.evaluation import evaluate as evaluate
    from sodate.api.loading import load as load
    from sodate.api.merging import merge as merge
    from sodate.api.models import pull as pull
    from sodate.api.rewards import load_reward as load_reward
    from sodate.api.training import resume as resume
    from sodate.api.training import train as train

_WHERE = {
    "check": "data", "evaluate": "evaluation", "load": "loading", "load_reward": "rewards", "merge": "merging",
    "pull": "models", "resume": "training", "train": "training",
}  # fmt: skip
__all__ = ["check", "evaluate", "load", "load_reward", "merge", "pull", "resume", "train"]


class _Package(ModuleType):
    """`sodate.train` is the verb. Importing the room sodate/train would bind its module under the same name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sodate' has no attribute {name!r}")
    return getattr(import_module(f"sodate.api.{_WHERE[name]}"), name)
