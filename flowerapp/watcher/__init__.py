"""Repairs lost messages and lost processes: a loop in every worker, whose duties the leader alone does.

``heartbeat`` says that a worker is alive, ``leader`` runs the duties in ``duties``, a module each, in the one worker
that holds the lease. Nothing here knows Celery.
"""
