"""Files, uploads, jobs and their models, quotas, and a log that nobody can change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _number() -> sa.Column[int]:
    return sa.Column("number", sa.Integer, primary_key=True, autoincrement=True)


def _id() -> sa.Column[str]:
    return sa.Column("id", sa.String, nullable=False, unique=True)


def _text(name: str, nullable: bool = False, index: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable, index=index, primary_key=primary_key)


def _whole(name: str, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def upgrade() -> None:
    _files()
    _jobs()
    _models()
    op.create_table(
        "quotas",
        _text("project", primary_key=True),
        sa.Column("disk_bytes", sa.BigInteger, nullable=False),
        _whole("running"),
        _whole("waiting"),
    )
    op.create_table(
        "audit", _number(), _whole("at"), _text("project", index=True), _text("actor"), _text("action"), _text("object")
    )
    _only_append("audit")


def _files() -> None:
    op.create_table(
        "files", _number(), _id(), _text("project"), _text("filename"), _text("purpose"),
        sa.Column("bytes", sa.BigInteger, nullable=False), _text("sha256"), _text("details", nullable=True),
        _whole("created_at"), _whole("expires_at", nullable=True), _whole("deleted_at", nullable=True),
    )  # fmt: skip
    op.create_index("files_by_project", "files", ["project", "number"])
    op.create_index("files_by_purpose", "files", ["project", "purpose", "number"])
    op.create_table(
        "uploads", _number(), _id(), _text("project", index=True), _text("filename"), _text("purpose"),
        sa.Column("bytes", sa.BigInteger, nullable=False), _text("mime_type"), _text("status"), _whole("created_at"),
        _whole("expires_at"), _whole("keep_seconds", nullable=True), _text("file", nullable=True),
    )  # fmt: skip
    op.create_table(
        "upload_parts", _number(), _id(),
        sa.Column("upload", sa.String, sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False), _whole("created_at"),
    )  # fmt: skip


def _jobs() -> None:
    op.create_table(
        "work", _number(), _id(), _text("kind"), _text("project"), _text("owner", nullable=True, index=True),
        _whole("beat"), _whole("tries"), _text("wanted"),
    )  # fmt: skip
    op.create_table(
        "tuning_jobs", _number(), _id(), _text("project"), sa.Column("old", sa.Boolean, nullable=False),
        _text("status"), _whole("created_at"), _whole("finished_at", nullable=True), _text("model"), _text("base"),
        _text("training_file"), _text("validation_file", nullable=True), _text("suffix", nullable=True), _whole("seed"),
        sa.Column("asked", sa.Text, nullable=False), sa.Column("method", sa.Text, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False), _text("run", nullable=True), _text("version", nullable=True),
        _text("tuned_model", nullable=True), _text("result_file", nullable=True),
        sa.Column("trained_tokens", sa.BigInteger), sa.Column("error", sa.Text),
    )  # fmt: skip
    op.create_index("tuning_jobs_by_project", "tuning_jobs", ["project", "number"])
    op.create_table(
        "job_tags", _number(),
        sa.Column("job", sa.Integer, sa.ForeignKey("tuning_jobs.number", ondelete="CASCADE"), nullable=False,
                  index=True),
        _text("key"), _text("value"),
    )  # fmt: skip
    op.create_table(
        "job_events", _number(), _id(), _of_job(), _whole("created_at"), _text("level"), _text("type"),
        sa.Column("message", sa.Text, nullable=False), sa.Column("data", sa.Text), _whole("step", nullable=True),
    )  # fmt: skip
    op.create_index("job_events_by_job", "job_events", ["job", "number"])
    op.create_table(
        "job_checkpoints", _number(), _id(), _of_job(), _whole("created_at"), _whole("step"), _text("model"),
        sa.Column("metrics", sa.Text, nullable=False),
    )  # fmt: skip
    op.create_index("job_checkpoints_by_job", "job_checkpoints", ["job", "number"])


def _of_job() -> sa.Column[str]:
    return sa.Column("job", sa.String, sa.ForeignKey("tuning_jobs.id", ondelete="CASCADE"), nullable=False)


def _models() -> None:
    op.create_table(
        "tuned_models", _text("name", primary_key=True), _text("project", index=True), _text("job"),
        _text("version", index=True), _whole("created_at"),
    )  # fmt: skip
    op.create_table(
        "permissions", _number(), _id(),
        sa.Column("model", sa.String, sa.ForeignKey("tuned_models.name", ondelete="CASCADE"), nullable=False),
        _text("project"), _whole("created_at"),
    )  # fmt: skip
    op.create_index("permissions_by_model", "permissions", ["model", "project"], unique=True)


def _only_append(table: str) -> None:
    """The database refuses to change or delete a row, whoever asks it."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION {table}_stays() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{table} is only appended to'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_stays()"
        )
        return
    for what in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_stays_{what.lower()} BEFORE {what} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is only appended to'); END"
        )


def downgrade() -> None:
    for table in ("audit", "quotas", "permissions", "tuned_models", "job_checkpoints", "job_events", "job_tags",
                  "tuning_jobs", "work", "upload_parts", "uploads", "files"):  # fmt: skip
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_stays")
