"""Labels of OTLP rows, read from the request's bytes when a series is seen for the first time.

The kernel of the decoder keeps for each row where its point, metric, scope and resource stand. What a resource with a
scope gives is kept between requests, what a metric gives is worked out once a request; a kernel merges the attributes
of the points into it. Rows with attributes that the kernel leaves, and target_info, are made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.decode.metric_names import prometheus_label_name, prometheus_metric_name
from gateway.decode.otlp_values import as_label_value, fields, key_value, part_label
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.labels import encode_label_blob
from gateway.telemetry.varint import read_varint
from kernels import otlp_definitions as kernel
from kernels import otlp_parts
from kernels import otlp_rows as part
from kernels.otlp_rows import Origins, Rows
from kernels.series_table import copy_blobs
from proto import otlp

_IDENTIFYING: Final = ("service.name", "service.namespace", "service.instance.id")
_WORDS: Final = b"truefalse__name__"
"""What the kernel expects in front of the texts that are no shared labels."""
_TEXT_BYTES_GUESSED: Final = 320
"""Of one label blob; the output grows where they are longer."""

Pairs = tuple[tuple[bytes, bytes], ...]
"""Label names and values, in order of names."""


class SharedLabels:
    """What resources and scopes give to all their series, kept between requests. Used by one thread at a time.

    It holds at most ENTRIES labels sets, and none whose source is longer than SOURCE_BYTES.
    """

    ENTRIES: Final = 2048
    SOURCE_BYTES: Final = 8192

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes, bytes], Pairs] = {}

    def get(self, source: tuple[bytes, bytes, bytes]) -> Pairs | None:
        """The labels made of (Resource, scope, schema url), as bytes of the request."""
        return self._known.get(source)

    def keep(self, source: tuple[bytes, bytes, bytes], pairs: Pairs) -> None:
        """Remember them."""
        if sum(map(len, source)) <= self.SOURCE_BYTES:
            if len(self._known) >= self.ENTRIES:
                self._known.clear()
            self._known[source] = pairs


class _Metric(NamedTuple):
    """What all points of a metric share."""

    name: bytes
    data: int
    """Tag of its data."""
    scope: int


class OtlpLabels:
    """The LabelSource of one OTLP request. Not thread-safe; one thread asks."""

    def __init__(
        self,
        body: NDArray[np.uint8],
        rows: Rows,
        origins: Origins,
        prometheus: bool,
        shared: SharedLabels | None = None,
    ) -> None:
        self._array = body
        self._copy: bytes | None = None
        self._rows, self._origins, self._prometheus = rows, origins, prometheus
        self._shared = shared or SharedLabels()
        self._resources: dict[int, dict[str, str]] = {}
        self._scopes: dict[int, Pairs] = {}

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """See telemetry.columns.LabelSource."""
        table = self._rows
        kinds, roles = table.kinds[rows], table.roles[rows]
        of_points = roles != part.ROLE_TARGET_INFO
        if of_points.all():
            offsets, blobs, left = self._of_points(rows, roles, kinds)
            return Definitions(kinds, offsets, blobs) if not left else _spliced(kinds, offsets, blobs, left)
        offsets, blobs, of_left = self._of_points(rows[of_points], roles[of_points], kinds[of_points])
        place = np.flatnonzero(of_points)
        left = {int(place[index]): blob for index, blob in of_left.items()}
        left |= {int(i): self._target_info(int(table.metrics[rows[i]])) for i in np.flatnonzero(~of_points)}
        lengths = np.zeros(len(rows) + 1, np.uint32)
        lengths[1:][of_points] = np.diff(offsets)
        return _spliced(kinds, np.cumsum(lengths, dtype=np.uint32), blobs, left)

    def _bytes(self) -> bytes:
        """The request for what is not read by kernels; copied when it is first needed."""
        if self._copy is None:
            self._copy = self._array.tobytes()
        return self._copy

    def _of_points(
        self, rows: NDArray[np.int64], roles: NDArray[np.uint8], kinds: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8], dict[int, bytes]]:
        """Offsets and blobs of rows that belong to points; apart those the kernel left, by their place in `rows`."""
        n = len(rows)
        offsets = np.zeros(n + 1, np.uint32)
        if n == 0:
            return offsets, np.empty(0, np.uint8), {}
        points, numbers = self._rows.points[rows], self._rows.metrics[rows]
        firsts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] + np.uint32(1)))
        metric_of = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=n))
        metrics = self._metrics(numbers[firsts], kinds[firsts])
        details = np.empty(n, np.uint64)
        longest = int(otlp_parts.part_details(self._array, points, roles, self._rows.buckets[rows], details))
        texts = _Texts()
        shared, ranges = self._shared_table(metrics, texts)
        fixed_at = texts.add(_WORDS)[0]
        table = self._metric_table(metrics, ranges, texts)
        extras = _extras(roles, details, texts)
        arena, scratch_at = texts.arena(longest + kernel.SCRATCH)
        blobs = np.empty(n * _TEXT_BYTES_GUESSED + 4096, np.uint8)
        scratch, status = np.empty(8 * kernel.MOST_LABELS, np.int64), np.empty(n, np.uint8)
        row = 0
        while True:
            row = int(
                kernel.define_rows(
                    self._array, arena, fixed_at, scratch_at, points, metric_of, roles, table, shared, extras,
                    self._prometheus, scratch, row, offsets, blobs, status,
                )
            )  # fmt: skip
            if row == n:
                break
            blobs = np.concatenate([blobs, np.empty(len(blobs) + longest + kernel.SCRATCH + len(arena), np.uint8)])
        left = {
            index: self._left(metrics[metric_of[index]], int(points[index]), int(roles[index]), int(details[index]))
            for index in np.flatnonzero(status == kernel.LEFT).tolist()
        }
        return offsets, blobs[: int(offsets[n])], left

    def _metrics(self, numbers: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> list[_Metric]:
        """What the metrics with these numbers give; kinds: of one row of each."""
        origins = self._origins
        found = np.empty((len(numbers), otlp_parts.D_COLUMNS), np.int64)
        otlp_parts.describe_metrics(self._array, origins.metric_begin[numbers], origins.metric_end[numbers], found)
        scopes = origins.metric_scope[numbers].tolist()
        body = self._array.data
        metrics = []
        for (name_at, name_length, unit_at, unit_length, data), scope, of_row in zip(
            found.tolist(), scopes, kinds.tolist(), strict=True
        ):
            name = bytes(body[name_at : name_at + name_length])
            if self._prometheus:
                unit = bytes(body[unit_at : unit_at + unit_length]).decode()
                name = prometheus_metric_name(
                    name.decode(),
                    unit,
                    monotonic_sum=data == otlp.METRIC_SUM and _is_monotonic(of_row),
                    gauge=data == otlp.METRIC_GAUGE,
                ).encode()
            metrics.append(_Metric(name, data, scope))
        return metrics

    def _shared_table(
        self, metrics: Sequence[_Metric], texts: _Texts
    ) -> tuple[NDArray[np.int64], dict[int, tuple[int, int]]]:
        """int64[s, 4] of places of shared labels, and for each scope the first and how many."""
        table: list[tuple[int, int, int, int]] = []
        ranges: dict[int, tuple[int, int]] = {}
        for metric in metrics:
            if metric.scope not in ranges:
                pairs = self._scope(metric.scope)
                ranges[metric.scope] = len(table), len(pairs)
                table += [(*texts.add(name), *texts.add(value)) for name, value in pairs]
        return np.array(table, np.int64).reshape(len(table), 4), ranges

    def _metric_table(
        self, metrics: Sequence[_Metric], ranges: dict[int, tuple[int, int]], texts: _Texts
    ) -> NDArray[np.int64]:
        table = np.zeros((len(metrics), kernel.M_COLUMNS), np.int64)
        for row, metric in zip(table, metrics, strict=True):
            row[kernel.M_SHARED : kernel.M_SHARED + 2] = ranges[metric.scope]
            row[kernel.M_ATTRIBUTES] = _POINT_ATTRIBUTES.get(metric.data, 0)
            plain = texts.add(metric.name)
            row[kernel.M_NAMES : kernel.M_NAMES + 2] = plain
            if metric.data not in (otlp.METRIC_GAUGE, otlp.METRIC_SUM):
                names = [texts.add(metric.name + suffix) for suffix in (b"_count", b"_sum", b"_bucket")]
                row[kernel.M_NAMES + 2 :] = [number for place in names for number in place]
        return table

    def _left(self, metric: _Metric, point: int, role: int, detail: int) -> bytes:
        """The blob of a row that the kernel left."""
        body = self._bytes()
        length, at = read_varint(body, point)
        wanted = _POINT_ATTRIBUTES[metric.data]
        found = fields(body, at, at + length)
        own = self._merged(dict(key_value(body, f.value, f.end) for f in found if f.tag == wanted))
        shared = {name.decode(): value.decode() for name, value in self._scope(metric.scope)}
        labels = {**own, **shared} if self._prometheus else {**shared, **own}
        labels["__name__"] = metric.name.decode() + _SUFFIXES.get(role, "")
        if role not in (part.ROLE_VALUE, part.ROLE_COUNT, part.ROLE_SUM):
            name, value = part_label(role, detail)
            labels[name.decode()] = value.decode()
        labels.pop("", None)
        return encode_label_blob(labels)

    def _merged(self, attributes: dict[str, object]) -> dict[str, str]:
        """Labels of attributes; of keys that become one label all, joined with `;` in order of keys.

        An empty value makes no label, but on a point it hides the resource's.
        """
        labels: dict[str, str] = {}
        for key in sorted(attributes):
            name = prometheus_label_name(key) if self._prometheus else key
            value = as_label_value(attributes[key])
            if name:
                labels[name] = f"{labels[name]};{value}" if name in labels else value
        return labels

    def _scope(self, number: int) -> Pairs:
        """Labels of a scope and its resource."""
        known = self._scopes.get(number)
        if known is None:
            source = self._source(number)
            known = None if source is None else self._shared.get(source)
            if known is None:
                labels = self._scope_labels(number)
                known = tuple(sorted((key.encode(), text.encode()) for key, text in labels.items() if key and text))
                if source is not None:
                    self._shared.keep(source, known)
            self._scopes[number] = known
        return known

    def _source(self, number: int) -> tuple[bytes, bytes, bytes] | None:
        """The bytes that decide a scope's labels; None in the rare case that there are several of a kind."""
        origins, body = self._origins, self._array
        resource = int(origins.scope_resource[number])
        found = np.empty((2, 3), np.int64)
        begin, end = int(origins.resource_begin[resource]), int(origins.resource_end[resource])
        otlp_parts.locate_fields(body, begin, end, otlp.RESOURCE, otlp.RESOURCE, found)
        (at, behind, resources), _ = found.tolist()
        begin, end = int(origins.scope_begin[number]), int(origins.scope_end[number])
        otlp_parts.locate_fields(body, begin, end, otlp.SCOPE, otlp.SCOPE_SCHEMA_URL, found)
        (scope_at, scope_end, scopes), (url_at, url_end, urls) = found.tolist()
        if resources > 1 or scopes > 1 or urls > 1:
            return None
        return body[at:behind].tobytes(), body[scope_at:scope_end].tobytes(), body[url_at:url_end].tobytes()

    def _scope_labels(self, number: int) -> dict[str, str]:
        body, origins = self._bytes(), self._origins
        prefix = "otel_scope_" if self._prometheus else "scope."
        labels: dict[str, str] = {}
        own: dict[str, str] = {}
        for tag, value, end in fields(body, int(origins.scope_begin[number]), int(origins.scope_end[number])):
            if tag == otlp.SCOPE_SCHEMA_URL:
                own["schema_url"] = body[value:end].decode()
            if tag != otlp.SCOPE:
                continue
            for inner in fields(body, value, end):
                if inner.tag == otlp.SCOPE_NAME:
                    own["name"] = body[inner.value : inner.end].decode()
                elif inner.tag == otlp.SCOPE_VERSION:
                    own["version"] = body[inner.value : inner.end].decode()
                elif inner.tag == otlp.SCOPE_ATTRIBUTES:
                    key, found = key_value(body, inner.value, inner.end)
                    label = prefix + key
                    labels[prometheus_label_name(label) if self._prometheus else label] = as_label_value(found)
        labels |= {prefix + key: text for key, text in own.items()}
        resource = self._resource(int(origins.scope_resource[number]))
        return labels | _job_and_instance(resource) if self._prometheus else {**resource, **labels}

    def _resource(self, number: int) -> dict[str, str]:
        """Attributes of a resource, by their own keys."""
        known = self._resources.get(number)
        if known is None:
            body, origins = self._bytes(), self._origins
            known = {}
            for tag, value, end in fields(body, int(origins.resource_begin[number]), int(origins.resource_end[number])):
                if tag == otlp.RESOURCE:
                    for inner in fields(body, value, end):
                        if inner.tag == otlp.RESOURCE_ATTRIBUTES:
                            key, found = key_value(body, inner.value, inner.end)
                            known[key] = as_label_value(found)
            self._resources[number] = known
        return known

    def _target_info(self, number: int) -> bytes:
        resource = self._resource(number)
        labels: dict[str, str] = {}
        for key in sorted(resource):
            name = prometheus_label_name(key)
            if key in _IDENTIFYING or not name or not resource[key]:
                continue
            labels[name] = f"{labels[name]};{resource[key]}" if name in labels else resource[key]
        labels |= _job_and_instance(resource)
        labels["__name__"] = "target_info"
        return encode_label_blob(labels)


class _Texts:
    """Texts one behind the other, for a kernel to copy from."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._end = 0

    def add(self, text: bytes) -> tuple[int, int]:
        """(position, length)."""
        at = self._end
        self._parts.append(text)
        self._end += len(text)
        return at, len(text)

    def arena(self, room: int) -> tuple[NDArray[np.uint8], int]:
        """(all texts with `room` bytes behind them, where those begin)."""
        arena = np.empty(self._end + room, np.uint8)
        arena[: self._end] = np.frombuffer(b"".join(self._parts), np.uint8)
        return arena, self._end


def _extras(roles: NDArray[np.uint8], details: NDArray[np.uint64], texts: _Texts) -> NDArray[np.int64]:
    """int64[n, 4]: places of the label that tells a row from the others of its point; zeros where there is none."""
    extras = np.zeros((len(roles), 4), np.int64)
    for role in (part.ROLE_BUCKET, part.ROLE_POSITIVE, part.ROLE_NEGATIVE, part.ROLE_ZERO, part.ROLE_QUANTILE):
        rows = np.flatnonzero(roles == role)
        if len(rows):
            unique, inverse = np.unique(details[rows], return_inverse=True)
            places = [tuple(map(texts.add, part_label(role, detail))) for detail in unique.tolist()]
            extras[rows] = np.array(places, np.int64).reshape(len(unique), 4)[inverse]
    return extras


def _spliced(
    kinds: NDArray[np.uint8], offsets: NDArray[np.uint32], blobs: NDArray[np.uint8], left: dict[int, bytes]
) -> Definitions:
    """Definitions with the blobs of `left`, by row, put in where they were left out."""
    lengths = np.diff(offsets)
    rows = np.fromiter(left, np.int64, len(left))
    of_left = np.array([len(blob) for blob in left.values()], np.uint32)
    lengths[rows] = of_left
    ends = np.zeros(len(lengths) + 1, np.uint32)
    np.cumsum(lengths, out=ends[1:])
    out = np.empty(int(ends[-1]), np.uint8)
    targets = ends[:-1].astype(np.int64)
    copy_blobs(blobs, offsets[:-1].astype(np.uint64), np.diff(offsets), targets, out)
    begins = np.zeros(len(rows), np.uint64)
    begins[1:] = np.cumsum(of_left[:-1])
    copy_blobs(np.frombuffer(b"".join(left.values()), np.uint8), begins, of_left, targets[rows], out)
    return Definitions(kinds, ends, out)


def _is_monotonic(kind_of_row: int) -> bool:
    return kind_of_row & kind.CLASS_MASK == kind.COUNTER and not kind_of_row & kind.NON_MONOTONIC


_SUFFIXES: Final = {
    part.ROLE_COUNT: "_count",
    part.ROLE_SUM: "_sum",
    part.ROLE_BUCKET: "_bucket",
    part.ROLE_POSITIVE: "_bucket",
    part.ROLE_NEGATIVE: "_bucket",
    part.ROLE_ZERO: "_bucket",
}
_POINT_ATTRIBUTES: Final = {
    otlp.METRIC_GAUGE: otlp.NUMBER_ATTRIBUTES,
    otlp.METRIC_SUM: otlp.NUMBER_ATTRIBUTES,
    otlp.METRIC_HISTOGRAM: otlp.HISTOGRAM_ATTRIBUTES,
    otlp.METRIC_EXPONENTIAL_HISTOGRAM: otlp.EXPONENTIAL_ATTRIBUTES,
    otlp.METRIC_SUMMARY: otlp.SUMMARY_ATTRIBUTES,
}


def _job_and_instance(resource: dict[str, str]) -> dict[str, str]:
    """`job` = namespace/name, `instance` = instance id, of a resource that has them."""
    found = {}
    service = resource.get("service.name", "")
    if service:
        namespace = resource.get("service.namespace", "")
        found["job"] = f"{namespace}/{service}" if namespace else service
    instance = resource.get("service.instance.id", "")
    if instance:
        found["instance"] = instance
    return found
