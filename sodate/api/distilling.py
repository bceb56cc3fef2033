"""Teachers: a model with the same tokenizer for `method: distill`, and the replies of any other one as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sodate.api import grading, recorded
from sodate.api import replies as made
from sodate.api.loading import with_adapter
from sodate.core.errors import UsageError
from sodate.core.files import write_text
from sodate.core.recipe import DistillRecipe, Recipe
from sodate.core.runs import now
from sodate.core.text import json_text, tr
from sodate.core.types import ModelFiles, Source
from sodate.evaluate.items import EvalItem
from sodate.release.lookup import look_up


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its teacher as the version that its name means now, so that a resumed run asks the same."""
    if not isinstance(recipe, DistillRecipe):
        return recipe
    return recipe.model_copy(update={"teacher": look_up(recipe.teacher).name})


def load_teacher(name: str, student: ModelFiles, device: str, dtype: str) -> Any:
    """The teacher, ready to be asked. UsageError where its tokenizer is not the student's: then no distribution of one
    is over the tokens of the other."""
    from sodate.adapt import adapters

    files = look_up(name)
    if _vocabulary(files) != _vocabulary(student):
        raise UsageError(
            tr(f"{name} reads other tokens than {student.name}: on-policy distillation needs one tokenizer for both.",
               f"{name} と {student.name} はトークンの分け方が違います。distill には同じトークナイザーが必要です。"),
            tr("Train on its recorded replies instead: sodate data teach.",
               "代わりに、記録した返答で学習してください: sodate data teach"),
            code="wrong_model", param="teacher",
        )  # fmt: skip
    model, config = with_adapter(files, device, dtype)
    if config is not None:
        adapters.merge(model)
    return model.requires_grad_(False).eval()


def _vocabulary(files: ModelFiles) -> dict[str, int]:
    from tokenizers import Tokenizer

    return dict(Tokenizer.from_file(str(files.folder / "tokenizer.json")).get_vocab(with_added_tokens=True))


def teach(
    data: str | Path,
    out: str | Path,
    *,
    teacher: str,
    terms: str,
    replies: str | Path | None = None,
    graders: Sequence[str] = (),
    engine: str = "torch",
    max_new_tokens: int = 512,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Writes a teacher's replies to the prompts of a file as rows for `data add`, each with its origin.

    `replies` are recorded ones (`recorded.read`); else `teacher` is asked, by `engine`. `terms` says what its terms of
    use allow, and is kept with every row. Replies that a grader does not give the full score are left out.
    """
    if not terms.strip():
        raise UsageError(
            tr("Say what the teacher's terms of use allow: --terms.",
               "教師の利用規約で何が許されるかを --terms で指定してください。"),
            code="bad_value", param="terms",
        )  # fmt: skip
    rules = grading.by_rule(graders)
    asked = made.prompts(data, columns=columns, encoding=encoding, limit=limit)
    if replies is not None:
        items = [EvalItem(one.messages, None, Source(str(data), one.line or 0)) for one in asked]
        said = recorded.read(Path(replies), items, None, some=limit is not None)
    else:
        rows = made.replies(teacher, asked, engine=engine, max_new_tokens=max_new_tokens)
        said = [row["replies"][0] for row in rows]
    left: Counter[str] = Counter()
    lines = []
    for one, text in zip(asked, said, strict=True):
        failed = next((rule.name for rule in rules if rule(text, None, {}).score < 1), None)
        if failed is not None or not text.strip():
            left[failed or "empty"] += 1
            continue
        messages = [{"role": message.role, "content": message.content} for message in one.messages]
        origin = {"teacher": teacher, "terms": terms.strip(), "at": now(),
                  **({"grades": [rule.name for rule in rules]} if rules else {})}  # fmt: skip
        tools = {"tools": list(one.tools)} if one.tools else {}
        row = {"messages": [*messages, {"role": "assistant", "content": text}], **tools, "origin": origin}
        lines.append(json_text(row) + "\n")
    write_text(Path(out), "".join(lines))
    return {"file": str(out), "rows": len(lines), "teacher": teacher, "terms": terms.strip(), "left": dict(left)}
