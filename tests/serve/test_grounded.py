"""With an index, served answers see the passages that evaluation and training see, and say which they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sodate.api import retrieval
from sodate.api.answering import Service
from sodate.core.types import Message
from tests.serve.running import running, service_of


@pytest.mark.parametrize("stream", [False, True])
def test_a_served_question_stands_after_its_passages(
    tiny_folder: Path, tmp_path: Path, home: Path, stream: bool
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "returns.md").write_text("# 返品\n\n商品は30日以内に返品できます。\n")
    retrieval.build_index([tmp_path / "docs"], "faq")
    retriever = retrieval.retriever("faq")
    asked = "返品は何日以内?"
    service, engine = service_of(tiny_folder)
    plain = service.served[0]
    one = replace(plain, retriever=retriever)
    service = Service([one], {"orders": one})
    ids = len(plain.renderer.prompt(retriever.ask([Message("user", asked)])))
    with running(service, engine) as server:
        body = {"model": "orders", "messages": [{"role": "user", "content": asked}], "max_tokens": 2, "stream": stream}
        answer = server.http().post(
            "/v1/chat/completions", json=body | ({"stream_options": {"include_usage": True}} if stream else {})
        )
        assert answer.status_code == 200
        assert json.loads(answer.headers["x-sodate-passages"]) == [{"file": "returns.md", "place": "line 3"}]
        if not stream:
            assert answer.json()["usage"]["prompt_tokens"] == ids
        other = server.http().post("/v1/responses", json={"model": "orders", "input": asked, "max_output_tokens": 2})
        assert other.json()["usage"]["input_tokens"] == ids and "x-sodate-passages" in other.headers
        none = server.http().post("/v1/responses", json={"model": "orders", "input": "zebra", "max_output_tokens": 2})
        assert "x-sodate-passages" not in none.headers
