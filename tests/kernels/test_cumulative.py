import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry import kind
from kernels import cumulative
from kernels.cumulative import COUNTS, NEVER, VERDICTS, claim_deltas, fold_rows
from tests.reference.remote_write import Folding, Row

D = kind.DELTA
KINDS = np.array(
    [
        kind.GAUGE, kind.COUNTER | D, kind.COUNTER | D | kind.NON_MONOTONIC, kind.TARGET_INFO,
        kind.HISTOGRAM_COUNT | D, kind.HISTOGRAM_SUM | D, *[kind.HISTOGRAM_BUCKET | D] * 4,
        *[kind.HISTOGRAM_BUCKET | D | kind.VMRANGE] * 2,
    ],
    np.uint8,
)  # fmt: skip
COUNT, SUM, BUCKETS, RANGES = 4, 5, (6, 7, 8, 9), (10, 11)
PARTS = {COUNT: "count", SUM: "sum"} | dict.fromkeys(BUCKETS, "bucket") | dict.fromkeys(RANGES, "range")
STALE = np.array([kind.STALE_NAN_BITS], np.uint64).view(np.float64)[0]
VALUE = st.one_of(st.floats(-5, 5), st.sampled_from([float("nan"), float("inf"), "stale"]))
START, TIME = st.integers(0, 30), st.integers(1, 30)
ROW = st.tuples(st.integers(0, 11), START, TIME, VALUE).map(lambda row: [row])


@st.composite
def histogram(draw):
    """Rows of a delta histogram, mostly whole and in order."""
    start, time = draw(START), draw(TIME)
    parts = draw(st.one_of(st.sets(st.sampled_from(BUCKETS)), st.sets(st.sampled_from(RANGES))))
    sids = [COUNT, *draw(st.sampled_from([[SUM], []])), *sorted(parts)]
    if draw(st.booleans()):
        values = ["stale"] * len(sids)
    else:
        values = [draw(st.one_of(st.integers(0, 9).map(float), VALUE) if sid == SUM else st.integers(0, 9).map(float))
                  for sid in sids]  # fmt: skip
    return [(sid, start, time, value) for sid, value in zip(sids, values, strict=True)]


def test_the_numbers_agree_with_telemetry():
    assert (cumulative.DELTA_BIT, cumulative.CLASS_BITS) == (kind.DELTA, kind.CLASS_MASK)
    assert (cumulative.TARGET_INFO_CLASS, int(cumulative.STALE_NAN)) == (kind.TARGET_INFO, kind.STALE_NAN_BITS)
    assert (cumulative.COUNT_CLASS, cumulative.SUM_CLASS) == (kind.HISTOGRAM_COUNT, kind.HISTOGRAM_SUM)
    assert (cumulative.BUCKET_CLASS, cumulative.VMRANGE_BIT) == (kind.HISTOGRAM_BUCKET, kind.VMRANGE)
    assert kind.COUNTER | kind.DELTA == cumulative.MONOTONIC_DELTA


@settings(max_examples=250, deadline=None)
@given(st.lists(st.one_of(ROW, histogram()), max_size=20), st.integers(0, 20), st.integers(10, 40), st.booleans())
def test_folding_is_that_of_the_reference(pieces, oldest, latest, with_starts):
    rows = [row for piece in pieces for row in piece]
    n, m = len(rows), len(KINDS)
    sids = np.array([r[0] for r in rows], np.uint32)
    starts = np.array([r[1] for r in rows] if with_starts else [], np.int64)
    times = np.array([r[2] for r in rows], np.int64)
    values = np.array([STALE if r[3] == "stale" else r[3] for r in rows], np.float64)
    totals, ends, claimed = np.zeros(m), np.zeros(m, np.int64), np.zeros(m, np.uint32)
    generations, fresh = np.zeros(m, np.uint32), np.zeros(n, np.uint32)
    claim_deltas(sids, KINDS, generations, claimed, totals, ends, fresh)
    lengths = np.full(m, 10, np.uint32)
    out = outputs(n)
    counts = np.zeros(COUNTS, np.int64)
    kept = fold_rows(sids, starts, times, values, KINDS, lengths, oldest, latest, totals, ends, *out, counts)

    reference = Folding()
    verdicts = reference.fold(
        [
            Row(
                sid, start if with_starts else 0, time, float("nan") if value == "stale" else value,
                delta=bool(KINDS[sid] & kind.DELTA), stale=value == "stale", monotonic=sid == 1,
                part=PARTS.get(sid, ""),
            )
            for sid, start, time, value in rows
        ],
        oldest=oldest,
        latest=latest,
    )  # fmt: skip
    expected, expected_counts = [], np.zeros(COUNTS, np.int64)
    for (sid, _, time, value), (verdict, gone_out) in zip(rows, verdicts, strict=True):
        expected_counts[verdict + (VERDICTS if sid == 3 else 0)] += 1
        if verdict == cumulative.KEPT:
            expected.append((sid, time, STALE if value == "stale" else gone_out))
    expected_counts[cumulative.RESTARTS] = reference.restarts
    assert counts.tolist() == expected_counts.tolist()
    got = list(zip(*(column[:kept].tolist() for column in out), strict=True))
    assert [g[:2] for g in got] == [e[:2] for e in expected]
    assert out[2][:kept].tobytes() == np.array([e[2] for e in expected], np.float64).tobytes()


def outputs(n):
    return np.zeros(n, np.uint32), np.zeros(n, np.int64), np.zeros(n)


class Histogram:
    """Folds a delta histogram whose bounds may change; +Inf is always the last bucket."""

    def __init__(self):
        self.totals, self.ends = np.zeros(12), np.full(12, NEVER)
        self.counts = np.zeros(COUNTS, np.int64)

    def add(self, start, time, buckets, total=0.0):
        """buckets: sid → count of its own range, in order of bounds; returns sid → what goes out."""
        cumulated = np.cumsum(list(buckets.values()))
        sids = np.array([COUNT, SUM, *buckets], np.uint32)
        values = np.array([cumulated[-1], total, *cumulated], np.float64)
        n, out = len(sids), outputs(len(sids))
        kept = fold_rows(
            sids, np.full(n, start), np.full(n, time), values, KINDS,
            np.ones(12, np.uint32), 0, 1000, self.totals, self.ends, *out, self.counts,
        )  # fmt: skip
        return dict(zip(out[0][:kept].tolist(), out[2][:kept].tolist(), strict=True))


def test_new_bounds_start_the_whole_histogram_anew():
    folded = Histogram()
    assert folded.add(10, 20, {6: 5, 9: 1}, 3.0) == {COUNT: 6, SUM: 3.0, 6: 5, 9: 6}
    assert folded.add(20, 30, {6: 4, 9: 0}, 2.0) == {COUNT: 10, SUM: 5.0, 6: 9, 9: 10}
    assert folded.add(30, 40, {6: 1, 7: 1, 9: 1}, 1.5) == {COUNT: 3, SUM: 1.5, 6: 1, 7: 2, 9: 3}
    assert folded.counts[cumulative.RESTARTS] == 1
    assert folded.add(40, 50, {6: 1, 7: 0, 9: 1}, 0.5) == {COUNT: 5, SUM: 2.0, 6: 2, 7: 3, 9: 5}
    assert folded.counts[cumulative.RESTARTS] == 1


def test_a_bound_that_falls_away_leaves_the_rest_and_starts_anew_when_it_comes_back():
    folded = Histogram()
    folded.add(10, 20, {6: 5, 7: 3, 9: 1})
    assert folded.add(20, 30, {6: 1, 9: 1}) == {COUNT: 11, SUM: 0, 6: 6, 9: 11}
    assert folded.counts[cumulative.RESTARTS] == 0
    assert folded.add(30, 40, {6: 1, 7: 1, 9: 1}) == {COUNT: 3, SUM: 0, 6: 1, 7: 2, 9: 3}
    assert folded.counts[cumulative.RESTARTS] == 1


def test_an_interval_that_overlaps_is_left_out_whole_under_new_bounds_too():
    folded = Histogram()
    folded.add(10, 20, {6: 5, 9: 1})
    assert folded.add(15, 25, {6: 1, 7: 1, 9: 1}) == {}
    assert folded.counts[cumulative.DELTA_OVERLAP] == 5
    assert folded.add(20, 30, {6: 1, 9: 0}) == {COUNT: 7, SUM: 0, 6: 6, 9: 7}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from((6, 7, 8)), st.integers(0, 9), max_size=3), min_size=1, max_size=12))
def test_buckets_never_fall_over_their_bounds(intervals):
    folded = Histogram()
    for number, own in enumerate(intervals, 1):
        out = folded.add(10 * number, 10 * number + 10, {**dict(sorted(own.items())), 9: 1})
        buckets = [out[sid] for sid in sorted(set(out) & set(BUCKETS))]
        assert buckets == sorted(buckets)
        assert buckets[-1] == out[COUNT]


def test_a_negative_increment_of_a_monotonic_sum_is_left_out():
    totals, ends = np.zeros(12), np.full(12, NEVER)
    out, counts = outputs(6), np.zeros(COUNTS, np.int64)
    kept = fold_rows(
        np.array([1, 1, 1, 2, 2, 2], np.uint32), np.zeros(0, np.int64), np.array([10, 20, 30, 10, 20, 30]),
        np.array([5.0, -2.0, 1.0, 5.0, -2.0, 1.0]), KINDS, np.ones(12, np.uint32),
        0, 1000, totals, ends, *out, counts,
    )  # fmt: skip
    assert out[2][:kept].tolist() == [5.0, 6.0, 5.0, 3.0, 4.0]
    assert counts[cumulative.DELTA_NEGATIVE] == 1


def test_a_gap_goes_on_and_an_overlap_is_left_out():
    totals, ends = np.zeros(1), np.array([NEVER])
    out, counts = outputs(5), np.zeros(COUNTS, np.int64)
    kept = fold_rows(
        np.zeros(5, np.uint32), np.array([10, 20, 15, 50, 50]), np.array([20, 30, 40, 60, 60]), np.arange(1.0, 6.0),
        np.array([kind.COUNTER | kind.DELTA], np.uint8), np.ones(1, np.uint32),
        0, 1000, totals, ends, *out, counts,
    )  # fmt: skip
    assert out[2][:kept].tolist() == [1.0, 3.0, 7.0]
    assert counts[cumulative.DELTA_OVERLAP] == 2
    assert ends[0] == 60


def test_a_sid_that_changed_hands_is_claimed_anew():
    claimed, totals, ends = np.array([1], np.uint32), np.array([7.0]), np.array([5])
    fresh = np.zeros(3, np.uint32)
    sids, kinds = np.zeros(3, np.uint32), np.array([kind.COUNTER | kind.DELTA], np.uint8)
    assert claim_deltas(sids, kinds, np.array([0], np.uint32), claimed, totals, ends, fresh) == 0
    assert claim_deltas(sids, kinds, np.array([1], np.uint32), claimed, totals, ends, fresh) == 1
    assert (totals[0], ends[0]) == (0.0, NEVER)


def test_ids_beyond_the_index_are_counted_and_not_read():
    out, counts = outputs(2), np.zeros(COUNTS, np.int64)
    sids = np.array([9, 2**32 - 1], np.uint32)
    kept = fold_rows(
        sids, np.zeros(0, np.int64), np.zeros(2, np.int64), np.zeros(2), np.ones(1, np.uint8),
        np.ones(1, np.uint32), 0, 1000, np.zeros(0), np.zeros(0, np.int64), *out, counts,
    )  # fmt: skip
    assert kept == 0
    assert counts[cumulative.SERIES_GONE] == 2
