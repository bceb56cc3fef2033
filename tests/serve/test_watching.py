"""What is watched is looked at once for all who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from sodate.serve import watching
from sodate.serve.watching import Look, Seen, Watches


class Thing:
    """Something that changes, and how often it was looked at."""

    def __init__(self) -> None:
        self.looks = self.begun = 0
        self.now: Seen | None = Seen(b"first")

    def look(self) -> Look:
        self.begun += 1

        def look() -> Seen | None:
            self.looks += 1
            return self.now

        return look


async def taken(stream: AsyncGenerator[bytes, None], count: int) -> list[bytes]:
    return [await anext(stream) for _ in range(count)]


def test_ten_readers_are_told_the_same_by_one_look() -> None:
    async def watched() -> None:
        thing, watches = Thing(), Watches()
        streams = [watches.told("it", thing.look, 0.01) for _ in range(10)]
        assert [await anext(one) for one in streams] == [b"first"] * 10
        thing.now = Seen(b"second")
        assert [await anext(one) for one in streams] == [b"second"] * 10
        assert thing.begun == 1 and thing.looks < 10
        for one in streams:
            await one.aclose()
        seen = thing.looks
        await asyncio.sleep(0.1)
        assert thing.looks == seen, "nobody watches, and still it is looked at"

    asyncio.run(watched())


def test_what_is_equal_to_what_was_sent_is_not_sent_again() -> None:
    async def watched() -> None:
        thing = Thing()
        async with aclosing(Watches().told("it", thing.look, 0.001)) as stream:
            assert await anext(stream) == b"first"
            following = asyncio.create_task(taken(stream, 1))
            while thing.looks < 5:
                thing.now = Seen(b"first") if thing.looks % 2 else None
                await asyncio.sleep(0.001)
            assert not following.done()
            thing.now = Seen(b"other")
            assert await following == [b"other"]

    asyncio.run(watched())


def test_the_last_of_it_ends_every_stream_and_whoever_comes_later_begins_anew() -> None:
    async def watched() -> None:
        thing, watches = Thing(), Watches()
        first, second = (watches.told("it", thing.look, 0.001) for _ in range(2))
        assert [await anext(first), await anext(second)] == [b"first"] * 2
        thing.now = Seen(b"end", last=True)
        assert [[one async for one in stream] for stream in (first, second)] == [[b"end"]] * 2
        assert [one async for one in watches.told("it", thing.look, 0.001)] == [b"end"] and thing.begun == 2

    asyncio.run(watched())


def test_a_stream_ends_with_its_server_with_a_fault_and_with_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watched() -> None:
        thing, ending = Thing(), False
        stream = Watches().told("it", thing.look, 0.001, lambda: ending)
        assert await anext(stream) == b"first"
        ending = True
        assert [one async for one in stream] == []

        def faulty() -> Look:
            def look() -> Seen:
                raise OSError

            return look

        assert [one async for one in Watches().told("it", faulty, 0.001)] == []
        monkeypatch.setattr(watching, "LIFE_SECONDS", 0.05)  # then the browser asks again, and is let in or not
        assert [one async for one in Watches().told("it", thing.look, 0.001)] == [b"first"]

    asyncio.run(watched())
