"""Executors: what carries ready tasks to workers. Each fills the port in ``flowerapp.core.executor``."""
