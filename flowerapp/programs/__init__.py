"""The programs that flowerapp ships. They import only the registry and what is below it, never the engine."""

from flowerapp.programs import echo, gates, http, redis_commands, requests, resources, samples, waits

__all__ = ["echo", "gates", "http", "redis_commands", "requests", "resources", "samples", "waits"]
