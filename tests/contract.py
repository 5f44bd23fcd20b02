"""Calls that schemathesis makes from the API's document, and what must be true of their answers."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from typing import Any

import schemathesis
from django.conf import settings
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from flowerapp.api import schema_generator

LONG = os.environ.get("FLOWER_TEST_FAULTS") == "long"
MOST_BYTES = 2 * 1024 * 1024
MOST_SECONDS = 2
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


def operations() -> list[Any]:
    """The operations of the document, as schemathesis reads it."""
    document = schema_generator.document(settings.ROOT_URLCONF, None)
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document)))
    results: Any = schema.get_all_operations()
    return [result.ok() for result in results]


def at_bounds(operation: Any, role: str, names: dict[str, Any], number: int) -> list[Any]:
    """Calls at the bounds of an operation's parameters; every second one is about rows that there are."""
    config = operation.schema.config.generation_for(operation=operation, phase="coverage")
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    made = list(operation.schema.iter_coverage_cases(operation, generation_modes=modes, generation_config=config))
    dice = random.Random(f"{operation.label} {role}")  # noqa: S311 - not a secret
    chosen: list[Any] = dice.sample(made, min(number, len(made)))
    for case in chosen[::2]:
        case.path_parameters = {key: names.get(key, value) for key, value in (case.path_parameters or {}).items()}
        if case.meta.generation.mode is GenerationMode.POSITIVE:
            case.body = about_rows(case.body)
    return chosen


def about_rows(body: Any) -> Any:
    """The body with names of what there is."""
    if isinstance(body, list):
        return [about_rows(item) for item in body]
    if not isinstance(body, dict):
        return body
    there_is: dict[str, Any] = {
        "program": "Noop",
        "taskId": "etl",
        "pool": "gpu",
        "child_program": None,
        "depends_on": [],
    }
    return {key: there_is[key] if key in there_is else about_rows(value) for key, value in body.items()}


def fuzz(operation: Any, names: dict[str, Any], number: int, call: Calls) -> None:
    """Random calls, valid ones and others, of rows that there are and of others."""
    here = {key: value for key, value in names.items() if f"{{{key}}}" in operation.path}
    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        for parts in (here, None) if here else (None,):
            _fuzz(operation.as_strategy(mode, path_parameters=parts), number // (2 if here else 1), call)


def _fuzz(strategy: Any, number: int, call: Calls) -> None:
    @hypothesis_settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(strategy)
    def run(case: Any) -> None:
        call(case)

    try:
        run()
    except Unsatisfiable:  # every text is a valid flow id, so there is no invalid call of its route
        return


class Calls:
    """Makes calls as one user, and checks the answers."""

    def __init__(self, token: str | None, **target: Any) -> None:
        self.headers = {"Authorization": f"Token {token}"} if token else {}
        self.target = target
        self.statuses: Counter[int] = Counter()

    def __call__(self, case: Any) -> Any:
        """The answer to a call."""
        began = time.monotonic()
        answer = case.call(headers=self.headers, **self.target)
        seconds = time.monotonic() - began
        self.statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)
        assert len(answer.content) < MOST_BYTES, case
        assert seconds < MOST_SECONDS or not LONG, case
        return answer
