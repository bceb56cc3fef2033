"""Values of a recipe as people write them."""

from __future__ import annotations

import pytest

from sodate.core.errors import UsageError
from sodate.core.recipe_values import column_pairs


def test_columns_may_be_joined_by_full_width_signs() -> None:
    assert column_pairs("prompt＝質問，completion＝回答") == {"prompt": "質問", "completion": "回答"}


@pytest.mark.parametrize("text", ["質問", "prompt=", "=質問", "prompt=質問,"])
def test_another_form_of_columns_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form prompt=COLUMN,completion=COLUMN"):
        column_pairs(text)
