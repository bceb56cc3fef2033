"""What the server counts, for Prometheus."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from sodate.api.answering import Ask, End, Service
from sodate.learn.recorder import OUTCOMES, QUEUE_FULL

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """One registry a server. Labels are routes and versions: never what was asked, or by whom."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "sodate_requests", "Answers sent", ["route", "method", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "sodate_request_seconds", "From request to the end of its answer", ["route"], buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "sodate_first_token_seconds", "From request to the first piece of its reply", ["version"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self.tokens = Counter("sodate_tokens", "Tokens read and written", ["version", "kind"], registry=self._registry)
        self.exchanges = Counter(
            "sodate_exchanges", "Exchanges kept, and dropped with the reason", ["outcome"], registry=self._registry
        )
        for outcome in OUTCOMES:  # they show before the first is counted
            self.exchanges.labels(outcome)
        self.stored = Counter(
            "sodate_stored_replies", "Replies stored because `store` said so, and those that could not be",
            ["outcome"], registry=self._registry,
        )  # fmt: skip
        for outcome in OUTCOMES:
            if outcome != QUEUE_FULL:
                self.stored.labels(outcome)
        ProcessCollector(registry=self._registry)  # memory, open files, processor seconds
        self._tasks = Gauge("sodate_tasks", "Tasks of the event loop", registry=self._registry)
        service.on_end = self._counted
        running = Gauge("sodate_running_requests", "Replies being made", registry=self._registry)
        running.set_function(lambda: sum(engine.running for engine in service.engines))
        waiting = Gauge("sodate_waiting_requests", "Replies not begun", registry=self._registry)
        waiting.set_function(lambda: sum(engine.waiting for engine in service.engines))

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def recorded(self, outcome: str, number: int) -> None:
        self.exchanges.labels(outcome).inc(number)

    def _counted(self, ask: Ask, end: End) -> None:
        for kind, number in (("prompt", len(ask.prompt)), ("reply", len(end.ids)), ("cached", end.cached)):
            self.tokens.labels(ask.served.id, kind).inc(number)

    def text(self) -> bytes:
        """What Prometheus reads. Called on the event loop."""
        self._tasks.set(len(asyncio.all_tasks()))
        return generate_latest(self._registry)
