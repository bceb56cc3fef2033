"""Graders: each scores one reply in [0, 1] with a reason. They serve evaluation, rewards and gates."""

from sodate.grade.base import Grade, Grader
from sodate.grade.spec import parse_grader

__all__ = ["Grade", "Grader", "parse_grader"]
