"""/v1/files: what goes in comes out, in flat memory, for its project alone; what is wrong is said at upload."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import sqlalchemy as sa

from sodate.core import home as homes
from sodate.db.connection import writing
from sodate.jobs import audit, files, quotas
from sodate.serve import keys
from tests.serve.running import Running, running, service_of

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
LINE = json.dumps(ROW).encode() + b"\n"


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("files")))
        with running(*service_of(tiny_folder), auth=True) as one:
            yield one


@pytest.fixture(scope="module")
def key(house: Running) -> str:
    return keys.create("shop")[0]


@pytest.fixture
def client(house: Running, key: str) -> openai.OpenAI:
    return house.client(key)


def folder() -> Path:
    return homes.home() / "files"


def upload(client: openai.OpenAI, content: bytes = LINE * 10, name: str = "train.jsonl", purpose: str = "fine-tune"):
    return client.files.create(file=(name, content), purpose=purpose)


def test_a_file_comes_back_as_it_was_and_goes(client: openai.OpenAI) -> None:
    made = upload(client, name="../../etc/pass wd.jsonl")
    assert made.filename == "pass wd.jsonl" and made.bytes == 10 * len(LINE) and made.status == "processed"
    assert made.id.startswith("file-") and made.object == "file" and made.purpose == "fine-tune"
    assert client.files.retrieve(made.id) == made
    assert client.files.wait_for_processing(made.id) == made
    assert client.files.content(made.id).content == LINE * 10
    assert client.files.delete(made.id).to_dict() == {"id": made.id, "object": "file", "deleted": True}
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {made.id}") as gone:
        client.files.content(made.id)
    assert gone.value.param == "id"
    assert not list(folder().glob(f"{made.id}*"))


def test_a_list_is_read_page_by_page_also_while_its_files_are_deleted(client: openai.OpenAI) -> None:
    made = [upload(client, b"x", f"{n}.txt", "user_data").id for n in range(5)]
    upload(client, b"y", "other.txt", "vision")
    seen = []
    for one in client.files.list(purpose="user_data", limit=2):
        seen.append(one.id)
        client.files.delete(one.id)
    assert seen == made[::-1]
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.list(after="file-" + "0" * 24)
    assert refused.value.param == "after"


def test_another_projects_file_does_not_exist(house: Running, client: openai.OpenAI) -> None:
    made = upload(client)
    other = house.client(keys.create("rival")[0])
    for ask in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            ask(made.id)
    assert other.files.list().data == []
    with pytest.raises(openai.BadRequestError):
        other.files.list(after=made.id)
    assert client.files.retrieve(made.id) == made


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (LINE * 400 + b'{"messages": [\n' + LINE, 401),
        (b'["a list"]\n', 1),
        (b'[{"messages": []}]', 1),
        (json.dumps(ROW, indent=2).encode(), 1),
        (LINE * 12 + '{"messages": "返品"}'.encode("shift_jis"), 13),
        (json.dumps(ROW).encode("utf-16"), 1),
        (LINE * 3 + b'{"a": ' + b"[" * 100_000, 4),
        (LINE + b'{"a": 1, "a": 2}\n', 2),
        (LINE + b'{"a": "\\ud83d"}\n', 2),
    ],
)
def test_a_line_that_is_no_object_is_named_at_upload_and_nothing_stays(
    client: openai.OpenAI, broken: bytes, line: int
) -> None:
    before = sorted(folder().iterdir())
    with pytest.raises(openai.BadRequestError, match=f"every line is a valid JSON dictionary. Line {line}:") as refused:
        upload(client, broken)
    assert refused.value.type == "invalid_request_error" and refused.value.param == "file"
    assert sorted(folder().iterdir()) == before


def test_a_row_that_cannot_be_trained_on_is_named_too_but_its_file_is_taken(client: openai.OpenAI) -> None:
    made = upload(client, LINE * 3 + b'{"messages": [{"content": "who?"}]}\n')
    assert made.status_details.startswith("Line 4:")


@pytest.mark.parametrize(
    ("name", "purpose", "said", "param"),
    [
        ("a.csv", "fine-tune", "Must be .jsonl", "file"),
        ("a.jsonl", "rule-the-world", "is not one of", "purpose"),
        ("a.jsonl", "fine-tune-results", "is not one of", "purpose"),
    ],
)
def test_a_purpose_is_one_of_the_list(client: openai.OpenAI, name: str, purpose: str, said: str, param: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        upload(client, name=name, purpose=purpose)
    assert refused.value.param == param


def form(*parts: tuple[str, str | None, bytes], end: bool = True) -> bytes:
    """A form as it goes over the wire; parts are name, file name and content."""
    made = b""
    for name, filename, content in parts:
        said = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
        made += f"--b\r\nContent-Disposition: {said}\r\n\r\n".encode() + content + b"\r\n"
    return made + (b"--b--\r\n" if end else b"")


PURPOSE = ("purpose", None, b"user_data")
FILE = ("file", "f.bin", b"abc")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(PURPOSE, FILE, end=False), "invalid_request"),
        (form(PURPOSE, FILE)[:60], "invalid_request"),
        (b"nonsense", "invalid_request"),
        (form(PURPOSE), "missing_parameter"),
        (form(FILE), "missing_parameter"),
        (form(PURPOSE, FILE, FILE), "invalid_value"),
        (form(PURPOSE, PURPOSE, FILE), "invalid_value"),
        (form(PURPOSE, ("run", None, b"now"), FILE), "unknown_parameter"),
        (form(("purpose", None, b"x" * 20_000), FILE), "invalid_value"),
        (form(PURPOSE, ("file", "f.bin", b"")), "empty_file"),
        (form(PURPOSE, ("expires_after[anchor]", None, b"now"), FILE), "invalid_value"),
        (b"--b\r\n" + b"X-Many: 1\r\n" * 5000, "invalid_request"),
    ],
)
def test_a_form_that_is_not_whole_leaves_nothing(house: Running, key: str, body: bytes, code: str) -> None:
    before = sorted(folder().iterdir())
    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    answer = house.http().post("/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert sorted(folder().iterdir()) == before


def test_a_sender_who_goes_in_the_middle_leaves_nothing(house: Running, key: str, client: openai.OpenAI) -> None:
    before = sorted(folder().iterdir())
    host, port = house.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        head = f"POST /v1/files HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n"
        raw.sendall(head.encode() + form(PURPOSE, ("file", "f.bin", b"z" * 3_000_000), end=False))
    assert len(client.files.list(purpose="batch").data) == 0  # a whole request later
    for _ in range(100):
        if sorted(folder().iterdir()) == before:
            return
        socket.socket().close()
        client.files.list()
    assert sorted(folder().iterdir()) == before


def test_other_addresses_take_no_more_than_a_request_may_have(house: Running, key: str) -> None:
    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    answer = house.http().post("/v1/chat/completions", content=b"x" * 20_000_001, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "id", ["..%2f..%2fsodate.db", "%252e%252e", "file-%00", "C:%5c", "%2fetc%2fpasswd", "file-" + "／" * 24]
)
def test_an_id_is_never_a_path(house: Running, key: str, id: str) -> None:
    http = house.http(headers={"authorization": f"Bearer {key}"})
    for answer in (http.get(f"/v1/files/{id}"), http.get(f"/v1/files/{id}/content"), http.delete(f"/v1/files/{id}")):
        assert answer.status_code in (404, 405) and "error" in answer.json()


def test_a_file_that_is_to_go_is_gone_when_its_time_has_come(client: openai.OpenAI) -> None:
    made = client.files.create(
        file=("a.txt", b"a"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600
    with writing() as session:
        session.execute(sa.update(files.StoredFile).where(files.StoredFile.id == made.id).values(expires_at=1))
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_a_project_stores_no_more_than_its_quota(house: Running, client: openai.OpenAI) -> None:
    small = house.client(keys.create("small")[0])
    quotas.change("small", disk_bytes=10_000)
    made = upload(small, b"x" * 6000, "a.bin", "user_data")
    with pytest.raises(openai.RateLimitError) as full:
        upload(small, b"x" * 6000, "b.bin", "user_data")
    assert full.value.code == "quota_exceeded" and full.value.response.headers["x-should-retry"] == "false"
    small.files.delete(made.id)
    upload(small, b"x" * 6000, "b.bin", "user_data")


def test_what_was_done_is_in_a_log_that_the_database_does_not_let_go_of(client: openai.OpenAI, key: str) -> None:
    made = upload(client)
    client.files.delete(made.id)
    lines = [line for line in audit.listed("shop") if line["object"] == made.id]
    assert [line["action"] for line in lines] == ["file.created", "file.deleted"]
    assert {line["actor"] for line in lines} == {key.split("-")[2]}
    for change in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"):
        with pytest.raises(sa.exc.DBAPIError, match="only appended"), writing() as session:
            session.execute(sa.text(change))


def test_what_a_killed_upload_left_is_swept(home: Path) -> None:
    with files.written("a.bin") as content:
        content.write(b"left")
    with files.written("b.bin") as kept:
        kept.write(b"kept")
    files.keep(kept, "p", "a", "b.bin", "user_data")
    files.sweep(older_seconds=-1)
    assert [file.name for file in (home / "files").iterdir()] == [kept.id]


def test_memory_stays_flat_while_a_file_comes_in(house: Running, key: str) -> None:
    """60 MB in pieces: had they been held anywhere, the process would have grown by as much."""

    def pieces() -> Iterator[bytes]:
        yield form(PURPOSE, ("file", "f.bin", b""), end=False)[:-2]
        for _ in range(60):
            yield b"\0" * 1_000_000
            peak.append(resident())
        yield b"\r\n--b--\r\n"

    peak: list[int] = []
    before = resident()
    headers = {"authorization": f"Bearer {key}", "content-type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{house.url}/v1/files", content=pieces(), headers=headers, timeout=60)
    assert answer.json()["bytes"] == 60_000_000
    assert max(peak) - before < 30_000_000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
