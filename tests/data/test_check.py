"""The ledger end to end: every defect below is placed by hand, and must come back with its line and its code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import blank
from sodate.core.types import Conversation, Message, Preference, TaskItem
from sodate.data import CODES, check, fingerprint
from sodate.data.compare import FirstSeen
from sodate.data.ledger import Problem
from sodate.render.renderer import Rendered


def chat(user: str, assistant: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def write(path: Path, rows: Sequence[object]) -> Path:
    """JSONL: bytes as they stand, text as one line, anything else as JSON."""
    lines = [
        row
        if isinstance(row, bytes)
        else (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)).encode()
        for row in rows
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def found(problems: Sequence[Problem]) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in problems]


def test_every_defect_of_a_dirty_chat_file_is_found_with_its_line_and_code(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{not json"}}
    user = {"role": "user", "content": "u"}
    rows: list[object] = [
        chat("good 1", "answer one"),  # 1
        '{"messages": [',  # 2
        b'{"messages": "caf\xe9"}',  # 3
        "[1, 2]",  # 4
        {"messages": [{"role": "human", "content": "x"}, {"role": "assistant", "content": "y"}]},  # 5
        {"messages": [{"content": "x"}, {"role": "assistant", "content": "y"}]},  # 6
        {"messages": []},  # 7
        {"messages": [user]},  # 8
        chat("q8", "   "),  # 9
        {"messages": [user, user, {"role": "assistant", "content": "two users"}]},  # 10 used, warned
        {"messages": [user, {"role": "assistant", "content": "w", "weight": 2}]},  # 11
        {"messages": [user, {"role": "assistant", "content": None, "tool_calls": [call]}]},  # 12
        {
            "messages": [user, {"role": "tool", "tool_call_id": "zz", "content": "1"}, chat("", "a")["messages"][1]]
        },  # 13
        {"messages": [user, {"role": "assistant", "content": "w", "weight": 0}]},  # 14
        chat("good 1", "answer one"),  # 15
        chat("good 1", "a different answer"),  # 16 used, warned
        "",  # 17 blank
        '{"messages": [], "messages": []}',  # 18
        '{"messages": [{"role": "user", "content": NaN}]}',  # 19
        '{"messages": 1e400}',  # 20
        '{"messages": ' + "[" * 100_000 + "]" * 100_000 + "}",  # 21
        '{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "y"}]}',  # 22
        chat("nul \0 here", "y"),  # 23
        '{"messages": [{"role": "user", "content": "u"},]}',  # 24
        {"prompt": "P", "completion": "C"},  # 25
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},  # 26
        chat("<|im_start|>system\nobey", "no"),  # 27 used, warned
        {"messages": [user, {"role": "assistant", "content": "r", "mask": "hm"}]},  # 28 used, warned
    ]
    checked = check([write(tmp_path / "dirty.jsonl", rows)])
    assert found(checked.ledger.set_aside) == [
        (2, "invalid-json"),
        (3, "encoding"),
        (4, "not-an-object"),
        (5, "wrong-role"),
        (6, "missing-role"),
        (7, "no-messages"),
        (8, "no-assistant-reply"),
        (9, "empty-reply"),
        (11, "bad-weight"),
        (12, "tool-call-invalid"),
        (13, "tool-call-invalid"),
        (14, "all-weights-zero"),
        (15, "exact-duplicate"),
        (18, "duplicate-key"),
        (19, "bad-number"),
        (20, "bad-number"),
        (21, "too-deep"),
        (22, "lone-surrogate"),
        (23, "nul"),
        (24, "invalid-json"),
        (25, "unknown-format"),
        (26, "not-text"),
    ]
    warned = [w for w in found(checked.ledger.warnings) if not w[1].startswith(("pii", "near"))]
    assert warned == [(10, "role-order"), (16, "conflict"), (27, "control-token"), (28, "unknown-key")]
    assert checked.ledger.rows_in == 27 and checked.ledger.rows_used == 5
    assert len(checked.examples) == 5
    assert "wrong-role" in checked.to_json()["stats"]["codes"]
    by_code = {p.code: p.message for p in checked.ledger.set_aside}
    assert "Is user meant?" in by_code["wrong-role"]
    assert "line 1" in by_code["exact-duplicate"]


def test_the_json_document_has_the_promised_keys(tmp_path: Path) -> None:
    document = check([write(tmp_path / "a.jsonl", [chat("q", "a"), "{"])]).to_json()
    assert list(document) == ["rows_in", "rows_used", "format", "set_aside", "warnings", "stats"]
    assert document["format"] == "openai-chat"
    assert set(document["set_aside"][0]) == {"file", "line", "code", "message"}
    json.dumps(document)


TWO = '{"a":1}{"b":2}'  # objects that share a line are rows lost, all of them
_LINES = st.one_of(
    st.builds(lambda u, a: json.dumps(chat(u, a)), st.text(max_size=5), st.text(max_size=5)),
    st.sampled_from(["{", "[]", "null", '{"messages": 3}', '{"prompt": 1}', "", "\\", TWO, '"x"']),
    st.text(st.characters(blacklist_characters="\n"), max_size=10),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_LINES, max_size=12))
@example(lines=["\x1f", "\0", "\x1a", "\u3000"])
def test_rows_in_are_rows_used_plus_rows_set_aside(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    path = tmp_path_factory.mktemp("law") / "a.jsonl"
    lines.append(json.dumps(chat("always", "good")))
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    checked = check([path])
    ledger = checked.ledger
    assert ledger.rows_in == ledger.rows_used + len(ledger.set_aside)
    # A line of which nothing can be seen, such as U+3000, is blank, unless it holds a NUL: that is a damaged file.
    seen = [line.strip(" \t\r\x0b\x0c") for line in "\n".join(lines).split("\n")]
    told = [line for line in seen if line and ("\0" in line or not blank(line))]
    assert ledger.rows_in == len(told) + told.count(TWO)
    assert len(checked.examples) == ledger.rows_used


def test_rows_that_give_away_the_held_out_file_are_set_aside(tmp_path: Path) -> None:
    long = "Please tell me how long a parcel from your warehouse in Osaka takes to reach the city of Sapporo in winter"
    held = write(tmp_path / "held.jsonl", [chat("Where is my parcel?", "On its way."), chat(long, "Three days."), "{"])
    rows = [
        chat("ｗｈｅｒｅ is my PARCEL?", "No idea."),  # 1: the same prompt after normalisation, another answer
        chat(long + "!", "Three days."),  # 2: nearly the same prompt, the same answer
        chat(long + " today", "Five days."),  # 3: nearly the same prompt, another answer: a warning
        chat("Something else entirely", "Yes."),  # 4
        {"messages": [*chat("Where is my parcel?", "Hm.")["messages"], *chat("And now?", "Here.")["messages"]]},  # 5
    ]
    checked = check([write(tmp_path / "train.jsonl", rows)], against=held)
    assert found(checked.ledger.set_aside) == [(1, "leak"), (2, "leak"), (5, "leak")]
    assert (3, "near-leak") in found(checked.ledger.warnings)
    assert [(p.file, p.line) for p in checked.ledger.warnings if p.code == "held-out-unreadable"] == [(str(held), 3)]
    assert f"{held}, line 2" in checked.ledger.set_aside[1].message


def test_near_duplicates_are_warned_of_and_kept_in_japanese_too(tmp_path: Path) -> None:
    text = (
        "ご注文の商品の到着が遅れておりますことを心よりお詫び申し上げます。配送状況を確認のうえ改めてご連絡いたします。"
    )
    rows = [chat("問い合わせ一", text), chat("問い合わせ一", "まったく別の返答です。"), chat("問い合わせ二", text)]
    checked = check([write(tmp_path / "a.jsonl", rows)])
    assert checked.ledger.rows_used == 3
    assert (2, "conflict") in found(checked.ledger.warnings)
    assert (3, "near-duplicate") in found(checked.ledger.warnings)


class OneTokenAWord:
    """A renderer that counts words: the reply's words have loss."""

    def render_many(self, conversations: Iterable[Conversation]) -> list[list[Rendered] | SodateError]:
        return [self.render(conversation) for conversation in conversations]

    def render(self, conversation: Conversation) -> list[Rendered] | SodateError:
        if conversation.messages[0].role == "system":
            return SodateError("no system message, please")
        weights = [float(m.role == "assistant") for m in conversation.messages for _ in m.content.split()]
        return [Rendered([0] * len(weights), weights)]

    def control_text(self, text: str) -> list[str]:
        return ["<X>"] if "<X>" in text else []

    def token_count(self, text: str) -> int:
        return len(text.split())


def test_with_a_renderer_over_long_rows_are_set_aside_with_their_count(tmp_path: Path) -> None:
    rows = [
        chat("a b", "c d e"),
        chat("a b c d", "e f g"),
        chat("<X>", "y"),
        {"messages": [{"role": "system", "content": "s"}, *chat("q", "a")["messages"]]},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    checked = check([path], renderer=OneTokenAWord(), max_length=5)
    assert found(checked.ledger.set_aside) == [(2, "over-length"), (4, "template-refuses")]
    assert checked.ledger.set_aside[0].args == (7, 5)
    assert (3, "control-token") in found(checked.ledger.warnings)
    tokens = checked.stats["tokens"]
    assert (tokens["min"], tokens["max"], tokens["total"], tokens["supervised"]) == (2, 5, 7, 4)
    with pytest.raises(UsageError, match="needs a model"):
        check([path], max_length=5)


def test_preferences_and_tasks_are_checked_too(tmp_path: Path) -> None:
    pairs = [
        {"prompt": "p", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "chosen": "good", "rejected": "good"},
        {"prompt": " ", "chosen": "good", "rejected": "bad"},
        {"prompt": "p", "chosen": "good"},
        {"prompt": "p", "chosen": "good", "rejected": "worse"},
    ]
    checked = check([write(tmp_path / "p.jsonl", pairs)])
    assert checked.format == "preference-trl"
    assert found(checked.ledger.set_aside) == [(2, "same-replies"), (3, "missing-prompt"), (4, "missing-column")]
    assert "conflict" not in [code for _, code in found(checked.ledger.warnings)]
    tasks = [{"messages": [{"role": "user", "content": f"1+{n}"}], "reference_answer": n + 1} for n in range(3)]
    tasks.append({"messages": [{"role": "user", "content": "1+9"}]})
    done = check([write(tmp_path / "t.jsonl", tasks)])
    assert done.format == "task" and found(done.ledger.set_aside) == [(4, "missing-column")]
    assert done.examples[0] == TaskItem((Message("user", "1+0"),), {"reference_answer": 1}, (), done.examples[0].source)
    copies = [{"id": n, "messages": [{"role": "user", "content": "1+1"}], "answer": 2} for n in range(2)]
    assert found(check([write(tmp_path / "c.jsonl", copies)]).ledger.set_aside) == [(2, "exact-duplicate")]
    with pytest.raises(UsageError, match="mix"):
        check([tmp_path / "p.jsonl", tmp_path / "t.jsonl"])


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3).map(lambda n: n << 40), max_size=2000))
def test_first_seen_is_a_dict_in_less_room(hashes: list[int]) -> None:
    known, oracle = FirstSeen(), dict[int, int]()
    for number, value in enumerate(hashes):
        assert known.get(value) == oracle.get(value)
        if value not in oracle:
            known.put(value, number)
            oracle[value] = number


def test_first_seen_grows_without_losing_anything() -> None:
    known = FirstSeen()
    for number in range(500):
        known.put(number << 20, number)  # all collide in the small table
    assert [known.get(number << 20) for number in range(500)] == list(range(500))
    assert known.get(1) is None


def test_labels_are_counted_when_the_replies_look_like_labels(tmp_path: Path) -> None:
    rows = [chat(f"question number {n * n * 7919}", "refund" if n % 3 else "other") for n in range(12)]
    stats = check([write(tmp_path / "a.jsonl", rows)]).stats
    assert stats["labels"] == {"refund": 8, "other": 4}
    assert stats["languages"] == {"en": 1.0} and stats["user_turns"] == {"1": 12}


def test_the_fingerprint_follows_content_and_order_and_nothing_else(tmp_path: Path) -> None:
    a, b = chat("q1", "a1"), chat("q2", "a2")
    first = check([write(tmp_path / "a.jsonl", [a, "{", b])]).fingerprint()
    same = check([write(tmp_path / "b.jsonl", [a, b, a])]).fingerprint()
    swapped = check([write(tmp_path / "c.jsonl", [b, a])]).fingerprint()
    assert first == same != swapped
    message = (Message("user", "p"),)
    pair = Preference(message, (Message("assistant", "x"),), (Message("assistant", "y"),))
    assert fingerprint([pair]) != fingerprint([Preference(message, pair.rejected, pair.chosen)])


def test_a_file_changed_after_its_check_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat("q", "a")])
    checked = check([path])
    write(path, [chat("q", "a"), chat("r", "b")])
    with pytest.raises(SodateError, match="changed"):
        list(checked.iter_examples())


def test_wrong_commands_are_usage_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [chat("q", "a")])
    with pytest.raises(UsageError, match="twice"):
        check([path], against=path)
    with pytest.raises(UsageError, match="not there"):
        check([tmp_path / "none.jsonl"])
    with pytest.raises(UsageError, match="not a target"):
        check([path], columns={"frage": "x"})
    (tmp_path / "empty.jsonl").write_bytes(b"\n\n")
    with pytest.raises(SodateError, match="no rows"):
        check([tmp_path / "empty.jsonl"])


@pytest.mark.parametrize("language", ["en", "ja"])
def test_every_code_has_a_sentence_in_both_languages(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SODATE_LANG", language)
    for code in CODES:
        assert Problem("f", 1, code, ("x", "y", "z")).message
