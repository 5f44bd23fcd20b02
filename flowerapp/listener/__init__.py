"""Does remote tasks in Python, without Django: it needs redis-py, and the address of the Redis with the stream.

>>> from flowerapp.listener import Listener, TaskFailed
>>> listener = Listener("redis://127.0.0.1:6379/0", group="sleep")
>>> @listener.task("sleep:nap")
... def nap(task):
...     return {"slept": task.parameters["for"]}
>>> listener.run()  # doctest: +SKIP
"""

from flowerapp.listener.listening import Listener
from flowerapp.listener.work import TaskFailed, Work

__all__ = ["Listener", "TaskFailed", "Work"]
