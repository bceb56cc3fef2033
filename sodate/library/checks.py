"""Refusals before anything is loaded: pickles, lying headers, links that lead outside, shapes that do not fit.

Nothing here allocates by what a file claims: sizes are compared with the file, shapes with a model on the meta device.
What transformers and tokenizers make of the files is found out in a child process with limits.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sodate.core.errors import SodateError
from sodate.core.limited import limited
from sodate.core.text import tr
from sodate.library.config import check_config, model_config, no_valid_model, read_config, refuse_remote_code
from sodate.library.convert import LIMITS, quiet
from sodate.library.tokenizer import check_tokenizer, unreadable

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# What is taken of a model folder besides its weights: configuration, tokenizer, template, licence. Never code.
TAKEN_SUFFIXES = (".json", ".jinja", ".model", ".txt", ".md", ".html")  # the last for licences
TAKEN_NAMES = ("LICENSE", "LICENCE", "NOTICE")
NOT_TAKEN = ("adapter_config.json", "requirements.txt", "sodate-model.json")  # the last is another copy's manifest
CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
MAX_TENSORS = 200_000  # of one file
MAX_COMMAS = 16 * MAX_TENSORS  # of a header: more would be hundreds of bytes in memory for one of the file
MAX_RANK = 8
MAX_TOKENIZER_BYTES = 256_000_000
SPARE_BUFFER_BYTES = 1 << 30  # of tables that a model computes itself: masks, rotations, slopes
# Bits of one element, by safetensors dtype name.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

Shapes = dict[str, tuple[int, ...]]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model, in order. Raises where there are none or a name leaves it."""
    index_path = folder / "model.safetensors.index.json"
    if index_path.exists():
        mapping = read_config(index_path).get("weight_map")
        if not isinstance(mapping, dict) or not mapping:
            raise SodateError(
                tr(f"{index_path} has no weight_map.", f"{index_path} に weight_map がありません。"),
                code="damaged",
                file=index_path,
            )
        names = sorted({str(name) for name in mapping.values()})
        for name in names:
            if (
                name in {"", ".", ".."}
                or "\0" in name
                or "/" in name
                or "\\" in name
                or not name.endswith(".safetensors")
            ):
                raise SodateError(
                    tr(
                        f"{index_path} names {name!r}, which is not a safetensors file of this folder.",
                        f"{index_path} が、このフォルダーの safetensors ファイルでない {name!r} を指しています。",
                    ),
                    code="damaged",
                    file=index_path,
                )
        files = [folder / name for name in names]
    else:
        files = [folder / "model.safetensors"]
        if not files[0].exists():
            _explain_no_weights(folder)
    for file in files:
        if not file.is_file():
            raise SodateError(tr(f"{file} is missing.", f"{file} がありません。"), code="file_missing", file=file)
    return files


def _explain_no_weights(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    if "adapter_config.json" in names:
        raise SodateError(
            tr(f"{folder} is an adapter, not a model.", f"{folder} はモデルではなくアダプターです。"),
            tr(
                f"Pull its base model, and pass this folder as --init-adapter {folder}.",
                f"元になるモデルを取り込み、このフォルダーは --init-adapter {folder} として渡してください。",
            ),
            code="wrong_model",
            file=folder,
        )
    if pickles := [name for name in names if name.endswith(PICKLE_SUFFIXES)]:
        raise pickle_refusal(str(folder), pickles[0])
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        raise SodateError(
            tr(
                f"{folder} holds a GGUF file, not safetensors.", f"{folder} には safetensors ではなく GGUF があります。"
            ),
            f"sodate models pull {folder / ggufs[0]}",
            code="wrong_model",
            file=folder,
        )
    raise SodateError(
        tr(f"{folder} has no model.safetensors.", f"{folder} に model.safetensors がありません。"),
        tr(
            "Give a model folder saved as safetensors.",
            "safetensors 形式で保存されたモデルのフォルダーを渡してください。",
        ),
        code="file_missing",
        file=folder,
    )


def pickle_refusal(where: str, name: str) -> SodateError:
    return SodateError(
        tr(
            f"{where}: the weights ({name}) are a pickle, which can run code when it is opened. It is not opened here.",
            f"{where}: 重み ({name}) は pickle で、開くとコードが実行され得るため、ここでは開きません。",
        ),
        tr(
            "Use a revision with safetensors, or have the weights saved as safetensors by someone you trust.",
            "safetensors のある版を使うか、信頼できる人に safetensors で保存し直してもらってください。",
        ),
        code="pickle",
        file=where,
    )


def read_shapes(file: Path) -> Shapes:
    """Name → shape of every tensor in a safetensors file, its header checked byte by byte against the file.

    Raises SodateError for a pickle under this name, a header that is not what the format says, ranges that leave the
    file, overlap, leave holes, or do not fit shape × dtype.
    """

    def unsound(en: str, ja: str) -> SodateError:
        return SodateError(
            tr(f"{file} is not a sound safetensors file: {en}.", f"{file} は正しい safetensors ではありません: {ja}。"),
            tr("Download it again and compare its hash.", "もう一度ダウンロードし、ハッシュ値を確かめてください。"),
            code="damaged",
            file=file,
        )

    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05"):
            raise pickle_refusal(str(file.parent), file.name)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise unsound(f"its header length is {length} of {size} bytes", f"ヘッダー長 {length} / 全体 {size} バイト")
        raw = handle.read(length)
    if raw.count(b"{") > MAX_TENSORS + 2 or raw.count(b",") > MAX_COMMAS or raw.count(b"[") > MAX_COMMAS:
        raise unsound(f"its header has over {MAX_TENSORS} entries", f"ヘッダーの項目が {MAX_TENSORS} 個を超えています")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise unsound(f"its header is not JSON ({error})", f"ヘッダーが JSON ではありません ({error})") from None
    if not isinstance(header, dict):
        raise unsound("its header is not an object", "ヘッダーがオブジェクトではありません")
    header.pop("__metadata__", None)
    shapes: Shapes = {}
    ranges = []
    for name, entry in header.items():
        try:
            shape, (begin, end), bits = tuple(entry["shape"]), entry["data_offsets"], BITS[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            raise unsound(f"tensor {name!r} is described wrongly", f"テンソル {name!r} の記述が誤りです") from None
        numbers = (*shape, begin, end)
        if len(shape) > MAX_RANK or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
            raise unsound(f"tensor {name!r} is described wrongly", f"テンソル {name!r} の記述が誤りです")
        if (end - begin) * 8 != math.prod(shape) * bits:
            raise unsound(f"tensor {name!r} does not fit its bytes", f"テンソル {name!r} の形とバイト数が合いません")
        shapes[name] = shape
        ranges.append((begin, end, name))
    ranges.sort()
    for (_, end, _), (begin, _, name) in itertools.pairwise([(0, 0, ""), *ranges]):
        if begin != end:
            raise unsound(f"tensor {name!r} overlaps or leaves a hole", f"テンソル {name!r} に重なりか隙間があります")
    if not ranges or ranges[-1][1] != size - 8 - length:
        raise unsound("it is truncated, or longer than its header says", "途中で切れているか、余分なデータがあります")
    return shapes


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def check_shapes(config: Mapping[str, Any], shapes: Shapes, where: str) -> None:
    """Compares the stored shapes with those of the model the config describes, built without memory (meta device)."""
    import torch
    from transformers import AutoModelForCausalLM

    layers = config.get("num_hidden_layers")
    if isinstance(layers, int) and layers > len(shapes):
        raise SodateError(
            tr(
                f"{where}: config.json says {layers} layers, but there are only {len(shapes)} tensors.",
                f"{where}: config.json は {layers} 層ですが、テンソルは {len(shapes)} 個しかありません。",
            ),
            code="damaged",
        )
    described = model_config(config, where)
    try:
        with quiet(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(described, attn_implementation="eager", trust_remote_code=False)
    except Exception as error:  # whatever a poisoned number makes a model's constructor do
        raise no_valid_model(where, error) from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in shapes.items():
        if name in expected and expected[name] != shape:
            raise SodateError(
                tr(
                    f"{where}: {name} has shape {list(shape)}, config.json says {list(expected[name])}.",
                    f"{where}: {name} の形は {list(shape)} ですが、config.json では {list(expected[name])} です。",
                ),
                code="damaged",
            )
    # Only where the file speaks this model's own names is an absent one certain to be missing.
    tied = set(model._tied_weights_keys or ()) if model.config.get_text_config().tie_word_embeddings else set()
    absent = sorted(set(dict(model.named_parameters(remove_duplicate=False))) - set(shapes) - tied)
    if absent and set(shapes) <= set(expected):
        raise SodateError(
            tr(
                f"{where}: {len(absent)} weights are missing, {absent[0]!r} first.",
                f"{where}: 重みが {len(absent)} 個足りません (最初は {absent[0]!r})。",
            ),
            code="damaged",
        )
    stored = sum(math.prod(shape) for shape in shapes.values())
    described_count = sum(parameter.numel() for parameter in model.parameters())
    tables = sum(buffer.nbytes for buffer in model.buffers())
    # A twentieth more is for weights that a file may share and a model may not.
    if described_count > 1.05 * stored or tables > SPARE_BUFFER_BYTES + 4 * stored:
        raise SodateError(
            tr(
                f"{where}: config.json says {described_count:,} weights and {tables:,} bytes of tables; {stored:,} "
                "weights are stored.",
                f"{where}: config.json では重み {described_count:,} 個、表 {tables:,} バイトですが、"
                f"ファイルの重みは {stored:,} 個です。",
            ),
            code="damaged",
        )


def is_taken(name: str) -> bool:
    """Whether a file beside the weights is taken, by its name."""
    if name in NOT_TAKEN or name.startswith("."):
        return False
    return name in TAKEN_NAMES or name.endswith(TAKEN_SUFFIXES)


def folder_files(folder: Path) -> list[Path]:
    """The files of a model folder that are taken: its weights, and configuration, tokenizer, template and licence."""
    others = [file for file in sorted(folder.iterdir()) if file.is_file() and is_taken(file.name)]
    files = [*weight_files(folder), *others]
    refuse_links(folder, files)
    return files


def refuse_links(folder: Path, files: Iterable[Path]) -> None:
    """SodateError on a file that is a link out of its folder: it would bring in whatever lies there.

    The hub library's cache keeps a model as links into the folder `blobs` beside it; those are its own.
    """
    inside = folder.resolve()
    blobs = inside.parent.parent / "blobs" if inside.parent.name == "snapshots" else inside
    for file in files:
        if file.is_symlink() and not any(file.resolve().is_relative_to(root) for root in (inside, blobs)):
            raise SodateError(
                tr(f"{file} is a link that leads out of the folder.", f"{file} はフォルダーの外を指すリンクです。"),
                tr("Put the file itself there.", "ファイルそのものを置いてください。"),
                code="model_unsupported", file=file,
            )  # fmt: skip


def check_files(folder: Path) -> tuple[dict[str, Any], Shapes]:
    """config.json and the shapes in the weights' headers, after every refusal that needs no library."""
    files = folder_files(folder)
    config_path = folder / "config.json"
    if not config_path.exists():
        raise SodateError(
            tr(f"{folder} has no config.json.", f"{folder} に config.json がありません。"),
            tr("Give a complete model folder.", "モデル一式の入ったフォルダーを渡してください。"),
            code="file_missing",
            file=folder / "config.json",
        )
    for name in CONFIGS:
        if (folder / name).exists():
            refuse_remote_code(read_config(folder / name), str(folder / name))
    config = read_config(config_path)
    check_config(config, str(config_path))
    shapes = {}
    for file in files:
        if file.suffix == ".safetensors":
            shapes.update(read_shapes(file))
    return config, shapes


def check_folder(folder: Path) -> dict[str, Any]:
    """Every refusal that needs no weights in memory; returns architecture, parameters and context_length."""
    import torch  # noqa: F401 (so that the child has it)
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    config, shapes = check_files(folder)
    MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[config["model_type"]]]  # imports the architecture, for the child
    limited(lambda: check_shapes(config, shapes, str(folder)), f"{folder}/config.json", **LIMITS)
    length = config.get("max_position_embeddings") or config.get("n_positions")
    return {
        "architecture": str((config.get("architectures") or [config["model_type"]])[0]),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "context_length": length if type(length) is int and length > 0 else None,
    }


def tokenizer_facts(folder: Path) -> dict[str, Any]:
    """Size of the vocabulary, and whether there is a chat template. Raises SodateError on a tokenizer that is none."""
    rows = read_config(folder / "config.json").get("vocab_size")
    if type(rows) is not int:
        raise SodateError(
            tr(f"{folder}: config.json has no vocab_size.", f"{folder}: config.json に vocab_size がありません。"),
            code="damaged",
            file=folder / "config.json",
        )
    there = [folder / name for name in TOKENIZER_FILES if (folder / name).exists()]
    if not there:
        raise SodateError(
            tr(
                f"{folder} has no tokenizer (tokenizer.json).",
                f"{folder} にトークナイザー (tokenizer.json) がありません。",
            ),
            tr(
                "Put the base model's tokenizer files beside the weights.",
                "元のモデルのトークナイザーを重みと同じ場所に置いてください。",
            ),
            code="file_missing",
            file=folder,
        )
    if sum(file.stat().st_size for file in there) > MAX_TOKENIZER_BYTES:
        raise unreadable(folder, f"its files are larger than {MAX_TOKENIZER_BYTES // 10**6} MB")
    import tokenizers  # noqa: F401 (so that the child has it)

    what = tr(f"{folder}: the tokenizer", f"{folder}: トークナイザー")
    vocabulary, template = limited(lambda: check_tokenizer(folder, rows), what, **LIMITS)
    return {"vocabulary": vocabulary, "chat_template": template}
