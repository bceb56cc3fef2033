"""Every table. Changed only together with a migration; a test holds the two side by side."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Table(DeclarativeBase):
    """What all tables have in common: one schema. Times are UTC, in seconds since 1970."""


class ApiKey(Table):
    """A key as it may be told: `digest` is the SHA-256 of its secret (hex), the secret itself is nowhere."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    digest: Mapped[str]
    per_minute: Mapped[int]
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]
    role: Mapped[str] = mapped_column(server_default="steer")  # of `serve/roles.py`


class Login(Table):
    """A person who comes to the pages: a one-time `link`, or a `session` that a link or a key (`key`) began.

    `digest` is the SHA-256 of its secret (hex). `ended_at`: when a link was used, or somebody logged out.
    """

    __tablename__ = "logins"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    digest: Mapped[str]
    role: Mapped[str]
    project: Mapped[str]
    name: Mapped[str]
    key: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[int]
    expires_at: Mapped[int]
    ended_at: Mapped[int | None]

    __table_args__ = (Index("logins_by_kind", "kind", "created_at"),)


class StoredReply(Table):
    """A reply its asker wanted kept: `body` is the object that was sent, `asked` its messages, both JSON texts. `user`
    is the keyed hash of whom it was for.

    `name` is the model that was asked for, `model` the version that answered. `number` gives the order: a clock can be
    set back.
    """

    __tablename__ = "stored_replies"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]  # chat.completion or response
    project: Mapped[str]
    model: Mapped[str]
    name: Mapped[str | None]
    created_at: Mapped[int]
    body: Mapped[str] = mapped_column(Text)
    asked: Mapped[str] = mapped_column(Text)
    user: Mapped[str | None]
    tags: Mapped[list[ReplyTag]] = relationship(cascade="all, delete-orphan", order_by="ReplyTag.number")

    __table_args__ = (
        Index("stored_replies_by_project", "project", "kind", "number"),
        Index("stored_replies_by_model", "project", "kind", "model", "number"),
        Index("stored_replies_by_name", "project", "kind", "name", "number"),
        Index("stored_replies_by_user", "user", "number"),
        Index("stored_replies_by_age", "project", "created_at"),
    )


class ReplyTag(Table):
    """One pair of a stored reply's `metadata`."""

    __tablename__ = "reply_tags"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    reply: Mapped[int] = mapped_column(ForeignKey("stored_replies.number", ondelete="CASCADE"), index=True)
    key: Mapped[str]
    value: Mapped[str]

    __table_args__ = (Index("reply_tags_by_pair", "key", "value", "reply"),)


class StoredFile(Table):
    """A file that a project uploaded, or that was made for it. Its content lies in SODATE_HOME/files, named by `id`.

    The row of a deleted file stays: a list that is being read page by page goes on from it.
    """

    __tablename__ = "files"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    details: Mapped[str | None]  # what is wrong with single rows, where something is
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    deleted_at: Mapped[int | None]

    __table_args__ = (
        Index("files_by_project", "project", "number"),
        Index("files_by_purpose", "project", "purpose", "number"),
    )


class Upload(Table):
    """A file that comes in parts. `status`: pending, completed, cancelled; `keep_seconds`: how long the file stays."""

    __tablename__ = "uploads"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(index=True)
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    mime_type: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[int]
    expires_at: Mapped[int]
    keep_seconds: Mapped[int | None]
    file: Mapped[str | None]


class UploadPart(Table):
    """A part of an upload, in SODATE_HOME/uploads."""

    __tablename__ = "upload_parts"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    upload: Mapped[str] = mapped_column(ForeignKey("uploads.id", ondelete="CASCADE"), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int]


class Work(Table):
    """Something to do, by whoever claims it first. `id` is that of the object it is about, `kind` says who can do it.

    `owner` is the worker that has it, `beat` counts up while it does: who sees it stand still by his own watch may take
    the work over, so that no clock of the day decides. `wanted`: "" or what is asked of the owner (cancel, pause).
    """

    __tablename__ = "work"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    project: Mapped[str]
    owner: Mapped[str | None] = mapped_column(index=True)
    beat: Mapped[int]
    tries: Mapped[int]
    wanted: Mapped[str]


class TuningJob(Table):
    """A fine-tuning job. `asked` is its request, `method` what became of it, `recipe` what is trained: JSON texts.

    `base` is the exact version or model that `model` meant when the job was made; `run` and `version` are what
    training made. `old` marks jobs of the wire of 2023.
    """

    __tablename__ = "tuning_jobs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    old: Mapped[bool]
    status: Mapped[str]
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    model: Mapped[str]
    base: Mapped[str]
    training_file: Mapped[str]
    validation_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int]
    asked: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    recipe: Mapped[str] = mapped_column(Text)
    run: Mapped[str | None]
    version: Mapped[str | None]
    tuned_model: Mapped[str | None]
    result_file: Mapped[str | None]
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[JobTag]] = relationship(cascade="all, delete-orphan", order_by="JobTag.number")

    __table_args__ = (Index("tuning_jobs_by_project", "project", "number"),)


class JobTag(Table):
    """One pair of a job's `metadata`."""

    __tablename__ = "job_tags"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job: Mapped[int] = mapped_column(ForeignKey("tuning_jobs.number", ondelete="CASCADE"), index=True)
    key: Mapped[str]
    value: Mapped[str]

    __table_args__ = (Index("job_tags_by_pair", "key", "value", "job"),)


class JobEvent(Table):
    """What happened to a job. `step` is that of a metrics event: by it one is known that a resumed run makes again."""

    __tablename__ = "job_events"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    job: Mapped[str] = mapped_column(ForeignKey("tuning_jobs.id", ondelete="CASCADE"))
    created_at: Mapped[int]
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[str | None] = mapped_column(Text)
    step: Mapped[int | None]

    __table_args__ = (Index("job_events_by_job", "job", "number"),)


class JobCheckpoint(Table):
    """The weights of a job after an epoch, as a model of its own. `metrics` is a JSON text."""

    __tablename__ = "job_checkpoints"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    job: Mapped[str] = mapped_column(ForeignKey("tuning_jobs.id", ondelete="CASCADE"))
    created_at: Mapped[int]
    step: Mapped[int]
    model: Mapped[str]
    metrics: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("job_checkpoints_by_job", "job", "number"),)


class TunedModel(Table):
    """A name that a job gave (`ft:…`), and the version it means: its project's, and of those it is shared with."""

    __tablename__ = "tuned_models"

    name: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    job: Mapped[str]
    version: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[int]


class Permission(Table):
    """Another project may use a tuned model."""

    __tablename__ = "permissions"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    model: Mapped[str] = mapped_column(ForeignKey("tuned_models.name", ondelete="CASCADE"))
    project: Mapped[str]
    created_at: Mapped[int]

    __table_args__ = (Index("permissions_by_model", "model", "project", unique=True),)


class Eval(Table):
    """An evaluation's definition: `config` and `criteria` as they are told, `tags` its metadata; JSON texts.

    Rows of deleted ones stay, as those of files do.
    """

    __tablename__ = "evals"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    name: Mapped[str]
    config: Mapped[str] = mapped_column(Text)
    criteria: Mapped[str] = mapped_column(Text)
    tags: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int]
    updated_at: Mapped[int]
    deleted_at: Mapped[int | None]

    __table_args__ = (Index("evals_by_project", "project", "number"),)


class EvalRun(Table):
    """One run of an evaluation. `source` is where its items come from, `usage` the tokens of each model: JSON texts."""

    __tablename__ = "eval_runs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    eval: Mapped[str] = mapped_column(ForeignKey("evals.id", ondelete="CASCADE"))
    project: Mapped[str]
    name: Mapped[str]
    model: Mapped[str | None]
    source: Mapped[str] = mapped_column(Text)
    status: Mapped[str]
    tags: Mapped[str] = mapped_column(Text)
    usage: Mapped[str] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int]
    deleted_at: Mapped[int | None]

    __table_args__ = (Index("eval_runs_by_eval", "eval", "number"),)


class EvalOutput(Table):
    """What came of one item of a run. `status`: pass, fail, or error where it could not be graded; `body` as told."""

    __tablename__ = "eval_outputs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    run: Mapped[str] = mapped_column(ForeignKey("eval_runs.id", ondelete="CASCADE"))
    item: Mapped[int]
    status: Mapped[str]
    body: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("eval_outputs_by_run", "run", "item", unique=True),)


class Batch(Table):
    """Requests that are answered one after the other. `times` are when it came to each status, `counts` its requests,
    `errors` what is wrong with the file: JSON texts."""

    __tablename__ = "batches"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    endpoint: Mapped[str]
    status: Mapped[str]
    input_file: Mapped[str]
    output_file: Mapped[str | None]
    error_file: Mapped[str | None]
    keep_seconds: Mapped[int | None]
    tags: Mapped[str] = mapped_column(Text)
    times: Mapped[str] = mapped_column(Text)
    counts: Mapped[str] = mapped_column(Text)
    errors: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int]

    __table_args__ = (Index("batches_by_project", "project", "number"),)


class Quota(Table):
    """What a project may take: bytes of files, jobs at once, jobs that wait. One without a row has the defaults."""

    __tablename__ = "quotas"

    project: Mapped[str] = mapped_column(primary_key=True)
    disk_bytes: Mapped[int] = mapped_column(BigInteger)
    running: Mapped[int]
    waiting: Mapped[int]


class AuditEntry(Table):
    """Who did what. The database itself refuses to change or delete a row."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[int]
    project: Mapped[str] = mapped_column(index=True)
    actor: Mapped[str]
    action: Mapped[str]
    object: Mapped[str]
