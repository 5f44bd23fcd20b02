"""The URLs of the reference project."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from flowerapp.api.littleflow_pages import versions_or

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", versions_or(RedirectView.as_view(pattern_name="admin:index")), name="home"),
    path("", include("flowerapp.urls")),
    path("", include("flowerapp.api.littleflow_urls")),
]
