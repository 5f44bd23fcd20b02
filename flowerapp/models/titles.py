"""What a task is called."""

from __future__ import annotations

from flowerapp.core import names


class Titled:
    """A task by its number and the name of its step."""

    task_exec_seq: int
    name: str
    alias: str
    remote: str
    program: str

    @property
    def label(self) -> str:
        """The name of its step, or else what people call that, or what does its work elsewhere; may be empty."""
        return self.name or self.alias or self.remote

    @property
    def title(self) -> str:
        """``3 load``: its number, and the name of its step or else its program; for headings and lists."""
        return names.titled(self.task_exec_seq, self.label, self.program)

    @property
    def own_title(self) -> str:
        """The same without the program, for tables that have a column for that."""
        return names.titled(self.task_exec_seq, self.label)

    @property
    def mention(self) -> str:
        """``task 3 "load"``, for sentences."""
        return names.mentioned(self.task_exec_seq, self.label, self.program)
