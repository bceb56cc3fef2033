"""Models of this machine as judges: what they find likely, what they choose, and the same answer once more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import sodate
from sodate.api.judging import LocalJudges, identities
from sodate.api.loading import load
from sodate.core.errors import UsageError
from sodate.core.types import Message
from sodate.grade import Case, parse_grader
from tests import tiny
from tests.farm import write_rows


@pytest.fixture
def pulled(tmp_path: Path, home: Path) -> Path:
    folder = tiny.llama_folder(tmp_path / "tiny")
    sodate.pull(str(folder))
    return folder


def test_likelihoods_are_those_of_transformers_for_the_reply_alone(pulled: Path) -> None:
    asked = (Message("user", "apples?"),)
    replies = ["Thank you!", "two boxes of pears"]
    found = LocalJudges().likelihoods("tiny", [(*asked, Message("assistant", text)) for text in replies])
    renderer = load("tiny").renderer
    model = transformers.AutoModelForCausalLM.from_pretrained(pulled, dtype=torch.float32).eval()
    for text, (logp, tokens) in zip(replies, found, strict=True):
        prompt, reply = renderer.prompt(asked, ()), renderer.reply(Message("assistant", text))
        ids = torch.tensor([[*prompt, *reply]])
        with torch.no_grad():
            every = torch.log_softmax(model(ids).logits[0].float(), -1)
        expected = sum(every[len(prompt) - 1 + n, token].item() for n, token in enumerate(reply))
        assert tokens == len(reply) and logp == pytest.approx(expected, abs=1e-3)
    with pytest.raises(UsageError, match="without a reply"):
        LocalJudges().likelihoods("tiny", [asked])


def test_a_model_of_this_machine_judges_in_both_orders_and_weighs_by_perplexity(pulled: Path) -> None:
    judges = LocalJudges()
    cases = [Case("yes", ("no",), prompt=(Message("user", "q"),))]
    (grade,) = parse_grader("perplexity:tiny", judges=judges).grade(cases)
    assert 0 < grade.score < 1 and "perplexity" in grade.reason
    assert identities(("tiny", "gpt-9"))["gpt-9"] == "elsewhere: gpt-9" and len(identities(("tiny",))["tiny"]) == 64
    with pytest.raises(UsageError, match="not a reward model"):
        judges.scores("tiny", [(Message("user", "q"), Message("assistant", "a"))])


def test_a_greedy_answer_is_the_same_among_other_rows_and_drawn_ones_are_others(pulled: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "h.jsonl", [{"prompt": f"apples {n}?", "reference_answer": "x"} for n in range(5)])
    grader = "consistency:times=3,temperature=1.5"
    done = sodate.evaluate("tiny", rows, [grader, "perplexity:tiny"], max_new_tokens=8, batch_size=4)
    result, parts = done.result, done.result.results[0].parts
    kept = json.loads(done.report.with_name("result.json").read_text("utf-8"))
    assert kept["asks"] == {"perplexity:tiny": ["tiny"]}  # what a gate looks for, with the exact bytes
    assert kept["judges"] == {"perplexity:tiny": identities(("tiny",))}
    assert parts["batch"] == 1 and parts["times"] < 1
    assert result.results[0].form and result.form_only
