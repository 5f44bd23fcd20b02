"""What flowerapp costs beside bare Celery, measured on real servers, in pairs within one run: machines are noisy.

``python -m benchmarks [--quick] [--json]``; the page is ``docs/performance.md``.
"""
