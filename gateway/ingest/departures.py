"""Clients that go away while their connection is not read.

Where reading is paused the event loop sees neither the end of a stream nor a reset. The kernel knows of both, whatever
lies unread before them. It does not while more is on its way than the socket has room for, so they are to be looked for
again when the body is whole.

A client that only ends its sending (half-close) cannot be told from one that closes; both count as gone. Where reading
is not paused the same happens to it: the transport closes at the end of the stream and no answer is sent. Nothing is
lost by it: what was not taken is not acknowledged, and its sender has it.
"""

from __future__ import annotations

import asyncio
import errno
import select
from typing import Final

_GONE: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_MOST: Final = 1000
"""Departures told of at a time; the others are told of next time."""


def descriptor(transport: asyncio.BaseTransport | None) -> int:
    """Of the transport's socket; -1 if it has none or is closed."""
    found = transport.get_extra_info("socket") if transport is not None and not transport.is_closing() else None
    return -1 if found is None else int(found.fileno())


def has_left(transport: asyncio.BaseTransport | None) -> bool:
    """Whether the client will send nothing more, and so gets no answer."""
    number = descriptor(transport)
    if number < 0:
        return True
    poll = select.poll()
    poll.register(number, select.POLLRDHUP)
    return bool(poll.poll(0))


class Departures:
    """Descriptors of sockets that are watched for it. For one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def watch(self, number: int) -> None:
        """From now on, until `forget`."""
        self._epoll.register(number, _GONE)

    def forget(self, number: int) -> None:
        """Harmless after the socket was closed."""
        try:
            self._epoll.unregister(number)
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.ENOENT):  # the kernel forgets closed sockets by itself
                raise

    def look(self) -> list[int]:
        """Those whose clients have gone; each is told again until it is forgotten."""
        return [number for number, _ in self._epoll.poll(0, _MOST)]
