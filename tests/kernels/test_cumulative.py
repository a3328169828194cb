import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry import kind
from kernels import cumulative
from kernels.cumulative import NEVER, VERDICTS, claim_deltas, fold_rows
from tests.reference.remote_write import Folding

KINDS = np.array(
    [kind.GAUGE, kind.COUNTER | kind.DELTA, kind.HISTOGRAM_BUCKET | kind.DELTA, kind.TARGET_INFO], np.uint8
)
STALE = np.array([kind.STALE_NAN_BITS], np.uint64).view(np.float64)[0]
ROW = st.tuples(
    st.integers(0, 3),
    st.integers(0, 30),
    st.integers(1, 30),
    st.one_of(st.floats(-5, 5), st.sampled_from([float("nan"), float("inf"), "stale"])),
)


def test_the_numbers_agree_with_telemetry():
    assert (cumulative.DELTA_BIT, cumulative.CLASS_BITS) == (kind.DELTA, kind.CLASS_MASK)
    assert (cumulative.TARGET_INFO_CLASS, int(cumulative.STALE_NAN)) == (kind.TARGET_INFO, kind.STALE_NAN_BITS)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=40), st.integers(0, 20), st.integers(10, 40), st.booleans())
def test_folding_is_that_of_the_reference(rows, oldest, latest, with_starts):
    n = len(rows)
    sids = np.array([r[0] for r in rows], np.uint32)
    starts = np.array([r[1] for r in rows] if with_starts else [], np.int64)
    times = np.array([r[2] for r in rows], np.int64)
    values = np.array([STALE if r[3] == "stale" else r[3] for r in rows], np.float64)
    totals, ends, claimed = np.zeros(4), np.zeros(4, np.int64), np.zeros(4, np.uint32)
    generations, fresh = np.zeros(4, np.uint32), np.zeros(n, np.uint32)
    claim_deltas(sids, KINDS, generations, claimed, totals, ends, fresh)
    offsets, lengths = np.arange(4, dtype=np.uint64) * 10, np.full(4, 10, np.uint32)
    out = (np.zeros(n, np.int64), np.zeros(n, np.uint32), np.zeros(n, np.int64), np.zeros(n), np.zeros(n, np.int64))
    counts = np.zeros(2 * VERDICTS, np.int64)
    kept = fold_rows(sids, starts, times, values, KINDS, offsets, lengths, oldest, latest, totals, ends, *out, counts)

    reference = Folding()
    expected, expected_counts = [], np.zeros(2 * VERDICTS, np.int64)
    for sid, start, time, value in rows:
        stale = value == "stale"
        verdict, gone_out = reference.row(
            sid, start if with_starts else 0, time, float("nan") if stale else value,
            delta=bool(KINDS[sid] & kind.DELTA), stale=stale, oldest=oldest, latest=latest,
        )  # fmt: skip
        expected_counts[verdict + (VERDICTS if sid == 3 else 0)] += 1
        if verdict == cumulative.KEPT:
            expected.append((sid * 10, 10, time, STALE if stale else gone_out, int(sid == 3)))
    assert counts.tolist() == expected_counts.tolist()
    got = list(zip(*(column[:kept].tolist() for column in out), strict=True))
    assert [g[:3] + g[4:] for g in got] == [e[:3] + e[4:] for e in expected]
    assert out[3][:kept].tobytes() == np.array([e[3] for e in expected], np.float64).tobytes()


def test_a_gap_goes_on_and_an_overlap_is_left_out():
    totals, ends = np.zeros(1), np.array([NEVER])
    out = (np.zeros(5, np.int64), np.zeros(5, np.uint32), np.zeros(5, np.int64), np.zeros(5), np.zeros(5, np.int64))
    counts = np.zeros(2 * VERDICTS, np.int64)
    kept = fold_rows(
        np.zeros(5, np.uint32), np.array([10, 20, 15, 50, 50]), np.array([20, 30, 40, 60, 60]), np.arange(1.0, 6.0),
        np.array([kind.COUNTER | kind.DELTA], np.uint8), np.zeros(1, np.uint64), np.ones(1, np.uint32),
        0, 1000, totals, ends, *out, counts,
    )  # fmt: skip
    assert out[3][:kept].tolist() == [1.0, 3.0, 7.0]
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
    out = (np.zeros(2, np.int64), np.zeros(2, np.uint32), np.zeros(2, np.int64), np.zeros(2), np.zeros(2, np.int64))
    counts = np.zeros(2 * VERDICTS, np.int64)
    sids = np.array([9, 2**32 - 1], np.uint32)
    kept = fold_rows(
        sids, np.zeros(0, np.int64), np.zeros(2, np.int64), np.zeros(2), np.ones(1, np.uint8), np.zeros(1, np.uint64),
        np.ones(1, np.uint32), 0, 1000, np.zeros(0), np.zeros(0, np.int64), *out, counts,
    )  # fmt: skip
    assert kept == 0
    assert counts[cumulative.SERIES_GONE] == 2
