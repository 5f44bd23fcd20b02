"""What a program returns or does that cannot be recorded is a clear error of its task, and nothing is lost."""

from __future__ import annotations

import pytest

from flowerapp import engine
from flowerapp.states import Status
from tests.acceptance.live import Live, define

ERRORS = {
    "set": "output of program Misbehave is not JSON: Object of type set is not JSON serializable",
    "nan": "output of program Misbehave is not JSON: Out of range float values are not JSON compliant",
    "nul": "output of program Misbehave holds a NUL character, which the database cannot store",
    "surrogate": "output of program Misbehave holds a lone surrogate, which is not text",
    "10 MB": "output of program Misbehave is 10,000,002 bytes of JSON; the limit is 1,048,576",
    "children": "over 50,000 children (FLOWER['MAX_CHILDREN'])",
    "state list": "shared state must be a JSON object, not list",
    "state": "was changed by others each of 100 times; change it less often",
}


@pytest.mark.parametrize("own", ["redis"], indirect=True)
def test_what_cannot_be_recorded_is_a_clear_error(own: Live) -> None:
    own.site.start_all(2)
    flows = {}
    for how in ERRORS:
        first = {"program": "Misbehave", "child_program": "Noop", "parameters": {"how": how}}
        flows[how] = engine.register(define({1: [], 2: [1]}, {1: first}))
    for how, flow in flows.items():
        own.wait(flow, Status.SUSPEND, 90)
        failed = flow.failed_task
        assert failed is not None
        assert ERRORS[how] in failed.error
        assert failed.output is None
        assert flow.tasks.count() == 2
    for flow in flows.values():
        engine.rerun(flow.pk, parameters={1: {"how": "well"}})
    own.finish(*flows.values())
    own.assert_faultless(*flows.values())
