"""Memory: the estimate's arithmetic, what a machine leaves, recomputation to the last bit, a run that fits itself."""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from sodate.adapt import lora
from sodate.core.errors import SodateError, UsageError
from sodate.core.recipe_values import amount_bytes
from sodate.kernels.linear_cross_entropy import ELSEWHERE, THINNEST, TILE
from sodate.library.store import ModelEntry
from sodate.model import forecast, fused, gradient_checkpointing, memory
from sodate.model.forward import score
from sodate.render import trie
from sodate.render.renderer import Rendered
from sodate.train import fit_into_memory
from sodate.train.loop import MicroBatchLoss, Plan
from tests import worker
from tests.families import VOCABULARY, pair
from tests.farm import Farm, adapter_bytes, curve, plant, the_run, write_rows

FACTS = forecast.ModelSize(
    parameters=2_000_000, block_parameters=1_000_000, blocks=10, width=5000, vocabulary=1000, hidden=64
)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return plant(tmp_path_factory.mktemp("farm"))


def test_the_estimate_is_the_sum_that_the_module_says() -> None:
    known: dict[str, Any] = {"weights": 8_000_000, "trained": 1_000_000, "element": 4, "tokens": 500}
    kept = memory.need(FACTS, **known, recompute=False, process=memory.PROCESS_BYTES)
    assert (kept.weights, kept.gradients, kept.optimizer) == (8_000_000, 1_000_000, 2_000_000)
    logits = 4 * 3 * ELSEWHERE * (TILE // 500) * 500
    assert kept.activations == int(4 * 500 * memory.SAVED * 5000) + logits
    assert kept.total == memory.PROCESS_BYTES + 11_000_000 + kept.activations
    again = memory.need(FACTS, **known, recompute=True)
    assert again.activations == 4 * 500 * int(10 * 64 + memory.SAVED_ONE * 500) + logits
    assert memory.need(FACTS, **known, recompute=True).process == 0
    decoding = memory.need(FACTS, **known, recompute=True, decoding=10**9)
    assert decoding.activations == 10**9  # replies are made while nothing is kept for backward
    # The head holds logits of a few tokens of the vocabulary alone.
    many = memory.activations(FACTS, 10**6, 4, False)
    assert many == int(4 * 10**6 * memory.SAVED * 5000) + 4 * 3 * ELSEWHERE * THINNEST * 10**6


@pytest.mark.parametrize(
    ("text", "count"), [("4GB", 4 * 10**9), ("3.5 gib", 3.5 * 2**30), ("800MB", 8e8), ("1 TB", 1e12), (None, None)]
)
def test_amounts_of_memory_are_read(text: str | None, count: float | None) -> None:
    assert amount_bytes(text) == count


@pytest.mark.parametrize("text", ["4", "GB", "four GB", "4KB", "", "infGB", "0 GB", "-1GB", "1..5GB", "9" * 400 + "GB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an amount of memory"):
        amount_bytes(text)


def machine(root: Path, cgroup: str, **files: str) -> Path:
    """A root folder with the kernel's files: 8 GB free, 1 GB of it ours already."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text("VmRSS:\t  2000000 kB\nRssAnon:\t 1000000 kB\n")
    (root / "proc/meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:  8000000 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_what_a_machine_leaves_is_the_least_of_its_own_and_its_control_groups(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    bare = machine(tmp_path / "bare", "")
    assert memory.available(cpu, bare) == 9_000_000 * 1024
    inner = {"a__b__memory_dot_max": "max\n", "a__b__memory_dot_current": "5\n", "a__b__memory_dot_stat": "anon 5\n"}
    outer = {"a__memory_dot_max": "3000000000\n", "a__memory_dot_current": "1500000000\n",
             "a__memory_dot_stat": "anon 5\ninactive_file 500000000\n"}  # fmt: skip
    assert memory.available(cpu, machine(tmp_path / "v2", "0::/a/b\n", **inner, **outer)) == 2 * 10**9 + 1_024_000_000
    first = {"memory__memory_dot_limit_in_bytes": "4000000000\n", "memory__memory_dot_usage_in_bytes": "1000000000\n",
             "memory__memory_dot_stat": "total_inactive_file 0\n"}  # fmt: skip
    # In a container the path is the host's; only the root of the hierarchy is there.
    assert memory.available(cpu, machine(tmp_path / "v1", "4:memory:/host/x\n", **first)) == 3 * 10**9 + 1_024_000_000


@pytest.mark.parametrize("adapter", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_recomputed_blocks_give_the_same_loss_and_gradients_to_the_last_bit(
    family: str, adapter: bool, tmp_path: Path
) -> None:
    model, _ = pair(family, tmp_path)
    if adapter:
        lora.add(model, lora.LoraConfig(4, 8.0, lora.all_targets(model)), 0)
        fused.replace_modules(model, torch.float32)
    draw = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad or not adapter)
        if parameter.requires_grad:
            parameter.data.add_(torch.randn(parameter.shape, generator=draw) * 0.1)
    head = torch.randint(3, VOCABULARY, (9,), generator=draw).tolist()
    packed = trie.build([Rendered([*head, n, n + 1, 5], [0.0] * 9 + [1.0] * 3) for n in (7, 11, 23)])
    kept: list[int] = []
    found = []
    for _ in range(2):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            loss = score(model, packed).weighted_sum()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
        assert all(gradient is not None for gradient in gradients.values())
        found.append((loss.item(), gradients, sum(kept)))
        kept.clear()
        model.zero_grad(set_to_none=True)
        gradient_checkpointing.enable(model)
        gradient_checkpointing.enable(model)  # twice is once
    (loss, gradients, most), (again, remade, fewer) = found
    assert loss == again and all(torch.equal(gradients[name], remade[name]) for name in gradients)
    assert fewer < most / 3


class Fixed:
    """A method whose micro-batches are all as large as they may be; it remembers what was computed."""

    rows = 64
    micro_tokens = 0

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.computed: list[int] = []

    def heaviest(self, steps: Iterator[Sequence[int]]) -> tuple[int, Callable[[], MicroBatchLoss]]:
        assert [len(rows) for rows in steps][:2] == [8, 8]

        def compute() -> MicroBatchLoss:
            self.computed.append(self.micro_tokens)
            torch.rand(3)
            return MicroBatchLoss(sum(p.sum() for p in self.model.parameters()), 0, 0, 0)  # type: ignore[arg-type]

        return self.micro_tokens, compute


def measured_as(needed: int | Callable[[int], int], method: Fixed) -> Callable[[Any], int]:
    """What `memory.peak` says after a micro-batch."""
    return lambda device: needed(method.micro_tokens) if callable(needed) else needed


PLAN = Plan(
    steps=16, batch_size=8, shuffle=True, seed=0, lr=1.0, schedule="linear", warmup_steps=0, weight_decay=0.0,
    max_grad_norm=1.0, save_every=3, eval_every=100, early_stop=None,
)  # fmt: skip
WIDE = forecast.ModelSize(
    parameters=10**6, block_parameters=10**6, blocks=20, width=10**6, vocabulary=1000, hidden=1000
)


def fitted(
    limit: int, measured: int | Callable[[int], int] = 0, anew: bool = True, **wish: Any
) -> tuple[fit_into_memory.MemoryPlan, Fixed, list[bool]]:
    """`fit` of a model that nearly nothing but its activations need memory for: 3.6 MB a token, 0.58 recomputed."""
    model: Any = torch.nn.Linear(2, 2)
    model.device, model.dtype = torch.device("cpu"), torch.float32
    method = Fixed(model)
    enabled: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "peak", measured_as(measured, method))
        patch.setattr(memory, "restart_peak", lambda device: anew)
        patch.setattr(memory, "resident", lambda: 0)  # what other tests left behind
        patch.setattr(gradient_checkpointing, "enable", lambda model: enabled.append(True))
        asked = {"limit": limit, "micro_tokens_given": False, "recompute": None, "longest": 300, "adapter": "lora"}
        state = torch.get_rng_state()
        wished: Any = fit_into_memory.MemoryOptions(**(asked | wish))  # type: ignore[arg-type]
        one: Any = method
        done = fit_into_memory.choose_sizes(model, torch.float32, one, PLAN, 2048, WIDE, wished)
        assert torch.equal(state, torch.get_rng_state())
        assert all(p.grad is None for p in model.parameters())
    return done, method, enabled


def test_a_budget_first_takes_tokens_then_the_blocks() -> None:
    roomy, method, enabled = fitted(12 * 10**9)
    assert (roomy.micro_tokens, roomy.recompute, method.computed, enabled) == (2048, False, [2048], [])
    fewer, method, enabled = fitted(6 * 10**9)  # 1024 · 3.6 MB = 3.7 GB
    assert (fewer.micro_tokens, fewer.recompute, method.micro_tokens, enabled) == (1024, False, 1024, [])
    assert [d.key for d in fewer.decisions] == ["memory", "micro_tokens"]
    # 400 · 3.6 MB = 1.44 GB and the process; 2048 · 0.58 MB = 1.2 GB
    again, method, enabled = fitted(1_800_000_000, longest=400)
    assert (again.micro_tokens, again.recompute, enabled) == (2048, True, [True])
    assert [d.key for d in again.decisions] == ["memory", "gradient_checkpointing"]


def test_a_measurement_above_the_budget_goes_on_to_the_next_choice() -> None:
    with pytest.raises(SodateError, match=r"needs about 7\.0 GB of memory, measured; .* and may use 6\.0 GB"):
        fitted(6 * 10**9, measured=7 * 10**9)
    done, _, _ = fitted(6 * 10**9, measured=5 * 10**9)
    assert done.measured == 5 * 10**9 + 2 * 6 * 4  # and two moments of six numbers
    # 8 MB a token, where 3.6 were estimated: 1024 tokens need 8.2 GB, 512 of them 4.1.
    done, method, _ = fitted(6 * 10**9, measured=lambda tokens: 8 * 10**6 * tokens)
    assert (done.micro_tokens, done.recompute, method.computed) == (512, False, [1024, 512])


def test_a_peak_that_an_earlier_one_hides_leaves_the_estimate_to_decide() -> None:
    """7 GB were resident before, for a moment, and the kernel doesn't count anew: 6 GB may well be enough."""
    done, _, _ = fitted(6 * 10**9, measured=7 * 10**9, anew=False)
    assert (done.micro_tokens, done.measured) == (1024, None)
    rising = iter([7 * 10**9, 8 * 10**9, 8 * 10**9, 8 * 10**9])  # what rises above it is the micro-batch's own
    done, _, _ = fitted(6 * 10**9, measured=lambda tokens: next(rising), anew=False)
    assert (done.micro_tokens, done.measured) == (512, None)


def spike(bytes_: int) -> None:
    """Takes memory from the kernel, touches every page and gives it back, whatever malloc would keep."""
    with mmap.mmap(-1, bytes_) as block:
        block[:: mmap.PAGESIZE] = bytes(bytes_ // mmap.PAGESIZE)


def counted_anew() -> bool:
    """Whether the kernel lets this process count its peak anew; asked without `memory`."""
    spike(200 << 20)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    highest, now = (int(re.search(rf"{key}:\s+(\d+)", status)[1]) for key in ("VmHWM", "VmRSS"))  # type: ignore[index]
    return highest - now < 50_000


def test_the_peak_is_counted_anew_and_that_of_a_run_is_remembered() -> None:
    cpu = torch.device("cpu")
    can = counted_anew()  # not in every container
    memory.forget_peak()
    start = memory.peak(cpu)
    spike(400 << 20)
    high = memory.peak(cpu)
    assert memory.restart_peak(cpu) is can
    assert memory.peak_rss_bytes() == high
    if not can:
        assert memory.peak(cpu) == high
        return
    assert high - start > 350 << 20
    assert memory.peak(cpu) < start + (50 << 20)
    memory.forget_peak()
    assert memory.peak_rss_bytes() < start + (50 << 20)


class Replies:
    """As a method's rollouts: 64 replies of 500 tokens."""

    slots, reach = 64, 500


def test_fewer_replies_are_made_at_once_where_their_cache_does_not_fit() -> None:
    model: Any = torch.nn.Linear(2, 2)
    model.device, model.dtype = torch.device("cpu"), torch.float32
    model.config = LlamaConfig(hidden_size=1000, num_attention_heads=10, num_key_value_heads=5, num_hidden_layers=20)
    one = 500 * 2 * 20 * 5 * 100 * 4  # 500 tokens, keys and values, layers, heads, their width, bytes: 40 MB
    copied = 4 * WIDE.block_parameters
    for free, slots in ((copied + 64 * one, 64), (copied + 64 * one - 1, 32), (copied + 9 * one, 8), (0, 1)):
        rollouts: Any = Replies()
        assert fit_into_memory._choose_slots(model, rollouts, WIDE, free) == copied + slots * one
        assert rollouts.slots == slots


def test_what_the_recipe_fixes_is_not_touched_but_named() -> None:
    with pytest.raises(SodateError, match=r"micro_tokens=1024, gradient_checkpointing=auto") as caught:
        fitted(6 * 10**9, micro_tokens_given=True, recompute=False)
    assert "activations 7.4 GB" in str(caught.value)
    assert fitted(6 * 10**9, micro_tokens_given=True)[0].recompute
    with pytest.raises(SodateError, match=r"max_length=256, adapter=lora"):
        fitted(750_000_000, longest=2000, adapter="full")


def test_without_a_budget_a_run_with_room_to_spare_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 50 * 10**9)
    done, method, _ = fitted(limit=None)  # type: ignore[arg-type]
    assert method.computed == [] and done.measured is None and done.micro_tokens == 2048
    monkeypatch.setattr(memory, "available", lambda device: 16 * 10**9)
    assert fitted(limit=None)[1].computed == [2048]  # type: ignore[arg-type]


def test_a_run_under_a_budget_says_what_it_chose_and_is_resumed_the_same(farm: Farm, tmp_path: Path) -> None:
    # Of runs side by side on a busy machine each would choose the type that was the faster one just then.
    words = [
        "train",
        "--model",
        farm.model,
        "--data",
        str(farm.train),
        "max_steps=4",
        "lr=0.01",
        "dtype=float32",
        "--json",
    ]
    plain, tight, stopped = (farm.new_home(tmp_path / name) for name in ("plain", "tight", "stopped"))
    assert worker.run(*words, home=plain).code == 0
    recomputed = [*words, "--memory", "3GB", "gradient_checkpointing=true"]
    assert worker.run(*recomputed, home=tight).code == 0
    assert curve(plain) == curve(tight) and adapter_bytes(plain) == adapter_bytes(tight)
    kept = json.loads((tight / "runs" / the_run(tight) / "run.json").read_text())["fit"]
    assert kept["gradient_checkpointing"] and 0 < kept["measured_bytes"] < 3e9
    assert worker.run(*recomputed, home=stopped, interrupt_at_step=2).code == 130
    assert worker.run("runs", "resume", the_run(stopped), "--json", home=stopped).code == 0
    assert curve(plain) == curve(stopped) and adapter_bytes(plain) == adapter_bytes(stopped)


def test_a_budget_below_the_weights_is_refused_before_anything_is_loaded(farm: Farm, tmp_path: Path) -> None:
    home = farm.new_home(tmp_path / "home")
    done = worker.run("train", "--model", farm.model, "--data", str(farm.train), "--memory", "100MB", home=home)
    assert done.code == 1 and "The weights alone take" in done.err and "adapter=qlora" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    command = [sys.executable, "-c", "from sodate.model import memory; print(memory.peak_rss_bytes())"]
    held = bytearray(10**9)  # all pages written, or they would not count
    held[::4096] = b"1" * len(held[::4096])
    assert (
        10**8 < int(subprocess.run(command, check=True, capture_output=True).stdout) < 10**9 < memory.peak_rss_bytes()
    )


GROWTH = """
import re, sys
from pathlib import Path
import torch
from transformers import LlamaConfig
from sodate.model import memory

def product(x, weight):
    torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")

def own():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

if sys.argv[1] == "few":
    memory.remember_few_shapes()
weight = torch.zeros(576, 576)
product(torch.zeros(500, 576), weight)
before = own()
for rows in range(128, 428):
    product(torch.zeros(rows, 576), weight)
print(own() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_products_of_many_shapes_do_not_fill_memory() -> None:
    def grown(shapes: str) -> int:
        """Bytes that a new process took for products of 300 shapes, of which the largest needs 2 MB."""
        here = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
        command = [sys.executable, "-c", GROWTH, shapes]
        return int(subprocess.run(command, env=here, check=True, capture_output=True).stdout)

    assert grown("few") < 80e6 < grown("all")  # were the last no longer so, `remember_few_shapes` could go


@pytest.mark.real
def test_a_real_run_stays_below_its_budget(smollm2: ModelEntry, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(smollm2.path.parent)
    long = " ".join(f"{n} boxes of number {n * 7919 % 1000}," for n in range(12))
    data = write_rows(tmp_path / "rows.jsonl", [
        {"messages": [{"role": "user", "content": f"{n}: {long}"}, {"role": "assistant", "content": f"{long} {n}."}]}
        for n in range(2)
    ])  # fmt: skip
    words = ["train", "--model", "smollm2-135m", "--data", str(data), "max_steps=1", "dtype=float32", "--json"]
    done = worker.run(*words, "--memory", "1.4GB", home=home, patience=600)
    assert done.code == 0, done.err
    kept = json.loads((home / "runs" / the_run(home) / "run.json").read_text())["fit"]
    used = json.loads(done.out)["peak_rss_bytes"]
    assert kept["gradient_checkpointing"]
    assert used < kept["estimated_bytes"] < 1.4e9 and kept["estimated_bytes"] < 1.4 * used
