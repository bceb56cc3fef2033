"""A template that prints the date: the day is pinned, and part of every key."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from sodate.core.files import sha256_file, write_json
from sodate.core.types import Conversation, Message
from sodate.release import lookup
from sodate.render import renderer as rendering
from tests import templates, tiny

DAY, NEXT = datetime.date(2026, 1, 31), datetime.date(2026, 2, 1)
TURNS = (Message("user", "q"), Message("assistant", "a"))


class Tomorrow(datetime.date):
    @classmethod
    def today(cls) -> datetime.date:
        return NEXT


def test_the_next_days_prompt_is_the_one_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = templates.renderer(templates.DATED, date=DAY)
    monkeypatch.setattr(rendering.datetime, "date", Tomorrow)
    later = templates.renderer(templates.DATED, date=trained.date)
    assert later.digest == trained.digest
    prompt = later.prompt(TURNS[:1])
    assert trained.render(Conversation(TURNS))[0].ids[: len(prompt)] == prompt == trained.prompt(TURNS[:1])
    assert "Today is 31 January 2026." in later.decode(later.prompt(TURNS[:1]))
    of_the_day = templates.renderer(templates.DATED)
    assert "Today is 01 February 2026." in of_the_day.decode(of_the_day.prompt(TURNS[:1]))


def test_the_day_is_part_of_the_digest_only_where_it_is_printed() -> None:
    first, second = (templates.renderer(templates.DATED, date=day) for day in (DAY, NEXT))
    assert first.digest != second.digest and (first.date, second.date) == (DAY, NEXT)
    plain, other = (templates.renderer(templates.HERMES, date=day) for day in (DAY, NEXT))
    assert plain.digest == other.digest and plain.date is None


def test_a_time_of_day_does_not_change_the_prompt() -> None:
    template = templates.DATED.replace("%d %B %Y", "%H:%M:%S")
    renderer = templates.renderer(template, date=DAY)
    assert "Today is 00:00:00." in renderer.decode(renderer.prompt(TURNS[:1]))


@pytest.mark.parametrize(("manifest", "day"), [
    ({"date": "2026-01-31", "created_at": "2026-02-01T00:10:00+00:00"}, DAY),
    ({"date": None, "created_at": "2026-02-01T00:10:00+00:00"}, NEXT),
    ({"created_at": "2026-02-01T00:10:00+00:00"}, NEXT),  # made before days were pinned
])  # fmt: skip
def test_a_version_brings_its_day_and_one_from_before_days_were_pinned_still_loads(
    manifest: dict[str, Any], day: datetime.date, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SODATE_HOME", str(tmp_path))
    folder = tmp_path / "versions" / "orders" / "1"
    folder.mkdir(parents=True)
    (folder / "template.jinja").write_text(tiny.CHATML, "utf-8")
    recorded = {"template.jinja": sha256_file(folder / "template.jinja")}
    write_json(folder / "version.json", {"base": "b", "files": recorded, **manifest})
    assert lookup.look_up("orders@1").date == day
