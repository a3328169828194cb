"""An address that the data plane binds by itself, and that is not free yet."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import pytest

from gateway import data_role
from gateway.addresses import ADDRESS_WAIT_SECONDS
from gateway.clock import ManualClock
from gateway.errors import AddressNotFree, AddressTaken, ConfigError


class Receiver:
    """Whose address cannot be bound for these reasons, one after another; the last one stays."""

    def __init__(self, reasons: Sequence[int | None]) -> None:
        self.reasons, self.tries = reasons, 0

    async def start(self) -> None:
        reason = self.reasons[min(self.tries, len(self.reasons) - 1)]
        self.tries += 1
        if reason is not None:
            raise OSError(reason, os.strerror(reason))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Which goes on when somebody sleeps."""
    clock = ManualClock()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    monkeypatch.setattr(data_role.asyncio, "sleep", sleep)
    return clock


async def start(receiver: Receiver, clock: ManualClock) -> None:
    await data_role.start_when_free(receiver.start, "server.otlp_grpc", "127.0.0.1:4317", clock)


async def test_an_address_that_becomes_free_is_waited_for(clock: ManualClock) -> None:
    receiver = Receiver([errno.EADDRINUSE, errno.EADDRINUSE, None])
    await start(receiver, clock)
    assert receiver.tries == 3


async def test_one_that_stays_taken_is_told_of_after_a_while(clock: ManualClock) -> None:
    receiver, began = Receiver([errno.EADDRINUSE]), clock.monotonic()
    with pytest.raises(AddressTaken, match=r"server\.otlp_grpc"):
        await start(receiver, clock)
    assert 0 <= clock.monotonic() - began - ADDRESS_WAIT_SECONDS < 1


async def test_what_does_not_pass_is_told_at_once(clock: ManualClock) -> None:
    receiver = Receiver([errno.EACCES])
    with pytest.raises(ConfigError, match="CAP_NET_BIND_SERVICE") as told:
        await start(receiver, clock)
    assert not isinstance(told.value, AddressNotFree)
    assert receiver.tries == 1
