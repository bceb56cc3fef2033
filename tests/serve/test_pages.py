"""The pages over HTTP: who comes in, what each role may, what no other page can send, and that data stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sodate.cli import app
from sodate.core import home
from sodate.core.runs import RunFolder
from sodate.jobs.files import called
from sodate.release import aliases
from sodate.serve.address import told
from sodate.serve.roles import may
from tests.serve.house import entered, house_of, token
from tests.serve.running import Running


@pytest.fixture(scope="module")
def house(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, Any]]]:
    with house_of(tiny_folder, tmp_path_factory.mktemp("pages")) as one:
        yield one


def test_a_link_lets_one_person_in_once(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    done = CliRunner().invoke(app, ["link", "--role", "judge", "--json"])
    url = json.loads(done.stdout)["url"]
    path = url[url.index("/login/") :]
    first, second = server.http(), server.http()
    came = first.get(path)
    cookie = came.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and 'content="0; url=/judge"' in came.text
    assert second.get(path).status_code == 401 and not second.cookies
    assert first.get("/logout").status_code == 405


def test_a_link_to_a_server_that_does_not_run_yet_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    assert "No server runs here yet" in CliRunner().invoke(app, ["link"]).stderr
    with told("127.0.0.1", 8123):
        done = CliRunner().invoke(app, ["link"])
    assert done.stdout.startswith("http://127.0.0.1:8123/login/") and "No server" not in done.stderr


def test_who_is_not_logged_in_is_led_to_the_login_and_back(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    client = server.http()
    answer = client.get("/runs?status=done")
    assert answer.status_code == 303 and answer.headers["location"] == "/login?next=%2Fruns%3Fstatus%3Ddone"
    assert 'value="/"' in client.get("/login", params={"next": "//example.org/"}).text
    assert client.get("/v1/sodate/runs").status_code == 401
    part = client.get("/runs", headers={"hx-request": "true"})
    assert part.status_code == 401 and part.headers["hx-redirect"] == "/login"
    key = json.loads(CliRunner().invoke(app, ["keys", "create", "--role", "own", "--json"]).stdout)
    wrong = client.post("/login", data={"key": key["key"][:-1] + "_", "next": "/runs"})
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    right = client.post("/login", data={"key": key["key"], "next": "/runs", "name": "鈴木"})
    assert right.status_code == 303 and right.headers["location"] == "/runs" and client.get("/runs").status_code == 200
    CliRunner().invoke(app, ["keys", "revoke", key["id"]])
    assert client.get("/runs").status_code == 303  # the session ends with its key


def test_logging_out_ends_the_session_itself(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    client = entered(server, "look")
    kept = dict(client.cookies)
    assert client.post("/logout", data={"csrf": token(client)}).status_code == 303
    assert server.http(cookies=kept).get("/runs").status_code == 303


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        ("look", ["GET /", "GET /runs/x", "GET /v1/sodate/runs", "POST /v1/chat/completions", "POST /logout"],
         ["POST /runs/x/stop", "GET /keys", "POST /v1/files", "GET /v1/files", "POST /versions/x/promote"]),
        ("judge", ["GET /judge", "POST /judge/3f2a9c", "GET /v1/sodate/judge", "POST /logout"],
         ["GET /", "GET /versions", "GET /v1/sodate/versions", "GET /v1/models", "POST /v1/chat/completions",
          "GET /judges", "GET /reports/x"]),
        ("steer", ["POST /runs/x/stop", "POST /v1/files", "POST /versions/x/promote", "POST /judge/x"],
         ["GET /keys", "POST /keys/x/revoke", "GET /v1/sodate/keys"]),
        ("own", ["GET /keys", "POST /keys/x/revoke"], []),
    ],
)  # fmt: skip
def test_each_role_may_what_it_says(role: str, allowed: list[str], refused: list[str]) -> None:
    assert [one for one in allowed if not may(role, *one.split(" ", 1))] == []
    assert [one for one in refused if may(role, *one.split(" ", 1))] == []


def test_a_judge_is_refused_everything_else_by_the_server(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "judge")
    for path in (
        "/",
        "/runs",
        f"/versions/{made['versions'][0]}",
        "/v1/sodate/versions",
        "/v1/models",
        "/openapi.json",
    ):
        assert client.get(path).status_code == 403, path


def test_what_a_session_sends_needs_its_token(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client, other = entered(server, "steer"), entered(server, "steer")
    path, before = f"/versions/{made['versions'][0]}/promote", aliases.moves("csrf@production")
    form = {"alias": "csrf@production", "reason": "because"}
    for given in ({}, {"csrf": "0" * 64}, {"csrf": token(other)}):
        assert client.post(path, data=form | given).status_code == 403
    evil = client.post(path, data=form | {"csrf": token(client)}, headers={"origin": "http://example.org"})
    null = client.post(path, data=form | {"csrf": token(client)}, headers={"origin": "null"})
    named = client.post(path, data=form | {"csrf": token(client)}, headers={"host": "example.org"})
    assert (evil.status_code, null.status_code, named.status_code) == (403, 403, 403)
    wire = client.post("/v1/chat/completions", json={"model": "orders", "messages": [{"role": "user", "content": "a"}]})
    assert wire.status_code == 403 and wire.json()["error"]["param"] == "csrf"
    assert aliases.moves("csrf@production") == before


def pages(made: dict[str, Any]) -> list[str]:
    """The address of every page that can be looked at."""
    runs = [f"/runs/{run}" for run in made["runs"]]
    report = f"/reports/{made['report']}"
    flips = f"{report}/flips?candidate=new&baseline=old&grader=string_check&kind="
    both = f"/reports/compare?report={made['report']}&report={made['report']}"
    file = f"/data/{made['file']}"
    version = f"/versions/{made['versions'][1]}"
    return ["/", "/data", file, f"{file}/rows", f"{file}/rows?line=1&line=9",
            f"/data/sets/{made['dataset']}?only=added", "/ladder", f"/ladder/{made['ladder']}", "/review",
            "/review/next", "/play", "/runs", *runs, f"/runs/compare?run={made['runs'][0]}", "/versions", version,
            f"{version}/gate", "/reports", "/reports/new", f"/reports/running/{made['evaluation']}", report,
            f"{flips}fixed", f"{flips}wrong", both, "/judge", f"/judge/{made['study']}", "/index",
            f"/index/{made['index']}?q=返品", "/keys"]  # fmt: skip


def test_what_comes_from_data_names_and_models_is_text_on_every_page(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "own")
    for path in pages(made):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.text[:500])
        assert "<script>window" not in answer.text and 'onerror="' not in answer.text, path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert re.search(r"<script(?![^>]* src=)|<style| style=|javascript:| on[a-z]+=\"", answer.text) is None, path


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_page_is_in_the_language_that_its_reader_chose(house: tuple[Running, dict[str, Any]], language: str) -> None:
    server, _ = house
    client = entered(server, "look")
    words = {"en": "In production", "ja": "公開中"}
    by_header = client.get("/", headers={"accept-language": f"{language};q=0.9, fr"}).text
    chosen = client.get("/", params={"lang": language}, headers={"accept-language": "en, ja"}).text
    kept = client.get("/", headers={"accept-language": "en" if language == "ja" else "ja"}).text
    for text in (by_header, chosen, kept):
        assert words[language] in text and f'<html lang="{language}">' in text


def test_what_was_measured_by_somebody_who_reads_english_is_read_in_japanese(
    house: tuple[Running, dict[str, Any]],
) -> None:
    server, made = house
    client = entered(server, "look")
    version = f"/versions/{made['versions'][1]}"
    told = {language: client.get(version, params={"lang": language}).text for language in ("en", "ja")}
    assert "Better than the baseline." in told["en"] and "基準より改善しています。" in told["ja"]
    assert "Better than the baseline." not in told["ja"] and "教師あり (sft)" in told["ja"]


def test_a_playground_without_a_model_says_what_to_do(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    names = server.service.names
    before = dict(names)
    names.clear()  # type: ignore[attr-defined]
    try:
        empty = entered(server, "look").get("/play").text
    finally:
        names.update(before)  # type: ignore[attr-defined]
    form = re.compile(r'<form id="play"[^>]* hidden>')
    assert "sodate serve orders" in empty and form.search(empty)
    assert not form.search(entered(server, "look").get("/play").text)


def test_a_page_and_its_json_and_the_command_line_say_the_same(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "own")
    told = client.get("/v1/sodate/overview").json()
    printed = json.loads(CliRunner().invoke(app, ["overview", "--json"]).stdout)
    assert told == printed
    run = client.get(f"/v1/sodate/runs/{made['runs'][0]}").json()["run"]
    assert run == json.loads(CliRunner().invoke(app, ["runs", "show", made["runs"][0], "--json"]).stdout)
    versions = [one["version"] for one in client.get("/v1/sodate/versions").json()["versions"]]
    assert set(versions) == {
        v["version"] for v in json.loads(CliRunner().invoke(app, ["versions", "list", "--json"]).stdout)
    }


def test_another_project_sees_nothing_of_the_command_lines_things(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "steer", project="shop")
    assert client.get("/v1/sodate/runs").json()["runs"] == []
    told = client.get("/v1/sodate/versions").json()
    assert (told["versions"], told["releases"], told["total"]) == ([], [], 0)
    told = client.get("/v1/sodate/overview").json()
    assert (told["production"], told["running"], told["waiting"]) == ([], [], [])
    run = made["runs"][0]
    for path in (f"/runs/{run}", f"/v1/sodate/runs/{run}/curve", f"/runs/{run}/live", f"/runs/compare?run={run}",
                 f"/versions/{made['versions'][0]}"):  # fmt: skip
        assert client.get(path).status_code == 404, path
    stop = client.post(f"/runs/{made['runs'][0]}/stop", data={"csrf": token(client)})
    assert stop.status_code == 404


@pytest.mark.parametrize("path", ["/runs/..%2f..%2fetc", "/runs/%00", "/versions/%2e%2e", "/static/..%2fframe.py",
                                  "/static/pages.css%00", "/nothing", "/runs/x/y/z", "/versions/none@9"])  # fmt: skip
def test_addresses_that_lead_nowhere_end_in_a_page_that_says_so(
    house: tuple[Running, dict[str, Any]], path: str
) -> None:
    server, _ = house
    answer = entered(server, "own").get(path)
    assert 400 <= answer.status_code < 500 and "root:" not in answer.text


def test_the_first_page_with_all_it_loads_is_small(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    client = entered(server, "own")
    loaded, text = 0, client.get("/").text
    for path in ["/", *re.findall(r'(?:src|href)="(/static/[^"]+)"', text)]:
        with client.stream("GET", path, headers={"accept-encoding": "gzip"}) as answer:
            assert answer.status_code == 200, path
            loaded += sum(map(len, answer.iter_raw()))
    assert loaded <= 60_000


def test_a_run_that_has_made_no_step_yet_is_on_the_overview_and_its_page_waits_for_the_first(
    house: tuple[Running, dict[str, Any]],
) -> None:
    server, _ = house
    run = RunFolder.create({"recipe": {"method": "sft", "model": "m", "data": ["x"]}, "base": "m@0"})
    client = entered(server, "look")
    with run.locked():
        assert run.name in client.get("/").text
        assert f'data-live="/runs/{run.name}/live" data-first="yes"' in client.get(f"/runs/{run.name}").text
        run.metric({"step": 1, "steps": 4, "loss": 1.0})
        assert '<span class="done">1</span> / 4' in client.get("/").text
        assert "data-first" not in client.get(f"/runs/{run.name}").text
    run.update(status="done")


def test_live_values_come_as_events_until_the_run_has_ended(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    with entered(server, "look").stream("GET", f"/runs/{made['runs'][0]}/live") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = "".join(stream.iter_text())
    assert json.loads(text.split("data: ", 1)[1].partition("\n")[0])["progress"]["step"] == 400


def test_a_judge_sees_neither_names_nor_versions_and_judges_to_the_end(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "judge", name="青木")
    seen, path = [], f"/judge/{made['study']}"
    assert f'href="{path}"' in entered(server, "own").get(f"{path}/result").text  # no votes yet: where to give one
    while (page := client.get(path).text) and (row := re.search(r'name="row" value="([^"]+)"', page)):
        seen.append(row[1])
        told = client.get(f"/v1/sodate{path}").text
        assert "secret" not in page + told and "old" not in told and "@" not in told.replace("dir=", "")
        form = {"csrf": re.search(r'name="csrf" value="([0-9a-f]+)"', page)[1], "row": row[1]}
        vote = {"skip": "yes"} if len(seen) == 3 else {"vote:正確性": ("A", "B", "tie", "bad")[len(seen) % 4]}
        assert client.post(path, data=form | vote).status_code == 303
        assert len(seen) <= 24
    assert len(set(seen)) == 24
    assert client.get(f"{path}/result").status_code == 404
    assert client.get(f"/v1/sodate{path}/result").status_code == 404
    again = client.get(path, params={"row": seen[0]}).text
    assert 'value="B" required checked' in again
    owner = entered(server, "own")
    told = owner.get(f"/v1/sodate{path}/result").json()
    assert told == json.loads(CliRunner().invoke(app, ["judge", "report", made["study"], "--json"]).stdout)
    assert told["viewpoints"][0]["pairs"][0]["n"] == 23 and owner.get(f"{path}/result").status_code == 200
    bad = {"csrf": token(owner), "row": seen[0], "vote:正確性": "C"}
    assert owner.post(path, data=bad).status_code == 400


def test_the_owner_hands_out_keys_and_links_and_all_of_it_is_in_the_log(house: tuple[Running, dict[str, Any]]) -> None:
    server, _ = house
    owner = entered(server, "own", name="持ち主")
    csrf = token(owner)
    page = owner.post("/keys/create", data={"csrf": csrf, "project": "shop", "role": "look"}).text
    secret = re.search(r"sk-sodate-([0-9a-f]{12})-[0-9A-Za-z_-]{43}", page)
    link = owner.post("/keys/link", data={"csrf": csrf, "role": "judge", "name": "賀茂", "project": "default"}).text
    path = re.search(r"http://[^/]+(/login/[0-9A-Za-z_-]+)", link)[1]
    assert server.http().get(path).status_code == 200
    assert (
        owner.get("/v1/sodate/runs", headers={"cookie": "", "authorization": f"Bearer {secret[0]}"}).status_code == 200
    )
    assert owner.post("/keys/revoke", data={"csrf": csrf, "id": secret[1]}).status_code == 303
    told = owner.get("/v1/sodate/keys").json()
    assert secret[0] not in json.dumps(told) and {"key.created", "key.revoked", "login.link"} <= {
        one["action"] for one in told["audit"]
    }
    someone = next(one for one in told["sessions"] if one["name"] == "賀茂")
    assert owner.post("/keys/end", data={"csrf": csrf, "id": someone["id"]}).status_code == 303
    assert someone["id"] not in {one["id"] for one in owner.get("/v1/sodate/keys").json()["sessions"]}
    assert owner.post("/keys/create", data={"csrf": csrf, "project": "x", "role": "king"}).status_code == 400


def test_a_report_shows_what_was_mended_and_what_was_spoiled(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    client = entered(server, "look")
    about = client.get(f"/v1/sodate/reports/{made['report']}").json()["report"]
    (one,) = about["comparisons"]
    asked = {"candidate": "new", "baseline": "old", "grader": one["grader"]}
    told = {
        kind: client.get(f"/v1/sodate/reports/{made['report']}/flips", params=asked | {"kind": kind}).json()
        for kind in ("fixed", "broken", "wrong", "right")
    }
    assert (told["fixed"]["total"], told["broken"]["total"]) == (one["fixed"], one["broken"])
    assert sum(kind["total"] for kind in told.values()) == about["n"] == 30
    assert all(row["candidate"]["reply"] == row["reference"] for row in told["fixed"]["rows"])
    assert told["wrong"]["rows"] and told["fixed"]["rows"][0]["prompt"].endswith(")")
    page = client.get(f"/reports/{made['report']}/page")
    assert page.status_code == 200 and page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert client.get("/reports/none").status_code == 404


def test_the_rows_of_a_report_do_not_tell_where_their_file_lies(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    asked = {"candidate": "new", "baseline": "old", "grader": "string_check", "kind": "fixed"}
    page = entered(server, "look").get(f"/reports/{made['report']}/flips", params=asked).text
    assert ">held.jsonl:" in page and "work/held.jsonl" not in page


def test_a_search_says_which_words_of_the_question_stand_in_a_passage(house: tuple[Running, dict[str, Any]]) -> None:
    from sodate.api.matching import pieces

    server, made = house
    told = entered(server, "look").get(f"/v1/sodate/index/{made['index']}", params={"q": "返品の送料"}).json()
    marked = {one["text"] for one in told["found"][0]["pieces"] if one["matches"]}
    assert "返品" in marked and "送料" in marked
    assert "".join(one["text"] for one in told["found"][0]["pieces"]) == told["found"][0]["text"]
    assert pieces("ＡＢＣ returns ﬃ", "abc")[0] == {"text": "ＡＢＣ", "matches": True}
    assert pieces("", "x") == []


def test_a_failure_is_corrected_in_place_and_the_correction_counts(house: tuple[Running, dict[str, Any]]) -> None:
    from sodate.learn import review

    server, _ = house
    client = entered(server, "steer", name="鈴木")
    page = client.get("/review/next").text
    about = {key: re.search(rf'name="{key}" value="([^"]*)"', page)[1] for key in ("csrf", "id", "drawn")}
    form = about | {"decision": "correct", "correction": "七日以内です。", "draw": "both"}
    answer = client.post("/review/decide", data=form)
    assert answer.status_code == 303 and answer.headers["location"].endswith("/review/next?cluster=&draw=both")
    told = client.get("/v1/sodate/review/next").json()
    assert told["one"]["id"] != about["id"] and told["progress"]["decisions"]["correct"] == 1
    assert review.progress("default")["decisions"]["correct"] == 1
    assert client.post("/review/decide", data=form | {"decision": "maybe"}).status_code == 400
    foreign = entered(server, "steer", project="shop")
    stolen = form | {"csrf": token(foreign)}
    assert foreign.post("/review/decide", data=stolen).status_code in (400, 404)
    assert foreign.get("/v1/sodate/review").json()["failing"]["exchanges"] == 0


def test_a_dataset_shows_what_is_new_in_it(house: tuple[Running, dict[str, Any]]) -> None:
    server, made = house
    told = entered(server, "look").get(f"/v1/sodate/data/sets/{made['dataset']}", params={"only": "added"}).json()
    assert len(told["change"]["added"]) == 2 and [row["line"] for row in told["rows"]] == [4, 5]
    pieces = told["rows"][0]["turns"][0]["pieces"]
    assert [piece["personal"] for piece in pieces if piece["personal"]] == ["phone"]


def test_an_uploaded_file_is_called_what_its_person_called_it_wherever_a_page_tells_of_it(
    house: tuple[Running, dict[str, Any]],
) -> None:
    server, _ = house
    client = entered(server, "steer", name="aoki")
    csrf = re.search(r'data-csrf="([0-9a-f]{64})"', client.get("/data").text)[1]
    body = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
    files = {"file": ("受注 <2026>.jsonl", body), "purpose": (None, "fine-tune")}
    id = client.post("/v1/files", files=files, headers={"x-csrf-token": csrf}).json()["id"]
    lies = str(home.home() / "files" / f"{id}.jsonl")
    recipe = {"method": "sft", "model": "m", "data": [lies, "mails.jsonl"], "eval": lies}
    run = RunFolder.create({"recipe": recipe, "base": "m@0"})
    run.event("warning", text=f"{lies}:1: the row is short")
    run.update(status="failed", error=f"'{lies}' can't be used, nor can {id}")
    page = client.get(f"/runs/{run.name}").text
    assert str(home.home()) not in page and page.count("受注 &lt;2026&gt;.jsonl") == 4
    assert f"nor can {id}" in page  # an id that stands alone is one that somebody may ask for
    word = "/files/file-" * 100_000
    assert called(word) == word
