"""Model files that claim too much: one refusal each, in bounded time, and nothing is loaded that a file names."""

from __future__ import annotations

import json
import os
import struct
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from sodate.core.errors import MAX_MESSAGE, SodateError
from sodate.library import checks, config, gguf_file, sources, tokenizer
from sodate.model import load
from tests.library.test_gguf import write_gguf
from tests.library.test_sources import edit, leftovers, logits, safetensors_bytes, tensor

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def soon() -> Any:
    """Every guard ends long before the limits of the child: nothing here may take its time."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"intermediate_size": 1 << 40}, "config.json says intermediate_size = 1099511627776: too much"),
        ({"rope_theta": 1e300}, r"rope_theta = 1e\+300: too much"),
        ({"rope_theta": 10**400}, "rope_theta = 10+: too much"),
        ({"eos_token_id": [1] * 30_000}, "eos_token_id = .* too much"),
        ({"hidden_act": "x" * 5_000}, "hidden_act = .* too much"),
        ({"hidden_size": "32"}, "describes no valid model"),
        ({"num_attention_heads": [4]}, "describes no valid model"),
        ({"num_attention_heads": 0}, "describes no valid model"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"architectures": 5}, "architectures is not a list"),
        ({"architectures": [{}]}, "architectures is not a list"),
        ({"model_type": ["llama"]}, "has no causal"),
        ({"vocab_size": "many"}, "describes no valid model"),
        ({"quantization_config": {"quant_method": "of-next-year"}}, r"quantised \(of-next-year\)"),
    ],
)
def test_a_value_that_is_too_much_or_of_the_wrong_kind_is_refused(
    folder: Path, home: Path, values: dict[str, Any], said: str
) -> None:
    edit(folder, **values)
    with pytest.raises(SodateError, match=said) as caught:
        sources.pull(str(folder))
    assert "\n" not in str(caught.value.message) and leftovers(home) == []


def test_what_a_config_says_beyond_its_architecture_is_not_read(folder: Path, original: Path) -> None:
    """A count of labels makes transformers write out so many; other keys make it load what they name."""
    loads = {"attn_implementation": "org/kernel", "_attn_implementation": "flash", "experts_implementation": "org/k"}
    more = {
        "num_labels": 10**12,
        "pruned_heads": {"0": [1]},
        "name_or_path": "org/name",
        "to_dict": 1,
        "use_kernels": 1,
    }
    nested = {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "attn_implementation": "org/kernel"}}
    edit(folder, **loads, **more, **nested, dtype="load")
    entry = sources.pull(str(folder))
    read = config.folder_config(entry.path)
    assert read.num_labels == 2 and read._attn_implementation is None and callable(read.to_dict) and read.dtype is None
    assert "attn_implementation" not in read.rope_parameters
    model = load.load_base(entry.path, device=torch.device("cpu"), dtype=torch.float32)
    plain = load.load_base(original, device=torch.device("cpu"), dtype=torch.float32)
    assert str(model.config._attn_implementation) == str(plain.config._attn_implementation)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())


def test_every_key_that_transformers_writes_for_a_model_is_read_again() -> None:
    """Of every architecture that writes text, or the list of keys would change a model; legacy names are among them."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    read_again = 0
    for kind, heads in CAUSAL.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what an architecture says of its own defaults
            try:
                written = CONFIG_MAPPING[kind]().to_dict()
            except Exception:  # one whose defaults are no model
                continue
        own = {key for key in written if key not in config.NEVER_READ | {"architectures", "transformers_version"}}
        assert {key for key in own if not key.startswith("_")} <= config.known_keys(kind), kind
        written = json.loads(json.dumps(written)) | {"architectures": [heads if isinstance(heads, str) else heads[0]]}
        try:
            config.check_config(written, kind)
        except SodateError:  # it reads a source or pictures, too
            continue
        again = json.loads(json.dumps(config.model_config(written, kind).to_dict()))
        changed = {key for key, value in written.items() if not key.startswith("_") and again.get(key) != value}
        assert changed <= {"architectures", "dtype"} | ({"audio_vocab_size"} if kind == "moshi" else set()), kind
        read_again += 1
    assert read_again > 150
    assert {"rotary_pct", "rotary_emb_base"} <= config.known_keys("gpt_neox")
    assert "rope_local_base_freq" in config.known_keys("gemma3_text")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 50 + "1" + "}" * 50, "nested too deeply"),
        ("[]", "is not an object"),
        ("{", "is damaged"),
        ("9" * 10_000, "is damaged"),
        ('{"a": "' + "x" * 17_000_000 + '"}', "larger than 16 MB"),
    ],
)
def test_json_that_came_with_a_model_is_read_within_bounds(
    folder: Path, home: Path, name: str, text: str, said: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(SodateError, match=said):
        sources.pull(str(folder))
    assert leftovers(home) == []


def test_a_pipe_among_the_files_is_not_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    with pytest.raises(SodateError, match="is not a file"):
        sources.pull(str(folder))


@pytest.mark.parametrize(
    "data",
    [
        safetensors_bytes({"a": tensor(0, 4, [1] * 9)}, 4),
        safetensors_bytes({"a": tensor(0, 0, [10**400, 0])}, 0),
        safetensors_bytes({"a": {"dtype": "F32", "shape": 5, "data_offsets": [0, 4]}}, 4),
        safetensors_bytes({"a": {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}}, 4),
        safetensors_bytes({"a": tensor(0, 4, [True])}, 4),
    ],
)
def test_ranks_and_sizes_of_tensors_are_bounded(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(SodateError, match="described wrongly"):
        sources.pull(str(folder))


def test_weights_under_other_names_do_not_hide_a_size_that_is_not_there(folder: Path) -> None:
    """Of a file with other names transformers would make every weight that config.json describes."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({f"other.{name}": t for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    edit(folder, vocab_size=1_000_000)
    with pytest.raises(SodateError, match=r"config.json says 3\d,\d{3},\d{3} weights"):
        sources.pull(str(folder))


class Panic(BaseException):
    """What native code raises: not an Exception."""


def test_a_tokenizer_that_panics_is_refused(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panic(*rest: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(checks, "check_tokenizer", panic)
    with pytest.raises(SodateError, match="the tokenizer cannot be read: index out of bounds"):
        sources.pull(str(folder))
    assert leftovers(home) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"eos_token": 7}, "eos_token is not a text"),
        ({"bos_token": {"content": 7}}, "bos_token is not a text"),
        ({"chat_template": 7}, "chat template is not a text"),
        ({"chat_template": "x" * (tokenizer.MAX_TEMPLATE_CHARS + 1)}, "too long"),
        ({"chat_template": ["{{ messages }}"]}, "chat template is not a text"),
        ({"chat_template": [{"name": "default"}]}, "chat template is not a text"),
    ],
)
def test_a_tokenizer_configuration_of_the_wrong_kinds_is_refused(
    folder: Path, values: dict[str, Any], said: str
) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    with pytest.raises(SodateError, match=said):
        sources.pull(str(folder))


def test_a_template_that_is_not_text_is_refused_before_it_is_rendered(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(SodateError, match="not UTF-8"):
        sources.pull(str(folder))


def test_links_that_lead_out_of_a_model_folder_are_refused(folder: Path, tmp_path: Path, home: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (folder / "NOTICE").symlink_to(secret)
    with pytest.raises(SodateError, match="NOTICE is a link that leads out") as caught:
        sources.pull(str(folder))
    assert "mine" not in str(caught.value) and leftovers(home) == []
    (folder / "NOTICE").unlink()
    (folder / "LICENSE").write_text("free")
    (folder / "NOTICE").symlink_to("LICENSE")  # within the folder
    entry = sources.pull(str(folder))
    assert (entry.path / "NOTICE").read_text() == "free" and not (entry.path / "NOTICE").is_symlink()
    model = load.load_base(entry.path, device=torch.device("cpu"), dtype=torch.float32)
    (entry.path / "extra.txt").symlink_to(secret)
    (tmp_path / "out").mkdir()
    with pytest.raises(SodateError, match=r"extra\.txt is a link that leads out"):
        load.save_full(model, entry.path, tmp_path / "out")


def test_the_hub_librarys_own_links_are_followed(folder: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0123"
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in folder.iterdir():
        file.rename(blobs / file.name)
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    assert sources.pull(str(snapshot)).architecture == "LlamaForCausalLM"


def test_an_adapter_beside_a_gguf_file_is_not_picked_up(original: Path, tmp_path: Path) -> None:
    file = write_gguf(original, tmp_path / "tiny.gguf")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/name"}')
    entry = sources.pull(str(file))
    assert torch.allclose(logits(entry.path), logits(original), atol=1e-5)


def gguf_header(*entries: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


def gguf_array(kind: int, count: int) -> bytes:
    key = b"general.numbers"
    return struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, kind, count)


@pytest.mark.parametrize("kind", [0, 4, 8, 12])
def test_an_array_that_fits_a_large_file_is_still_bounded(tmp_path: Path, kind: int) -> None:
    file = tmp_path / "large.gguf"
    file.write_bytes(gguf_header(gguf_array(kind, 1 << 30)))
    os.truncate(file, 1 << 34)  # 16 GB of nothing
    with pytest.raises(SodateError, match="an array of 1073741824 values"):
        gguf_file.read_gguf(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokenizer.ggml.bos_token_id", "zero"),
        ("tokenizer.ggml.pre", 5),
        ("tokenizer.ggml.tokens", [1, 2]),
        ("tokenizer.ggml.add_bos_token", "yes"),
        ("tokenizer.ggml.merges", "a b"),
    ],
)
def test_metadata_of_the_wrong_kind_are_refused_by_name(
    original: Path, tmp_path: Path, key: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sodate.library import convert

    read = gguf_file.read_gguf(write_gguf(original, tmp_path / "tiny.gguf"))
    read.metadata[key] = value
    with pytest.raises(SodateError, match=f"{key} is "):
        convert.refuse_unfaithful(read)


def test_a_header_of_very_many_small_things_is_refused_before_it_is_read(folder: Path) -> None:
    """They would take dozens of times their bytes."""
    for inner in (
        '{"a":' + "[" + "[]," * 4_000_000 + "[]]}",
        "{" + ",".join(f'"{n}":{{}}' for n in range(200_002)) + "}",
    ):
        raw = inner.encode()
        (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
        tracemalloc.start()
        try:
            with pytest.raises(SodateError, match="over 200000 entries"):
                checks.read_shapes(folder / "model.safetensors")
            assert tracemalloc.get_traced_memory()[1] < 3 * len(raw)
        finally:
            tracemalloc.stop()


def test_a_header_of_a_gguf_file_ends_somewhere(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_gguf(original, tmp_path / "model.gguf")
    whole = gguf_file.read_gguf(path)
    monkeypatch.setattr(gguf_file, "MAX_VALUES", sum(len(v) for v in whole.metadata.values() if isinstance(v, list)))
    gguf_file.read_gguf(path)
    monkeypatch.setattr(gguf_file, "MAX_VALUES", gguf_file.MAX_VALUES - 1)  # of all arrays together
    with pytest.raises(SodateError, match="an array of"):
        gguf_file.read_gguf(path)
    monkeypatch.undo()
    monkeypatch.setattr(gguf_file, "MAX_HEADER_BYTES", whole.table[1] - 1)  # of texts and the table as well
    with pytest.raises(SodateError, match="a header of over"):
        gguf_file.read_gguf(path)


def test_a_name_as_long_as_its_file_is_not_said_whole(folder: Path) -> None:
    raw = json.dumps({"n" * 1_000_000: {"dtype": "F32"}}).encode()
    (folder / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw)
    with pytest.raises(SodateError, match=r"tensor 'nnn.*…") as caught:
        checks.read_shapes(folder / "model.safetensors")
    assert all(len(side) <= MAX_MESSAGE + 1 for side in (caught.value.message.en, caught.value.message.ja))  # type: ignore[attr-defined]


def test_of_a_model_card_its_beginning_is_read(folder: Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n" + "x" * 3_000_000)
    assert sources._card_licence(folder / "README.md") == "mit"
    (folder / "README.md").write_text("---\n" + "x" * 3_000_000 + "\nlicense: mit\n---\n")
    assert sources._card_licence(folder / "README.md") is None
