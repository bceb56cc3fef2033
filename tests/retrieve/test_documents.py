"""Documents of many kinds become sections and passages, each with its place; what can't be read says so."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sodate.core.errors import SodateError
from sodate.core.text import tr
from sodate.retrieve import documents
from sodate.retrieve.documents import read_document
from sodate.retrieve.passages import WIDTH, passages, width
from sodate.retrieve.sections import Section


def read(path: Path) -> list[tuple[str, tuple[str, ...], str]]:
    return [(s.place, s.titles, s.text) for s in read_document(path, lambda code, text: pytest.fail(text))]


def test_markdown_keeps_headings_places_and_tables(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(
        "Before.\n\n# Returns\n\nWithin 30 days.\n\n| item | days |\n|---|---|\n| shoes | 30 |\n\n## Postage ##\n"
        "Free.\n```\n# no heading\n```\n# Contact\nBy mail.\n"
    )
    found = read(file)
    assert [(place, titles) for place, titles, _ in found] == [
        ("line 1", ()), ("line 5", ("Returns",)), ("line 7", ("Returns",)), ("line 12", ("Returns", "Postage")),
        ("line 17", ("Contact",)),
    ]  # fmt: skip
    assert found[2][2] == "| item | days |\n| shoes | 30 |"
    assert "# no heading" in found[3][2]


def test_html_is_read_without_scripts_and_styles_in_whatever_encoding(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    page = (
        "<html><head><title>t</title><style>p{}</style></head><body><script>var 秘密 = 1</script>"
        "<h1>会社<b>概要</b></h1>"
        "<p>所在地は東京です。</p><table><tr><th>電話</th><td>なし</td></tr></table><h2>沿革</h2>創業は&#26157;和。</body>"
    )
    file.write_bytes(page.encode("cp932"))
    found = read(file)
    assert [titles for _, titles, _ in found] == [("会社概要",), ("会社概要", "沿革")]
    assert found[0][2] == "所在地は東京です。\n| 電話 | なし" and found[1][2] == "創業は昭和。"


SENTENCES = [f"{n}番の窓口は{n * 7}号室にあります。" for n in range(100)]


def _hard_wrapped() -> str:
    return "案内\n\n" + "\n".join(SENTENCES) + "\n"


def _chapters() -> str:
    return "# 章\n\n" + "\n\n".join("".join(SENTENCES[n : n + 5]) for n in range(0, 100, 5)) + "\n"


def _table() -> str:
    return "前置き。\n\n| 番号 | 窓口 |\n|---|---|\n" + "\n".join(f"| {n} | {one} |" for n, one in enumerate(SENTENCES))


def _page() -> str:
    return "<html><body>\n<h1>章</h1>\n<p>\n" + "</p>\n\n<p>".join(f"<b>{one[:2]}</b>{one[2:]}" for one in SENTENCES)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", _hard_wrapped()), ("a.md", _chapters()), ("b.md", _table()), ("a.html", _page())],
)
@pytest.mark.parametrize("overlap", [0, 60])
def test_every_passage_of_a_long_section_has_the_line_that_its_text_begins_on(
    tmp_path: Path, name: str, text: str, overlap: int
) -> None:
    (tmp_path / name).write_text(text)
    sections = read_document(tmp_path / name, lambda code, said: pytest.fail(said))
    lines = [re.sub("<[^>]*>", "", line) for line in text.split("\n")]
    made = list(passages(name, sections, 400, overlap))
    places = [int(one.place.removeprefix("line ")) for one in made]
    assert len(made) > 8 and places == sorted(set(places))  # each its own
    for one, place in zip(made[2:], places[2:], strict=True):  # those before begin under the heading or the header
        own = next(line for line in one.text.split("\n") if "号室" in line)
        first = own.split("。")[0]
        assert first in lines[place - 1]
    assert all(any(sentence in one.text for one in made) for sentence in SENTENCES)


def test_text_in_shift_jis_is_read_by_paragraph(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("一つめの段落です。\r\n\r\n\r\n二つめの段落です。".encode("cp932"))
    assert [(place, text.strip()) for place, _, text in read(file)] == [
        ("line 1", "一つめの段落です。"), ("line 4", "二つめの段落です。"),
    ]  # fmt: skip


def test_marked_lines_of_japanese_texts_are_headings_where_text_stands_below(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(
        "案内\n\n■双眼鏡\n1時間200円。\n■ 車いす\n\n3台。\n\n無料。\n【注意】\n第3条（返品）\n不可。\n■文です。\n◆終\n"
    )
    assert read(file) == [
        ("line 1", (), "案内"), ("line 4", ("双眼鏡",), "1時間200円。"), ("line 7", ("車いす",), "3台。"),
        ("line 9", ("車いす",), "無料。\n【注意】"), ("line 12", ("第3条（返品）",), "不可。\n■文です。\n◆終"),
    ]  # fmt: skip


def test_a_table_as_excel_saves_it_sets_nothing_aside(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("題目,人数\r\n変光星,4名\r\n".encode("utf-8-sig"))
    assert read_document(file, lambda code, text: pytest.fail(text)) == [
        Section("題目: 変光星\n人数: 4名", "line 2", whole=True)
    ]


def test_rows_have_a_title_a_text_and_their_own_id_or_all_their_cells(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"id": "p1", "title": "梅雨", "text": "雨が多い。"}\n{"質問": "いつ?", "回答": "6月。"}\n'
        '{"品": "靴", "日数": 30}\n'
    )
    found = read_document(file, lambda code, text: pytest.fail(text))
    assert found == [
        Section("雨が多い。", "line 1", ("梅雨",), id="p1"),
        Section("6月。", "line 2", ("いつ?",)),
        Section("品: 靴\n日数: 30", "line 3", whole=True),
    ]


def test_a_broken_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "one"}\n{broken\n{"text": "two"}\n{"text": " "}\n')
    notes: list[tuple[str, str]] = []
    found = read_document(file, lambda code, text: notes.append((code, text)))
    assert [one.text for one in found] == ["one", "two"]
    assert [code for code, _ in notes] == ["invalid-json", "empty_document"]
    assert notes[0][1].startswith("a.jsonl:2: ") and notes[1][1] == "a.jsonl:4 has no text."


def test_word_documents_keep_headings_and_tables(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("規程", 1)
    document.add_paragraph("休暇は年20日です。")
    table = document.add_table(1, 2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "区分", "日数"
    document.add_heading("附則", 2)
    document.add_paragraph("4月から。")
    document.save(str(tmp_path / "a.docx"))
    assert [(titles, text) for _, titles, text in read(tmp_path / "a.docx")] == [
        (("規程",), "休暇は年20日です。"), (("規程",), "区分 | 日数"), (("規程", "附則"), "4月から。"),
    ]  # fmt: skip


def pdf(path: Path, pages: list[str], password: str | None = None) -> Path:
    """A PDF with a line of text a page, written by hand; an empty text is a page without any."""
    pypdf = pytest.importorskip("pypdf")
    from pypdf.generic import DictionaryObject, NameObject, StreamObject

    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
         NameObject("/BaseFont"): NameObject("/Helvetica")}
    )  # fmt: skip
    for text in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})}
        )
        stream = StreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = writer._add_object(stream)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(str(path))
    return path


def test_pages_of_a_pdf_are_places_and_pages_without_text_are_named(tmp_path: Path) -> None:
    file = pdf(tmp_path / "a.pdf", ["Returns within 30 days.", "", "Postage is free."])
    notes: list[tuple[str, str]] = []
    found = read_document(file, lambda code, text: notes.append((code, str(text))))
    assert [(one.place, one.text.strip()) for one in found] == [
        ("page 1", "Returns within 30 days."), ("page 3", "Postage is free."),
    ]  # fmt: skip
    assert notes == [("scanned_document", "a.pdf has pages without text (1): 2")]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.xyz", b"text", "unknown_document"),
        ("a.md", b"  \n\n", "empty_document"),
        ("a.pdf", b"%PDF-1.4 broken", "damaged"),
        ("a.docx", b"PK broken", "damaged"),
        ("a.txt", b"\xff\xfe\x00\xd8\x00\x00", "bad_encoding"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SodateError) as refused:
        read_document(tmp_path / name, lambda code, text: None)
    assert refused.value.code == code and name in str(refused.value)


def test_scanned_and_encrypted_pdfs_are_never_silently_empty(tmp_path: Path) -> None:
    for file, code in (
        (pdf(tmp_path / "scan.pdf", ["", ""]), "scanned_document"),
        (pdf(tmp_path / "secret.pdf", ["text"], password="pw"), "encrypted_document"),
    ):
        with pytest.raises(SodateError) as refused:
            read_document(file, lambda code, text: None)
        assert refused.value.code == code


def test_passages_are_whole_sentences_that_fit_and_nothing_is_lost() -> None:
    text = "".join(f"これは{n}番目の文です。" for n in range(200))
    found = list(passages("a.md", [Section(text, "line 1", ("題",))]))
    assert "".join(one.text for one in found) == text
    assert len(found) > 3 and all(width(one.text) <= WIDTH and one.text.endswith("。") for one in found)
    assert {one.titles for one in found} == {("題",)}


@given(text=st.text(alphabet="ab1あ。！？!?. \n」", max_size=90), most=st.integers(4, 40))
def test_no_mark_takes_a_character_with_it(text: str, most: int) -> None:
    found = [one.text for one in passages("a", [Section(text, "line 1")], most)]
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_sign_within_a_word_ends_no_sentence() -> None:
    text = "質問サイトのYahoo!知恵袋が始まった。" + "ほかの文。" * 200
    assert next(passages("a", [Section(text, "line 1")])).text.startswith("質問サイトのYahoo!知恵袋が始まった。")


def test_a_sentence_longer_than_a_passage_is_cut_and_a_decimal_point_ends_none() -> None:
    (one, two) = passages("a", [Section("あ" * 600, "line 1")])
    assert one.text + two.text == "あ" * 600
    (whole,) = passages("a", [Section("It is 3.5 m long. Really.", "line 1")])
    assert whole.text == "It is 3.5 m long. Really."


def test_a_long_table_is_cut_between_rows_under_its_header() -> None:
    rows = [f"| item {n} | {n} days |" for n in range(100)]
    found = list(passages("a", [Section("\n".join(["| item | days |", *rows]), "line 1", whole=True)]))
    assert len(found) > 1 and all(one.text.startswith("| item | days |\n") for one in found)
    assert [row for one in found for row in one.text.split("\n")[1:]] == rows


def test_paragraphs_under_one_heading_are_joined_and_those_of_another_are_not() -> None:
    sections = [Section("A.", "line 1", ("x",)), Section("B.", "line 3", ("x",)), Section("C.", "line 6", ("y",))]
    assert [one.text for one in passages("a", sections)] == ["A.\nB.", "C."]


def test_a_passage_goes_over_a_page_only_within_a_sentence(tmp_path: Path) -> None:
    file = pdf(tmp_path / "a.pdf", ["The warranty lasts two years.", "Returns are taken", "within 14 days. Ask us."])
    found = list(passages("a.pdf", read_document(file, lambda code, text: None)))
    assert [(one.place, one.text.split()[0], one.text.split()[-1]) for one in found] == [
        ("page 1", "The", "years."), ("page 2", "Returns", "us."),
    ]  # fmt: skip


def test_a_pdf_of_a_thousand_pages_is_read_to_its_end_and_what_has_no_text_is_counted(tmp_path: Path) -> None:
    pages = [f"Article {n} of the rules." if n % 100 else "" for n in range(1, 1001)]
    notes: list[tuple[str, str]] = []
    found = read_document(pdf(tmp_path / "long.pdf", pages), lambda code, text: notes.append((code, str(text))))
    assert len(found) == 990 and (found[-1].place, found[-1].text.strip()) == ("page 999", "Article 999 of the rules.")
    assert notes == [
        ("scanned_document", "long.pdf has pages without text (10): " + ", ".join(map(str, range(100, 1001, 100))))
    ]


def test_a_page_that_cannot_be_read_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pypdf = pytest.importorskip("pypdf")
    file, real = pdf(tmp_path / "a.pdf", ["one", "two", "three"]), pypdf.PageObject.extract_text
    monkeypatch.setattr(pypdf.PageObject, "extract_text", lambda page: 1 / 0 if "two" in real(page) else real(page))
    notes: list[tuple[str, str]] = []
    found = read_document(file, lambda code, text: notes.append((code, str(text))))
    assert [one.place for one in found] == ["page 1", "page 3"]
    assert notes == [("damaged", "a.pdf has pages that can't be read (1): 2")]


def test_a_packed_document_that_would_fill_memory_is_refused_unread(tmp_path: Path) -> None:
    pytest.importorskip("docx")
    with zipfile.ZipFile(tmp_path / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"word/{number}.xml", b"\0" * (80 << 20))
    with pytest.raises(SodateError) as refused:
        read_document(tmp_path / "bomb.docx", lambda code, text: None)
    assert refused.value.code == "too_large"


def test_a_page_whose_head_is_not_closed_has_text_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<head><title>t</title><h1>Rules</h1><p>Be kind.<script>x</script><p>Be brief.")
    assert read(tmp_path / "a.html") == [("line 1", ("Rules",), "Be kind.\nBe brief.")]


def test_a_tag_that_does_not_end_is_text_and_what_follows_is_read_on(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    file.write_text("<p>One <a href='x>two</a> three</p><h1>Next</h1>four &amp; five <b")
    assert read(file) == [
        ("line 1", (), "One <a href='x>two three"), ("line 1", ("Next",), "four & five <b"),
    ]  # fmt: skip


def test_a_section_of_a_page_that_python_cannot_name_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: HTMLParser, i: int, report: bool = True) -> int:
        raise AssertionError

    monkeypatch.setattr(HTMLParser, "parse_marked_section", fail)
    (tmp_path / "a.html").write_text("<p>one<![if x]>, two<![endif]>, three")
    assert read(tmp_path / "a.html") == [("line 1", (), "one, two, three")]


def test_formulas_in_cells_are_text_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('商品,価格\n=HYPERLINK("http://example.com"),+1+cmd|calc\n')
    ((_, _, text),) = read(tmp_path / "a.csv")
    assert text == '商品: =HYPERLINK("http://example.com")\n価格: +1+cmd|calc'


def test_a_document_that_its_reader_never_ends_with_is_refused_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spins(path: Path, note: documents.Note) -> Iterator[Section]:
        while path.stem == "odd":
            pass
        note("odd", tr("seen", "見た"))
        yield Section("text", "page 1", ("title",))

    monkeypatch.setitem(documents._READERS, ".pdf", spins)
    monkeypatch.setattr(documents, "SECONDS", 0.3)
    for name in ("odd.pdf", "even.pdf"):
        (tmp_path / name).write_bytes(b"%PDF-1.7")
    with pytest.raises(SodateError, match=r"odd\.pdf cannot be read: it takes more than 0\.3 s"):
        documents.read_apart(tmp_path / "odd.pdf", lambda code, said: None)
    notes: list[tuple[str, str]] = []
    (section,) = documents.read_apart(tmp_path / "even.pdf", lambda code, said: notes.append((code, said)))
    assert section == Section("text", "page 1", ("title",))
    assert notes == [("odd", "seen")]
