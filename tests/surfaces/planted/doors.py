"""Every front door, with secrets in every place where a value can stand; returns the flows that came of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from celery import Celery
from django.conf import settings
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from flowerapp import engine
from flowerapp.core.gates import ACQUIRE, APPROVAL, EVENT, VALUE
from flowerapp.core.plan import Node, Plan
from flowerapp.executors.celery.routes import REGISTER
from flowerapp.models import Flow, TaskDefinition
from flowerapp.states import Status
from flowerapp.workflows import Workflow
from tests.cli.support import flow as command
from tests.surfaces.planted.programs import PLANTER
from tests.surfaces.planted.secrets import ODD

JSON = "application/json"
Answers = dict[str, str]
"""``{what was asked: the text of the answer}``."""


def values(door: str) -> dict[str, Any]:
    """Parameters or an input, with a secret in every kind of place; ``door`` names who gives them."""

    def plant(place: str, tail: str = "Tail9") -> str:
        return PLANTER.plant(f"{door}: {place}", tail)

    return {
        "password": plant("plain"),
        "API KEY": plant("name with a space"),
        "apiKey": plant("name in camel case", ODD),
        "db": {"user": "bob", "pwd": plant("nested", ODD), "hosts": [{"credential": plant("nested in a list")}]},
        "secrets": {"a": plant("object of secrets"), "b": [plant("list of secrets")]},
        "HEADERS": {
            "Authorization": f"Bearer {plant('header Authorization')}",
            "X-Api-Key": plant("header X-Api-Key"),
            "Cookie": f"a=1; sid={plant('header Cookie')}",
            "Proxy-Authorization": f"Basic {plant('header Proxy-Authorization')}",
        },
        "pairs": [["token", plant("name and value in a list")], {"key": "secret", "value": plant("key and value")}],
        "BODY": json.dumps({"client_secret": plant("JSON as text"), "n": 1}),
        "twice": json.dumps(json.dumps([{"passphrase": plant("JSON as text, twice")}])),
        "URL": f"https://bob:{quote(plant('login of a URL', ODD), safe='')}@h.example/x?a=1&token={plant('query')}#top",
        "DSN": f"postgres://app:{plant('login of a database')}@db/x",
        "text": f"user=bob password={plant('key=value')} and api-key: {plant('key: value')}",
        "command": f"curl --token {plant('option of a command')} -H 'Authorization: Bearer {plant('header as text')}'",
        "private_key": f"-----BEGIN PRIVATE KEY-----\n{plant('private key')}\n-----END PRIVATE KEY-----\n",
        f"https://bob:{plant('key of an object')}@h/": 1,
        "pin": 1,
    }


def pairs(door: str) -> list[tuple[str, str]]:
    """Five parameters as the pairs of a row have them: text."""

    def plant(place: str) -> str:
        return PLANTER.plant(f"{door}: pair, {place}")

    headers = {"Authorization": f"Bearer {plant('header')}", "Cookie": f"sid={plant('cookie')}"}
    return [
        ("password", plant("plain")),
        ("BODY", json.dumps({"token": plant("JSON as text"), "deep": {"pwd": plant("nested JSON as text")}})),
        ("URL", f"https://bob:{plant('login of a URL')}@h.example/?access_token={plant('query')}"),
        ("HEADERS", json.dumps(headers)),
        ("X-Api-Key", plant("name with hyphens")),
    ]


def why(door: str) -> str:
    """A reason that quotes a secret."""
    return f"because the password is password={PLANTER.plant(f'{door}: why')}"


def by_sql() -> list[Flow]:
    """Rows, with the five pairs and the JSON column; and rows of another system in ``kr_task_stat``."""
    columns = ", ".join(f"param{number}_{part}" for number in range(1, 6) for part in ("key", "value"))
    names = f"task_id, task_seq, program, task_priority, {columns}, parameters"
    holes = ", ".join(["%s"] * 10)
    statement = f"INSERT INTO ms_task_definition ({names}) VALUES (%s, %s, %s, 0, {holes}, %s)"  # noqa: S608 - our names
    with connection.cursor() as cursor:
        for name, how in (("sql-error", "error"), ("sql-retry", "retry"), ("sql-park", "park"), ("sql-echo", "")):
            programs = [("PlantedEcho", {}), ("PlantedLeak" if how else "PlantedEcho", {"how": how} if how else {})]
            for seq, (program, more) in enumerate(programs, start=1):
                door = f"SQL {name} step {seq}"
                row = [part for pair in pairs(door) for part in pair]
                parameters = json.dumps({**values(f"{door} JSON"), **more})
                cursor.execute(statement, [f"planted-{name}", seq, program, *row, parameters])
        cursor.execute(
            "INSERT INTO kr_task_stat (task_flow_id, task_exec_seq, depends_task_exec_seq, task_id, task_seq,"
            " exec_status, task_priority, parameters)"
            " VALUES ('planted-inserted', 1, -1, 'planted-sql-error', 1, 0, 0, %s)",
            [json.dumps(values("SQL kr_task_stat"))],
        )
    workflows = ("sql-error", "sql-retry", "sql-park", "sql-echo")
    return [engine.register(f"planted-{name}", input=values(f"engine.register {name}")) for name in workflows]


def by_class(planted: type[Workflow]) -> list[Flow]:
    """A workflow class, with parameters by the names of its tasks."""
    options: dict[int | str, Any] = {"second": {"password": PLANTER.plant("class: parameter")}}
    return [planted.register(input=values("class: input"), parameters=options)]


def by_host_task() -> list[Flow]:
    """A Celery task of the host as a program."""
    parameters = {"password": PLANTER.plant("host task: argument"), "options": values("host task: options")}
    TaskDefinition.objects.create(task_id="planted-host", task_seq=1, program="planted.host", parameters=parameters)
    return [engine.register("planted-host", input=values("host task: input"))]


def by_cache() -> list[Flow]:
    """A step whose output is kept by a key with secrets, and a second flow that takes it."""
    row = {"program": "Noop", "cache_seconds": 600, "cache_key": "input"}
    TaskDefinition.objects.create(task_id="planted-cached", task_seq=1, **row)
    secrets = values("cache: input")
    return [engine.register("planted-cached", input=secrets) for _ in range(2)]


def by_http() -> list[Flow]:
    """The shipped program, which cannot connect."""

    def plant(place: str) -> str:
        return PLANTER.plant(f"HTTP: {place}")

    parameters = {
        "URL": f"http://bob:{plant('login')}@127.0.0.1:1/x?token={plant('query')}",
        "HEADERS": {"Authorization": f"Bearer {plant('header')}", "X-Api-Key": plant("key")},
        "BODY": {"client_secret": plant("body")},
        "TIMEOUT": 5,
    }
    TaskDefinition.objects.create(task_id="planted-http", task_seq=1, program="HTTPPostRequest", parameters=parameters)
    return [engine.register("planted-http")]


def by_plan() -> list[Flow]:
    """A plan that is not stored, of the name of a workflow, with its text, a value, and remote tasks."""
    nodes = [
        Node(seq=seq, program="", remote="other", parameters=values(f"plan: {seq}")) for seq in (*range(1, 7), 16, 17)
    ]
    nodes.append(Node(seq=7, program=VALUE, parameters={"value": values("plan: value")}))
    nodes += [Node(seq=seq, program=APPROVAL, parameters=asks(f"plan: {seq}")) for seq in range(20, 28)]
    source = f"other(- password: {PLANTER.plant('plan: source')} -)"
    return [engine.register_plan(Plan("planted-sql-echo", tuple(nodes)), input=values("plan: input"), source=source)]


def asks(door: str) -> dict[str, Any]:
    """Parameters of a step that asks for a decision, with secrets in its texts and in its form."""

    def plant(place: str) -> str:
        return PLANTER.plant(f"{door}: {place}")

    text = {"type": "string", "title": f"password={plant('title of a field')}"}
    return {
        "title": "Use {input[password]}?",
        "message": f"{{{{ input.db }}}} token={plant('message')}",
        "choices": ["approve", {"name": "reject", "label": f"pwd={plant('label')}"}],
        "form": {"type": "object", "properties": {"note": text, "password": {"type": "string"}}},
        "on_reject": "continue",
    }


def decisions(client: Client, flow: Flow) -> Answers:
    """Decisions through the API, the admin and a link, with secrets in their data and comments."""
    answers, rows = Answers(), list(flow.approvals.order_by("task_exec_seq"))
    body = {"choice": "approve", "data": filled_in("API decide"), "comment": why("API decide")}
    answers["API decide"] = _post(client, f"/api/approvals/{rows[0].pk}/decide/", body).text
    wrong = {"choice": "approve", "data": {"password": [PLANTER.plant("wrong: data")]}}
    answers["API refused"] = _post(client, f"/api/approvals/{rows[1].pk}/decide/", wrong).text
    url = reverse("admin:flowerapp_approval_verb", args=[rows[1].pk, "decide"])
    fields = dict(zip(("data-0", "data-1"), filled_in("admin decide").values(), strict=True))
    answers["admin refused"] = client.post(url, {"comment": "wrong"}).text
    typed = {"choice": "approve", "comment": why("admin decide"), **fields}
    answers["admin decide"] = client.post(url, typed, follow=True).text
    with override_settings(FLOWER={**settings.FLOWER, "APPROVAL_LINKS": "http://testserver"}):
        link = engine.approval_link(flow.pk, rows[2].task_exec_seq, reader="Ann")
        answers["link"] = Client().get(link).text
        fields = dict(zip(("data-0", "data-1"), filled_in("link").values(), strict=True))
        answers["link decide"] = Client().post(link, {"choice": "approve", "comment": why("link"), **fields}).text
        answers["link again"] = Client().get(link).text
    return answers


def filled_in(door: str) -> dict[str, str]:
    """The data of a form."""
    return {"note": f"token={PLANTER.plant(f'{door}: note')}", "password": PLANTER.plant(f"{door}: data")}


def decisions_by_command(flow: Flow) -> Answers:
    """The same, on the command line."""
    answers, rows = Answers(), list(flow.approvals.order_by("task_exec_seq"))
    for row, more in ((rows[3], []), (rows[4], ["--json"])):
        options = ["--data", json.dumps(filled_in("flow approve")), "--comment", why("flow approve")]
        call(answers, "approve", flow.pk, row.task_exec_seq, *options, *more)
    for row, more in ((rows[5], []), (rows[6], ["--json"])):
        call(answers, "reject", flow.pk, row.task_exec_seq, "--comment", why("flow reject"), *more)
    return answers


def answers_by_api(client: Client, flow: Flow) -> Answers:
    """What another system reports of remote tasks."""
    bodies = {"end": {"output": values("API end"), "why": why("API end")}, "fail": {"reason": why("API fail")}}
    url, calls = f"/api/flows/{flow.pk}/tasks", enumerate(bodies.items(), start=1)
    return {verb: _post(client, f"{url}/{seq}/{verb}/", body).text for seq, (verb, body) in calls}


def answers_by_worker(client: Client) -> Answers:
    """What a remote worker reports of the tasks that it claims, which it gets as they are."""
    claimed = _post(client, "/api/remote/claim/", {"worker": "printer", "names": ["other"], "limit": 2}).json()["tasks"]
    outcomes: list[dict[str, Any]] = [{"output": values("worker: output")}, {"error": why("worker: error")}]
    answers = Answers()
    for task, outcome in zip(claimed, outcomes, strict=True):
        attempt = {name: task[name] for name in ("task_flow_id", "seq", "attempt")}
        progress = {"state": f"password={task['parameters']['password']}"}
        for name, more in (("heartbeat", {"progress": progress}), ("end", outcome), ("end again", outcome)):
            verb = name.partition(" ")[0]
            answers[f"{name} {task['seq']}"] = _post(client, f"/api/remote/{verb}/", {**attempt, **more}).text
    return answers


def answers_by_command(flow: Flow) -> Answers:
    """The same, on the command line."""
    answers = Answers()
    for seq, more in ((3, []), (5, ["--json"])):
        output = json.dumps(values("flow end"))
        call(answers, "end", flow.pk, seq, "--output", output, "--why", why("flow end"), *more)
        call(answers, "fail", flow.pk, seq + 1, "--reason", why("flow fail"), *more)
    return answers


def by_celery(app: Celery) -> None:
    """The Celery task that registers, as a schedule sends it."""
    task = app.tasks[REGISTER]
    task.apply_async(args=("planted-sql-echo",), kwargs={"input": values("celery: input")})
    refused = {"input": values("400: celery"), "parameters": {"1": {"password": PLANTER.plant("400: celery override")}}}
    task.apply_async(args=("planted-sql-echo",), kwargs=refused)
    foreign = {"input": values("celery without the task: input")}
    app.send_task(REGISTER, args=["planted-sql-echo"], kwargs=foreign)


def _post(client: Client, url: str, data: Any, method: str = "post") -> Any:
    return getattr(client, method)(url, json.dumps(data), content_type=JSON)


def by_api(client: Client) -> tuple[list[Flow], Answers]:
    """Documents, registrations and verbs; and what was answered."""
    children = {"child_program": "PlantedChild", "exit_on_failed": False}
    steps = [
        {"task_seq": 1, "program": "PlantedEcho", "parameters": values("API step 1")},
        {"task_seq": 2, "program": "PlantedLeak", "parameters": values("API step 2") | {"how": "children"}, **children},
        {"task_seq": 3, "program": "PlantedLeak", "parameters": values("API step 3"), "depends_on": [1]},
        {"task_seq": 4, "program": "PlantedEcho", "required_at_register": ["password"], "depends_on": [1]},
    ]
    answers = {"workflows": _post(client, "/api/workflows/", {"task_id": "planted-api", "tasks": steps})}
    assert answers["workflows"].status_code == 201, answers["workflows"].text
    body = {
        "input": values("API input"),
        "parameters": {
            "1": {"more": values("API override")},
            "4": {"password": PLANTER.plant("API required parameter")},
        },
    }
    registered = answers["register"] = _post(client, "/register/planted-api", body)
    assert registered.status_code == 200, registered.text
    steps[0]["parameters"] |= {"new": {"password": PLANTER.plant("API step 1, replaced")}}  # type: ignore[operator]
    answers["workflow"] = _post(client, "/api/workflows/planted-api/", {"tasks": steps}, "put")
    assert answers["workflow"].status_code == 200, answers["workflow"].text
    return [Flow.objects.get(pk=registered.json()["taskFlowId"])], {k: answer.text for k, answer in answers.items()}


def by_waits(client: Client) -> tuple[list[Flow], Answers]:
    """Flows that wait for an event whose match quotes their input, events, and a workflow that one starts."""
    match = {"password": PLANTER.plant("match, by name"), "code": "{{ input.plain.password }}"}
    steps = [
        {"task_seq": 1, "program": ACQUIRE, "parameters": {"name": "planted"}},
        {"task_seq": 2, "program": EVENT, "parameters": {"event": "planted", "match": match}},
    ]
    started: dict[str, Any] = {"start_event": "planted-start", "start_match": {"token": PLANTER.plant("start_match")}}
    echo = [{"task_seq": 1, "program": "PlantedEcho"}]
    documents: dict[str, Any] = {"wait": {"tasks": steps}, "start": {"tasks": echo, **started}}
    answers = {
        name: _post(client, "/api/workflows/", {"task_id": f"planted-{name}", **document})
        for name, document in documents.items()
    }
    data = {**values("API event"), "token": started["start_match"]["token"]}
    answers["event"] = _post(client, "/api/events/", {"kind": "planted-start", "data": data})
    add = reverse("admin:flowerapp_event_add")
    answers["refused"] = client.post(add, {"kind": "planted-other", "data": "[1"})
    answers["form"] = client.post(
        add, {"kind": "planted-other", "data": json.dumps(values("admin event"))}, follow=True
    )
    assert [answer.status_code for answer in answers.values()] == [201, 201, 201, 200, 200]
    inputs = [{"plain": {"password": PLANTER.plant("input that a match quotes")}} for _ in range(5)]
    flows = [engine.register("planted-wait", input=value) for value in inputs]
    return [*flows, Flow.objects.get(task_id="planted-start")], {name: answer.text for name, answer in answers.items()}


def waits_by_web(client: Client, first: Flow, second: Flow) -> Answers:
    """The ends of waits, and of what flows hold, by API and admin."""
    body = {"output": values("API wake"), "why": why("API wake")}
    answers = {"wake": _post(client, f"/api/flows/{first.pk}/tasks/2/wake/", body)}
    body = {"task_flow_id": first.pk, "why": why("API release")}
    answers["release"] = _post(client, "/api/latches/planted/release/", body)
    at = reverse("admin:flowerapp_task_verb", args=[second.tasks.get(task_exec_seq=2).pk, "wake"])
    data = {"confirmed": "1", "output": json.dumps(values("admin wake")), "why": why("admin wake")}
    answers["form"] = client.post(at, data, follow=True)
    assert [answer.status_code for answer in answers.values()] == [200, 200, 200]
    return {name: answer.text for name, answer in answers.items()}


def waits_by_command(*flows: Flow) -> Answers:
    """The same, on the command line."""
    answers = Answers()
    for flow, more in zip(flows, ([], ["--json"]), strict=True):
        output = json.dumps(values("flow wake"))
        call(answers, "wake", flow.pk, 2, "--output", output, "--why", why("flow wake"), *more)
        call(answers, "release", "planted", "--flow", flow.pk, "--why", why("flow release"), *more)
    return answers


def refused_by_api(client: Client) -> Answers:
    """Requests that are wrong where they have secrets."""

    def plant(place: str) -> str:
        return PLANTER.plant(f"400: {place}")

    parameters: list[tuple[str, Any]] = [
        ("EchoParamTimeSleep", {"SLEEP_TIME_SECOND": f"pwd={plant('text')}"}),
        ("EchoParamTimeSleep", {"password": plant("unknown parameter")}),
        ("HTTPPostRequest", {"URL": 1, "HEADERS": {"Cookie": [plant("wrong type")]}}),
        ("HTTPPostRequest", {"HEADERS": json.dumps({"token": plant("broken JSON")})[:-1]}),
        ("HTTPPostRequest", {"TIMEOUT": {"secret": plant("object")}}),
        ("HTTPPostRequest", [plant("list")]),
    ]
    steps = [{"task_seq": 1, "program": program, "parameters": wrong} for program, wrong in parameters]
    wrong: list[tuple[str, Any]] = [("/api/workflows/", {"task_id": "x", "tasks": [step]}) for step in steps]
    wrong += [
        ("/register/planted-api", {"parameters": {"9": {"token": plant("no such step")}}}),
        ("/register/planted-api", {"parameters": {"one": {"token": plant("key that is no number")}}}),
        ("/register/planted-api", {"input": {"token": "••••", "pwd": plant("beside a mask")}}),
    ]
    answers = {f"{number} {url}": _post(client, url, data) for number, (url, data) in enumerate(wrong)}
    broken = f'{{"password": "{plant("broken body")}", '
    answers["broken"] = client.post("/register/", broken, content_type=JSON)
    for name, answer in answers.items():
        assert answer.status_code == 400, (name, answer.status_code, answer.text)
    return {name: answer.text for name, answer in answers.items()}


def verbs_by_api(client: Client, flow: Flow) -> Answers:
    """Every verb, with secrets in its body, on a flow whose tasks have ended."""
    url = f"/api/flows/{flow.pk}/"
    seq = failed(flow)
    calls = [
        (
            "task",
            f"{url}tasks/{seq}/",
            {"parameters": {"changed": {"password": PLANTER.plant("API change")}}, "why": why("API change")},
            "patch",
        ),
        ("rerun", f"{url}rerun/", {"parameters": {str(seq): values("API rerun")}, "why": why("API rerun")}, "post"),
        ("suspend", f"{url}suspend/", {"why": why("API suspend")}, "post"),
        ("resume", f"{url}resume/", {"why": why("API resume")}, "post"),
        ("skip", f"{url}tasks/{seq}/skip/", {"why": why("API skip")}, "post"),
        ("cancel", f"{url}cancel/", {"why": why("API cancel")}, "post"),
    ]
    return {name: _post(client, at, data, method).text for name, at, data, method in calls}


def by_admin(client: Client) -> tuple[list[Flow], Answers]:
    """The forms of the admin; and the pages that followed."""
    from tests.admin.test_workflows import form

    row = {"task_seq": "1", "program": "PlantedEcho", "parameters": json.dumps(values("admin step"))}
    for number, (key, value) in enumerate(pairs("admin step, pairs"), start=1):
        row |= {f"param{number}_key": key, f"param{number}_value": value}
    second = {"task_seq": "2", "program": "PlantedLeak", "required_at_register": "password"}
    add = reverse("admin:flowerapp_workflow_add")
    answers = {"add": client.post(add, form(row, second, task_id="planted-admin"), follow=True)}
    assert TaskDefinition.objects.filter(task_id="planted-admin").count() == 2, answers["add"].text[-3000:]
    page = reverse("admin:flowerapp_workflow_change", args=["planted-admin"])
    existing = list(TaskDefinition.objects.filter(task_id="planted-admin").order_by("task_seq"))
    second |= {"param1_key": "token", "param1_value": PLANTER.plant("admin step, changed")}
    answers["change"] = client.post(page, form(row, second, existing=existing), follow=True)
    register = reverse("admin:flowerapp_workflow_register", args=["planted-admin"])
    data = {"input": json.dumps(values("admin input")), "priority": "0", "given-0": PLANTER.plant("admin parameter")}
    answers["register"] = client.post(register, data, follow=True)
    flow = Flow.objects.get(task_id="planted-admin")
    return [flow], {name: answer.text for name, answer in answers.items()}


def verbs_by_admin(client: Client, flow: Flow) -> Answers:
    """The verbs' forms, on a flow with a failed task."""
    task = flow.tasks.filter(exec_status=2).order_by("task_exec_seq").first()
    assert task is not None
    at = reverse("admin:flowerapp_task_verb", args=[task.pk, "change"])
    changed = task.parameters | {"password": PLANTER.plant("admin change")}
    data = {"parameters": json.dumps(changed), "priority": "0", "queue": "", "confirmed": "1", "why": why("admin")}
    answers = {"change": client.post(at, data, follow=True)}
    data = {"parameters": json.dumps({"how": "error"}), "priority": "0", "queue": "", "confirmed": "1"}
    answers["refused"] = client.post(at, data)
    at = reverse("admin:flowerapp_flow_verb", args=[flow.pk, "rerun-all"])
    answers["rerun"] = client.post(at, {"confirmed": "1", "why": why("admin rerun")}, follow=True)
    return {name: answer.text for name, answer in answers.items()}


def by_command() -> tuple[list[Flow], Answers]:
    """``flow run``; and what it printed."""
    answers: Answers = {}
    for more in ([], ["--json"]):
        options = ["--set", f"4.password={PLANTER.plant('flow run: required')}"]
        options += ["--set", f"1.options:={json.dumps(values('flow run --set'))}"]
        call(answers, "run", "planted-api", "--input", json.dumps(values("flow run --input")), *options, *more)
        call(answers, "event", "planted-other", "--data", json.dumps(values("flow event")), *more)
    flows = Flow.objects.filter(task_id="planted-api", registered_by__startswith="cli:")
    return list(flows.order_by("registered_ts")), answers


def verbs_by_command(flow: Flow, *others: Flow) -> Answers:
    """Every verb with and without JSON, on flows with a failed task; and what was printed."""
    plant, answers = PLANTER.plant, Answers()
    for more in ([], ["--json"]):
        seq = failed(flow)
        changed = [f"password{len(more)}={plant('flow set')}", f"db{len(more)}:={json.dumps(values('flow set'))}"]
        call(answers, "set", flow.pk, seq, *changed, "--why", why("flow set"), *more)
        call(answers, "suspend", flow.pk, "--why", why("flow suspend"), *more)
        call(answers, "resume", flow.pk, "--why", why("flow resume"), *more)
        options = ["--set", f"{seq}.token{len(more)}={plant('flow rerun --set')}"]
        call(answers, "rerun", flow.pk, *options, "--why", why("flow rerun"), "--wait", *more)
    for other, more in zip(others, ([], ["--json"]), strict=True):
        call(answers, "skip", other.pk, failed(other), "--why", why("flow skip"), *more)
        call(answers, "rerun", other.pk, "--all", "--why", why("flow rerun --all"))
        call(answers, "cancel", other.pk, "--why", why("flow cancel"), *more)
    call(answers, "set", flow.pk, failed(flow), f"password: {plant('wrong: no pair')}", code=2)
    call(answers, "run", "planted-api", "--set", f"x.password={plant('wrong: no number')}", code=2)
    call(answers, "run", "planted-api", "--input", f'{{"password": "{plant("wrong: broken JSON")}', code=2)
    return answers


def call(answers: Answers, verb: str, *arguments: Any, code: int = 0) -> None:
    """Call a subcommand of ``flow``."""
    answer = command(verb, *arguments)
    assert answer.code == code or "--wait" in arguments, (verb, arguments, answer.code, answer.err)
    answers[f"flow {verb}{' --json' if '--json' in arguments else ''} {len(answers)}"] = answer.out + answer.err


def failed(flow: Flow) -> int:
    """The number of a flow's failed task."""
    seqs = flow.tasks.filter(exec_status=Status.SUSPEND, parent_seq=None).order_by("task_exec_seq")
    return int(seqs.values_list("task_exec_seq", flat=True)[0])
