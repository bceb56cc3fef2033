"""Models from the hub: looked at before they are fetched, fetched by name of file, never any code."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr
from sodate.library.checks import PICKLE_SUFFIXES, folder_files, is_taken, pickle_refusal
from sodate.library.config import check_config, read_config
from sodate.library.convert import Progress, quiet
from sodate.library.store import no_space, require_space

WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
SPARE_BYTES = 200_000_000


def fetch_from_hub(name: str, revision: str | None, target: Path, progress: Progress) -> tuple[str, str | None]:
    """Puts the files of hub model `name` into `target`; returns its commit and its licence.

    They pass through the hub library's own cache, and are hard links to it where the disk allows: that cache never
    rewrites a file. With HF_HUB_OFFLINE set, or without a network, only that cache is asked.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download

    progress(0.0, tr("Asking the hub", "ハブに問い合わせています"))
    if constants.HF_HUB_OFFLINE:
        return _from_cache(name, revision, target), None
    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
    except Exception as error:
        if _is_answer(error):
            raise explain_hub(error, name, revision) from error
        return _from_cache(name, revision, target), None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if "/" not in file.rfilename}
    taken = {file: size for file, size in sizes.items() if WEIGHTS.fullmatch(file) or is_taken(file)}
    if not any(WEIGHTS.fullmatch(file) for file in taken):
        refuse_without_weights(name, sorted(sizes))
    require_space(sum(taken.values()) + SPARE_BYTES)
    commit, done, total = info.sha or "main", 0, max(1, sum(taken.values()))
    # Small files first: a configuration that is refused costs no download of weights.
    for file in sorted(taken, key=lambda file: (file != "config.json", taken[file])):
        progress(done / total, tr(f"Downloading {file}", f"{file} をダウンロードしています"))
        try:
            with quiet():
                cached = Path(hf_hub_download(name, file, revision=commit))
        except Exception as error:
            raise explain_hub(error, name, revision) from error
        if file == "config.json":
            check_config(read_config(cached), f"{name}/config.json")
        _link(cached, target / file)
        done += taken[file]
    card = info.card_data
    licence = card.get("license") if card is not None else None
    return commit, licence if isinstance(licence, str) else None


def refuse_without_weights(name: str, files: list[str]) -> None:
    """Why a repository with these files at its top cannot be pulled. Always raises."""
    if "adapter_config.json" in files:
        raise SodateError(
            tr(f"{name} is an adapter, not a model.", f"{name} はモデルではなくアダプターです。"),
            tr(
                "Pull its base model; download the adapter to a folder and pass that as --init-adapter.",
                "元になるモデルを取り込み、アダプターはフォルダーに保存して --init-adapter で渡してください。",
            ),
            code="model_unsupported",
        )
    if pickles := [file for file in files if file.endswith(PICKLE_SUFFIXES)]:
        raise pickle_refusal(name, pickles[0])
    raise SodateError(
        tr(f"{name} has no model.safetensors.", f"{name} に model.safetensors がありません。"),
        tr(
            "If it offers GGUF files, download one and pull that file.",
            "GGUF ファイルがあれば、それをダウンロードして取り込んでください。",
        ),
        code="model_unsupported",
    )


def _from_cache(name: str, revision: str | None, target: Path) -> str:
    """Takes the model from the hub library's cache without a network; returns its commit."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception as error:
        raise explain_hub(error, name, revision) from error
    for file in folder_files(folder):
        _link(file, target / file.name)
    return folder.name


def _link(cached: Path, target: Path) -> None:
    real = cached.resolve()
    try:
        os.link(real, target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copyfile(real, target)


def _is_answer(error: Exception) -> bool:
    """Whether the hub (or the id's own spelling) answered, rather than the line being dead."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return isinstance(error, (HfHubHTTPError, HFValidationError))


def explain_hub(error: Exception, name: str, revision: str | None) -> SodateError:
    """The hub library's exception as one sentence and what to do."""
    from huggingface_hub import errors

    if isinstance(error, SodateError):
        return error
    if isinstance(error, (errors.GatedRepoError, errors.DisabledRepoError)):
        return SodateError(
            tr(f"{name} is gated: its owner gives access on request.", f"{name} は利用申請が必要なモデルです。"),
            tr(
                "Accept its terms on its hub page, then set HF_TOKEN or run `hf auth login`, and pull again.",
                "ハブのページで規約に同意し、HF_TOKEN を設定するか `hf auth login` を実行して、やり直してください。",
            ),
            code="model_gated",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SodateError(
            tr(f"{name} has no revision {revision!r}.", f"{name} に版 {revision!r} はありません。"),
            tr(
                "Give a branch, tag or commit of that model.",
                "そのモデルのブランチ、タグ、コミットを指定してください。",
            ),
            code="model_not_found",
            param="revision",
        )
    if isinstance(error, errors.HFValidationError):
        return UsageError(
            tr(f"{name!r} is not a hub id.", f"{name!r} はハブの ID ではありません。"), code="bad_name", param="name"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return SodateError(
            tr(f"The hub has no model {name}, or it is private.", f"ハブに {name} というモデルはないか、非公開です。"),
            tr(
                "Check the spelling; for a private model set HF_TOKEN or run `hf auth login`.",
                "綴りを確かめてください。非公開なら HF_TOKEN を設定するか `hf auth login` を実行してください。",
            ),
            code="model_not_found",
            param="name",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return no_space()
    if isinstance(error, errors.HfHubHTTPError):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return SodateError(
            tr(f"The hub refused {name}: {reason}", f"ハブが {name} を拒否しました: {reason}"),
            tr("Try again later, or check HF_TOKEN.", "後でもう一度試すか、HF_TOKEN を確かめてください。"),
            code="hub_refused",
        )
    return SodateError(
        tr(
            f"No network (or HF_HUB_OFFLINE is set), and {name} is not in the local cache.",
            f"ネットワークに接続できず (または HF_HUB_OFFLINE が設定済み)、{name} は手元のキャッシュにもありません。",
        ),
        tr(
            "Connect once, or use a built-in name, a model folder or a .gguf file.",
            "一度だけ接続するか、組み込みの名前、手元のフォルダーや .gguf ファイルを使ってください。",
        ),
        code="no_network",
    )
