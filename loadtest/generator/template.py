"""Request bodies built once, with the places of everything that changes from one request to the next.

Times and values have a fixed width on the wire (OTLP: fixed64; remote write: a double, and a varint of milliseconds
that takes six bytes from 1971 to 2109), so a request is its template with some bytes written over.

Wire layouts: opentelemetry/proto/metrics/v1/metrics.proto; Prometheus remote write 1.0 and 2.0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from loadtest.generator import population
from loadtest.generator.patch import MILLISECONDS, NANOSECONDS, noise_pool, patch

Protocol = Literal["otlp-http", "otlp-grpc", "remote-write", "remote-write-2"]

_TIME_PLACE: Final = b"\x80\x80\x80\x80\x80\x01"
"""Any varint of six bytes."""
_NOISE: Final = noise_pool()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _key_value(key: str, value: str) -> bytes:
    """KeyValue of OTLP with a string."""
    return _field(1, key.encode()) + _field(2, _field(1, value.encode()))


def _label(name: str, value: str) -> bytes:
    return _field(1, name.encode()) + _field(2, value.encode())


@dataclass(slots=True)
class Template:
    """One body of `points` points, the series [first, first + points).

    body: uint8[bytes]. Offsets int64[points] into it: of the value, of the time, of the first generation digit.
    start_at: of the start time, or -1 where there is none. integer: uint8[points], 1 = the value is an int64.
    """

    number: int
    first: int
    body: NDArray[np.uint8]
    time_at: NDArray[np.int64]
    value_at: NDArray[np.int64]
    generation_at: NDArray[np.int64]
    start_at: NDArray[np.int64]
    integer: NDArray[np.uint8]
    time_unit: int
    round: int = 0
    last_time_ms: int = 0
    started_ms: int = 0
    """Since when the counters count; an hour before the first request."""
    generations: NDArray[np.int64] = field(init=False)
    _churn_due: float = 0.0
    _churn_next: int = 0

    def __post_init__(self) -> None:
        self.generations = np.zeros(self.points, np.int64)

    @property
    def points(self) -> int:
        """Points in the body."""
        return len(self.value_at)

    def stamp(self, time_ms: int, first_value: int, churn_per_minute: float) -> int:
        """Write a new request over the last one; returns its time, which is later than every earlier one.

        first_value >= 0: the points' values bear the numbers first_value, first_value + 1, … in their lowest bits; -1:
        noise around a level, and counters that grow. churn_per_minute: share of the series that a minute of sample time
        replaces.
        """
        time_ms = max(time_ms, self.last_time_ms + 1)
        if churn_per_minute and self.last_time_ms:
            self._churn_due += self.points * churn_per_minute * (time_ms - self.last_time_ms) / 60_000
            count = int(min(self._churn_due, self.points))
            self._churn_due -= count
            replaced = (self._churn_next + np.arange(count)) % self.points
            self._churn_next = int((self._churn_next + count) % self.points)
            self.generations[replaced] += 1
            self._write_generations(replaced)
        self.started_ms = self.started_ms or time_ms - 3_600_000
        self.last_time_ms = time_ms
        self.round += 1
        patch(
            self.body, self.time_at, self.value_at, self.start_at, self.integer,
            self.time_unit, time_ms, self.started_ms, first_value, self.first, self.round, _NOISE,
        )  # fmt: skip
        return time_ms

    def _write_generations(self, rows: NDArray[np.int64]) -> None:
        left = self.generations[rows]
        for digit in range(population.GENERATION_DIGITS - 1, -1, -1):
            self.body[self.generation_at[rows] + digit] = 48 + left % 10
            left = left // 10


def build(protocol: Protocol, number: int, batch: int) -> Template:
    """Template `number` of bodies of `batch` points."""
    return _BUILDERS[protocol](number, batch)


class _Points:
    """Collects where the changing bytes of each point stand, relative to a block that is placed later."""

    def __init__(self) -> None:
        self.time: list[int] = []
        self.value: list[int] = []
        self.generation: list[int] = []
        self.start: list[int] = []
        self.integer: list[int] = []

    def template(self, number: int, batch: int, body: bytes, time_unit: int) -> Template:
        return Template(
            number=number, first=number * batch, body=np.frombuffer(bytearray(body), np.uint8),
            time_at=np.array(self.time, np.int64), value_at=np.array(self.value, np.int64),
            generation_at=np.array(self.generation, np.int64), start_at=np.array(self.start, np.int64),
            integer=np.array(self.integer, np.uint8), time_unit=time_unit,
        )  # fmt: skip


def _build_otlp(number: int, batch: int) -> Template:
    points = _Points()
    per_metric = population.points_per_metric(batch)
    scope_content = bytearray(_field(1, _field(1, b"loadtest") + _field(2, b"1.0")))
    pod_length = len(population.pod(0))
    for first in range(number * batch, (number + 1) * batch, per_metric):
        metric = population.metric_of(first, batch)
        counter = population.is_counter(metric)
        data = bytearray()
        rows: list[int] = []
        for series in range(first, min(first + per_metric, (number + 1) * batch)):
            value_tag = b"\x31" if counter else b"\x21"  # as_int (sfixed64) or as_double
            content = bytearray(b"\x11" + bytes(8) + b"\x19" + bytes(8) + value_tag + bytes(8))
            for key, value in population.attributes(series, metric):
                content += _field(7, _key_value(key, value))
            content += _field(7, _key_value(population.IDENTITY_LABEL, population.pod(series)))
            data += _field(1, b"")[:1] + _varint(len(content))
            rows.append(len(data))
            points.generation.append(len(data) + len(content) - population.GENERATION_DIGITS)
            data += content
            points.integer.append(1 if counter else 0)
        assert pod_length < 128
        if counter:
            data += b"\x10\x02\x18\x01"  # cumulative, monotonic
        head = _field(1, population.metric_name(metric).encode())
        kind = _varint((7 if counter else 5) << 3 | 2) + _varint(len(data))
        metric_head = b"\x12" + _varint(len(head) + len(kind) + len(data))
        base = len(scope_content) + len(metric_head) + len(head) + len(kind)
        for at in rows:
            points.start.append(base + at + 1)
            points.time.append(base + at + 10)
            points.value.append(base + at + 19)
        placed = len(points.generation)
        for index in range(placed - len(rows), placed):
            points.generation[index] += base
        scope_content += metric_head + head + kind + data
    resource = _field(1, b"".join(_field(1, _key_value(k, v)) for k, v in population.resource(number)))
    scope_head = b"\x12" + _varint(len(scope_content))
    whole = len(resource) + len(scope_head) + len(scope_content)
    head = b"\x0a" + _varint(whole) + resource + scope_head
    _shift(points, len(head))
    return points.template(number, batch, head + bytes(scope_content), NANOSECONDS)


def _labels(series: int, number: int, metric: int) -> list[tuple[str, str]]:
    """Labels of a series in remote write, sorted by name as UTF-8."""
    named = [
        ("__name__", population.metric_name(metric)),
        ("instance", f"instance-{number:06d}"),
        ("job", f"shop-production/service-{number % 40:02d}"),
        (population.IDENTITY_LABEL, population.pod(series)),
        *population.attributes(series, metric),
    ]
    return sorted(named)


def _build_remote_write(number: int, batch: int) -> Template:
    points, body = _Points(), bytearray()
    for series in range(number * batch, (number + 1) * batch):
        metric = population.metric_of(series, batch)
        labels = bytearray()
        generation = 0
        for name, value in _labels(series, number, metric):
            labels += _field(1, _label(name, value))
            if name == population.IDENTITY_LABEL:
                generation = len(labels) - population.GENERATION_DIGITS
        sample = _field(2, b"\x09" + bytes(8) + b"\x10" + _TIME_PLACE)
        body += b"\x0a" + _varint(len(labels) + len(sample))
        points.generation.append(len(body) + generation)
        body += labels
        points.value.append(len(body) + 3)
        points.time.append(len(body) + 12)
        points.start.append(-1)
        points.integer.append(0)
        body += sample
    return points.template(number, batch, bytes(body), MILLISECONDS)


def _build_remote_write_2(number: int, batch: int) -> Template:
    points, symbols = _Points(), {"": 0}
    texts: list[str] = [""]
    series_part = bytearray()
    pods: list[int] = []
    for series in range(number * batch, (number + 1) * batch):
        metric = population.metric_of(series, batch)
        references = bytearray()
        for pair in _labels(series, number, metric):
            for text in pair:
                if text not in symbols:
                    symbols[text] = len(texts)
                    texts.append(text)
                references += _varint(symbols[text])
        pods.append(symbols[population.pod(series)])
        labels = _field(1, bytes(references))
        sample = _field(2, b"\x09" + bytes(8) + b"\x10" + _TIME_PLACE)
        metadata = _field(5, b"\x08" + (b"\x01" if population.is_counter(metric) else b"\x02"))
        series_part += b"\x2a" + _varint(len(labels) + len(sample) + len(metadata)) + labels
        points.value.append(len(series_part) + 3)
        points.time.append(len(series_part) + 12)
        points.start.append(-1)
        points.integer.append(0)
        series_part += sample + metadata
    table = bytearray()
    ends: list[int] = []
    for text in texts:
        table += _field(4, text.encode())
        ends.append(len(table))
    _shift(points, len(table))
    points.generation = [ends[symbol] - population.GENERATION_DIGITS for symbol in pods]
    return points.template(number, batch, bytes(table + series_part), MILLISECONDS)


def _shift(points: _Points, by: int) -> None:
    for places in (points.time, points.value, points.generation):
        for index in range(len(places)):
            places[index] += by
    points.start = [at + by if at >= 0 else at for at in points.start]


_BUILDERS: Final[dict[str, Callable[[int, int], Template]]] = {
    "otlp-http": _build_otlp,
    "otlp-grpc": _build_otlp,
    "remote-write": _build_remote_write,
    "remote-write-2": _build_remote_write_2,
}
