"""Compiled passes and what wraps them: attention, gates, decoding products, the head's loss."""

from types import ModuleType

compiled: ModuleType | None
try:
    from sodate.kernels import _compiled as compiled
except ImportError:  # installed without a C compiler; torch then computes the same, more slowly
    compiled = None
