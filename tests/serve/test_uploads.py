"""/v1/uploads: parts in their owner's order become one file, or nothing does."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa

from sodate.core import home as homes
from sodate.db.connection import writing
from sodate.db.tables import Upload
from sodate.jobs import uploads
from sodate.serve import keys
from tests.serve.running import Running, running, service_of

ROW = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("uploads")))
        with running(*service_of(tiny_folder), auth=True) as one:
            yield one


@pytest.fixture(scope="module")
def client(house: Running) -> openai.OpenAI:
    return house.client(keys.create("shop")[0])


def begun(client: openai.OpenAI, size: int = 6):
    return client.uploads.create(filename="a.txt", purpose="user_data", bytes=size, mime_type="text/plain")


def part(client: openai.OpenAI, id: str, data: bytes) -> str:
    return client.uploads.parts.create(id, data=data).id


def left() -> list[Path]:
    return [file for name in ("uploads", "files") for file in (homes.home() / name).glob("*")]


def test_parts_become_one_file_in_the_order_that_is_asked_for(client: openai.OpenAI) -> None:
    upload = begun(client)
    assert upload.status == "pending" and upload.file is None and upload.expires_at == upload.created_at + 3600
    second, first = part(client, upload.id, b"def"), part(client, upload.id, b"abc")
    extra = part(client, upload.id, b"zzz")  # nobody has to use all of them
    done = client.uploads.complete(
        upload.id, part_ids=[first, second], md5=hashlib.md5(b"abcdef", usedforsecurity=False).hexdigest()
    )
    assert done.status == "completed" and done.file.bytes == 6 and done.file.filename == "a.txt"
    assert client.files.content(done.file.id).content == b"abcdef"
    assert not (homes.home() / "uploads" / extra).exists()
    with pytest.raises(openai.BadRequestError, match="has status completed"):
        client.uploads.parts.create(upload.id, data=b"x")


def test_the_clients_own_helper_drives_it(client: openai.OpenAI) -> None:
    content = ROW * 30
    done = client.uploads.upload_file_chunked(
        file=content, filename="t.jsonl", bytes=len(content), mime_type="application/jsonl", purpose="fine-tune",
        part_size=500,
    )  # fmt: skip
    assert client.files.content(done.file.id).content == content


@pytest.mark.parametrize(
    ("ids", "md5", "param"),
    [
        (lambda a, b: [a], None, "part_ids"),
        (lambda a, b: [a, b, b], None, "part_ids"),
        (lambda a, b: [a, "part_" + "0" * 24], None, "part_ids"),
        (lambda a, b: [a, "../../sodate.db"], None, "part_ids"),
        (lambda a, b: [a, b], "0" * 32, "md5"),
    ],
)
def test_what_is_not_whole_is_refused_and_can_still_be_made_so(client: openai.OpenAI, ids, md5, param) -> None:
    upload = begun(client)
    a, b = part(client, upload.id, b"abc"), part(client, upload.id, b"def")
    before = sorted(left())
    with pytest.raises(openai.BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=ids(a, b), **({"md5": md5} if md5 else {}))
    assert refused.value.param == param and sorted(left()) == before
    assert client.uploads.complete(upload.id, part_ids=[a, b]).status == "completed"


def test_a_broken_line_is_named_when_the_parts_come_together(client: openai.OpenAI) -> None:
    content = ROW * 3 + b"{broken\n"
    with pytest.raises(openai.BadRequestError, match="Line 4"):
        client.uploads.upload_file_chunked(file=content, filename="t.jsonl", bytes=len(content),
                                           mime_type="application/jsonl", purpose="fine-tune")  # fmt: skip


def test_a_cancelled_or_expired_upload_takes_no_more(client: openai.OpenAI) -> None:
    upload = begun(client)
    part(client, upload.id, b"abc")
    assert client.uploads.cancel(upload.id).status == "cancelled"
    late = begun(client)
    made = part(client, late.id, b"abcdef")
    with writing() as session:
        session.execute(sa.update(Upload).where(Upload.id == late.id).values(expires_at=1))
    for ask in (
        lambda: client.uploads.cancel(upload.id),
        lambda: client.uploads.parts.create(late.id, data=io.BytesIO(b"x")),
        lambda: client.uploads.complete(late.id, part_ids=[made]),
    ):
        with pytest.raises(openai.BadRequestError):
            ask()
    assert (homes.home() / "uploads" / made).exists()
    uploads.OPEN_SECONDS, kept = -1, uploads.OPEN_SECONDS
    try:
        uploads.sweep()
    finally:
        uploads.OPEN_SECONDS = kept
    assert not (homes.home() / "uploads" / made).exists()


def test_another_projects_upload_does_not_exist(house: Running, client: openai.OpenAI) -> None:
    upload, other = begun(client), house.client(keys.create("rival")[0])
    for ask in (
        lambda: other.uploads.parts.create(upload.id, data=b"x"),
        lambda: other.uploads.complete(upload.id, part_ids=["part_x"]),
        lambda: other.uploads.cancel(upload.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
