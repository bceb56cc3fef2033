"""What one project has does not exist for another: every address that takes an id, and every body that names one."""

from __future__ import annotations

import importlib
import json
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from sodate.core.runs import RunFolder
from sodate.db.connection import writing
from sodate.db.tables import TunedModel
from sodate.jobs.naming import version_name
from sodate.release import aliases
from sodate.serve import keys, pages
from tests.serve import filled
from tests.serve.running import running, service_of

SECRET = "kumquat"  # in everything that the first project has
OPEN = ("{model}", "{engine}", "{name}", "{link}")  # names, which are no project's, and links, which are secrets
CRITERION = {"type": "string_check", "name": SECRET, "input": "{{item.q}}", "reference": "x", "operation": "eq"}
EVAL = {"name": SECRET, "testing_criteria": [CRITERION],
        "data_source_config": {"type": "custom", "item_schema": {"type": "object"}}}  # fmt: skip

FORMS = {  # of pages, so that the name is all that is wrong
    "/data/{id}/train": {"model": "orders"},
}


def rows(source: dict[str, Any]) -> dict[str, Any]:
    return {"name": SECRET, "data_source": {"type": "jsonl", "source": source}}


@dataclass
class Shop:
    """A project with one of everything: the ids, by the address that they stand in."""

    mine: httpx.Client
    theirs: httpx.Client
    default: httpx.Client  # with a key of the command line's project, which isn't the owner's
    document: dict[str, Any]
    house: dict[str, Any]  # what the command line made: the names
    ids: dict[str, dict[str, str]] = field(default_factory=dict)

    def make(self, path: str, **body: Any) -> Any:
        made = self.mine.post(f"/v1{path}", **body)
        assert made.status_code in (200, 201), (path, made.text)
        return made.json()


@pytest.fixture(scope="module")
def shop(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("projects")))
        made = [{"Authorization": f"Bearer {keys.create(project)[0]}"} for project in ("shop", "rival", "default")]
        house = filled.fill(tmp_path_factory.mktemp("house"))
        with running(*service_of(tiny_folder), auth=True) as one:
            mine, theirs, default = (one.http(headers=key) for key in made)
            shop = Shop(mine, theirs, default, mine.get("/openapi.json").json(), house)
            fill(shop)
            yield shop


def fill(shop: Shop) -> None:
    row = {"messages": [{"role": "user", "content": SECRET}, {"role": "assistant", "content": "a"}]}
    asked = {"model": "orders", "messages": [{"role": "user", "content": SECRET}], "max_tokens": 1}
    line = {"custom_id": SECRET, "method": "POST", "url": "/v1/chat/completions", "body": asked}

    def file(purpose: str, *lines: dict[str, Any]) -> str:
        text = "".join(json.dumps(one) + "\n" for one in lines)
        return str(shop.make("/files", files={"file": (f"{SECRET}.jsonl", text)}, data={"purpose": purpose})["id"])

    data, batch, items = file("fine-tune", *[row] * 12), file("batch", line), file("evals", {"item": {"q": SECRET}})
    document = file("assistants", row)
    upload = shop.make("/uploads", json={"filename": f"{SECRET}.jsonl", "purpose": "fine-tune", "bytes": 4,
                                         "mime_type": "text/jsonl"})["id"]  # fmt: skip
    job = shop.make("/fine_tuning/jobs", json={"model": "orders", "training_file": data, "suffix": SECRET})["id"]
    batched = shop.make("/batches", json={"input_file_id": batch, "endpoint": line["url"], "completion_window": "24h"})
    reply = shop.make("/responses", json={"model": "orders", "input": SECRET, "max_output_tokens": 16})["id"]
    chat = shop.make("/chat/completions", json={**asked, "store": True})["id"]
    evaluation = shop.make("/evals", json=EVAL)["id"]
    run = shop.make(f"/evals/{evaluation}/runs", json=rows({"type": "file_id", "id": items}))["id"]
    store = shop.make("/vector_stores", json={"name": SECRET})["id"]
    together = shop.make(f"/vector_stores/{store}/file_batches", json={"file_ids": [document]})["id"]
    until = time.monotonic() + 60
    while not (outputs := shop.mine.get(f"/v1/evals/{evaluation}/runs/{run}/output_items").json()["data"]):
        assert time.monotonic() < until
        time.sleep(0.05)
    shop.ids = {
        "/v1/files": {"id": data}, "/v1/uploads": {"id": upload}, "/v1/batches": {"id": batched["id"]},
        "/v1/responses": {"id": reply}, "/v1/chat/completions": {"id": chat}, "/v1/fine_tuning/jobs": {"id": job},
        "/v1/fine-tunes": {"id": job}, "/v1/evals": {"id": evaluation, "run": run, "item": outputs[0]["id"]},
        "/v1/vector_stores": {"id": store, "file": document, "batch": together},
    }  # fmt: skip


def bodies(shop: Shop) -> dict[str, dict[str, Any]]:
    """What is asked of an address, so that the id is all that is wrong; where nothing stands here, {}."""
    return {
        "/v1/chat/completions/{id}": {"json": {"metadata": {}}},
        "/v1/uploads/{id}/parts": {"files": {"data": b"abcd"}},
        "/v1/uploads/{id}/complete": {"json": {"part_ids": ["part_x"]}},
        "/v1/evals/{id}/runs": {"json": rows({"type": "file_content", "content": [{"item": {"q": "1"}}]})},
        "/v1/vector_stores/{id}/search": {"json": {"query": SECRET}},
        "/v1/vector_stores/{id}/files": {"json": {"file_id": shop.ids["/v1/vector_stores"]["file"]}},
        "/v1/vector_stores/{id}/file_batches": {"json": {"file_ids": [shop.ids["/v1/vector_stores"]["file"]]}},
        "/v1/vector_stores/{id}/files/{file}": {"json": {"attributes": {"a": 1}}},
    }


def test_every_address_with_an_id_answers_another_project_as_if_it_were_not_there(shop: Shop) -> None:
    asked, given = 0, bodies(shop)
    for path, methods in shop.document["paths"].items():
        if "{" not in path or not path.startswith("/v1/") or "/sodate/" in path or any(name in path for name in OPEN):
            continue
        names = shop.ids[path[: path.index("/{")]]  # a KeyError: a new kind of thing, to be put into `fill`
        for method in methods:
            body = given.get(path, {"json": {}}) if method == "post" else {}
            if path.endswith("/report"):
                body = {"params": {"run": names["run"]}}
            answers = {}
            for who, wanted in (
                ("theirs", names),
                ("nobody's", {key: f"{one[:-6]}AAAAAA" for key, one in names.items()}),
            ):
                answers[who] = shop.theirs.request(method.upper(), path.format(**wanted), **body)
            theirs, nobodys = (answer.text for answer in answers.values())
            assert answers["theirs"].status_code == answers["nobody's"].status_code == 404, (method, path, theirs)
            for one in names.values():  # not told apart, but for the id that was asked for
                theirs, nobodys = theirs.replace(one, "ID"), nobodys.replace(f"{one[:-6]}AAAAAA", "ID")
            assert theirs == nobodys and SECRET not in theirs, (method, path)
            asked += 1
    assert asked > 40


def test_no_page_shows_another_project_what_the_house_or_a_project_has(shop: Shop) -> None:
    made, asked = shop.house, 0
    names = {"run": made["runs"][0], "version": made["versions"][0], "report": made["report"], "study": made["study"],
             "index": made["index"], "dataset": made["dataset"], "task": made["ladder"], "name": made["evaluation"],
             "id": shop.ids["/v1/files"]["id"], "job": shop.ids["/v1/fine_tuning/jobs"]["id"],
             "what": "cancel"}  # fmt: skip
    for module in pkgutil.iter_modules(pages.__path__, f"{pages.__name__}."):
        rooms = getattr(importlib.import_module(module.name), "rooms", None)
        for route in [*rooms.pages.routes, *rooms.wire.routes] if rooms else []:
            method = next(iter(route.methods & {"GET", "POST"}))
            if "{" not in route.path:
                continue
            said = []
            for wanted in (names, {**{key: f"no-{key}" for key in names}, "what": "cancel"}):
                body = {"data": FORMS.get(route.path, {})} if method == "POST" else {}
                answer = shop.theirs.request(method, route.path.format(**wanted), **body)
                text = answer.text
                for key, one in wanted.items():
                    text = text.replace(quote(one), key).replace(one, key)
                said.append((answer.status_code, text))
            assert said[0][0] in (400, 404) and said[0] == said[1], (method, route.path, said)
            asked += 1
    assert asked > 30


def test_a_project_moves_no_alias_and_the_house_sees_no_version_of_a_project(shop: Shop) -> None:
    version, other = shop.house["versions"]
    with writing() as session:
        session.add(TunedModel(name="ft:x", project="rival", job="ftjob-x", version=other, created_at=0))
    before = aliases.moves("support@production")
    form = {
        "alias": "support@production",
        "reason": "ours",
        "override": "yes",
        "seen": f"{len(before)}:support@production",
    }
    assert shop.theirs.get(f"/versions/{other}").status_code == 200
    assert shop.theirs.post(f"/versions/{other}/promote", data=form).status_code == 404
    house = shop.default
    for name in (other, "support", "support@production"):  # it is the newest of its name, and what the alias means
        for method, path, body in [
            ("GET", f"/versions/{name}", {}), ("GET", f"/versions/{name}/gate", {}),
            ("POST", f"/versions/{name}/promote", form), ("POST", f"/versions/{name}/canary", {**form, "percent": "5"}),
            ("POST", f"/versions/{name}/gate", {"gate": "g"}), ("POST", f"/versions/{name}/gate/new", {"name": "g"}),
            ("POST", "/play/why", {"version": name, "prompt": "a", "reply": "b"}),
        ]:  # fmt: skip
            assert house.request(method, path, data=body or None).status_code == 404, (method, path)
    asked = {"version": other, "data": shop.house["dataset"], "grader": "exact"}
    assert house.post("/reports/new", data=asked).status_code == 404
    assert other not in house.get("/v1/sodate/reports/new").text
    assert house.get(f"/versions/{version}").status_code == 200
    assert aliases.moves("support@production") == before


def test_a_run_whose_job_is_not_noted_yet_is_nobodys_and_no_refusal_names_the_runs_of_others(shop: Shop) -> None:
    run = RunFolder.create({"recipe": {"method": "sft", "name": version_name("ftjob-x")}}).name
    own = shop.house["runs"][0]
    assert shop.default.get(f"/v1/sodate/runs/{own}").status_code == 200
    listed = shop.default.get("/v1/sodate/runs")
    assert own in listed.text and run not in listed.text
    for name in (run, "sft-20200101-000000-0000", "..", "\u202e"):
        for path in ("", "/curve"):
            answer = shop.default.get(f"/v1/sodate/runs/{quote(name, safe='')}{path}")
            assert answer.status_code == 404 and own not in answer.text, (name, answer.text)
            assert run == name or run not in answer.text


def test_every_list_of_another_project_is_empty_and_no_page_begins_at_what_is_not_its_own(shop: Shop) -> None:
    for path, names in shop.ids.items():
        listed = shop.theirs.get(path)
        if listed.status_code == 405:
            continue
        assert listed.status_code == 200 and listed.json()["data"] == [], path
        after = shop.theirs.get(path, params={"after": names["id"]})
        assert after.status_code in (400, 404) or after.json()["data"] == [], path


def test_no_body_can_name_what_another_project_has(shop: Shop) -> None:
    ids = {path.rpartition("/")[2]: names for path, names in shop.ids.items()}
    file, store = ids["files"]["id"], ids["vector_stores"]["id"]
    own = shop.theirs.post("/v1/evals", json=EVAL).json()["id"]
    my_store = shop.theirs.post("/v1/vector_stores", json={}).json()["id"]
    search = {"type": "file_search", "vector_store_ids": [store]}
    asked = {"model": "orders", "input": "hello", "max_output_tokens": 16}
    for path, body in [
        ("/fine_tuning/jobs", {"model": "orders", "training_file": file}),
        ("/fine-tunes", {"model": "orders", "training_file": file}),
        ("/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        ("/responses", {**asked, "previous_response_id": ids["responses"]["id"]}),
        ("/responses", {**asked, "tools": [search]}),
        (f"/evals/{own}/runs", rows({"type": "file_id", "id": file})),
        (f"/vector_stores/{my_store}/files", {"file_id": file}),
        (f"/vector_stores/{my_store}/file_batches", {"file_ids": [file]}),
        ("/vector_stores", {"file_ids": [file]}),
    ]:  # fmt: skip
        said = shop.theirs.post(f"/v1{path}", json=body)
        assert said.status_code in (400, 404), (path, body, said.text)
        assert SECRET not in said.text, path
    crossed = shop.theirs.get(f"/v1/evals/{own}/runs/{ids['evals']['run']}")  # its own evaluation, another's run
    assert crossed.status_code == 404
    assert shop.theirs.get(f"/v1/vector_stores/{my_store}/files/{ids['vector_stores']['file']}").status_code == 404
