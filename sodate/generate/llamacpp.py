"""The engine on llama.cpp: a process of its own over a GGUF file, LoRA adapters switched on request by request.

Its text, templates and samplers' defaults are not used: ids go in, ids come out (library/numbered_gguf.py), and what it
can't do as core/engine.py says is refused by name. This engine chooses the slot of every request, since llama.cpp would
look for known beginnings among all tenants.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gguf.constants import GGMLQuantizationType

from sodate.core.engine import Done, Event, Request, Sampling, Token
from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr
from sodate.generate import admission
from sodate.generate.calls import Call, Calls
from sodate.generate.event_stream import EventStream, Refusal
from sodate.generate.grammar import unsupported
from sodate.generate.llamacpp_process import Process, log_file
from sodate.library.gguf_file import GgufFile, read_gguf
from sodate.library.numbered_gguf import vocabulary_size

SLOTS = 8  # at most
CONTEXT = 8192  # tokens of a slot at most: llama.cpp allocates all of them, and touches them, when it starts
CACHE_BYTES = 1 << 30  # keys and values of all slots
BATCH = 256  # tokens of prompts computed at a time: a request that is let go of is noticed between two
F32 = 0  # GGUF's number for the type
RESTARTS = 3  # processes that may end by themselves within RESTART_SECONDS before no other is started
RESTART_SECONDS = 300.0


@dataclass(slots=True)
class Slot:
    """A place in llama.cpp, and whose ids it holds computed."""

    number: int
    whose: tuple[str, str] = ("", "")  # version and tenant
    ids: list[int] = field(default_factory=list)
    busy: int | None = None  # the number of its request
    used: float = 0.0


class LlamaCpp:
    """core/engine.py's Engine over the GGUF file `weights`, whose vocabulary is numbered. `slots` requests at most are
    under way; None: as many as CACHE_BYTES hold. Each has the model's context, or CONTEXT if that is less."""

    name = "llamacpp"

    def __init__(self, weights: Path, *, slots: int | None = None) -> None:
        about = read_gguf(weights)
        self.weights, self.vocabulary = weights, vocabulary_size(about)
        self.exact = all(tensor.kind == F32 for tensor in about.tensors)  # then keys and values are, too
        kinds = Counter(tensor.kind for tensor in about.tensors if len(tensor.shape) > 1)
        kind = GGMLQuantizationType(max(kinds, key=kinds.__getitem__)).name.lower()
        self.details = f"xllamacpp {version('xllamacpp')}, {kind}"
        self.figures: dict[str, Any] = {"dtype": kind}  # it chooses its threads itself
        own = int(about.metadata[f"{about.architecture}.context_length"])
        self.context_length = min(own, CONTEXT)
        fit = CACHE_BYTES // (self.context_length * _token_bytes(about, 4 if self.exact else 2))
        self._slots = [Slot(number) for number in range(slots or max(1, min(SLOTS, fit)))]
        self.versions: dict[str, Path] = {}  # by name, their adapters
        self._process: Process | None = None
        self._ended: list[float] = []  # when processes ended by themselves
        self._calls = Calls(self._failed)

    # ── the protocol ─────────────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, request: Request) -> None:
        admission.check(request, self.vocabulary, self.context_length, self.versions)
        if request.constraint is not None:
            raise unsupported(tr("the engine llamacpp holds replies to no form; torch does",
                                 "エンジン llamacpp は形式を守らせません。torch なら可能です"))  # fmt: skip
        _check(request.sampling)
        slot = self._slot_for(request)
        process = self._started()
        known = 0 if slot.whose != (request.version, request.tenant) else _shared(slot.ids, request.prompt)
        body = self._body(request, slot, known)
        slot.whose, slot.ids, slot.busy = (request.version, request.tenant), list(request.prompt), request.number
        self._calls.begin(request.number, lambda call: _answer(call, process, request, body))

    def step(self) -> list[Event]:
        events = self._calls.step()
        for event in events:
            slot = self._at(event.number)
            if isinstance(event, Token):
                slot.ids.append(event.id)
            else:
                self._free(slot, known=event.error is None)
        return events

    def cancel(self, number: int) -> None:
        self._calls.cancel(number)
        for slot in self._slots:
            if slot.busy == number:
                self._free(slot)

    def close(self) -> None:
        self._calls.close()
        for slot in self._slots:
            slot.busy = None
        self._end_process()

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_version(self, name: str, adapter: Path) -> None:
        """Serves the LoRA adapter in a GGUF file beside the base and others. llama.cpp reads adapters when it starts:
        it is started anew. SodateError `busy` while replies are under way."""
        self._idle(name)
        self.versions[name] = adapter
        self._end_process()

    def remove_version(self, name: str) -> None:
        """Lets go of a version; SodateError `busy` while replies are under way."""
        self._idle(name)
        del self.versions[name]
        self._end_process()

    def _idle(self, name: str) -> None:
        if len(self._calls):
            raise SodateError(
                tr(f"{name} has to wait: llama.cpp still answers.",
                   f"llama.cpp が応答中です。{name} は後にしてください。"),
                tr("Let its replies end first.", "返答が終わるのを待ってください。"),
                code="busy",
            )  # fmt: skip

    # ── slots ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _slot_for(self, request: Request) -> Slot:
        """The free slot that has most of the prompt computed for this version and tenant, else the longest unused."""
        free = [slot for slot in self._slots if slot.busy is None]
        if not free:
            raise SodateError(
                tr("The engine is busy: as many replies are under way as it has room for.",
                   "エンジンは混雑しています。これ以上の返答を同時に作れません。"),
                tr("Ask again in a moment.", "少し待ってからもう一度試してください。"),
                code="busy",
            )  # fmt: skip
        own = [slot for slot in free if slot.whose == (request.version, request.tenant)]
        best = max(own, key=lambda slot: _shared(slot.ids, request.prompt), default=None)
        if best is not None and _shared(best.ids, request.prompt) > len(request.prompt) // 4:
            return best
        return min(free, key=lambda slot: slot.used)

    def _at(self, number: int) -> Slot:
        return next(slot for slot in self._slots if slot.busy == number)

    def _free(self, slot: Slot, known: bool = True) -> None:
        slot.busy, slot.used = None, time.monotonic()
        if not known:
            slot.ids = []

    # ── the process ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _started(self) -> Process:
        if self._process is not None and self._process.alive:
            return self._process
        now = time.monotonic()
        if self._process is not None:
            self._ended = [*(at for at in self._ended if at > now - RESTART_SECONDS), now]
            self._end_process()
        if len(self._ended) > RESTARTS:
            raise self._failed(None)
        self._process = Process({
            "model": str(self.weights.absolute()), "slots": len(self._slots), "context": self.context_length,
            "batch": BATCH, "exact": self.exact, "threads": _threads(),
            "adapters": [str(path.absolute()) for path in self.versions.values()],
        })  # fmt: skip
        return self._process

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        for slot in self._slots:
            slot.ids = []

    def _failed(self, error: Exception | None) -> SodateError:
        """What a connection that ended means. One that was silent for too long is of a process that hangs."""
        if isinstance(error, Refusal):
            said = error.body.get("error", {}).get("message", "") if isinstance(error.body, dict) else error.body
            why = tr(f"llama.cpp refused the request: {said}", f"llama.cpp がリクエストを拒否しました: {said}")
        elif isinstance(error, TimeoutError):
            why = tr("llama.cpp hung and was ended", "llama.cpp が応答しなくなったため終了させました")
            if self._process is not None:
                self._process.kill()
        else:
            why = tr("llama.cpp ended by itself", "llama.cpp が予期せず終了しました")
            if self._process is not None:
                self._process.ending()
        return SodateError(
            tr(f"{en(why)}.", f"{ja(why)}。"),
            tr(f"Its log is {log_file()}.", f"ログは {log_file()} にあります。"),
            code="engine_failed",
        )  # fmt: skip

    def _body(self, request: Request, slot: Slot, known: int) -> dict[str, Any]:
        """The request as llama.cpp's /completion takes it, every default of its samplers overridden."""
        one = request.sampling
        room = self.context_length - len(request.prompt)
        return {
            "prompt": list(request.prompt), "n_predict": min(one.max_new_tokens, room), "stream": True,
            "return_tokens": True, "return_progress": True, "id_slot": slot.number, "cache_prompt": known > 0,
            "temperature": one.temperature, "top_p": one.top_p, "samplers": ["temperature", "top_p"],
            "top_k": 0, "min_p": 0.0, "seed": _seed(one), "n_probs": max(1, one.top_logprobs),
            "post_sampling_probs": _drawn_elsewhere(one),
            # Every adapter by name: [] would leave on what was on.
            "lora": [{"id": i, "scale": float(name == request.version)} for i, name in enumerate(self.versions)],
        }  # fmt: skip


def _answer(call: Call, process: Process, request: Request, body: dict[str, Any]) -> Iterator[Event]:
    stream, cached, number = call.over(EventStream(process.connection)), 0, request.number
    for event in stream.events("/completion", body, {}):
        if "prompt_progress" in event:
            cached = int(event["prompt_progress"]["cache"])
        elif "error" in event:
            raise Refusal(500, event, {})
        elif event["stop"]:
            yield Done(number, "length", cached)
            return
        else:
            for told in event.get("completion_probabilities", ()):
                yield (token := _token(number, told, request.sampling, cached))
                if token.id in request.stop_ids:
                    yield Done(number, "stop", cached)
                    return  # and the connection is closed, which ends it there
    raise ConnectionResetError


def _token(number: int, told: dict[str, Any], sampling: Sampling, cached: int) -> Token:
    def value(one: dict[str, Any]) -> float:
        return float(one["logprob"]) if "logprob" in one else math.log(max(one["prob"], 1e-45))

    likeliest = told.get("top_logprobs", told.get("top_probs", ()))[: sampling.top_logprobs]
    top = tuple((int(one["id"]), value(one)) for one in likeliest)
    return Token(number, int(told["id"]), value(told), top, cached)


def _check(sampling: Sampling) -> None:
    """Raises SodateError `engine_refused` for what llama.cpp does otherwise than core/engine.py says."""
    if sampling.presence_penalty or sampling.frequency_penalty:
        why = tr("llama.cpp counts the prompt's tokens as said, too", "llama.cpp はプロンプトのトークンも数えます")
        raise refused("frequency_penalty" if sampling.frequency_penalty else "presence_penalty", why)
    if sampling.bias:
        why = tr("llama.cpp leaves it out of the log-probabilities", "llama.cpp の対数確率に反映されません")
        raise refused("logit_bias", why)


def refused(param: str, why: str) -> SodateError:
    return SodateError(
        tr(f"The engine llamacpp refuses {param}: {en(why)}.",
           f"エンジン llamacpp では {param} を使えません。{ja(why)}。"),
        tr("Leave it out, or use --engine torch.", "外すか、--engine torch を使ってください。"),
        code="engine_refused", param=param,
    )  # fmt: skip


def _drawn_elsewhere(sampling: Sampling) -> bool:
    """Whether tokens are drawn from another distribution than the model's own, so that its probabilities count."""
    return sampling.temperature > 0 and (sampling.temperature != 1 or sampling.top_p < 1)


def _seed(sampling: Sampling) -> int:
    """32 bits of (seed, stream): what llama.cpp draws is reproducible, and not what torch draws."""
    digest = hashlib.sha256(f"{sampling.seed} {sampling.stream}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x7FFFFFFF  # all ones would mean a random one


def _threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def _shared(known: Sequence[int], prompt: Sequence[int]) -> int:
    """Ids that both begin with."""
    most = min(len(known), len(prompt))
    return next((i for i in range(most) if known[i] != prompt[i]), most)


def _token_bytes(about: GgufFile, each: int) -> int:
    """Bytes of one token's keys and values, `each` a number."""

    def number(key: str, default: int = 0) -> int:
        value = about.metadata.get(f"{about.architecture}.{key}", default)
        return max(value) if isinstance(value, list) else int(value)

    heads = number("attention.head_count", 1)
    size = number("attention.key_length") or number("embedding_length") // heads
    return 2 * each * number("block_count") * number("attention.head_count_kv", heads) * size
