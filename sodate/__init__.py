"""sodate raises a language model you own: `check` data, `train`, `evaluate`, `load`. Nothing heavy is imported until used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sodate.api.data import check as check
    from sodate.api.evaluation import evaluate as evaluate
    from sodate.api.loading import load as load
    from sodate.api.training import resume as resume
    from sodate.api.training import train as train

_WHERE = {"check": "data", "evaluate": "evaluation", "load": "loading", "resume": "training", "train": "training"}
__all__ = ["check", "evaluate", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'sodate' has no attribute {name!r}")
    return getattr(import_module(f"sodate.api.{_WHERE[name]}"), name)
