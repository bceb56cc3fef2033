"""What transformers, or peft over it, makes of an exported folder: run as a process of its own, with nothing of sodate
in it but this file. It gets a job (agreement.py) and answers it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(job: dict[str, Any], answers: Path) -> None:
    """Loads the folder as its readers would, and writes answers.json and answers.f32 (positions, V)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    local = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(job["folder"], **local)
    if job["base"] is None:
        model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype="auto", **local)
    else:
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, **local)
        model = PeftModel.from_pretrained(base, job["folder"])
    model = model.eval()
    settings = GenerationConfig.from_pretrained(job["folder"], **local)

    def reply(prompt: list[int], limit: int, **more: Any) -> list[int]:
        ids = torch.tensor([prompt])
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings, do_sample=False,
            max_new_tokens=limit, **more,
        )  # fmt: skip
        return made[0, len(prompt) :].tolist()  # type: ignore[no-any-return]

    with torch.inference_mode(), (answers / "answers.f32").open("wb") as handle:
        ids = [
            tokenizer.apply_chat_template(
                turns, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=False
            )
            for turns, tools in job["asked"]
        ]
        replies = [reply(prompt, job["limit"]) for prompt in job["prompts"]]
        # A stop token that is made to come has to be the last.
        stops = [len(reply(job["prompts"][0], 4, sequence_bias={(stop,): 1e4})) == 1 for stop in job["stops"]]
        for row in job["positions"]:
            logits = model(input_ids=torch.tensor([row]), logits_to_keep=1).logits[0, -1].float()
            torch.log_softmax(logits, -1).numpy().tofile(handle)
    (answers / "answers.json").write_text(json.dumps({"ids": ids, "replies": replies, "stops": stops}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[1]).parent)
