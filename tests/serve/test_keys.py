"""Keys: told once, kept as hashes, ended for good; wrong ones are slowed down, right ones are not."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import httpx
import openai
import pytest
from typer.testing import CliRunner

from sodate.cli import app
from sodate.core.errors import UsageError
from sodate.serve import keys, server
from sodate.serve.settings import Settings
from tests.serve.running import Running, running, service_of


def make(*words: str) -> dict[str, str]:
    done = CliRunner().invoke(app, ["keys", "create", *words, "--json"])
    assert done.exit_code == 0
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def guarded(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server that asks for keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("keys")))
        with running(*service_of(tiny_folder), auth=True) as one:
            yield one


def test_a_key_is_told_once_and_only_its_hash_is_kept(home: Path) -> None:
    made = make("--project", "shop")
    assert set(made) == {"key", "id", "project"} and made["project"] == "shop"
    for file in home.iterdir():
        assert made["key"][-16:].encode() not in file.read_bytes()
    listed = CliRunner().invoke(app, ["keys", "list", "--json"])
    assert made["key"] not in listed.stdout and json.loads(listed.stdout)[0]["id"] == made["id"]
    with sqlite3.connect(home / "sodate.db") as raw:
        ((digest,),) = raw.execute("SELECT digest FROM api_keys")
    raw.close()
    assert len(digest) == 64


@pytest.mark.parametrize("per_minute", [0, 10**30])
def test_a_rate_that_no_database_holds_is_refused(home: Path, per_minute: int) -> None:
    with pytest.raises(UsageError, match="minute") as refused:
        keys.create("shop", per_minute)
    assert refused.value.param == "per_minute"


def test_a_key_passes_until_it_is_revoked(home: Path) -> None:
    made = make()
    assert keys.check(made["key"]).project == "default"
    assert CliRunner().invoke(app, ["keys", "revoke", made["id"]]).exit_code == 0
    assert keys.check(made["key"]) is None
    with pytest.raises(UsageError, match="no key"):
        keys.revoke("nobody")


@pytest.mark.parametrize("change", [lambda k: k[:-1] + ("A" if k[-1] != "A" else "B"), lambda k: k + "x", lambda k: ""])
def test_a_key_that_is_nearly_right_is_wrong(home: Path, change) -> None:
    assert keys.check(change(make()["key"])) is None


def test_requests_without_a_valid_key_get_401_and_an_envelope(guarded: Running) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        guarded.client("sk-wrong").models.list()
    assert refused.value.code == "invalid_api_key" and refused.value.request_id
    with guarded.http() as http:
        for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Basic abc"}):
            assert http.get("/v1/models", headers=headers).status_code == 401
        for path in ("/healthz", "/readyz", "/metrics"):
            assert http.get(path).status_code == 200


def test_a_key_from_the_command_line_opens_the_server(guarded: Running) -> None:
    assert next(m.id for m in guarded.client(make()["key"]).models.list()) == "orders@1"


def test_whoever_guesses_is_stopped_and_whoever_knows_is_not(guarded: Running) -> None:
    right = make()["key"]
    with guarded.http() as http:
        assert http.get("/v1/models", headers={"authorization": f"Bearer {right}"}).status_code == 200
        guesses = [http.get("/v1/models", headers={"authorization": f"Bearer sk-{n}"}) for n in range(40)]
        assert {answer.status_code for answer in guesses} == {401, 429}
        assert guesses[-1].status_code == 429 and guesses[-1].json()["error"]["code"] == "rate_limit_exceeded"
        assert http.get("/v1/models", headers={"authorization": f"Bearer {right}"}).status_code == 200


def test_a_project_has_its_own_rate(guarded: Running) -> None:
    slow, other = make("--project", "slow", "--per-minute", "3"), make("--project", "other")
    rates = keys.Rates()
    assert [rates.allow("a", 3) for _ in range(4)] == [True, True, True, False] and rates.allow("b", 3)
    assert keys.check(slow["key"]).per_minute == 3 and keys.check(other["key"]).per_minute == keys.PER_MINUTE


def test_a_server_for_others_needs_keys_and_an_open_one_stays_on_this_machine(home: Path) -> None:
    with pytest.raises(UsageError, match="no key yet"):
        server.check(Settings(host="0.0.0.0"))
    with pytest.raises(UsageError, match="this machine alone"):
        server.check(Settings(host="0.0.0.0", auth=False))
    make()
    server.check(Settings(host="0.0.0.0"))
    server.check(Settings(auth=False))


@pytest.mark.parametrize("headers", [
    {"host": "example.org"}, {"host": "example.org:8000"}, {"origin": "null"},
    {"origin": "http://example.org"}, {"origin": "http://127.0.0.1:1"},
])  # fmt: skip
def test_other_hosts_and_origins_are_sent_away(served: Running, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{served.url}/v1/models", headers=headers)
    assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden"
    assert answer.headers["x-should-retry"] == "false"


def test_its_own_pages_and_names_pass(served: Running) -> None:
    port = served.url.rpartition(":")[2]
    for headers in ({"origin": served.url}, {"host": f"localhost:{port}"}, {"host": f"[::1]:{port}"}):
        assert httpx.get(f"{served.url}/v1/models", headers=headers).status_code == 200
