"""The shard's index: label set to series id (sid), and everything known of a series besides its baseline.

Sids are dense, 32 bits, and index every array of the program that has an entry a series. A sid is given to another
series only after it was forgotten, and its generation is raised then; whoever keeps state by sid compares generations.

Label sets are kept as numbers of label pairs, each pair once (kernels.label_sets).

Who may call. Two reader threads define series and read the arrays; the API looks series up. Definitions, expiry and
look-ups take the lock. The arrays are read without it: a thread only reads entries of sids that it was given, pinned
entries are never changed, and neither sets nor pairs ever move inside the arena. A pair has at least as many users as
pinned series name it, so it is not freed under a reader; of a pair only the count of users changes, which readers do
not look at. The slots of series and pairs are read and written under the lock alone. When capacity grows an array is
replaced by a larger copy, so take the arrays anew for each frame; what was pinned then stands in the old copy for
good. A time noted by `touch` in the old copy during that moment may be lost, which an expiry of hours does not notice.

Memory. The arena and the arrays are reserved as address space and become real as they are filled: 22 bytes a series,
11 to 23 bytes of slots, 4 bytes a label rounded up to 8; and for each pair that no other series has, its bytes and 8,
rounded up to 8, and 6 to 12 bytes of slots. A series of labels that it shares with none so takes up to 28 bytes a label
more than its blob. The arena ends at 16 GiB; a label set for which it has no room remains unresolved.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.errors import RequestError
from gateway.selfmetrics import counter, gauge
from gateway.series.label_values import distinct_values
from gateway.telemetry.columns import Definitions
from gateway.telemetry.label_groups import LabelGroups, grouped
from gateway.telemetry.label_sets import blobs_of
from gateway.telemetry.labels import decode_label_blob, encode_label_blob
from gateway.telemetry.mapped_zeros import mapped_zeros, reserved
from gateway.telemetry.regular_expression import compile_expression
from kernels import label_index as table
from kernels import label_sets as sets

log = structlog.get_logger(__name__)

ACTIVE_SERIES = gauge("active_series", "Series the index holds.")
EXPIRED = counter("expired_series", "Series forgotten because no point came for `series.expiry`.")
PAIRS = gauge("label_pairs", "Labels, as pairs of name and value, that the index holds; each counts once.")
ARENA_BYTES = gauge("label_bytes", "Bytes of label sets and pairs, chunks of forgotten ones included.")

_SEARCH_STEP: Final = 10_000
"""Series a search looks at while it holds the lock (1 to 5 ms, by how many values the labels have)."""
UNRESOLVED: Final = table.UNRESOLVED
_ARENA_BYTES: Final = sets.MOST_BYTES
_LEAST_CAPACITY: Final = 1 << 12
_EXPIRED_AT_ONCE: Final = 100_000
_READERS: Final = 8

Matcher = tuple[str, str, str]
"""Label name, operator (one of = != =~ !~), value; regular expressions match the whole value."""


def _reserve(size: int) -> NDArray[np.uint8]:
    """Zeroed bytes that take memory only when written; less than asked where the system grants no more."""
    while True:
        try:
            return np.frombuffer(reserved(size), np.uint8)
        except OSError:
            if size <= 2**24:
                raise
            size //= 2


def _grown(array: NDArray[Any], capacity: int) -> NDArray[Any]:
    larger = mapped_zeros(capacity, array.dtype)
    larger[: len(array)] = array
    return larger


def _doubled(size: int, least: int) -> int:
    """`size`, doubled until it is at least `least`."""
    while size < least:
        size *= 2
    return size


class SeriesIndex:
    """See the module's text. Implements telemetry.resolved.SeriesView.

    capacity: how many series the arrays hold before they grow; address space only.
    """

    def __init__(self, capacity: int = 2_000_000, *, arena_bytes: int = _ARENA_BYTES) -> None:
        capacity = max(capacity, _LEAST_CAPACITY)
        self._lock = threading.Lock()
        self._seed = secrets.randbits(64)
        self._slots = np.zeros(2 * _LEAST_CAPACITY, np.uint64)
        self._pair_slots = np.zeros(2 * _LEAST_CAPACITY, np.uint32)
        self._state = np.zeros(table.X_STATE, np.int64)
        self._state[table.X_FREE_SID] = -1
        self._state[sets.X_ARENA_END] = sets.FIRST_FREE
        self._chunks = np.full(sets.SIZE_CLASSES, -1, np.int64)
        self._arena = _reserve(min(arena_bytes, sets.MOST_BYTES))
        self._sets: NDArray[np.uint32] = mapped_zeros(capacity, np.uint32)
        self._lengths: NDArray[np.uint32] = mapped_zeros(capacity, np.uint32)
        self._kinds: NDArray[np.uint8] = mapped_zeros(capacity, np.uint8)
        self._generations: NDArray[np.uint32] = mapped_zeros(capacity, np.uint32)
        self._last_seen: NDArray[np.int64] = mapped_zeros(capacity, np.int64)
        self._pins: NDArray[np.uint8] = mapped_zeros(capacity, np.uint8)
        self._readers: dict[str, int] = {}

    @property
    def label_arena(self) -> NDArray[np.uint8]:
        """See SeriesView."""
        return self._arena

    @property
    def label_sets(self) -> NDArray[np.uint32]:
        """See SeriesView."""
        return self._sets

    @property
    def label_lengths(self) -> NDArray[np.uint32]:
        """See SeriesView."""
        return self._lengths

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """See SeriesView."""
        return self._kinds

    @property
    def generations(self) -> NDArray[np.uint32]:
        """See SeriesView."""
        return self._generations

    @property
    def last_seen_ms(self) -> NDArray[np.int64]:
        """int64[capacity]: newest point time of a sid."""
        return self._last_seen

    @property
    def active_count(self) -> int:
        """Series the index holds."""
        return int(self._state[table.X_LIVE])

    @property
    def pair_count(self) -> int:
        """Label pairs the index holds."""
        return int(self._state[sets.X_PAIRS])

    @property
    def end_sid(self) -> int:
        """Every sid given so far is under this."""
        return int(self._state[table.X_NEXT_SID])

    def pin_of(self, reader: str) -> int:
        """The bit under which a reader pins series, the same for the same name. Raises ValueError for a ninth."""
        with self._lock:
            number = self._readers.setdefault(reader, len(self._readers))
        if number >= _READERS:
            raise ValueError("an index has at most eight readers")
        return 1 << number

    def define(self, definitions: Definitions, *, pin: int = 0, seen_ms: int = 0) -> NDArray[np.uint32]:
        """uint32[m]: the sids of label sets, entering those that are new; UNRESOLVED for an empty label set, and
        for one for whose labels there is no room.

        pin: bit from `pin_of`; the series stays until `release` with the same bit. seen_ms: counts as a point's time
        for expiry. A kind other than unknown replaces the kind known so far.
        """
        m = len(definitions)
        sids = np.empty(m, np.uint32)
        done = without_room = 0
        with self._lock:
            while True:
                done = table.define_series(
                    definitions.blobs,
                    definitions.offsets,
                    definitions.kinds,
                    done,
                    self._seed,
                    pin,
                    seen_ms,
                    self._slots,
                    self._pair_slots,
                    self._state,
                    self._chunks,
                    self._arena,
                    self._sets,
                    self._lengths,
                    self._kinds,
                    self._generations,
                    self._last_seen,
                    self._pins,
                    sids,
                )
                if done == m:
                    break
                if not self._enlarge(m - done):
                    sids[done] = UNRESOLVED
                    done += 1
                    without_room += 1
            ACTIVE_SERIES.set(self._state[table.X_LIVE])
            PAIRS.set(self._state[sets.X_PAIRS])
            ARENA_BYTES.set(self._state[sets.X_ARENA_END])
        if without_room:
            # One line for all of them, when nobody waits for the lock: an arena that is full refuses every new series.
            log.error("no room for the labels of series", series=without_room, arena_bytes=len(self._arena))
        return sids

    def _enlarge(self, coming: int) -> bool:
        """Make room for the series at which `define_series` stopped; False where there can be none. Under the lock."""
        state = self._state
        if state[table.X_USED_SLOTS] * 10 >= len(self._slots) * 7:
            # Half full after the rebuild, which also drops the places of forgotten series.
            live = int(state[table.X_LIVE])
            slots = mapped_zeros(_doubled(len(self._slots), 2 * (live + min(coming, live + 1))), np.uint64)
            state[table.X_USED_SLOTS] = table.copy_slots(self._slots, slots)
            self._slots = slots
        needed = int(state[table.X_NEEDS_PAIRS])
        if (state[sets.X_USED_PAIR_SLOTS] + needed) * 10 >= len(self._pair_slots) * 7:
            pair_slots = mapped_zeros(_doubled(len(self._pair_slots), 2 * (self.pair_count + needed)), np.uint32)
            state[sets.X_USED_PAIR_SLOTS] = sets.copy_pair_slots(self._pair_slots, pair_slots, self._arena, self._seed)
            self._pair_slots = pair_slots
        if state[table.X_FREE_SID] < 0 and state[table.X_NEXT_SID] >= len(self._lengths):
            capacity = 2 * len(self._lengths)
            self._sets = _grown(self._sets, capacity)
            self._kinds = _grown(self._kinds, capacity)
            self._generations = _grown(self._generations, capacity)
            self._last_seen = _grown(self._last_seen, capacity)
            self._pins = _grown(self._pins, capacity)
            # Last, because its length is what the kernel takes for the capacity.
            self._lengths = _grown(self._lengths, capacity)
        end = int(state[sets.X_ARENA_END])
        behind = end + int(state[table.X_NEEDS_BYTES])
        return behind <= len(self._arena) or self._enlarge_arena(end, behind)

    def _enlarge_arena(self, end: int, behind: int) -> bool:
        if behind > sets.MOST_BYTES:
            return False
        try:
            arena = _reserve(min(max(2 * len(self._arena), 2 * behind), sets.MOST_BYTES))
        except OSError:
            return False
        if len(arena) < behind:
            return False
        arena[:end] = self._arena[:end]
        self._arena = arena
        return True

    def release(self, sids: NDArray[np.uint32], pin: int, still: Sequence[NDArray[np.uint32]] = ()) -> None:
        """A reader no longer maps local ids to these series, except for those it `still` does (in other edges)."""
        with self._lock:
            table.release_pins(sids, pin, self._pins)
            for kept in still:
                self._pins[kept[kept != UNRESOLVED]] |= np.uint8(pin)

    def touch(self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64]) -> None:
        """Note point times of series, as `LocalIds.resolve` does for rows."""
        np.maximum.at(self._last_seen, sids, times_ms)

    def expire(self, cutoff_ms: int) -> NDArray[np.uint32]:
        """Forget series without a point since cutoff_ms that no reader pins; their sids (at most 100,000 a call).

        A sid returned here may be given to another series, with a raised generation, from now on.
        """
        expired = np.empty(_EXPIRED_AT_ONCE, np.uint32)
        with self._lock:
            count = table.expire_series(
                cutoff_ms,
                self._seed,
                self._slots,
                self._pair_slots,
                self._state,
                self._chunks,
                self._arena,
                self._sets,
                self._lengths,
                self._last_seen,
                self._pins,
                expired,
            )
            ACTIVE_SERIES.set(self._state[table.X_LIVE])
            PAIRS.set(self._state[sets.X_PAIRS])
        EXPIRED.inc(count)
        return expired[:count]

    def blob(self, sid: int) -> bytes:
        """The label blob of a sid; empty if the sid is free."""
        with self._lock:
            return next(blobs_of(self, np.array([sid], np.uint32))).area.tobytes()

    def labels(self, sid: int) -> dict[str, str]:
        """The label set of a sid; empty if the sid is free."""
        return decode_label_blob(self.blob(sid))

    def find(self, matchers: Sequence[Matcher], limit: int) -> list[int]:
        """Sids of the series that all matchers accept, ascending, at most `limit`. A label that is absent has the
        value "". Raises ValueError for an unknown operator or a bad regular expression."""
        tests = [(n, _test(operator, value)) for n, operator, value in matchers if operator != "=" or not value]
        with self._lock:
            end = self.end_sid
            candidates = (self._lengths[:end] > 0).astype(np.uint8)
            for name, operator, value in matchers:
                if operator == "=" and value:
                    label = np.frombuffer(encode_label_blob({name: value}), np.uint8)
                    number = sets.pair_number(label, self._seed, self._pair_slots, self._arena)
                    if number == 0:
                        return []
                    sets.keep_sets_with(number, end, self._arena, self._sets, self._lengths, candidates)
        sids = np.flatnonzero(candidates).astype(np.uint32)
        found: list[int] = []
        # The readers register series under the same lock: a long search lets them in between its steps.
        for first in range(0, len(sids), _SEARCH_STEP):
            if len(found) >= limit:
                break
            with self._lock:
                step = sids[first : first + _SEARCH_STEP]
                step = step[self._lengths[step] > 0]
                for name, test in tests:
                    # A label has far fewer values than there are series: each value is tested once.
                    values, which = distinct_values(self, step, name)
                    step = step[np.fromiter(map(test, values), np.bool_, len(values))[which]]
                found.extend(step[: limit - len(found)].tolist())
        return found

    def labels_of(self, matchers: Sequence[Matcher], limit: int) -> dict[int, dict[str, str]]:
        """As `find`, with the labels. A sid may have been given up, or to another series, since it was found: what it
        has by now is asked again."""
        tests = [(name, _test(operator, value)) for name, operator, value in matchers]
        found = {sid: self.labels(sid) for sid in self.find(matchers, limit)}
        return {
            sid: labels
            for sid, labels in found.items()
            if labels and all(test(labels.get(name, "")) for name, test in tests)
        }

    def groups(self, names: Sequence[str]) -> LabelGroups:
        """All series counted by the values of the labels `names`. Costs about a microsecond a series and label, most of
        it outside of the interpreter's lock."""
        with self._lock:
            sids = np.flatnonzero(self._lengths[: self.end_sid]).astype(np.uint32)
        known: list[dict[str, int]] = [{} for _ in names]
        parts: list[NDArray[np.uint32]] = []
        for first in range(0, len(sids), _SEARCH_STEP):
            with self._lock:
                step = sids[first : first + _SEARCH_STEP]
                step = step[self._lengths[step] > 0]
                codes = np.empty((len(names), len(step)), np.uint32)
                for at, name in enumerate(names):
                    values, which = distinct_values(self, step, name)
                    of_value = [known[at].setdefault(value, len(known[at])) for value in values]
                    codes[at] = np.array(of_value, np.uint32)[which]
                parts.append(codes)
        whole = np.concatenate(parts, axis=1) if parts else np.empty((len(names), 0), np.uint32)
        return grouped(names, [list(values) for values in known], whole)


def _test(operator: str, value: str) -> Callable[[str], bool]:
    if operator == "=":
        return lambda given: given == value
    if operator == "!=":
        return lambda given: given != value
    if operator not in ("=~", "!~"):
        raise ValueError(f'"{operator}" is not a matcher; expected one of = != =~ !~')
    try:
        expression = compile_expression(value)
    except RequestError as error:
        raise ValueError(f'"{value}": {error}') from error
    if operator == "=~":
        return expression.fullmatch
    return lambda given: not expression.fullmatch(given)
