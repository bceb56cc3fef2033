"""What llama.cpp makes of an exported GGUF file: run as a process of its own, since a file that it dislikes may end it.

It gets a job (agreement.py), serves the file to itself on a socket in a private folder, asks as a client would, and
writes what came.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp

TOLD = 16_384  # likeliest tokens that it is asked for at each place
WHOLE = 1000.0  # bias in nats, with which a token comes whatever the model thinks


class Local(http.client.HTTPConnection):
    """A connection to a socket that is a file, which nobody else on this machine can open."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=600)
        self._path = path

    def connect(self) -> None:
        """Opens the file, in place of a host and a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def server(job: dict[str, Any], path: str) -> Any:
    """llama.cpp with the file of the job, and an adapter over it if there is one."""
    params = xllamacpp.CommonParams()
    params.model.path = job["gguf"]
    params.hostnames = [path]
    params.n_parallel = 1
    params.n_ctx = job["context"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = job["threads"]
    params.swa_full = True  # else what a sliding window has left behind is computed again for every question
    params.warmup = params.fit_params = False
    params.use_jinja = True
    if job["exact"]:  # its usual attention rounds to 16 bits, which is not the file's doing
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.verbosity = 1  # errors alone
    if job["lora"] is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(job["lora"], 1.0)]
    return xllamacpp.Server(params)


def main(job: dict[str, Any], answers: Path) -> None:
    """Writes answers.json and answers.f32 (positions, V), where tokens that were not told are NaN."""
    path = str(answers / "llama.sock")
    serving = server(job, path)  # noqa: F841 (it serves as long as it is held)
    connection = Local(path)

    def ask(path: str, **body: Any) -> dict[str, Any]:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"{path}: {said}")
        return said  # type: ignore[no-any-return]

    def complete(prompt: list[int], limit: int, **more: Any) -> dict[str, Any]:
        settings = {"temperature": 0, "n_predict": limit, "return_tokens": True, "cache_prompt": True}
        return ask("/completion", prompt=prompt, **settings, **more)

    ids = []
    for turns, tools in job["asked"]:
        text = ask(
            "/apply-template", messages=[_as_sent(turn) for turn in turns], **({"tools": tools} if tools else {})
        )
        ids.append(ask("/tokenize", content=text["prompt"], add_special=True, parse_special=True)["tokens"])
    texts = [ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"] for text in job["texts"]]
    replies = [complete(prompt, job["limit"])["tokens"] for prompt in job["prompts"]]
    forced = [complete(job["prompts"][0], 4, logit_bias=[[stop, WHOLE]]) for stop in job["stops"]]
    stops = [made["stop_type"] == "eos" and not made["content"] for made in forced]
    with (answers / "answers.f32").open("wb") as handle:
        for row in job["positions"]:
            # A token that is part of a character only is told without its distribution: a whole one is made to come.
            told = complete(row, 1, n_probs=min(TOLD, job["vocabulary"]), logit_bias=[[job["whole"], WHOLE]])
            likeliest = told["completion_probabilities"][0]["top_logprobs"]
            found = np.full(job["vocabulary"], np.nan, np.float32)
            found[[one["id"] for one in likeliest]] = [one["logprob"] for one in likeliest]
            found.tofile(handle)
    (answers / "answers.json").write_text(json.dumps({"ids": ids, "texts": texts, "replies": replies, "stops": stops}))


def _as_sent(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as it comes over OpenAI's wire: arguments of calls are text."""
    calls = [
        call | {"function": call["function"] | {"arguments": _text(call["function"]["arguments"])}}
        for call in turn.get("tool_calls", ())
    ]
    return turn | ({"tool_calls": calls} if calls else {})


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[1]).parent)
    os._exit(0)  # past destructors that wait for requests under way
