"""The shipped examples: what their README promises about them holds."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sodate.core.recipe import load_recipe
from sodate.data.check import check
from sodate.grade.spec import parse_grader

EXAMPLES = Path(__file__).parents[2] / "examples"
ORDERS = EXAMPLES / "orders"
SUPPORT = EXAMPLES / "support-ja"


def rows(path: Path) -> list[list[dict[str, str]]]:
    """The messages of every row of a chat JSONL."""
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def words(texts: set[str]) -> set[str]:
    return {word.lower() for text in texts for word in re.findall(r"\w+", text)}


def shingles(text: str) -> set[str]:
    flat = " ".join(text.split())
    return {flat[i : i + 5] for i in range(max(1, len(flat) - 4))}


def likeness(a: str, b: str) -> float:
    left, right = shingles(a), shingles(b)
    return len(left & right) / len(left | right)


def answers(name: str) -> list[dict[str, Any]]:
    return [json.loads(row[-1]["content"]) for row in rows(ORDERS / f"{name}.jsonl")]


def skeleton(mail: str, answer: dict[str, Any]) -> str:
    """The mail with the buyer, products, dates, numbers and number words taken out, its list of items run into one."""
    for text in [answer["customer"], *(item["product"] for item in answer["items"])]:
        mail = mail.replace(text, "_")
    months = "January|February|March|April|May|June|July|August|September|October|November|December"
    mail = re.sub(rf"\d+ ({months}) \d+|({months}) \d+, \d+|\d{{4}}-\d\d-\d\d", "_", mail)
    mail = re.sub(r"\b(two|three|four|five|half a dozen|a dozen|eight|ten|fifteen|twenty|\d+)\b", "_", mail)
    return re.sub(r"(_[\s,]*(and )?)+", "_ ", mail)


def support_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names in examples/support-ja/parts.py, which imports its neighbours; sys.path is put back after."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("cases", "unseen"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names = runpy.run_path(str(SUPPORT / "parts.py"))
    for name in ("cases", "unseen"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return names


@pytest.mark.parametrize("example", ["orders", "support-ja"])
def test_the_generator_writes_the_shipped_files_again_byte_for_byte(example: str, tmp_path: Path) -> None:
    folder = EXAMPLES / example
    subprocess.run([sys.executable, "-B", str(folder / "make.py"), "--out", str(tmp_path)], check=True)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert {"train.jsonl", "valid.jsonl", "heldout.jsonl", "fewshot.jsonl"} <= set(made)
    for name in made:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize("example", ["orders", "support-ja"])
def test_every_row_is_one_shared_system_prompt_a_user_and_an_assistant(example: str) -> None:
    systems = set()
    for name in ("train", "valid", "heldout"):
        for row in rows(EXAMPLES / example / f"{name}.jsonl"):
            assert [message["role"] for message in row] == ["system", "user", "assistant"]
            assert all(message["content"].strip() == message["content"] != "" for message in row)
            systems.add(row[0]["content"])
    assert len(systems) == 1


@pytest.mark.parametrize("example", ["orders", "support-ja"])
def test_no_two_prompts_are_the_same_in_or_across_the_sets(example: str) -> None:
    prompts = [
        row[1]["content"]
        for name in ("train", "valid", "heldout")
        for row in rows(EXAMPLES / example / f"{name}.jsonl")
    ]
    assert len(prompts) == len(set(prompts))


@pytest.mark.parametrize("name", ["train", "valid", "heldout", "fewshot"])
def test_every_order_answer_fits_the_schema_and_is_found_in_its_mail(name: str) -> None:
    schema = json.loads((ORDERS / "schema.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for row in rows(ORDERS / f"{name}.jsonl"):
        answer = json.loads(row[-1]["content"])
        validator.validate(answer)
        assert row[-1]["content"] == json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        mail = row[1]["content"]
        assert answer["customer"] in mail
        assert all(item["product"] in mail for item in answer["items"])


def test_the_order_schema_refuses_other_fields_and_written_out_dates() -> None:
    schema = json.loads((ORDERS / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good: dict[str, Any] = {
        "customer": "A",
        "items": [{"product": "b", "quantity": 1}],
        "delivery": None,
        "urgent": False,
    }
    assert validator.is_valid(good)
    assert not validator.is_valid(good | {"note": "x"})
    assert not validator.is_valid(good | {"delivery": "5 March 2026"})
    assert not validator.is_valid(good | {"items": []})
    assert not validator.is_valid(good | {"items": [{"product": "b", "quantity": "1"}]})


def test_the_order_sets_share_no_word_of_any_buyer_or_product() -> None:
    names = ("train", "valid", "heldout")
    buyers = {name: words({answer["customer"] for answer in answers(name)}) for name in names}
    goods = {name: words({item["product"] for answer in answers(name) for item in answer["items"]}) for name in names}
    for left, right in (("train", "valid"), ("train", "heldout"), ("valid", "heldout")):
        assert not buyers[left] & buyers[right]
        assert not goods[left] & goods[right]


def test_the_order_sets_share_no_mail_skeleton_and_hardly_any_wording() -> None:
    mails = {
        name: [row[1]["content"] for row in rows(ORDERS / f"{name}.jsonl")] for name in ("train", "valid", "heldout")
    }
    skeletons = {name: {skeleton(*pair) for pair in zip(mails[name], answers(name), strict=True)} for name in mails}
    assert not skeletons["heldout"] & (skeletons["train"] | skeletons["valid"])
    assert not skeletons["valid"] & skeletons["train"]
    seen = mails["train"] + mails["valid"]
    assert max(likeness(new, old) for new in mails["heldout"] for old in seen) < 0.3


def test_the_orders_cover_what_the_job_needs() -> None:
    for name in ("train", "heldout"):
        found = answers(name)
        assert 0.2 < sum(answer["urgent"] for answer in found) / len(found) < 0.5
        assert 0.2 < sum(answer["delivery"] is None for answer in found) / len(found) < 0.5
        assert {len(answer["items"]) for answer in found} == {1, 2, 3}


@pytest.mark.parametrize(("example", "count"), [("orders", 3), ("support-ja", 2)])
def test_the_few_shot_rows_are_training_rows(example: str, count: int) -> None:
    training = rows(EXAMPLES / example / "train.jsonl")
    shots = rows(EXAMPLES / example / "fewshot.jsonl")
    assert len(shots) == count
    assert all(shot in training for shot in shots)


def test_the_support_sets_share_no_product_symptom_phrase_or_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = support_parts(monkeypatch)
    sets = [parts[name] for name in ("TRAIN", "VALID", "HELDOUT")]
    fields = ["after", "after_goods", "apology", "apology_goods", "before", "before_goods", "check", "close", "lead"]
    for left, right in itertools.combinations(sets, 2):
        for get in ("product", "issue", "check"):
            assert not {getattr(case, get) for case in left.cases} & {getattr(case, get) for case in right.cases}
        for get in ("says", "steps"):
            ours = {text for case in left.cases for text in getattr(case, get)}
            assert not ours & {text for case in right.cases for text in getattr(case, get)}
        for field in fields:
            assert not set(getattr(left, field)) & set(getattr(right, field)) - {""}
    old = [row for name in ("train", "valid") for row in rows(SUPPORT / f"{name}.jsonl")]
    for new in rows(SUPPORT / "heldout.jsonl"):
        assert max(likeness(new[1]["content"], row[1]["content"]) for row in old) < 0.3
        assert max(likeness(new[2]["content"], row[2]["content"]) for row in old) < 0.3


def test_every_support_reply_meets_every_rule_in_full() -> None:
    grader = parse_grader(f"rules:{SUPPORT / 'rules.yaml'}")
    for name in ("train", "valid", "heldout"):
        for row in rows(SUPPORT / f"{name}.jsonl"):
            grade = grader(row[2]["content"], None, {})
            assert grade.score == 1.0, (row[2]["content"], grade.reason)


def test_the_support_rules_tell_a_bad_reply() -> None:
    grader = parse_grader(f"rules:{SUPPORT / 'rules.yaml'}")
    good = rows(SUPPORT / "heldout.jsonl")[0][2]["content"]
    assert grader(good + "返金はできません。", None, {}).score == 0.0
    assert grader("炊飯器は便利な家電だ。" * 20, None, {}).score < 0.3
    upside_down = "\n".join(reversed(good.splitlines()))
    assert 0.0 < grader(upside_down, None, {}).score < 0.9


def test_the_support_data_holds_no_address_outside_the_reserved_domains() -> None:
    for name in ("train", "valid", "heldout"):
        text = (SUPPORT / f"{name}.jsonl").read_text(encoding="utf-8")
        assert set(re.findall(r"[\w.-]+\.(?:com|jp|net|org)", text, re.ASCII)) <= {"example.jp", "example.com"}
        assert not re.search(r"\d{2,4}-\d{2,4}-\d{3,4}", text)


def test_a_message_about_an_appliance_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = support_parts(monkeypatch)
    for name in ("train", "valid", "heldout"):
        cases = parts[name.upper()].cases
        for row in rows(SUPPORT / f"{name}.jsonl"):
            case = next(
                case for case in cases if "\n".join(row[2]["content"].splitlines()[1:-1]).endswith(case.steps[-1])
            )
            assert not case.goods or case.product in row[1]["content"], row[1]["content"]


@pytest.mark.parametrize("example", ["orders", "support-ja"])
def test_the_recipe_loads_and_its_files_are_there(example: str) -> None:
    recipe = load_recipe(EXAMPLES / example / "recipe.yaml", {})
    assert all(Path(path).is_file() for path in (*recipe.data, recipe.eval or ""))


@pytest.mark.parametrize("example", ["orders", "support-ja"])
def test_the_data_check_uses_every_training_row_and_finds_no_leak(example: str) -> None:
    folder = EXAMPLES / example
    ledger = check([folder / "train.jsonl"], against=folder / "heldout.jsonl").ledger
    assert ledger.rows_used == ledger.rows_in > 0
    assert {problem.code for problem in ledger.warnings} <= {"pii-name"}


def test_where_there_is_danger_the_reply_says_to_stop_before_it_says_to_look() -> None:
    danger = re.compile("焦げ|煙|蒸気|びしょびしょです|水が垂れてきます|圧がかかる前")
    found = 0
    for name in ("train", "valid", "heldout"):
        for row in rows(SUPPORT / f"{name}.jsonl"):
            if danger.search(row[1]["content"]):
                found += 1
                stop, look = re.search("中止|止めて|止め、", row[2]["content"]), row[2]["content"].index("ご確認")
                assert stop is not None and stop.start() < look, row[2]["content"]
    assert found >= 12
