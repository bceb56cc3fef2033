"""Other engines behind the server, and this server as the one upstream of another sodate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from sodate.api import serving
from sodate.api.engines import load_by
from sodate.api.loading import load
from sodate.core.engine import Sampling
from sodate.core.errors import SodateError, UsageError
from sodate.core.types import Message
from sodate.library.sources import pull
from tests.generate.fake_server import Fake, chat, fake
from tests.serve.running import running

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[str]:
    """A home of its own with the tiny model in it; its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield pull(str(tiny_folder)).name


@pytest.fixture
def clouds() -> Iterator[Fake]:
    call = {"index": 0, "function": {"name": "look", "arguments": '{"a": 1}'}}
    with fake(chat({"reasoning_content": "hm"}, {"content": "こん"}, {"tool_calls": [call]}), ["gpt"]) as server:
        yield server


def served_by(engine: str, names: list[str]) -> Any:
    service = serving.open_service(names, engine=engine)
    return running(service, None)  # type: ignore[arg-type]


def test_a_gateway_to_a_text_server_hands_on_text_reasoning_calls_and_counts(home: str, clouds: Fake) -> None:
    with served_by(f"upstream:{clouds.url}", ["gpt"]) as server:
        asked: Any = {"model": "gpt", "messages": [{"role": "user", "content": "Q"}], "tools": [TOOL]}
        done = server.client().chat.completions.create(**asked)
        message = done.choices[0].message
        assert message.content == "こん" and message.reasoning_content == "hm"
        assert message.tool_calls[0].function.arguments == '{"a": 1}' and done.choices[0].finish_reason == "tool_calls"
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (11, 7)
        assert clouds.asked[-1][1]["tools"] == [TOOL] and "max_tokens" not in clouds.asked[-1][1]
        for refused in ({"logprobs": True}, {"logit_bias": {"5": 1}}, {"tool_choice": "required"}):
            with pytest.raises(openai.BadRequestError) as caught:
                server.client().chat.completions.create(**asked, **refused)
            assert caught.value.code == "engine_refused"
        with pytest.raises(openai.BadRequestError) as caught:
            server.client().completions.create(model="gpt", prompt="Q")
        assert caught.value.code == "engine_refused"


def test_a_server_upstream_that_fails_is_a_502_without_useless_retries(home: str) -> None:
    with fake(lambda handler, body: handler.reply(401, {"error": {"message": "no key"}}), ["gpt"]) as server, \
         served_by(f"upstream:{server.url}", ["gpt"]) as gateway:  # fmt: skip
        with pytest.raises(openai.APIStatusError) as caught:
            gateway.client().chat.completions.create(model="gpt", messages=[{"role": "user", "content": "Q"}])
        assert caught.value.status_code == 502 and caught.value.code == "upstream_key"
        assert caught.value.response.headers["x-should-retry"] == "false" and len(server.asked) == 1


def test_this_server_upstream_answers_in_ids_as_its_own_engine_does(home: str) -> None:
    """Greedy replies, log-probabilities and the likeliest of torch here, and of sodate serve asked over the wire."""
    prompts = [[Message("user", text)] for text in ("one", "二つ目", "three three")]
    with served_by("torch", [home]) as server:
        (there,) = load_by(f"upstream:{server.url}", [home])
        assert there.engine.details == "token ids" and there.renderer.source != "elsewhere"
        here = load(home)
        for mine, other in zip(*(m.replies(prompts, Sampling(9)) for m in (here, there)), strict=True):
            assert mine.ids == other.ids and mine.finish == other.finish
            said = len(mine.ids) - (mine.finish == "stop")
            assert mine.log_probabilities[:said] == pytest.approx(other.log_probabilities[:said], abs=1e-4)
        there.engine.close()


def test_llama_cpp_behind_the_server_says_what_torch_says(home: str) -> None:
    with served_by("llamacpp", [home]) as server:
        asked: Any = {"model": home, "messages": [{"role": "user", "content": "日本語"}], "temperature": 0}
        done = server.client().chat.completions.create(**asked, max_tokens=8, logprobs=True, top_logprobs=2)
        (mine,) = load(home).replies([[Message("user", "日本語")]], Sampling(8))
        assert done.choices[0].message.content == load(home).renderer.text(mine.ids)
        told = [token.logprob for token in done.choices[0].logprobs.content]
        assert told == pytest.approx(mine.log_probabilities[: len(told)], abs=0.02)
        with pytest.raises(openai.BadRequestError) as caught:
            server.client().chat.completions.create(**asked, response_format={"type": "json_object"})
        assert caught.value.code == "constraint_unsupported"


def test_a_word_that_names_no_engine_and_a_missing_package_are_said(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("lamacpp", "upstream:", "upstream:ftp://x"):
        with pytest.raises(UsageError) as wrong:
            load_by(word, [home])
        assert wrong.value.param == "engine"
    monkeypatch.setattr("sodate.api.engines.find_spec", lambda name: None)
    with pytest.raises(SodateError) as missing:
        load_by("llamacpp", [home])
    assert missing.value.code == "extra_missing" and "sodate[llamacpp]" in missing.value.fix
