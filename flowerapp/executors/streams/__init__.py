"""Carries remote tasks to workers in any language, over a stream in Redis, as littleflow's listeners expect it.

``address`` says which Redis, ``starts`` makes the entries of ready tasks and ``publisher`` puts them into the stream;
``groups`` reads it, ``answers`` and ``receipts`` act on what listeners send; ``loop`` runs all of that in the worker
that leads. The database decides here too: an entry is a hint that a task is ready, and the engine refuses what is late.
"""
