"""Who may override a parameter of a step that holds masked values: one rule for register, change and rerun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from flowerapp import engine
from flowerapp.core.masking import MASKED
from flowerapp.core.permissions import CHANGE_DEFINITION
from flowerapp.engine import MayOverride
from flowerapp.exceptions import InvalidPlanError
from flowerapp.models import Flow, HistoryEntry, Task, TaskDefinition
from flowerapp.registry import Context
from flowerapp.states import Status
from flowerapp.testing import InlineRunner
from flowerapp.workflows import Workflow, classes, rows, task
from tests.engine.support import task as row_of
from tests.workflows.arrow.support import run

pytestmark = pytest.mark.django_db(transaction=True)

ANY, LISTED, NONE = MayOverride
SECRET = {"Authorization": "Bearer s3cret"}
STORED = {"URL": "https://example.com/", "BODY": "{}", "HEADERS": SECRET}
HOLDS = r"step {}: parameter URL: the step holds masked values"
HOST = "tests.probe.tasks."


def store(*names: str, name: str = "pays", **columns: Any) -> str:
    """A workflow whose second step holds a secret, and lets callers override the parameters ``names``."""
    step = {"program": "HTTPPostRequest", "parameters": STORED, "overridable": list(names), **columns}
    rows.store({"task_id": name, "tasks": [{"task_seq": 1, "program": "Noop"}, {"task_seq": 2, **step}]})
    return name


Act = Callable[..., dict[str, Any]]
"""Override parameters of step 2 of a stored workflow as a caller with these rights; those that its task then has."""


def by_register(name: str, overrides: Mapping[str, Any], may: MayOverride) -> dict[str, Any]:
    return parameters_of(engine.register(name, parameters={2: overrides}, may_override=may))


def by_change(name: str, overrides: Mapping[str, Any], may: MayOverride) -> dict[str, Any]:
    flow = engine.register(name)
    engine.change(flow.pk, 2, parameters=overrides, may_override=may)
    return parameters_of(flow)


def by_rerun(name: str, overrides: Mapping[str, Any], may: MayOverride) -> dict[str, Any]:
    flow = engine.register(name)
    engine.rerun(flow.pk, all_tasks=True, parameters={2: overrides}, may_override=may)
    return parameters_of(flow)


def by_refresh(name: str, overrides: Mapping[str, Any], may: MayOverride) -> dict[str, Any]:
    """The task gets its secret, and what may be overridden, from the definition as it is now."""
    TaskDefinition.objects.filter(task_id=name).update(task_id="present")
    store(name=name, parameters={"URL": STORED["URL"]})
    flow = engine.register(name)
    TaskDefinition.objects.filter(task_id=name).delete()
    TaskDefinition.objects.filter(task_id="present").update(task_id=name)
    engine.rerun(flow.pk, all_tasks=True, refresh=True, parameters={2: overrides}, may_override=may)
    return parameters_of(flow)


def parameters_of(flow: Flow) -> dict[str, Any]:
    own: dict[str, Any] = row_of(flow, 2).parameters
    return own


ACTS = pytest.mark.parametrize("act", [by_register, by_change, by_rerun, by_refresh])


@ACTS
def test_editor_may_override_any_parameter(runner: InlineRunner, act: Act) -> None:
    assert act(store(), {"URL": "https://other/"}, ANY) == STORED | {"URL": "https://other/"}


@ACTS
@pytest.mark.parametrize("may", [LISTED, NONE])
def test_parameter_that_is_not_listed_is_refused(runner: InlineRunner, act: Act, may: MayOverride) -> None:
    name = store("BODY")
    with pytest.raises(InvalidPlanError, match=HOLDS.format(2)) as caught:
        act(name, {"URL": "https://evil/"}, may)
    assert [(problem.seq, problem.field) for problem in caught.value.problems] == [(2, "parameters.URL")]
    assert CHANGE_DEFINITION in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not Task.objects.exclude(parameters__URL=STORED["URL"]).filter(task_seq=2).exists()


@ACTS
def test_listed_parameter_is_for_callers_with_the_right(runner: InlineRunner, act: Act) -> None:
    assert act(store("BODY"), {"BODY": "hello"}, LISTED) == STORED | {"BODY": "hello"}


@ACTS
def test_caller_without_a_login_may_not_override_a_listed_one(runner: InlineRunner, act: Act) -> None:
    with pytest.raises(InvalidPlanError, match="without a login"):
        act(store("BODY"), {"BODY": "hello"}, NONE)


@ACTS
@pytest.mark.parametrize("may", MayOverride)
def test_what_is_as_it_shows_is_no_override(runner: InlineRunner, act: Act, may: MayOverride) -> None:
    assert act(store(), {"URL": STORED["URL"], "HEADERS": {"Authorization": MASKED}}, may) == STORED


@ACTS
@pytest.mark.parametrize("may", [LISTED, NONE])
def test_secret_that_is_guessed_right_is_refused_like_a_wrong_one(
    runner: InlineRunner, act: Act, may: MayOverride
) -> None:
    with pytest.raises(InvalidPlanError, match="parameter HEADERS: the step holds masked values"):
        act(store(), {"HEADERS": SECRET}, may)


@pytest.mark.parametrize("may", [LISTED, NONE])
def test_parameter_that_the_step_does_not_have_is_an_override_too(runner: InlineRunner, may: MayOverride) -> None:
    with pytest.raises(InvalidPlanError, match="parameter TIMEOUT: the step holds masked values"):
        by_register(store(), {"TIMEOUT": 1}, may)


@ACTS
def test_part_of_a_secret_value_is_kept_for_editors_only(runner: InlineRunner, act: Act) -> None:
    more = {"Authorization": MASKED, "X-Copy-To": "evil"}
    name = store("HEADERS")
    with pytest.raises(InvalidPlanError, match=f"parameter HEADERS: only a user .* keep the part that is {MASKED}"):
        act(name, {"HEADERS": more}, LISTED)
    assert act(name, {"HEADERS": more}, ANY)["HEADERS"] == more | SECRET


@ACTS
def test_listed_name_of_a_value_may_not_reveal_it(runner: InlineRunner, act: Act) -> None:
    named = {"name": "api_token", "value": "s3cret", "note": "a"}
    name = store("name", "note", program=f"{HOST}untyped", parameters=named)
    with pytest.raises(InvalidPlanError, match="value, which is masked, would show"):
        act(name, {"name": "greeting"}, LISTED)
    assert act(name, {"name": "api_token_2", "note": "b"}, LISTED)["value"] == "s3cret"


def test_listed_secret_may_be_replaced(runner: InlineRunner) -> None:
    own = {"HEADERS": {"Authorization": "my own"}, "URL": "https://mine/"}
    assert by_register(store("HEADERS", "URL"), own, LISTED) == STORED | own


@ACTS
@pytest.mark.parametrize("may", MayOverride)
def test_step_without_masked_values_may_be_overridden_by_all(runner: InlineRunner, act: Act, may: MayOverride) -> None:
    name = store(parameters={"URL": "https://example.com/", "BODY": "{}"})
    assert act(name, {"URL": "https://other/"}, may) == {"URL": "https://other/", "BODY": "{}"}


def test_every_refused_parameter_of_every_step_is_named(runner: InlineRunner) -> None:
    step = {"program": "HTTPPostRequest", "parameters": STORED}
    rows.store({"task_id": "two", "tasks": [{"task_seq": 1, **step}, {"task_seq": 2, **step}]})
    overrides = {1: {"URL": "x", "BODY": "y"}, 2: {"URL": "x"}}
    with pytest.raises(InvalidPlanError) as caught:
        engine.register("two", parameters=overrides, may_override=LISTED)
    assert [(it.seq, it.field) for it in caught.value.problems] == [
        (1, "parameters.URL"),
        (1, "parameters.BODY"),
        (2, "parameters.URL"),
    ]
    assert not Flow.objects.exists()


def test_parameter_required_at_register_is_listed(runner: InlineRunner) -> None:
    name = store(parameters={"HEADERS": SECRET}, required_at_register=["URL"])
    with pytest.raises(InvalidPlanError, match="without a login"):
        by_register(name, {"URL": "https://a/"}, NONE)
    assert by_register(name, {"URL": "https://a/"}, LISTED)["URL"] == "https://a/"
    flow = Flow.objects.get()
    engine.change(flow.pk, 2, parameters={"URL": "https://b/"}, may_override=LISTED)
    assert parameters_of(flow)["URL"] == "https://b/"
    with pytest.raises(InvalidPlanError, match="parameter BODY"):
        engine.change(flow.pk, 2, parameters={"BODY": "x"}, may_override=LISTED)


def test_secret_that_a_registration_gave_is_protected_in_its_flow(runner: InlineRunner) -> None:
    name = store(parameters={"URL": STORED["URL"]}, required_at_register=["HEADERS"])
    flow = engine.register(name, parameters={2: {"HEADERS": SECRET, "URL": "https://mine/"}}, may_override=LISTED)
    with pytest.raises(InvalidPlanError, match=HOLDS.format(2)):
        engine.change(flow.pk, 2, parameters={"URL": "https://evil/"}, may_override=LISTED)
    assert parameters_of(flow) == {"HEADERS": SECRET, "URL": "https://mine/"}


def test_flow_keeps_the_list_of_its_registration(runner: InlineRunner) -> None:
    name = store("BODY")
    flow = engine.register(name)
    engine.undefine(name)
    store("URL", name=name)  # made again by a user who may not edit it
    with pytest.raises(InvalidPlanError, match=HOLDS.format(2)):
        engine.change(flow.pk, 2, parameters={"URL": "https://evil/"}, may_override=LISTED)
    engine.change(flow.pk, 2, parameters={"BODY": "b"}, may_override=LISTED)
    engine.rerun(flow.pk, all_tasks=True, refresh=True)
    engine.change(flow.pk, 2, parameters={"URL": "https://listed/"}, may_override=LISTED)
    assert parameters_of(flow)["URL"] == "https://listed/"


def test_priority_and_queue_are_no_parameters(runner: InlineRunner) -> None:
    flow = engine.register(store())
    changed = engine.change(flow.pk, 2, priority=3, queue="far", may_override=LISTED)
    assert (changed.task_priority, changed.queue) == (3, "far")


def test_child_lists_nothing(runner: InlineRunner) -> None:
    """The parameters of a child are those of its own call, which no step lists."""
    flow = engine.register(store("URL"))
    child = {"task_flow": flow, "task_id": flow.task_id, "task_seq": 2, "parent_seq": 2, "child_index": 0}
    Task.objects.create(task_exec_seq=3, program="HTTPPostRequest", parameters=STORED, pending=1, **child)
    with pytest.raises(InvalidPlanError, match=HOLDS.format(3)):
        engine.change(flow.pk, 3, parameters={"URL": "https://evil/"}, may_override=LISTED)


def test_equal_request_with_the_same_key_is_checked_too(runner: InlineRunner) -> None:
    request: dict[str, Any] = {"idempotency_key": "k", "actor": "ann", "parameters": {2: {"URL": "https://other/"}}}
    name = store()
    flow = engine.register(name, **request)
    with pytest.raises(InvalidPlanError, match=HOLDS.format(2)):
        engine.register(name, **request, may_override=LISTED)
    assert engine.register(name, **request).pk == flow.pk


def test_open_flow_of_a_unique_workflow_does_not_hide_a_refusal(runner: InlineRunner) -> None:
    name = store()
    engine.define(name, list(TaskDefinition.objects.filter(task_id=name)), {"unique": True})
    engine.register(name)
    with pytest.raises(InvalidPlanError, match=HOLDS.format(2)):
        engine.register(name, parameters={2: {"URL": "https://evil/"}}, may_override=LISTED)


# An entrance gives the step the flow's input in place of another step's output


def host_step(*names: str, **parameters: Any) -> str:
    """A Celery task of the host that sends a token to the URL that the step before it returns."""
    step = {"program": f"{HOST}mul", "parameters": {"y": {"token": "s3cret"}, **parameters}}
    tasks = [{"task_seq": 1, "program": "Noop"}, {"task_seq": 2, **step, "overridable": list(names)}]
    rows.store({"task_id": "sends", "tasks": tasks})
    return "sends"


@pytest.mark.parametrize("parameters", [{}, {"@input": "x"}])
def test_entrance_does_not_give_a_parameter_that_is_not_listed(
    runner: InlineRunner, parameters: dict[str, Any]
) -> None:
    name = host_step(**parameters)
    for may in (LISTED, NONE):
        with pytest.raises(InvalidPlanError, match="step 2: its input becomes a parameter; parameter x") as caught:
            engine.register(name, entrance=2, input="https://evil/", may_override=may)
        assert [problem.field for problem in caught.value.problems] == ["entrance"]
    engine.register(name, entrance=2, input="https://good/")
    engine.register(name, input="https://passed on/", may_override=LISTED)
    engine.register(host_step("x", **parameters), entrance=2, input="https://good/", may_override=LISTED)


def test_entrance_of_the_workflow_itself_is_free(runner: InlineRunner) -> None:
    name = host_step()
    engine.define(name, list(TaskDefinition.objects.filter(task_id=name)), {"entrance": 2})
    engine.register(name, input=1, may_override=NONE)
    engine.register(name, input=1, entrance=2, may_override=NONE)


def test_place_of_the_input_is_a_parameter(runner: InlineRunner) -> None:
    with pytest.raises(InvalidPlanError, match="parameter @input: the step holds masked values"):
        engine.register(host_step(), parameters={2: {"@input": "x"}}, may_override=LISTED)
    engine.register(host_step("@input"), parameters={2: {"@input": "x"}}, may_override=LISTED)


def test_entrance_at_a_program_that_takes_no_input_is_free(runner: InlineRunner) -> None:
    engine.register(store(), entrance=2, input={"URL": "https://evil/"}, may_override=NONE)
    assert parameters_of(Flow.objects.get()) == STORED


@pytest.mark.parametrize("may", [LISTED, NONE])
def test_skip_does_not_give_a_parameter_that_is_not_listed(runner: InlineRunner, may: MayOverride) -> None:
    flow = engine.register(host_step(), input="https://evil/")
    with pytest.raises(InvalidPlanError, match="step 2: its input becomes a parameter; parameter x"):
        engine.skip(flow.pk, 1, may_override=may)
    assert row_of(flow, 1).status is Status.WAIT
    engine.skip(flow.pk, 2, may_override=may)
    engine.skip(flow.pk, 1)
    listed = engine.register(host_step("x"), input="https://good/")
    engine.skip(listed.pk, 1, may_override=LISTED)


def test_skip_before_other_steps_is_free(runner: InlineRunner) -> None:
    flow = engine.register(store())
    engine.skip(flow.pk, 1, may_override=NONE)
    assert parameters_of(flow) == STORED


# The option


def test_listed_names_are_parameters_of_the_program(runner: InlineRunner) -> None:
    with pytest.raises(
        InvalidPlanError, match="step 2: HTTPPostRequest has no parameter 'Url'; it takes: URL"
    ) as caught:
        store("Url")
    assert [problem.field for problem in caught.value.problems] == ["overridable"]


def test_option_in_a_document(runner: InlineRunner) -> None:
    assert rows.document(store("URL", "BODY"))["tasks"][1]["overridable"] == ["URL", "BODY"]


def test_option_of_a_class(runner: InlineRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_classes", {})

    class Pays(Workflow):
        """Pay."""

        task_id = "pays-by-class"

        @task(parameters={"to": "a", "token": "s3cret"}, overridable="to")
        def pay(self, ctx: Context, to: str, token: str, note: str = "") -> None:
            """Pay."""

    flow = Pays.register(parameters={"pay": {"to": "b"}}, may_override=LISTED)
    assert row_of(flow, 1).parameters == {"to": "b", "token": "s3cret"}
    with pytest.raises(InvalidPlanError, match="parameter note: the step holds masked values"):
        Pays.register(parameters={"pay": {"note": "x"}}, may_override=LISTED)


@pytest.mark.parametrize("names", [{"URL": 1}, "URL", [1]])
def test_list_that_sql_wrote_wrongly_is_named(runner: InlineRunner, names: Any) -> None:
    name = store()
    TaskDefinition.objects.filter(task_id=name).update(overridable=names)
    with pytest.raises(InvalidPlanError, match="step 1: overridable must be a list of names"):
        engine.register(name)


# Who the caller is


class MadeUp:
    """A user of an authentication class of the host, without Django's permissions."""

    is_authenticated = True


@pytest.mark.parametrize("permission", ["flowerapp.register_flow", "flowerapp.operate_flow"])
def test_rights_of_a_user(permission: str) -> None:
    class Holder(MadeUp):
        """A user with permissions."""

        def __init__(self, *permissions: str) -> None:
            self.permissions = permissions

        def has_perm(self, name: str) -> bool:
            return name in self.permissions

    assert MayOverride.of(Holder(permission), permission) is LISTED
    assert MayOverride.of(Holder(permission, CHANGE_DEFINITION), permission) is ANY
    assert MayOverride.of(Holder(CHANGE_DEFINITION), permission) is ANY
    for user in (None, AnonymousUser(), MadeUp(), Holder(), Holder("flowerapp.view_flow")):
        assert MayOverride.of(user, permission) is NONE
    assert MayOverride.of(User.objects.create_superuser("root"), permission) is ANY
    assert MayOverride.of(User.objects.create_superuser("gone", is_active=False), permission) is NONE


def test_history_hides_what_another_parameter_names(runner: InlineRunner) -> None:
    named = {"name": "api_token", "value": "s3cret"}
    flow = engine.register(store(program=f"{HOST}untyped", parameters=named))
    engine.change(flow.pk, 2, parameters={"value": "n3w"})
    (details,) = HistoryEntry.objects.filter(verb="change").values_list("details", flat=True)
    assert details == {"parameters": {"value": MASKED}}


def test_history_names_what_changed_without_secrets(runner: InlineRunner) -> None:
    flow = engine.register(store())
    engine.change(flow.pk, 2, parameters=STORED | {"HEADERS": {"Authorization": "n3w"}, "BODY": "{}"})
    (details,) = HistoryEntry.objects.filter(verb="change").values_list("details", flat=True)
    assert details == {"parameters": {"HEADERS": {"Authorization": MASKED}}}


SECRET_MUL = f'{HOST}mul({{"y": {{"token": "s3cret"}}}})'
INPUT_OF_STEP = "its input becomes a parameter"


@pytest.mark.parametrize(
    "text",
    [
        f"ask → {SECRET_MUL}",
        f"ask → * {SECRET_MUL}",
        f"ask → ? `false` Noop → {SECRET_MUL}",
        f"ask → ? `false` {{ Noop }} → {SECRET_MUL}",
        f"ask → {{ ? `input.no` other }} → * {SECRET_MUL}",
    ],
)
@pytest.mark.parametrize("may", [LISTED, NONE])
def test_an_answer_becomes_no_parameter_on_any_way(runner: InlineRunner, text: str, may: MayOverride) -> None:
    flow = run(runner, text)
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.end_task(flow.pk, 1, output=["http://evil"], may_override=may)
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.skip(flow.pk, 1, may_override=may)
    assert engine.end_task(flow.pk, 1, output=[], may_override=ANY)


def test_an_answer_becomes_no_parameter_after_a_step_that_was_skipped(runner: InlineRunner) -> None:
    flow = run(runner, f"ask → other → {SECRET_MUL}")
    engine.skip(flow.pk, 2)
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.end_task(flow.pk, 1, output=2, may_override=LISTED)


def test_a_child_is_neither_ended_nor_skipped_into_a_parameter(runner: InlineRunner) -> None:
    flow = run(runner, f"<[1, 2]> → * ask → {SECRET_MUL}")
    child = flow.tasks.exclude(parent_seq=None).first()
    assert child is not None
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.skip(flow.pk, child.task_exec_seq, may_override=LISTED)
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.end_task(flow.pk, child.task_exec_seq, output=1, may_override=LISTED)


def test_an_entrance_gives_no_parameter_of_the_program_of_each_item(runner: InlineRunner) -> None:
    step = {"program": "flow:each", "child_program": f"{HOST}mul", "parameters": {"y": {"token": "s3cret"}}}
    rows.store({"task_id": "each", "tasks": [{"task_seq": 1, "program": "Noop"}, {"task_seq": 2, **step}]})
    with pytest.raises(InvalidPlanError, match=INPUT_OF_STEP):
        engine.register("each", entrance=2, input=["http://evil"], may_override=LISTED)


def test_an_entrance_at_a_gate_gives_no_parameter_behind_it(runner: InlineRunner) -> None:
    mul = {"program": f"{HOST}mul", "parameters": {"y": {"token": "s3cret"}}}
    steps: list[dict[str, Any]] = [
        {"program": "Noop"},
        {"program": "flow:gate"},
        {"program": "Noop", "when": "input.no"},
        mul,
    ]
    rows.store({"task_id": "gate", "tasks": [{"task_seq": seq, **step} for seq, step in enumerate(steps, start=1)]})
    for entrance in (2, 3, 4):
        with pytest.raises(InvalidPlanError, match="step 4: its input becomes a parameter") as caught:
            engine.register("gate", entrance=entrance, input="http://evil", may_override=LISTED)
        assert [problem.field for problem in caught.value.problems] == ["entrance"]
    engine.register("gate", entrance=1, input=1, may_override=LISTED)
