"""Versions leave as files, and the engine that these are for answers as the version does. Otherwise nothing leaves."""

from __future__ import annotations

import datetime
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sodate
from sodate.api import agreement, export_files
from sodate.core.errors import SodateError, UsageError
from sodate.core.files import read_json
from sodate.library import gguf_write
from sodate.library.gguf_file import read_gguf
from sodate.library.weights import read_tensors
from sodate.release.registry import find_version
from tests import farm as farming
from tests import tiny


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farming.Farm]:
    # Weights of random size 0.02 hardly attend: nothing would tell where a token stands.
    planted = farming.plant(
        tmp_path_factory.mktemp("farm"), gpt2=True, max_position_embeddings=768, initializer_range=0.2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(planted.home))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield planted


@pytest.fixture(scope="module")
def version(farm: farming.Farm) -> Any:
    """Versions by the kind of their adapter, trained once."""

    def made(kind: str) -> str:
        if find_version(kind) is None:
            keys: dict[str, Any] = {"model": farm.model, "data": [str(farm.train)], "max_steps": 3, "dtype": "float32"}
            sodate.train(name=kind, adapter=kind, lr=0.02, **keys)
        return f"{kind}@1"

    return made


def test_a_peft_folder_answers_in_peft(version: Any, farm: farming.Farm, tmp_path: Path) -> None:
    done = sodate.export(version("rslora"), to="adapter", out=tmp_path / "out")
    found = done["agreement"]
    assert found["token_ids"] is True and found["stops"] is True and found["greedy_equal"] == 1.0
    assert found["conversations"] == 20 and found["kl_max"] < 1e-6 and found["engine"] == "peft"
    names = {Path(file).name for file in done["files"]}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json"}
    assert read_json(tmp_path / "out" / "generation_config.json")["eos_token_id"] == [4, 1]
    card = (tmp_path / "out" / "README.md").read_text()
    data = find_version("rslora").manifest["data"]["sha256"]  # type: ignore[union-attr]
    assert f"SHA-256 `{data}`" in card and "rslora" in card and "nothing is known of its quality" in card
    assert str(farm.home) not in card and str(Path.home()) not in card


def test_a_merged_folder_answers_in_transformers_and_older_ones_read_it(version: Any, tmp_path: Path) -> None:
    done = sodate.export(version("dora"), to="merged", out=tmp_path / "out", format="bf16")
    found = done["agreement"]
    assert found["token_ids"] is True and found["stops"] is True and found["kl_mean"] < 5e-3
    config = read_json(tmp_path / "out" / "config.json")
    assert config["rope_theta"] == 10_000.0 and config["torch_dtype"] == "bfloat16"
    assert {str(t.dtype) for t in read_tensors(tmp_path / "out" / "model.safetensors").values()} == {"torch.bfloat16"}


@pytest.mark.parametrize(
    ("kind", "to", "format", "largest"),
    [
        ("dora", "gguf", "f32", 1e-8), ("full", "gguf", "q4_0", 3.0), ("rslora", "gguf-lora", "f32", 1e-8),
        ("lora", "ollama", "q8_0", 5e-2),
    ],
)  # fmt: skip
def test_files_for_llama_cpp_answer_in_llama_cpp(
    kind: str, to: Any, format: str, largest: float, version: Any, tmp_path: Path
) -> None:
    done = sodate.export(version(kind), to=to, out=tmp_path / "out", format=format)
    found = done["agreement"]
    assert found["token_ids"] is True and found["stops"] is True and found["kl_max"] < largest
    if format == "f32":
        assert found["greedy_equal"] == 1.0
    lora = "-lora" if to == "gguf-lora" else ""
    file = tmp_path / "out" / f"{kind}-1{lora}-{format}.gguf"
    assert str(file) in done["files"] and read_gguf(file).architecture == "llama"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_base_model_leaves_as_it_is(farm: farming.Farm, tmp_path: Path) -> None:
    done = sodate.export(farm.model, to="gguf", out=tmp_path / "out")
    assert done["format"] == "f16" and done["agreement"]["token_ids"] is True
    assert "## Data" not in (tmp_path / "out" / "README.md").read_text()


def test_the_day_that_a_template_prints_is_written_into_it() -> None:
    """Elsewhere it would be the day's own, and its tokens others than in training."""
    from types import SimpleNamespace

    from sodate.render.renderer import Renderer

    dated = "{{ 'Today: ' + strftime_now(\"%d %b %Y\") }}" + tiny.CHATML
    renderer = Renderer(tiny.tokenizer(), dated, bos_token="<bos>", eos_token="<eos>", date=datetime.date(2026, 3, 2))
    made: Any = SimpleNamespace(renderer=renderer)
    template, notes = export_files._template(made)
    assert template == "{{ 'Today: ' + '02 Mar 2026' }}" + tiny.CHATML and "2026-03-02" in notes[0]


def test_few_equal_replies_are_said_aloud() -> None:
    from sodate.api.exporting import _warned

    assert _warned({"greedy_equal": 0.5, "conversations": 20}, "q8_0") == []
    assert "only 2 of 20" in _warned({"greedy_equal": 0.1, "conversations": 20}, "q4_0")[0]


def test_the_modelfile_says_template_stops_and_file(version: Any, tmp_path: Path) -> None:
    done = sodate.export(version("lora"), to="ollama", out=tmp_path / "out")
    said = (tmp_path / "out" / "Modelfile").read_text()
    assert said.startswith('FROM ./lora-1-q8_0.gguf\nTEMPLATE """{{- range')
    assert 'PARAMETER stop "<|im_end|>"' in said and "PARAMETER temperature 0" in said
    assert any("Ollama itself was not run" in note for note in done["notes"])


def test_weights_in_the_wrong_order_are_noticed_and_nothing_appears(
    version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """q and k as transformers has them: the file loads, and the model babbles."""
    monkeypatch.setattr(gguf_write, "in_its_form", lambda name, array, config: array)
    with pytest.raises(SodateError, match="KL of the next token") as caught:
        sodate.export(version("full"), to="gguf", out=tmp_path / "out", format="f32")
    assert caught.value.code == "export_differs" and not list(tmp_path.iterdir())


def test_another_template_inside_is_noticed_and_nothing_appears(
    version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}"
    monkeypatch.setattr(export_files, "_template", lambda made: (other, []))
    with pytest.raises(SodateError, match="conversation 1 has other token ids from place 0 on"):
        sodate.export(version("full"), to="gguf", out=tmp_path / "out", format="f32")
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_load_is_named_and_does_not_appear(
    version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(made: Any, stage: Path) -> list[str]:
        (stage / made.file).write_bytes(b"GGUF")
        return []

    monkeypatch.setitem(export_files.WRITERS, "gguf", cut)
    with pytest.raises(SodateError, match="don't load in their own engine"):
        sodate.export(version("full"), to="gguf", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(
    number: int, version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        assert list(tmp_path.glob(".out.*"))  # it was under way
        signal.raise_signal(number)

    monkeypatch.setattr(agreement, "ask_reader", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of several that test may ignore it
    with pytest.raises(KeyboardInterrupt):
        sodate.export(version("full"), to="gguf", out=tmp_path / "out")
    signal.signal(signal.SIGINT, before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_never_touched(version: Any, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        sodate.export(version("full"), to="gguf", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    ("kind", "to", "format", "said"),
    [
        ("full", "adapter", "auto", "has no adapter"),
        ("full", "gguf-lora", "auto", "has no adapter"),
        ("dora", "gguf-lora", "auto", "Only LoRA and rsLoRA"),
        ("qlora", "adapter", "auto", "weights in 4 bits"),
        ("bottleneck", "gguf", "auto", "not linear"),
        ("full", "gguf", "q4_k_m", "rows have 32: llama[.]cpp itself would write q5_0"),
        ("full", "merged", "q8_0", "is not written in q8_0"),
        ("full", "onnx", "auto", "There is no export to 'onnx'"),
    ],
)
def test_what_cannot_leave_in_this_form_is_refused_with_what_to_do(
    kind: str, to: Any, format: str, said: str, version: Any, tmp_path: Path
) -> None:
    with pytest.raises(SodateError, match=said) as caught:
        sodate.export(version(kind), to=to, out=tmp_path / "out", format=format)
    assert caught.value.fix and not list(tmp_path.iterdir())


def test_a_report_that_measured_the_version_is_on_its_card(version: Any, farm: farming.Farm) -> None:
    from sodate.api.exporting import _reports
    from sodate.release.card import Facts, card

    name = version("full")
    sodate.evaluate([farm.model, name], farm.held, ["exact"], limit=2, max_new_tokens=2)
    reports = _reports(name)
    found = {
        "package": "xllamacpp 1",
        "greedy_equal": 1.0,
        "conversations": 20,
        "kl_mean": 0,
        "kl_max": 0,
        "places": 40,
    }
    manifest = find_version(name).manifest  # type: ignore[union-attr]
    said = card(Facts(name, "gguf", "f32", "x.gguf", "base", "base", "mit", manifest, found, {}, reports))
    (report,) = reports
    assert "| exact | 0.0 | " in said and report in said and "license: mit" in said
    assert json.loads(json.dumps(reports[report]))["n"] == 2
