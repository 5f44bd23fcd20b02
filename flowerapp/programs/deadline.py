"""Calls over the network that end in time, whatever the other side does."""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Sockets:
    """The sockets that a call has opened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: list[socket.socket] = []
        self._expired = False

    def add(self, opened: socket.socket) -> None:
        """Note a socket; at once it is useless if the time is over."""
        with self._lock:
            self._opened.append(opened.dup())  # TLS takes the socket over; its copy stays one end of the connection
            if self._expired:
                self._shut_down()

    def close(self, *, expired: bool) -> None:
        """Forget the sockets; where the time is over, their connections end."""
        with self._lock:
            self._expired = expired
            self._shut_down()

    def _shut_down(self) -> None:
        while self._opened:
            with self._opened.pop() as opened:
                if self._expired:
                    _shut_down(opened)


def _shut_down(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:  # the other side was first
        return


class _Call(threading.Thread, Generic[Result]):
    """A function that runs in a thread of its own."""

    def __init__(self, function: Callable[[], Result]) -> None:
        super().__init__(daemon=True)
        self._function, self._context = function, contextvars.copy_context()
        self.result: Result | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Keep what the function returns or raises."""
        try:
            self.result = self._context.run(self._function)
        except BaseException as error:
            self.error = error


def within(seconds: float, function: Callable[[Sockets], Result]) -> Any:
    """What ``function`` returns or raises; TimeoutError if that takes longer.

    It runs in a thread, because the timeouts of a socket bound neither the look-up of a name nor an answer that comes
    byte by byte. It adds the sockets that it opens to those that it gets: they are shut down when the time is over, and
    so the thread ends.
    """
    sockets = Sockets()
    call = _Call(lambda: function(sockets))
    expired = True
    try:
        call.start()
        call.join(seconds)
        expired = call.is_alive()
    finally:  # also where a time limit of the task ends the wait
        sockets.close(expired=expired)
    if expired:
        raise TimeoutError
    if call.error is not None:
        raise call.error
    return call.result
