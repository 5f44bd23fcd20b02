"""Routes of the API; each with and without a slash at its end."""

from __future__ import annotations

from django.urls import URLPattern, re_path

from flowerapp.api import (
    approval_views,
    archive_views,
    cache_views,
    event_views,
    flow_views,
    latch_views,
    log_views,
    pool_views,
    register_views,
    remote_views,
    root_views,
    schema_views,
    system_views,
    workflow_views,
)

FLOW = r"^api/flows/(?P<flow_id>[^/]+)"
TASK = FLOW + r"/tasks/(?P<seq>[^/]+)"

urlpatterns: list[URLPattern] = [
    re_path(r"^api/?\Z", root_views.RootView.as_view(), name="root"),
    re_path(r"^register/?\Z", register_views.RegisterView.as_view(), name="register"),
    re_path(r"^register/(?P<task_id>[^/]+)/?\Z", register_views.RegisterNamedView.as_view(), name="register-named"),
    re_path(r"^api/workflows/?\Z", workflow_views.WorkflowListView.as_view(), name="workflows"),
    re_path(r"^api/workflows/(?P<task_id>[^/]+)/?\Z", workflow_views.WorkflowView.as_view(), name="workflow"),
    re_path(r"^api/flows/?\Z", flow_views.FlowListView.as_view(), name="flows"),
    re_path(r"^api/flows/restore/?\Z", archive_views.RestoreView.as_view(), name="flow-restore"),
    re_path(FLOW + r"/?\Z", flow_views.FlowView.as_view(), name="flow"),
    re_path(FLOW + r"/tasks/?\Z", flow_views.TaskListView.as_view(), name="tasks"),
    re_path(TASK + r"/?\Z", flow_views.TaskView.as_view(), name="task"),
    re_path(TASK + r"/skip/?\Z", flow_views.SkipView.as_view(), name="task-skip"),
    re_path(TASK + r"/end/?\Z", flow_views.EndView.as_view(), name="task-end"),
    re_path(TASK + r"/fail/?\Z", flow_views.FailView.as_view(), name="task-fail"),
    re_path(TASK + r"/wake/?\Z", flow_views.WakeView.as_view(), name="task-wake"),
    re_path(TASK + r"/logs/?\Z", log_views.TaskLogView.as_view(), name="task-logs"),
    re_path(FLOW + r"/logs/?\Z", log_views.FlowLogView.as_view(), name="flow-logs"),
    re_path(FLOW + r"/history/?\Z", flow_views.HistoryView.as_view(), name="flow-history"),
    re_path(FLOW + r"/archive/?\Z", archive_views.ArchiveView.as_view(), name="flow-archive"),
    re_path(FLOW + r"/graph/?\Z", flow_views.GraphView.as_view(), name="flow-graph"),
    re_path(FLOW + r"/suspend/?\Z", flow_views.SuspendView.as_view(), name="flow-suspend"),
    re_path(FLOW + r"/resume/?\Z", flow_views.ResumeView.as_view(), name="flow-resume"),
    re_path(FLOW + r"/cancel/?\Z", flow_views.CancelView.as_view(), name="flow-cancel"),
    re_path(FLOW + r"/rerun/?\Z", flow_views.RerunView.as_view(), name="flow-rerun"),
    re_path(r"^api/approvals/?\Z", approval_views.ApprovalListView.as_view(), name="approvals"),
    re_path(r"^api/approvals/(?P<pk>[^/]+)/?\Z", approval_views.ApprovalView.as_view(), name="approval"),
    re_path(r"^api/approvals/(?P<pk>[^/]+)/decide/?\Z", approval_views.DecideView.as_view(), name="approval-decide"),
    re_path(r"^api/remote/claim/?\Z", remote_views.ClaimView.as_view(), name="remote-claim"),
    re_path(r"^api/remote/heartbeat/?\Z", remote_views.HeartbeatView.as_view(), name="remote-heartbeat"),
    re_path(r"^api/remote/end/?\Z", remote_views.EndView.as_view(), name="remote-end"),
    re_path(r"^api/events/?\Z", event_views.EventListView.as_view(), name="events"),
    re_path(r"^api/events/(?P<event_id>[^/]+)/?\Z", event_views.EventView.as_view(), name="event"),
    re_path(r"^api/latches/?\Z", latch_views.LatchListView.as_view(), name="latches"),
    re_path(r"^api/latches/(?P<name>[^/]+)/?\Z", latch_views.LatchView.as_view(), name="latch"),
    re_path(r"^api/latches/(?P<name>[^/]+)/release/?\Z", latch_views.LatchReleaseView.as_view(), name="latch-release"),
    re_path(r"^api/pools/?\Z", pool_views.PoolListView.as_view(), name="pools"),
    re_path(r"^api/pools/(?P<name>[^/]+)/?\Z", pool_views.PoolView.as_view(), name="pool"),
    re_path(r"^api/cache/?\Z", cache_views.CacheListView.as_view(), name="cache"),
    re_path(r"^api/cache/forget/?\Z", cache_views.ForgetView.as_view(), name="cache-forget"),
    re_path(r"^api/cache/(?P<entry>[^/]+)/?\Z", cache_views.CacheEntryView.as_view(), name="cache-entry"),
    re_path(r"^api/programs/?\Z", system_views.ProgramListView.as_view(), name="programs"),
    re_path(r"^api/queues/?\Z", system_views.QueueListView.as_view(), name="queues"),
    re_path(r"^api/workers/?\Z", system_views.WorkerListView.as_view(), name="workers"),
    re_path(r"^api/schema/?\Z", schema_views.SchemaView.as_view(), name="schema"),
    re_path(r"^livez/?\Z", system_views.LiveView.as_view(), name="livez"),
    re_path(r"^readyz/?\Z", system_views.ReadyView.as_view(), name="readyz"),
]

if schema_views.has_page():
    urlpatterns += [re_path(r"^api/docs/?\Z", schema_views.DocsView.as_view(), name="docs")]
