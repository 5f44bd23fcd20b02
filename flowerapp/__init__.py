"""flowerapp: a workflow engine for people who already run Django and Celery."""

__version__ = "0.1.0"
