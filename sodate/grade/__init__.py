"""Graders: each scores replies in [0, 1] with a reason. The same ones serve evaluation, rewards and gates."""

from sodate.grade.base import CannotGradeError, Case, Grade, Grader, case_of
from sodate.grade.spec import parse_grader

__all__ = ["CannotGradeError", "Case", "Grade", "Grader", "case_of", "parse_grader"]
