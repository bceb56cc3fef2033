"""Whatever fits the served OpenAPI document, or does not: no answer is a 500, and every refusal has the envelope."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings

from tests.serve.running import Running

LIMITS = settings(
    max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


def test_no_request_ends_in_a_500(served: Running) -> None:
    document = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) >= 18
    for operation in operations:
        LIMITS(given(case=operation.as_strategy())(answered))()


def answered(case: Any) -> None:
    if isinstance(case.body, dict) and "model" in case.body:
        # So that more than the name of the model is looked at, and little is computed.
        case.body |= {"model": "orders", "stream": False, "n": 1} if "input" not in case.body else {"model": "orders"}
    answer = case.call(timeout=60)
    assert answer.status_code < 500, (case.method, case.path, case.body, answer.text)
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
