"""What every chat template has to keep, by name."""

from __future__ import annotations

from sodate.core.errors import SodateError
from sodate.core.text import en, ja, tr


class BrokenTemplate(SodateError):
    """The template breaks a law of rendering, so training on it would not be what serving does."""

    code = "template_broken"

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(
            tr(
                f"The chat template breaks the law '{law}': {en(detail)}",
                f"チャットテンプレートが規則「{law}」を破っています: {ja(detail)}",
            ),
            tr(
                "Use another template: template=chatml, gemma, llama3, plain or a .jinja file.",
                "別のテンプレートを指定してください: template=chatml、gemma、llama3、plain、または .jinja ファイル。",
            ),
        )
        self.law = law
