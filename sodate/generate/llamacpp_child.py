"""The process in which llama.cpp runs: a server on a socket in a private folder. Started by llamacpp.py, and nothing
imports it. It ends when its standard input does, so with whoever started it, however that ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys

START_SECONDS = 600  # for reading the weights: then the kernel ends it, whatever it is at


def main() -> None:
    """Reads a line of settings, serves, and says so with a line on standard output."""
    import xllamacpp

    asked = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = asked["model"]
    params.hostnames = [asked["socket"]]
    params.n_parallel = asked["slots"]
    params.n_ctx = asked["slots"] * asked["context"]
    params.n_batch = params.n_ubatch = asked["batch"]
    if asked["exact"]:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.swa_full = True  # what a sliding window has left behind is found again for a prompt that begins alike
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in asked["adapters"]]
    params.lora_init_without_apply = True
    params.fit_params = False  # it would choose another context than was asked for
    params.cache_ram_mib = 0  # what its slots hold is the cache; beside them it would take up to 8 GB
    params.sse_ping_interval = 0  # a sign of life that says nothing about the model
    params.verbosity = 1  # errors alone: requests are nobody's business
    signal.alarm(START_SECONDS)
    server = xllamacpp.Server(params)
    signal.alarm(0)
    print(json.dumps({"ready": server.listening_address}), flush=True)
    sys.stdin.read()
    os._exit(0)  # past destructors that wait for requests under way


if __name__ == "__main__":
    main()
