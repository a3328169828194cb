"""Series that end because another one took their place: pods, hosts and processes come and go, and nobody is woken.

A series that falls silent is no anomaly where a new series has the same name and the same labels but for those that
tell one instance from another (INSTANCE_LABELS), and its first point came after BEFORE_SECONDS before the silent
one's last point, and in the later half of the silent one's life (or all instances that were started together would
stand for each other). Each new series stands for one silent series only, so that of ten instances that go while one
comes, nine are told of. Where the new one comes later than the silence was announced, the alert is closed, with that
reason, up to AFTER_SECONDS after the last point.

New series are only noted; their labels are looked at when something falls silent. Nothing of this outlives a restart: a
series that had been new before is not known to be so afterwards, and then its predecessor's silence is announced.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.selfmetrics import counter
from gateway.telemetry.label_sets import blobs_of
from gateway.telemetry.resolved import SeriesView
from kernels.label_family import family_digests
from kernels.label_hash import derive_secrets
from kernels.series_state import OPENED, STALE

REPLACED = counter("replaced_series", "Series that fell silent while another instance's series took their place.")

BEFORE_SECONDS: Final = 600
AFTER_SECONDS: Final = 1800
MOST_KEPT: Final = 200_000
"""New series, and silent ones without a successor, that are remembered, the latest of each: 33 bytes apiece."""
_MOST_ARRIVED: Final = 100
"""Frames whose new series wait for the next `match`, which comes every second; fewer where they bring MOST_KEPT."""
_WORDS: Final = (
    "instance", "service_instance_id", "pod", "pod_name", "pod_uid", "pod_ip", "k8s_pod_name", "k8s_pod_uid",
    "k8s_pod_ip", "k8s_replicaset_name", "k8s_replicaset_uid", "replicaset", "pod_template_hash", "container_id",
    "host", "host_name", "host_id", "host_ip", "hostname", "node", "node_name", "nodename", "k8s_node", "k8s_node_name",
    "k8s_node_uid", "process_pid", "instance_id", "exported_instance", "exported_pod",
)  # fmt: skip
INSTANCE_LABELS: Final = frozenset(_WORDS) | {word.replace("_", ".") for word in _WORDS}
_NAMES: Final = np.frombuffer("".join(sorted(INSTANCE_LABELS)).encode(), np.uint8)
_NAME_ENDS: Final = np.cumsum([len(name) for name in sorted(INSTANCE_LABELS)], dtype=np.int64)

_ENTRY: Final = np.dtype(
    [
        ("sid", np.uint32),
        ("generation", np.uint32),
        ("time_ms", np.int64),  # of the first point of a new series, of the last one of a silent series
        ("earliest_ms", np.int64),  # of a silent series: when its successor must not have been there yet
        ("digest", np.uint64),  # 0: not computed yet
        ("used", np.bool_),
    ]
)


class Replacements:
    """Matches series that fell silent with series that appeared. The scorer's thread owns it."""

    def __init__(self, series: SeriesView) -> None:
        self._series = series
        self._secrets = derive_secrets((secrets.randbits(64), secrets.randbits(64)))
        self._new = np.empty(0, _ENTRY)
        """By time of the first point, roughly."""
        self._arrived: list[NDArray[Any]] = []
        """New ones since the last `match`: put together once there, not at every frame that brings some."""
        self._silent = np.empty(0, _ENTRY)
        """Announced, without a successor so far; `time_ms` is that of the last point."""
        self._has_new = False
        """Whether any came since the last `match`."""

    def learn(self, sids: NDArray[np.uint32], time_ms: int) -> None:
        """Series, uint32[n], that no baseline knew, whose first points bear about this time."""
        if len(sids):
            self._arrived.append(self._entries(sids, time_ms))
            self._has_new = True
            if sum(map(len, self._arrived)) >= MOST_KEPT or len(self._arrived) >= _MOST_ARRIVED:
                self._put_together()

    def _put_together(self) -> None:
        if self._arrived:
            self._new = np.concatenate([self._new, *self._arrived])[-MOST_KEPT:]
            self._arrived.clear()

    def match(
        self, transitions: NDArray[Any], watermark_ms: int
    ) -> tuple[NDArray[Any], NDArray[np.uint32], NDArray[np.uint32]]:
        """(the transitions that are still to be told; ids, uint32[k], of replaced series that are among the others; ids
        of replaced series whose silence was told before). transitions: of `Baseline.advance`, every second."""
        self._put_together()
        self._forget(watermark_ms)
        rows = np.flatnonzero((transitions["kind"] == OPENED) & (transitions["reason"] == STALE))
        fallen = self._entries(transitions["sid"][rows], transitions["began_ms"][rows])
        waiting = self._silent if self._has_new else self._silent[:0]
        if len(rows) == 0 and len(waiting) == 0:
            return transitions, fallen["sid"], fallen["sid"]
        self._note_earliest(fallen)
        self._new["used"] |= np.isin(self._new["sid"], fallen["sid"])  # what is silent itself replaces nothing
        candidates = np.concatenate([waiting, fallen])
        found = self._successors(candidates)
        of_waiting, of_fallen = found[: len(waiting)], found[len(waiting) :]
        rest = waiting[~of_waiting] if self._has_new else self._silent
        self._silent = np.concatenate([rest, fallen[~of_fallen]])[-MOST_KEPT:]
        self._has_new = False
        REPLACED.inc(int(found.sum()))
        return np.delete(transitions, rows[of_fallen]), fallen["sid"][of_fallen], waiting["sid"][of_waiting]

    def _entries(self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64] | int) -> NDArray[Any]:
        entries = np.zeros(len(sids), _ENTRY)
        entries["sid"], entries["time_ms"] = sids, times_ms
        entries["generation"] = self._series.generations[sids]
        return entries

    def _forget(self, watermark_ms: int) -> None:
        """Those too old to be matched any more, and those whose ids belong to others now."""
        for name, seconds in ("_new", BEFORE_SECONDS + AFTER_SECONDS), ("_silent", AFTER_SECONDS):
            entries = getattr(self, name)
            if len(entries) and watermark_ms:
                kept = entries["time_ms"] > watermark_ms - 1000 * seconds
                kept &= self._series.generations[entries["sid"]] == entries["generation"]
                if not kept.all():
                    setattr(self, name, entries[kept])

    def _note_earliest(self, fallen: NDArray[Any]) -> None:
        fallen["earliest_ms"] = fallen["time_ms"] - 1000 * BEFORE_SECONDS
        if len(self._new):
            order = np.argsort(self._new["sid"], kind="stable")
            place = np.searchsorted(self._new["sid"], fallen["sid"], "right", sorter=order) - 1
            own = self._new[order[np.maximum(place, 0)]]
            half = (own["time_ms"] + fallen["time_ms"] + 1) // 2
            fallen["earliest_ms"] = np.where(
                own["sid"] == fallen["sid"], np.maximum(fallen["earliest_ms"], half), fallen["earliest_ms"]
            )

    def _successors(self, silent: NDArray[Any]) -> NDArray[np.bool_]:
        """bool[n]: for which of the silent series a new one was found; marks that as used."""
        found = np.zeros(len(silent), np.bool_)
        new = self._new
        if len(new) == 0:
            return found
        self._digest(silent)
        self._digest(new)
        order = np.argsort(new["digest"], kind="stable")
        ordered = new["digest"][order]
        first = np.searchsorted(ordered, silent["digest"], "left")
        behind = np.searchsorted(ordered, silent["digest"], "right")
        has_any = np.flatnonzero((behind > first) & (silent["digest"] != 0))
        free: dict[int, int] = {}
        """Of each group of new series, by its first place, where the first stands that may still be taken: those before
        it are used, or too early for every silent series that is yet to come."""
        for number in has_any[np.argsort(silent["earliest_ms"][has_any], kind="stable")].tolist():
            group, end = int(first[number]), int(behind[number])
            earliest = int(silent["earliest_ms"][number])
            place = free.get(group, group)
            while place < end:
                entry = order[place]
                place += 1
                if not new["used"][entry] and new["time_ms"][entry] >= earliest:
                    new["used"][entry] = found[number] = True
                    break
            free[group] = place
        return found

    def _digest(self, entries: NDArray[Any]) -> None:
        """Fill in digests that are not there yet."""
        missing = np.flatnonzero(entries["digest"] == 0)
        if len(missing) == 0:
            return
        digests = np.zeros(len(missing), np.uint64)
        for blobs in blobs_of(self._series, entries["sid"][missing]):
            of_piece = digests[blobs.first : blobs.first + len(blobs.lengths)]
            family_digests(
                blobs.area, blobs.begins, blobs.lengths, blobs.rows, _NAMES, _NAME_ENDS, self._secrets, of_piece
            )
        entries["digest"][missing] = digests
