"""Evaluations with their runs and what came of each item, and batches of requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def _number() -> sa.Column[int]:
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=True)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String, nullable=False, unique=True)


def _text(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable)


def _long(name: str, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def _whole(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def _within(name: str, table: str) -> sa.Column[str]:
    return sa.Column(name, sa.String, sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "evals", _number(), _id(), _text("project"), _text("name"), _long("config"), _long("criteria"), _long("tags"),
        _whole("created_at"), _whole("updated_at"), _whole("deleted_at", nullable=True),
    )  # fmt: skip
    op.create_index("evals_by_project", "evals", ["project", "number"])
    op.create_table(
        "eval_runs", _number(), _id(), _within("eval", "evals"), _text("project"), _text("name"),
        _text("model", nullable=True), _long("source"), _text("status"), _long("tags"), _long("usage"),
        _long("error", nullable=True), _whole("created_at"), _whole("deleted_at", nullable=True),
    )  # fmt: skip
    op.create_index("eval_runs_by_eval", "eval_runs", ["eval", "number"])
    op.create_table(
        "eval_outputs", _number(), _id(), _within("run", "eval_runs"), _whole("item"), _text("status"), _long("body")
    )
    op.create_index("eval_outputs_by_run", "eval_outputs", ["run", "item"], unique=True)
    op.create_table(
        "batches", _number(), _id(), _text("project"), _text("endpoint"), _text("status"), _text("input_file"),
        _text("output_file", nullable=True), _text("error_file", nullable=True), _whole("keep_seconds", nullable=True),
        _long("tags"), _long("times"), _long("counts"), _long("errors", nullable=True), _whole("created_at"),
    )  # fmt: skip
    op.create_index("batches_by_project", "batches", ["project", "number"])
