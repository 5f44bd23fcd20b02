"""Programs that flowerapp ships."""

from flowerapp.programs import echo, http, samples

__all__ = ["echo", "http", "samples"]
