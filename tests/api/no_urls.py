"""The URLs of a project that does not include those of flowerapp."""

from typing import Any

urlpatterns: list[Any] = []
