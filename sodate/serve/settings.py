"""What the server allows, in one place."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PROJECT = "default"  # whose requests these are where no key is asked for


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of the wire. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    auth: bool = True
    allowed_hosts: tuple[str, ...] = ()  # names beside the machine's own addresses under which it may be asked
    body_bytes: int = 20_000_000
    header_seconds: float = 10.0  # a connection may take to send a request's head
    body_seconds: float = 60.0  # … and its body
    send_seconds: float = 30.0  # a reader may take for what is sent to it
    drain_seconds: float = 20.0  # running replies have after SIGTERM
    requests: int = 2000  # that are in the house at once
    failures_per_minute: int = 20  # wrong keys from one address
