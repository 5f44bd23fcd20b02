"""The URLs of flowerapp, for ``include("flowerapp.urls")`` under any prefix."""

from django.urls import include, path, re_path

from flowerapp.api.approval_page import approval_page

app_name = "flowerapp"

urlpatterns = [
    path("", include("flowerapp.api.urls")),
    re_path(r"^approvals/(?P<token>[A-Za-z0-9_:.=-]{1,1000})/?\Z", approval_page, name="approval-link"),
]
