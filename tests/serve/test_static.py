"""What the pages load is what its publisher made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sodate.serve.pages import door

STATIC = Path(door.__file__).parent / "static"


def test_what_is_vendored_is_what_its_publisher_made() -> None:
    about = json.loads((STATIC / "vendored.json").read_text())
    for one in about:
        assert hashlib.sha256((STATIC / one["file"]).read_bytes()).hexdigest() == one["sha256"], one["file"]
        assert (STATIC / one["licence_file"]).stat().st_size > 500
    ours = {"pages.css", "pages.js", "curves.js", "ballot.js", "upload.js", "play.js", "icon.svg", "vendored.json"}
    found = {file.name for file in STATIC.iterdir()}
    assert found - ours == {one["file"] for one in about} | {one["licence_file"] for one in about}


# ── curves ───────────────────────────────────────────────────────────────────────────────────────────────────────────
