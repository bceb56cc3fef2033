"""Vector stores and file_search, by the official client: what was put in is found by its project and by no other."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from sodate.db.connection import writing
from sodate.db.vector_tables import VectorStore
from sodate.jobs.vector_search import Hit
from sodate.retrieve.passages import Passage, width
from sodate.serve import keys
from sodate.serve.file_search import Searched
from sodate.serve.spelling import message_item
from tests.serve.running import Running, running, service_of

RETURNS = "# 返品\n\n商品は到着から30日以内に返品できます。送料はお客様の負担です。\n"
POST = "# 送料\n\n送料は全国一律500円です。1万円以上のご注文は無料です。\n"
HOURS = "営業時間は9時から17時までです。土日は休みです。"


@pytest.fixture(scope="module")
def two(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any, Running]]:
    """The clients of two projects, A and B, and their server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("two")))
        a, b = keys.create("a")[0], keys.create("b")[0]
        with running(*service_of(tiny_folder), auth=True) as one:
            yield one.client(a), one.client(b), one


def upload(client: openai.OpenAI, name: str, text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    return client.files.create(file=(name, content), purpose="assistants").id


def filled(client: openai.OpenAI, **files: str) -> Any:
    """A store of files, once they are read: their names are keys, with _ for the dot."""
    store = client.vector_stores.create(name="faq")
    ids = [upload(client, name.replace("_", "."), text) for name, text in files.items()]
    client.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
    return client.vector_stores.retrieve(store.id)


def faq(client: openai.OpenAI) -> Any:
    return filled(client, returns_md=RETURNS, post_md=POST, hours_txt=HOURS)


def test_a_store_holds_files_and_finds_their_passages(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = faq(client)
    assert store.status == "completed" and store.file_counts.completed == store.file_counts.total == 3
    assert store.usage_bytes > 100 and store.object == "vector_store" and store.metadata == {}
    found = client.vector_stores.search(store.id, query="返品は何日以内ですか", max_num_results=2)
    (best, *_) = found.data
    assert best.filename == "returns.md" and "30日以内" in best.content[0].text and best.content[0].type == "text"
    assert 0 < best.score <= 1 and best.attributes == {} and len(found.data) <= 2
    assert found.object == "vector_store.search_results.page" and found.search_query == ["返品は何日以内ですか"]
    several = client.vector_stores.search(store.id, query=["営業時間", "送料"])
    assert {one.filename for one in several.data[:2]} == {"hours.txt", "post.md"}
    assert client.vector_stores.search(store.id, query="zebra").data == []
    sure = client.vector_stores.search(store.id, query="送料は一律", ranking_options={"score_threshold": 0.5}).data
    assert [one.filename for one in sure] == ["post.md"] and sure[0].score >= 0.5
    assert not client.vector_stores.search(store.id, query="送料 zebra xylophone quokka",
                                           ranking_options={"score_threshold": 0.9}).data  # fmt: skip
    listed = client.vector_stores.files.list(store.id, order="asc", limit=2)
    assert [one.status for one in listed] == ["completed"] * 3  # page after page
    text = client.vector_stores.files.content(best.file_id, vector_store_id=store.id)
    assert [part.text for part in text] == ["商品は到着から30日以内に返品できます。送料はお客様の負担です。"]


def test_attributes_filter_what_is_found(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = client.vector_stores.create(name="by region", metadata={"team": "cs"})
    files = [
        {"file_id": upload(client, f"{name}.txt", f"{name}の送料は{price}円です。"),
         "attributes": {"region": name, "price": price, "island": island}}
        for name, price, island in (("東京", 500, False), ("沖縄", 1500, True), ("北海道", 900, True))
    ]  # fmt: skip
    batch = client.vector_stores.file_batches.create_and_poll(store.id, files=files)
    assert (batch.status, batch.file_counts.completed) == ("completed", 3)

    def regions(filters: Any) -> set[Any]:
        found = client.vector_stores.search(store.id, query="送料は何円", filters=filters)
        return {one.attributes["region"] for one in found.data}

    def one(kind: str, key: str, value: Any) -> dict[str, Any]:
        return {"type": kind, "key": key, "value": value}

    assert regions(one("eq", "region", "沖縄")) == {"沖縄"} and regions(one("ne", "region", "沖縄")) == {
        "東京",
        "北海道",
    }
    assert regions(one("gt", "price", 900)) == {"沖縄"} and regions(one("gte", "price", 900)) == {"沖縄", "北海道"}
    assert regions(one("lt", "price", 900)) == {"東京"} and regions(one("lte", "price", 900)) == {"東京", "北海道"}
    assert (
        regions(one("in", "region", ["東京", "大阪"])) == {"東京"} and len(regions(one("nin", "region", ["東京"]))) == 2
    )
    assert regions(one("eq", "island", True)) == {"沖縄", "北海道"} and regions(one("eq", "island", 1)) == set()
    both = {"type": "and", "filters": [one("eq", "island", True), one("lt", "price", 1000)]}
    assert regions(both) == {"北海道"} and regions({"type": "or", "filters": [both, one("eq", "price", 500)]}) == {
        "北海道", "東京"
    }  # fmt: skip
    assert regions(one("eq", "none", 1)) == set() and len(regions(one("ne", "none", 1))) == 3
    changed = client.vector_stores.files.update(files[0]["file_id"], vector_store_id=store.id,
                                                attributes={"region": "関東"})  # fmt: skip
    assert changed.attributes == {"region": "関東"} and regions(one("eq", "region", "関東")) == {"関東"}


@pytest.mark.parametrize(("filters", "param"), [
    ({"type": "like", "key": "a", "value": 1}, "filters.type"), ({"type": "eq", "key": "a"}, "filters"),
    ({"type": "gt", "key": "a", "value": "x"}, "filters.value"), ({"type": "and", "filters": []}, "filters"),
    ({"type": "or", "filters": [{"type": "in", "key": "a", "value": 3}]}, "filters.filters[0].value"),
])  # fmt: skip
def test_a_filter_that_is_none_is_named(two: tuple[Any, Any, Running], filters: Any, param: str) -> None:
    store = two[0].vector_stores.create()
    with pytest.raises(openai.BadRequestError) as refused:
        two[0].vector_stores.search(store.id, query="x", filters=filters)
    assert refused.value.param == param


def test_what_cannot_be_read_fails_alone_and_says_why(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = client.vector_stores.create()
    given = {
        "good.txt": HOURS,
        "broken.pdf": "%PDF-1.7 broken",
        "virus.exe": "MZ",
        "empty.md": "\n\n",
        "code.py": "x = 1",
    }
    ids = {name: upload(client, name, text) for name, text in given.items()}
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=list(ids.values()))
    assert batch.status == "completed" and batch.file_counts.failed == 3 and batch.file_counts.completed == 2
    seen = {name: client.vector_stores.files.retrieve(id, vector_store_id=store.id) for name, id in ids.items()}
    errors = {name: one.last_error and one.last_error.code for name, one in seen.items()}
    assert errors == {"good.txt": None, "broken.pdf": "invalid_file", "virus.exe": "unsupported_file",
                      "empty.md": "invalid_file", "code.py": None}  # fmt: skip
    assert seen["broken.pdf"].last_error.message.startswith("broken.pdf ")
    failed = client.vector_stores.files.list(store.id, filter="failed")
    assert {one.id for one in failed} == {ids[name] for name in ("broken.pdf", "virus.exe", "empty.md")}
    with pytest.raises(openai.BadRequestError):
        client.vector_stores.files.content(ids["empty.md"], vector_store_id=store.id)


def test_what_is_taken_out_is_found_no_more_and_leaves_the_disk(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = faq(client)
    (gone, *_) = client.vector_stores.search(store.id, query="返品").data
    (erased, *_) = client.vector_stores.search(store.id, query="営業時間").data
    assert client.vector_stores.files.delete(gone.file_id, vector_store_id=store.id).deleted
    assert gone.file_id not in {
        one.file_id for one in client.vector_stores.search(store.id, query="返品 商品 到着").data
    }
    assert client.files.retrieve(gone.file_id).id == gone.file_id  # the file itself stays
    client.files.delete(erased.file_id)  # this one goes from everywhere
    assert client.vector_stores.search(store.id, query="営業時間").data == []
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.retrieve(gone.file_id, vector_store_id=store.id)
    folder = Path(os.environ["SODATE_HOME"]) / "vector_stores" / store.id
    wait(lambda: sum(1 for _ in folder.iterdir()) == 1 and documents(folder) == 1)
    assert client.vector_stores.retrieve(store.id).file_counts.total == 1
    assert client.vector_stores.delete(store.id).deleted
    wait(lambda: not folder.exists())
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.search(store.id, query="送料")


def wait(done: Any) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def documents(folder: Path) -> int:
    return sum(len(json.loads(file.read_text())["documents"]) for file in folder.glob("*/segment.json"))


def test_a_file_attached_again_is_there_once(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store, id = client.vector_stores.create(), upload(client, "post.md", POST)
    for size in (100, 200):
        chunks = {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": 50}}
        done = client.vector_stores.files.create_and_poll(id, vector_store_id=store.id, chunking_strategy=chunks)
        assert done.chunking_strategy.static.max_chunk_size_tokens == size
    assert client.vector_stores.retrieve(store.id).file_counts.total == 1
    assert len(client.vector_stores.search(store.id, query="送料").data) == 1


def test_chunks_are_as_long_as_was_asked_and_overlap(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    text = "".join(f"{n}番目の文はここにあります。" for n in range(100))
    store, id = client.vector_stores.create(), upload(client, "long.txt", text)
    chunks = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 40}}
    client.vector_stores.files.create_and_poll(id, vector_store_id=store.id, chunking_strategy=chunks)
    parts = [part.text for part in client.vector_stores.files.content(id, vector_store_id=store.id)]
    assert all(width(part) <= 200 for part in parts) and len(parts) > 15  # a token is two columns
    for one, after in itertools.pairwise(parts):
        assert one.endswith(after[: after.index("。") + 1]) or after[: after.index("。") + 1] in one


def test_stores_are_listed_changed_and_expire(two: tuple[Any, Any, Running]) -> None:
    client = two[1]  # of project B, which has no others
    made = [client.vector_stores.create(name=f"s{n}") for n in range(4)]
    ids = [one.id for one in made]
    assert [one.id for one in client.vector_stores.list(order="asc", limit=3)] == ids
    assert [one.id for one in client.vector_stores.list(limit=3).data] == ids[:0:-1]
    assert [one.id for one in client.vector_stores.list(order="asc", before=ids[3], limit=2).data] == ids[1:3]
    changed = client.vector_stores.update(ids[0], name="other", metadata={"a": "b"},
                                          expires_after={"anchor": "last_active_at", "days": 7})  # fmt: skip
    assert (changed.name, changed.metadata, changed.expires_after.days) == ("other", {"a": "b"}, 7)
    assert changed.expires_at == changed.last_active_at + 7 * 86_400
    with writing() as session:
        session.execute(sa.update(VectorStore).where(VectorStore.id == ids[0]).values(last_active_at=1))
    assert client.vector_stores.retrieve(ids[0]).status == "expired"
    with pytest.raises(openai.BadRequestError) as refused:
        client.vector_stores.search(ids[0], query="x")
    assert refused.value.code == "invalid_status"
    assert client.vector_stores.update(ids[0], expires_after=None).status == "completed"


def test_nobody_elses_store_or_file_is_there(two: tuple[Any, Any, Running]) -> None:
    a, b, _ = two
    store, own = faq(a), b.vector_stores.create()
    file = next(iter(a.vector_stores.files.list(store.id))).id
    batch = a.vector_stores.file_batches.create(store.id, file_ids=[file])
    asks = [
        lambda: b.vector_stores.retrieve(store.id), lambda: b.vector_stores.update(store.id, name="x"),
        lambda: b.vector_stores.delete(store.id), lambda: b.vector_stores.search(store.id, query="送料"),
        lambda: b.vector_stores.files.list(store.id), lambda: b.vector_stores.files.create(store.id, file_id=file),
        lambda: b.vector_stores.files.retrieve(file, vector_store_id=store.id),
        lambda: b.vector_stores.files.delete(file, vector_store_id=store.id),
        lambda: b.vector_stores.files.content(file, vector_store_id=store.id),
        lambda: b.vector_stores.files.create(own.id, file_id=file), lambda: b.vector_stores.create(file_ids=[file]),
        lambda: b.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id),
        lambda: b.vector_stores.file_batches.retrieve(batch.id, vector_store_id=own.id),
        lambda: b.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id),
        lambda: b.vector_stores.list(after=store.id),
        lambda: b.responses.create(model="orders", input="送料", max_output_tokens=3,
                                   tools=[{"type": "file_search", "vector_store_ids": [store.id]}]),
    ]  # fmt: skip
    for number, ask in enumerate(asks):
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as refused:
            ask()
        assert refused.value.status_code == 404 or number == 14, number
    assert a.vector_stores.search(store.id, query="送料").data
    for odd in ("../../etc", "vs_" + "x" * 24, "vs_\0"):
        with pytest.raises(openai.NotFoundError):
            a.vector_stores.retrieve(odd)


# ── file_search ──────────────────────────────────────────────────────────────────────────────────────────────────────


def search_tool(store: Any, **more: Any) -> dict[str, Any]:
    return {"type": "file_search", "vector_store_ids": [store.id], **more}


def test_a_response_searches_and_its_model_sees_what_was_found(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = faq(client)
    plain = client.responses.create(model="orders", input="返品は何日以内?", max_output_tokens=3)
    asked = {"model": "orders", "input": "返品は何日以内?", "max_output_tokens": 3}
    done = client.responses.create(**asked, tools=[search_tool(store)], include=["file_search_call.results"])
    call, message = done.output
    assert (call.type, call.status, call.queries) == ("file_search_call", "completed", ["返品は何日以内?"])
    assert call.results[0].filename == "returns.md" and "30日以内" in call.results[0].text and call.id.startswith("fs_")
    assert message.type == "message" and done.usage.input_tokens > plain.usage.input_tokens + 30
    quiet = client.responses.create(**asked, tools=[search_tool(store, max_num_results=1)])
    assert quiet.output[0].results is None and quiet.usage.input_tokens < done.usage.input_tokens
    none = client.responses.create(**asked, tools=[search_tool(store)], tool_choice="none")
    assert [item.type for item in none.output] == ["message"] and none.usage.input_tokens == plain.usage.input_tokens
    for choice in ("required", {"type": "file_search"}):
        forced = client.responses.create(**asked, tools=[search_tool(store)], tool_choice=choice)
        assert forced.output[0].type == "file_search_call"
    again = client.responses.create(model="orders", input="送料は?", previous_response_id=done.id, max_output_tokens=3)
    assert [item.type for item in again.output] == ["message"]


def test_a_search_streams_its_events_before_the_text(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    store = faq(client)
    events = list(client.responses.create(model="orders", input="返品は何日以内?", max_output_tokens=3, stream=True,
                                          tools=[search_tool(store)]))  # fmt: skip
    kinds = [event.type for event in events]
    assert kinds[:8] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.file_search_call.in_progress", "response.file_search_call.searching",
        "response.file_search_call.completed", "response.output_item.done", "response.output_item.added",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [item.type for item in events[-1].response.output] == ["file_search_call", "message"]
    assert {event.output_index for event in events if hasattr(event, "output_index")} == {0, 1}


def test_marks_in_a_reply_become_citations_of_what_was_shown() -> None:
    hits = [Hit(f"file-{n}", f"{n}.md", {}, 0.5, Passage(f"{n}.md", "line 1", (), "x")) for n in (1, 2, 3)]
    text = "30日です[1]。送料は無料［2］。[3] [9] [0]"
    (part,) = message_item(text, (), "completed", searched=Searched(["q"], hits, shown=2))["content"]
    assert part["annotations"] == [
        {"type": "file_citation", "index": 8, "file_id": "file-1", "filename": "1.md"},
        {"type": "file_citation", "index": 17, "file_id": "file-2", "filename": "2.md"},
    ]
    assert text[:8].endswith("[1]") and text[:17].endswith("［2］")


@pytest.mark.parametrize(("tool", "param"), [
    ({"vector_store_ids": []}, None), ({"filters": {"type": "x"}}, "tools.file_search.filters.type"),
    ({"max_num_results": 51}, None), ({"ranking_options": {"score_threshold": 2}}, None),
])  # fmt: skip
def test_a_search_that_cannot_be_made_is_refused(two: tuple[Any, Any, Running], tool: Any, param: str | None) -> None:
    store = two[0].vector_stores.create()
    with pytest.raises(openai.BadRequestError) as refused:
        two[0].responses.create(model="orders", input="x", tools=[search_tool(store, **tool)])
    assert param is None or refused.value.param == param


def test_as_many_passages_are_shown_as_leave_room_for_the_reply(two: tuple[Any, Any, Running]) -> None:
    client = two[0]
    text = "\n\n".join(f"# 第{n}章\n\n返品の説明その{n}。" + "とても長い説明です。" * 12 for n in range(30))
    store = filled(client, long_md=text)
    done = client.responses.create(
        model="orders", input="返品の説明", max_output_tokens=3, include=["file_search_call.results"],
        tools=[search_tool(store, max_num_results=30)],
    )  # fmt: skip
    assert len(done.output[0].results) == 30 and done.usage.input_tokens < 1024
