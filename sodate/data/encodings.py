"""Which encoding a file is in, said by name; conversion on request; never mojibake.

A file is UTF-8 unless its first MiB says otherwise. Then the reader still finds the rows, by the detected encoding, but
sets each of them aside with the one sentence that names it, until the person asks for the conversion.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import TYPE_CHECKING, BinaryIO

from sodate.core.errors import UsageError
from sodate.core.text import tr

if TYPE_CHECKING:
    from typing_extensions import Buffer

SAMPLE = 1 << 20
UTF8_BOM = b"\xef\xbb\xbf"

# Python codec → the name to write after --encoding. People say Shift_JIS and mean Windows' superset of it, so ① and 髙
# survive. Only these are accepted: Python's codec list also holds rot13, zip and other things that are not encodings.
NAMES = {
    "utf-8": "utf-8",
    "cp932": "shift_jis",
    "euc_jp": "euc-jp",
    "iso2022_jp": "iso-2022-jp",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "utf-32": "utf-32",
    "cp1252": "cp1252",
    "latin-1": "latin-1",
}
ALIASES = {"shift_jis": "cp932", "utf-8-sig": "utf-8"}
_CODECS = {codecs.lookup(name).name: name for name in NAMES} | {codecs.lookup(k).name: v for k, v in ALIASES.items()}


def codec_named(encoding: str) -> str:
    """The Python codec for what a person typed (`Shift-JIS`, `sjis`, `EUC-JP`, …); UsageError if it is none we read."""
    try:
        found = _CODECS.get(codecs.lookup(encoding).name)
    except (LookupError, ValueError):
        found = None
    if found is None:
        raise UsageError(
            tr(f"Unknown encoding {encoding!r}.", f"文字コード {encoding!r} は使えません。"),
            tr("Use one of: ", "次のどれかにしてください: ") + ", ".join(NAMES.values()),
            code="bad_value",
            param="encoding",
        )
    return found


def detect(sample: bytes) -> str:
    """Codec of a file by its first bytes. `utf-8` also when nothing fits: then bad lines are set aside one by one."""
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    head = sample[:4096]
    if len(head) >= 8 and head.count(0) > len(head) // 8:
        # UTF-16 without a mark: the markup of JSON and CSV is ASCII, so every other byte there is zero.
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > 8 * min(even, odd):
            return "utf-16-le" if odd > even else "utf-16-be"
    if b"\x1b$B" in sample or b"\x1b$@" in sample:
        return "iso2022_jp"
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken * 2 <= len(text) - len(text.encode("ascii", "ignore")):
        return "utf-8"  # most of what is not ASCII does read as UTF-8
    lines = sample.split(b"\n")[:-1] or [sample]  # the last line may be cut in the middle of a character
    return japanese_codec(b"\n".join(line for line in lines if not line.isascii())) or "utf-8"


def japanese_codec(data: bytes) -> str | None:
    """cp932 or euc_jp if `data` reads as one of them, whichever looks more like Japanese; None if neither."""
    scores = {codec: _japaneseness(data.decode(codec)) for codec in ("cp932", "euc_jp") if _decodes(data, codec)}
    best = max(scores, key=scores.__getitem__, default=None)
    return best if best and scores[best] >= 0.5 else None


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _japaneseness(text: str) -> float:
    """Share of kana and kanji minus half-width kana: EUC-JP read as Shift_JIS is a field of half-width kana."""
    good = len(re.findall(r"[ぁ-ゖァ-ヺー一-鿿、。]", text))
    return (good - 2 * len(re.findall(r"[｡-ﾟ]", text))) / max(1, sum(not c.isascii() for c in text))


def is_plainly_utf8(sample: bytes) -> bool:
    """Whether `sample` has multi-byte text that reads as UTF-8: then another encoding would only garble it."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return any(c >= "\u0800" for c in text)


def _mark_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    # One surrogate that encodes back to the byte 0xff, which no UTF-8 text has: the row it lands in is set aside.
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error("sodate-mark", _mark_bad_bytes)


class Transcoder(io.RawIOBase):
    """A byte stream in another encoding, read as UTF-8. Bytes that do not decode become 0xff, never a character."""

    def __init__(self, source: BinaryIO, codec: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(codec)(errors="sodate-mark")
        self._ready = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        while not self._ready and not self._ended:
            chunk = self._source.read(1 << 16)
            self._ended = not chunk
            self._ready = self._decoder.decode(chunk, final=not chunk).encode("utf-8", "surrogateescape")
        view = memoryview(buffer)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


def foreign_sentence(codec: str) -> str:
    """The one sentence for a file in another encoding."""
    name = NAMES[codec]
    return tr(
        f"The file is not UTF-8 but {label(codec)}; nothing of it is used. "
        f"Run again with --encoding {name} to convert it.",
        f"このファイルは UTF-8 ではなく {label(codec)} です。このままでは使いません。"
        f"--encoding {name} を付けて実行すると変換して読みます。",
    )


def label(codec: str) -> str:
    return {"cp932": "Shift_JIS (CP932)", "euc_jp": "EUC-JP"}.get(codec, NAMES[codec].upper())


def bad_line_sentence(line: bytes, error: UnicodeDecodeError, codec: str) -> str:
    """What to say of one undecodable line in a file read as `codec`."""
    if codec != "utf-8":
        return tr(
            f"The line has bytes that are not {label(codec)}. Repair it, or choose another --encoding.",
            f"{label(codec)} として読めないバイトがあります。直すか、別の --encoding を指定してください。",
        )
    guess = japanese_codec(line)
    byte = line[error.start]
    en = f"Byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8."
    ja = f"行の {error.start + 1} バイト目 (0x{byte:02x}) が UTF-8 ではありません。"
    if guess is None:
        return tr(f"{en} Repair the line and save it as UTF-8.", f"{ja}行を直し、UTF-8 で保存してください。")
    return tr(
        f"{en} The line reads as {label(guess)}; save it as UTF-8.",
        f"{ja}{label(guess)} のようです。UTF-8 で保存し直してください。",
    )
