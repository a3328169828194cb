"""The forwarder against the real VictoriaMetrics, compared sample by sample."""

import asyncio
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.forward.forwarder import Forwarder
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.forward.victoria_metrics import Outcome, Silence, TargetIdentity, outcome_of, parse_identity
from gateway.forward.victoria_metrics import VictoriaMetrics as Client
from gateway.settings_types import Duration
from gateway.telemetry import kind
from gateway.telemetry.labels import decode_label_blob
from tests.gateway.forward.feeds import FeedInMemory, SeriesInMemory
from tests.gateway.forward.test_forwarder import CLOCK, accounted, running, until
from tests.peers import VictoriaMetrics

STALE = float(np.array([kind.STALE_NAN_BITS], np.uint64).view(np.float64)[0])


@pytest.fixture
def real(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    peer = VictoriaMetrics(tmp_path / "victoria")
    peer.start()
    yield peer
    peer.kill()


def settings_for(peer: VictoriaMetrics, **changes: object) -> VictoriaMetricsSettings:
    quick = {
        "url": peer.url, "flush_interval": Duration(0.0), "backoff_min": Duration(0.01), "backoff_max": Duration(0.1),
        "poll_interval": Duration(0.2), "commit_interval": Duration(0.05), "block_rows": 500,
    }  # fmt: skip
    return VictoriaMetricsSettings(**(quick | changes))  # type: ignore[arg-type]


def made_series() -> SeriesInMemory:
    index = SeriesInMemory()
    for number in range(20):
        index.add({"__name__": "temperature", "sensor": f"ü{number}", "unit": "°C" * number})
    for number in range(5):
        index.add({"__name__": "orders_total", "shop": str(number)}, kind.COUNTER | kind.DELTA)
    return index


def fill(feed: FeedInMemory, rounds: int, first: int = 0) -> dict[str, list[tuple[int, float]]]:
    """Rounds of 25 rows; what VictoriaMetrics should hold of them: labels → samples."""
    expected: dict[str, list[tuple[int, float]]] = {}
    now_ns = CLOCK.time_ns()
    base = now_ns // 1_000_000 - 7_200_000
    for at in range(first, first + rounds):
        time = base + at * 1000
        values = [math.sin(at) * 10.0 ** (sid - 10) for sid in range(20)] + [float(at + sid) for sid in range(5)]
        starts = [0] * 20 + [time - 1000] * 5
        feed.append(list(range(25)), [time] * 25, values, starts_ms=starts, received_ns=now_ns)
        for sid in range(25):
            total = values[sid] if sid < 20 else sum(float(k + sid - 20) for k in range(at + 1))
            labels = json.dumps(decode_label_blob(feed.series.blob(sid)), sort_keys=True)
            expected.setdefault(labels, []).append((time, total))
    return expected


def same(held: dict[str, list[tuple[int, float]]], expected: dict[str, list[tuple[int, float]]]) -> None:
    """Every expected sample is held, no other one, repeats aside; VictoriaMetrics keeps about 15 decimal digits."""
    assert held.keys() == expected.keys()
    for labels, samples in expected.items():
        stored = dict(held[labels])
        assert stored.keys() == {time for time, _ in samples}
        for time, value in samples:
            assert stored[time] == pytest.approx(value, rel=1e-12), labels


@pytest.mark.real
async def test_every_sample_arrives(real, tmp_path):
    series = made_series()
    feed = FeedInMemory(series)
    expected = fill(feed, 100)
    now_ns = CLOCK.time_ns()
    stale_at = now_ns // 1_000_000 - 5000
    feed.append([0, 1], [stale_at] * 2, [STALE, math.nan], received_ns=now_ns)
    feed.append([2], [now_ns // 1_000_000 - 40 * 86_400_000], [1.0], received_ns=now_ns)
    async with running(Forwarder(settings_for(real), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        stats = forwarder.stats()
    assert stats.dropped == {"nan": 1, "retention": 1}, "its retention of one month is read from /metrics"
    assert stats.forwarded == 2501
    held = await asyncio.to_thread(real.export, '{__name__!=""}')
    stale_of = json.dumps(decode_label_blob(series.blob(0)), sort_keys=True)
    stale = [sample for sample in held[stale_of] if math.isnan(sample[1])]
    assert [time for time, _ in stale] == [stale_at]
    held[stale_of].remove(stale[0])
    same(held, expected)
    times = [time for samples in expected.values() for time, _ in samples]
    counted = await asyncio.to_thread(
        real.query, 'sum(max_over_time(orders_total{shop="3"}[1h]))', max(times) / 1000 + 1
    )
    assert [value for _, value in counted] == [sum(k + 3 for k in range(100))]


@pytest.mark.real
async def test_killed_right_after_its_answers_it_holds_everything_in_the_end(real, tmp_path):
    series = made_series()
    feed = FeedInMemory(series)
    expected = fill(feed, 50)
    async with running(Forwarder(settings_for(real), feed, series, tmp_path, clock=CLOCK)) as forwarder:
        await until(lambda: accounted(forwarder, feed))
        for number in range(2):
            await asyncio.to_thread(real.kill)
            for labels, samples in fill(feed, 50, first=50 * (number + 1)).items():
                expected[labels] += samples
            await asyncio.to_thread(real.start)
            # What came after the kill may be taken before the forwarder knows of it, from the start time alone.
            await until(lambda number=number: forwarder.stats().replays > number and accounted(forwarder, feed))
            await until(lambda: accounted(forwarder, feed) and forwarder.stats().connected)
        stats = forwarder.stats()
    assert stats.forwarded == 150 * 25
    same(await asyncio.to_thread(real.export, '{__name__!=""}'), expected)


@pytest.mark.real
async def test_what_the_real_one_tells_of_itself(real):
    async with Client(settings_for(real)) as client:
        identity = await client.identity()
        assert isinstance(identity, TargetIdentity)
        assert identity.start_time is not None
        assert identity.retention == 31 * 86_400
        assert await client.encoding() in ("snappy", "zstd")
        answer = await client.write(b"not snappy", "snappy")
        assert answer.outcome is Outcome.REJECTED
        assert answer.words
        await asyncio.to_thread(real.kill)
        assert (await client.write(b"", "snappy")).outcome is Outcome.UNREACHABLE
        silence = await client.identity()
        assert isinstance(silence, Silence)
        assert silence.refused
        assert await client.encoding() is None


def test_statuses():
    assert {outcome_of(s) for s in (200, 204)} == {Outcome.DONE}
    assert {outcome_of(s) for s in (400, 413, 415, 422)} == {Outcome.REJECTED}
    assert {outcome_of(s) for s in (301, 401, 403, 404)} == {Outcome.MISCONFIGURED}
    assert {outcome_of(s) for s in (408, 429, 500, 503)} == {Outcome.BUSY}


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        (b"", TargetIdentity(None, None)),
        (b"process_start_time_seconds 17\n", TargetIdentity(17.0, None)),
        (b"x 1\nvm_app_start_timestamp 18\nprocess_start_time_seconds 17\n", TargetIdentity(18.0, None)),
        (b'flag{name="retentionPeriod", value="100y", is_set="true"} 1\n', TargetIdentity(None, 100 * 365 * 86400.0)),
        (b'flag{name="retentionPeriod", value="30d", is_set="true"} 1\n', TargetIdentity(None, 30 * 86400.0)),
        (b'flag{name="retentionPeriod", value="1", is_set="false"} 1\n', TargetIdentity(None, 31 * 86400.0)),
    ],
)
def test_identity_is_read_from_metrics(text, identity):
    assert parse_identity(text) == identity
