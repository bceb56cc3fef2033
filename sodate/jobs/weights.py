"""The weights of a job to take away: a .tar, made while it is sent."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from sodate.api.weights import folder_of
from sodate.core.errors import UsageError
from sodate.core.text import tr
from sodate.db.connection import reading
from sodate.jobs import tuning

CHUNK = 1 << 20


def archive(id: str, project: str, form: str) -> tuple[str, Iterator[bytes]]:
    """(file name, pieces) of a job's weights: `form` is adapter or merged. UsageError where there are none yet."""
    with reading() as session:
        job = tuning.get(session, id, project)
        version = job.version
    if version is None:
        raise UsageError(
            tr(f"Job {id} has no weights: its status is {job.status}.", f"ジョブ {id} にはまだ重みがありません。"),
            code="invalid_status", param="fine_tune_id",
        )  # fmt: skip
    return f"{id}-{form}.tar", _packed(folder_of(version, merged=form == "merged"), form)


def _packed(folder: Path, name: str) -> Iterator[bytes]:
    """The files of a folder as a .tar, of which no more than a piece is held."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        about = tarfile.TarInfo(f"{name}/{file.relative_to(folder).as_posix()}")
        about.size, about.mode = file.stat().st_size, 0o644
        yield about.tobuf(tarfile.PAX_FORMAT)
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                yield piece
        yield b"\0" * (-about.size % tarfile.BLOCKSIZE)
    end = io.BytesIO()
    tarfile.open(fileobj=end, mode="w").close()
    yield end.getvalue()
