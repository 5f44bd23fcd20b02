"""Routes of littleflow, for ``include("flowerapp.api.littleflow_urls")``; each with and without a slash at its end.

A host that includes them includes ``flowerapp.urls`` too. ``littleflow_pages.versions_or`` is for its first page.
"""

from __future__ import annotations

from django.urls import URLPattern, re_path

from flowerapp.api import littleflow_archives, littleflow_pages, littleflow_start, littleflow_views, schema_views

app_name = "littleflow"

FLOW = r"^workflows/(?P<flow_id>[^/]+)"

urlpatterns: list[URLPattern] = [
    re_path(r"^workflows/?\Z", littleflow_views.ListView.as_view(), name="workflows"),
    re_path(r"^inprogress/?\Z", littleflow_views.InProgressView.as_view(), name="inprogress"),
    re_path(r"^workflows/start/?\Z", littleflow_start.StartView.as_view(), name="start"),
    re_path(r"^workflows/start/upload/?\Z", littleflow_start.UploadView.as_view(), name="upload"),
    re_path(r"^workflows/terminate/?\Z", littleflow_views.TerminateNamedView.as_view(), name="terminate-named"),
    re_path(r"^workflows/restore/?\Z", littleflow_archives.RestoreView.as_view(), name="restore"),
    re_path(FLOW + r"/archive/?\Z", littleflow_archives.ArchiveView.as_view(), name="archive"),
    re_path(FLOW + r"/?\Z", littleflow_views.WorkflowView.as_view(), name="workflow"),
    re_path(FLOW + r"/terminate/?\Z", littleflow_views.TerminateView.as_view(), name="terminate"),
    re_path(FLOW + r"/state/?\Z", littleflow_views.StateView.as_view(), name="state"),
    re_path(FLOW + r"/trace/(?P<vector>[^/]+)/?\Z", littleflow_views.TraceView.as_view(), name="trace"),
    re_path(FLOW + r"/graph/?\Z", littleflow_views.GraphView.as_view(), name="graph"),
    re_path(FLOW + r"/restart/?\Z", littleflow_views.RestartView.as_view(), name="restart"),
    re_path(r"^apispec\.json/?\Z", littleflow_pages.SpecificationView.as_view(), name="specification"),
]

if schema_views.has_page():
    urlpatterns += [re_path(r"^apidocs/?\Z", littleflow_pages.PageView.as_view(), name="page")]
