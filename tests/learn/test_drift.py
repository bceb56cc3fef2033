"""Questions unlike anything in training."""

from __future__ import annotations

import json
import random
from pathlib import Path

from sodate.learn import drift, recording
from sodate.learn.clusters import clusters
from sodate.learn.failures import failures
from tests.learn.made import exchange, keep

ITEMS = ["りんご", "みかん", "ぶどう", "いちご", "もも", "なし", "すいか", "メロン", "レモン", "さくらんぼ"]
ASK = (
    "{0}を{1}箱ください",
    "{0}の在庫は{1}個ありますか",
    "{0}を{1}個、明日までに届けてください",
    "{0}の値段を教えてください",
)


def orders(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(ASK).format(rng.choice(ITEMS), rng.randrange(1, 99)) for _ in range(count)]


def test_what_training_has_is_not_drift_and_another_topic_is() -> None:
    seen = drift.learnt(orders(300, 0))
    assert [share for share in seen.unlike(orders(200, 1)) if share is not None] == []
    strange = [
        "社員証の再発行について総務部に確認したい",
        "My invoice has the wrong address on it",
        "プリンターの紙が詰まって動かない",
    ]
    assert all(share is not None and share > 0.5 for share in seen.unlike(strange))
    assert seen.unlike(["はい", ""]) == [None, None]  # too short to say anything


def test_strange_questions_are_failures_once_they_have_been_looked_at(home: Path, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}
            for text in orders(200, 0)]  # fmt: skip
    data = tmp_path / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    version = home / "versions" / "orders" / "1"
    version.mkdir(parents=True)
    about = {"schema_version": 1, "recipe": {"data": str(data)}, "base": "x", "data": {}, "files": {}}
    (version / "version.json").write_text(json.dumps(about))
    recording.change("default", {"mode": "on"})
    keep(exchange("chatcmpl-1", orders(1, 5)[0]), exchange("chatcmpl-2", "プリンターの紙が詰まって動かない"),
         exchange("chatcmpl-3", "プリンターの紙が詰まって動かない", version="unknown@1"))  # fmt: skip
    assert clusters()["failures"] == 1
    assert [one["id"] for one in failures(reason="unlike_training")["failures"]] == ["chatcmpl-2"]
    data.unlink()  # what was learnt of it is kept
    keep(exchange("chatcmpl-4", "会議室の予約を取り消したい"))
    assert clusters()["failures"] == 2
