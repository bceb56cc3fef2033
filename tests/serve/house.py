"""A server of pages over a home with something on every page, and people who came by a link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sodate.serve import logins
from tests.serve import filled
from tests.serve.running import Running, running, service_of


@contextmanager
def house_of(model: Path, folder: Path, long: int = 1000) -> Iterator[tuple[Running, dict[str, Any]]]:
    """A server that asks for keys, over a new home in `folder`; and the names of what is in it (filled.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SODATE_HOME", str(folder / "home"))
        patch.setenv("SODATE_LANG", "en")
        made = filled.fill(folder / "work", long=long)
        with running(*service_of(model), auth=True) as one:
            yield one, made


def entered(server: Running, role: str, project: str = "default", name: str = "") -> httpx.Client:
    """Somebody who came by a link."""
    client = server.http(headers={"accept-language": "en"})
    answer = client.get(f"/login/{logins.new_link(role, name, project)[0]}")
    assert answer.status_code == 200
    return client


def token(client: httpx.Client, path: str = "/") -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get(path).text)
    assert found is not None
    return found[1]
