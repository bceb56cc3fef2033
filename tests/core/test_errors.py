from __future__ import annotations

from sodate.core.errors import SodateError
from sodate.core.text import reading_in, tr


def test_an_error_in_one_line_has_a_space_where_its_language_has_one() -> None:
    error = SodateError(tr("It is full.", "空きがありません。"), tr("Delete something.", "何か削除してください。"))
    with reading_in("en"):
        assert error.in_one_line() == "It is full. Delete something."
    with reading_in("ja"):
        assert error.in_one_line() == "空きがありません。何か削除してください。"
    assert SodateError("It is full.").in_one_line() == "It is full."
