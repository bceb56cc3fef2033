"""llama.cpp behind the protocol, over tiny models: torch is the oracle of what it says."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sodate.adapt.lora import LoraConfig
from sodate.core.engine import Constraint, Done, Request, Sampling
from sodate.core.errors import SodateError
from sodate.core.files import read_json
from sodate.generate import llamacpp_process
from sodate.generate.engine import numbered, run
from sodate.generate.llamacpp import LlamaCpp
from sodate.generate.torch_engine import TorchEngine
from sodate.library.gguf_write import write_lora, write_model
from sodate.library.weights import read_tensors
from tests.families import make
from tests.generate.test_versions import ALL, base, plant, ready

KINDS = {
    "plain": LoraConfig(4, 12.0, ALL),
    "stabilised": LoraConfig(8, 16.0, ("down_proj", "q_proj"), rslora=True),
}
PROMPTS = [[5, 9, 33], [7] * 20, list(range(10, 45)), [5, 9, 33, 12]]


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # its threads wait for each other without sleeping


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A folder with a model as transformers has it, `model.gguf`, and two adapters in both forms."""
    folder = tmp_path_factory.mktemp(request.param)
    layers = {"num_hidden_layers": 6, "layer_types": ["sliding_attention"] * 5 + ["full_attention"]}
    make(request.param, **(layers if request.param == "gemma3" else {})).save_pretrained(folder)
    tensors = read_tensors(folder / "model.safetensors")
    write_model(tensors, folder, folder / "model.gguf", format="f32", template=None)
    adapters = {name: plant(folder, config, seed) for seed, (name, config) in enumerate(KINDS.items())}
    for name, adapter in adapters.items():
        write_lora(adapter, read_json(folder / "config.json"), folder / f"{name}.gguf")
    return folder, adapters


@pytest.fixture(scope="module")
def engine(written: tuple[Path, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    folder, adapters = written
    made = LlamaCpp(folder / "model.gguf", slots=3)
    for name in adapters:
        made.add_version(name, folder / f"{name}.gguf")
    yield made
    made.close()


def close(written: tuple[Path, dict[str, Path]]) -> float:
    """How near its log-probabilities are, in nats: llama.cpp reads Gemma's activation from a table in 16 bits."""
    return 0.1 if "gemma" in written[0].name else 0.01


def oracle(written: tuple[Path, dict[str, Path]]) -> TorchEngine:
    folder, adapters = written
    made = TorchEngine(ready(base(folder)))
    for name, adapter in adapters.items():
        made.add_version(name, adapter)
    return made


def replies(engine: Any, sampling: Sampling, version: str = "", first: int = 0) -> list[Any]:
    return run(engine, numbered(PROMPTS, [1], sampling, first=first, version=version), 4)


def refused(engine: Any, request: Request) -> tuple[str, str | None]:
    with pytest.raises(SodateError) as caught:
        engine.admit(request)
    return caught.value.code, caught.value.param


def until_done(engine: Any, number: int) -> Done:
    for _ in range(2000):
        for event in engine.step():
            if isinstance(event, Done) and event.number == number:
                return event
    raise AssertionError("it does not end")


def test_greedy_replies_and_their_probabilities_are_torchs(
    written: tuple[Path, dict[str, Path]], engine: LlamaCpp
) -> None:
    """Of the base and of each adapter, rank-stabilised among them."""
    theirs = oracle(written)
    for number, version in enumerate(("", "plain", "stabilised", "")):
        a = replies(engine, Sampling(12), version, first=100 * number)
        b = replies(theirs, Sampling(12), version, first=100 * number)
        assert [r.ids for r in a] == [r.ids for r in b]
        for mine, other in zip(a, b, strict=True):
            assert mine.log_probabilities == pytest.approx(other.log_probabilities, abs=close(written))
            assert mine.finish == other.finish


def test_a_drawn_token_tells_the_probability_it_was_drawn_with(
    written: tuple[Path, dict[str, Path]], engine: LlamaCpp
) -> None:
    """After temperature and top_p, in that order; the same seed draws the same reply."""
    sampling = Sampling(6, temperature=0.6, top_p=0.8, seed=11, top_logprobs=3)
    (first, *_), again = replies(engine, sampling), replies(engine, sampling, first=10)
    assert first.ids == again[0].ids
    model = AutoModelForCausalLM.from_pretrained(written[0])
    with torch.inference_mode():
        logits = model(torch.tensor([[*PROMPTS[0], *first.ids]])).logits[0, len(PROMPTS[0]) - 1 : -1].double() / 0.6
    for row, token, told in zip(logits, first.ids, first.log_probabilities, strict=True):
        p, order = row.softmax(-1).sort(descending=True)
        inside = order[: int((p.cumsum(-1) - p < 0.8).sum())]
        assert token in inside
        assert told == pytest.approx(
            math.log(float(row.softmax(-1)[token] / row.softmax(-1)[inside].sum())), abs=close(written)
        )


def test_what_it_cannot_do_as_asked_is_refused_by_name(engine: LlamaCpp) -> None:
    def asked(prompt: list[int] = [5, 6], version: str = "", constraint: Any = None, **sampling: Any) -> Request:  # noqa: B006
        return Request(900, prompt, [1], Sampling(4, **sampling), version, constraint)

    assert refused(engine, asked(presence_penalty=0.5)) == ("engine_refused", "presence_penalty")
    assert refused(engine, asked(frequency_penalty=0.5)) == ("engine_refused", "frequency_penalty")
    assert refused(engine, asked(bias={7: 2.0})) == ("engine_refused", "logit_bias")
    assert refused(engine, asked(constraint=Constraint("regex", "a")))[0] == "constraint_unsupported"
    assert refused(engine, asked(version="other"))[0] == "unknown_version"
    assert refused(engine, asked(prompt=[]))[0] == "invalid_prompt"
    assert refused(engine, asked(prompt=[engine.vocabulary]))[0] == "invalid_prompt"
    assert refused(engine, asked(prompt=[5] * engine.context_length))[0] == "context_length_exceeded"


def test_a_beginning_is_found_again_for_its_own_version_and_tenant_alone(engine: LlamaCpp) -> None:
    prompt = [(7 * i) % 40 + 3 for i in range(60)]
    cached = []
    for number, (version, tenant) in enumerate([("", "a"), ("", "a"), ("", "b"), ("plain", "a")]):
        engine.admit(Request(200 + number, prompt, [1], Sampling(2), version, tenant=tenant))
        cached.append(until_done(engine, 200 + number).cached)
    assert cached[0] == 0 and cached[1] >= 50 and cached[2:] == [0, 0]


def test_slots_are_counted_and_a_cancelled_request_frees_its_own(engine: LlamaCpp) -> None:
    for number in range(300, 303):
        engine.admit(Request(number, [5, number % 30 + 3], [], Sampling(80)))  # nothing is heard before a step
    assert refused(engine, Request(303, [5, 6], [], Sampling(2)))[0] == "busy"
    engine.cancel(301)
    engine.admit(Request(303, [5, 6], [], Sampling(2)))
    seen = set()
    while not {300, 302, 303} <= seen:
        events = engine.step()
        assert all(event.number != 301 for event in events)
        seen |= {event.number for event in events if isinstance(event, Done)}


def test_a_stop_id_ends_a_reply_and_is_its_last_token(engine: LlamaCpp) -> None:
    (free, *_) = replies(engine, Sampling(8), first=400)
    stop = free.ids[3]
    (held,) = run(engine, [Request(410, PROMPTS[0], [stop], Sampling(8))], 1)
    assert held.ids == free.ids[: free.ids.index(stop) + 1] and held.finish == "stop"
    assert len(held.log_probabilities) == len(held.ids)


@pytest.fixture
def own(written: tuple[Path, dict[str, Path]]) -> Iterator[LlamaCpp]:
    """An engine whose process may be hurt."""
    made = LlamaCpp(written[0] / "model.gguf", slots=2)
    yield made
    made.close()


def stopped(engine: LlamaCpp, number: int) -> int:
    """Asks a process that stands still; its number."""
    pid = engine._started().pid
    os.kill(pid, signal.SIGSTOP)
    engine.admit(Request(number, [5, 9], [], Sampling(40)))
    return pid


def answers(engine: LlamaCpp, number: int) -> bool:
    (reply,) = run(engine, [Request(number, [5, 9], [], Sampling(4))], 1)
    return len(reply.ids) == 4


def test_a_process_that_dies_is_an_event_and_the_next_request_has_a_new_one(own: LlamaCpp) -> None:
    os.kill(stopped(own, 1), signal.SIGKILL)
    done = until_done(own, 1)
    assert done.error == "engine_failed" and done.cause is not None and "ended by itself" in done.cause.message
    assert answers(own, 2)


def test_one_that_dies_again_and_again_is_not_started_for_ever(own: LlamaCpp) -> None:
    for number in range(4):
        os.kill(stopped(own, number), signal.SIGKILL)
        assert until_done(own, number).error == "engine_failed"
    assert refused(own, Request(9, [5], [], Sampling(2)))[0] == "engine_failed"


def test_a_process_that_hangs_is_ended(own: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_process, "SILENCE", 0.5)
    hung = stopped(own, 1)
    done = until_done(own, 1)
    assert done.cause is not None and "hung" in done.cause.message
    assert answers(own, 2) and own._started().pid != hung


def test_a_file_that_llama_cpp_refuses_is_a_sentence(written: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    """An adapter of another model: the process ends while it starts."""
    other = tmp_path / "adapter.gguf"
    other.write_bytes((written[0] / "plain.gguf").read_bytes()[:200])
    engine = LlamaCpp(written[0] / "model.gguf", slots=1)
    engine.add_version("broken", other)
    assert refused(engine, Request(1, [5], [], Sampling(2)))[0] == "engine_failed"
    engine.close()


def test_the_process_ends_with_whoever_started_it(written: tuple[Path, dict[str, Path]]) -> None:
    code = (
        "import os, signal; from pathlib import Path; from sodate.generate.llamacpp import LlamaCpp\n"
        "from sodate.core.engine import Request, Sampling\n"
        f"e = LlamaCpp(Path({str(written[0] / 'model.gguf')!r}), slots=1); e.admit(Request(1, [5], [], Sampling(2)))\n"
        "print(e._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    child = Path(f"/proc/{int(said.stdout)}")
    for _ in range(200):
        if not child.exists() or "\nState:\tZ" in (child / "status").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("it lives on")
