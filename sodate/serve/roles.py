"""Who may do what: `look` reads, `judge` judges and sees nothing else, `steer` changes things, `own` hands out keys."""

from __future__ import annotations

import re
from typing import Literal, get_args

from sodate.core.errors import SodateError, UsageError
from sodate.core.text import tr

Role = Literal["look", "judge", "steer", "own"]
ROLES: tuple[Role, ...] = get_args(Role)
DEFAULT_ROLE: Role = "steer"  # of keys whose maker did not say

_JUDGING = re.compile(r"/(judge(/.*)?|logout|v1/sodate/judge(/.*)?)")  # all that a judge may ask for
_OWN = re.compile(r"(/v1/sodate)?/keys(/.*)?")  # for the owner alone
_PAGES = re.compile(r"/(?!v1/)|/v1/sodate/|/v1/models(/|$)")
_ASKING = re.compile(r"/v1/chat/completions|/play/why|/logout")  # changes nothing that anybody else sees


def checked_role(given: str) -> Role:
    """`given` if it is a role; UsageError naming them."""
    for role in ROLES:
        if given == role:
            return role
    raise UsageError(
        tr(f"{given!r} is not a role.", f"{given!r} という役割はありません。"),
        tr(f"Roles: {', '.join(ROLES)}.", f"役割: {', '.join(ROLES)}"),
        code="bad_value", param="role",
    )  # fmt: skip


def may(role: str, method: str, path: str) -> bool:
    """Whether somebody in this role may ask so."""
    if role == "own":
        return True
    if role == "judge":
        return _JUDGING.fullmatch(path) is not None
    if _OWN.fullmatch(path):
        return False
    if role == "steer":
        return True
    reads = method in ("GET", "HEAD")
    return (reads and _PAGES.match(path) is not None) or (method == "POST" and _ASKING.fullmatch(path) is not None)


def refused() -> SodateError:
    """For what is beyond a role."""
    return SodateError(
        tr("Your role does not allow this.", "あなたの役割では、この操作はできません。"),
        tr("Ask whoever gave you the key or link for another role.",
           "キーやリンクを発行した人に、別の役割を依頼してください。"),
        code="forbidden", param="role",
    )  # fmt: skip
