"""The URLs of flowerapp, for ``include("flowerapp.urls")`` under any prefix."""

from django.urls import include, path

app_name = "flowerapp"

urlpatterns = [path("", include("flowerapp.api.urls"))]
