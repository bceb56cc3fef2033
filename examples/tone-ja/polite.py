"""A grader: 1 when every sentence of the reply ends as a polite one does (です・ます and their forms)."""

import re

ENDINGS = (
    "です", "ます", "ません", "ました", "でした", "でしょう", "ください", "くださいませ", "ませ", "ございます",
    "ですか", "ますか", "ませんか", "でしょうか",
)  # fmt: skip


def grade(sample: dict[str, str], item: dict[str, object]) -> float:
    sentences = [one.strip() for one in re.split(r"[。!?！？\n]", sample["output_text"]) if one.strip()]
    return float(bool(sentences) and all(sentence.endswith(ENDINGS) for sentence in sentences))
