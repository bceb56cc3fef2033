"""Where models come from, and everything that is refused before it is loaded."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from sodate.core.errors import SodateError, UsageError
from sodate.core.files import sha256_file
from sodate.library import checks, sources, store

TEXTS = ["It's 2024, isn't it?", "商品は12345個です。㍿ｱｲｳ", "👩‍👩‍👧 🎉", "def f(x):\n\treturn  x\n\n"]

pytestmark = pytest.mark.usefixtures("home")


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
    assert sources.pull(str(folder)) == entry == store.find("tiny") == store.find(entry.id)


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
        (
            {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": {}},
            "Gemma3ForConditionalGeneration also reads images",
        ),
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
        with pytest.raises(SodateError, match=r"1\.05 GB needed"):
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
    shadow = shutil.copytree(folder, folder.parent / "smollm2-135m")
    assert sources.pull(str(shadow)).name == "smollm2-135m-local"


def test_sentences_come_in_japanese_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", "ja")
    edit(folder, auto_map={})
    with pytest.raises(SodateError, match="決して実行しません"):
        sources.pull(str(folder))


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
