"""What is learned of many new series at once, against labels decoded one by one."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pipeline.bucket_bounds import BucketBounds
from gateway.series.index import SeriesIndex
from gateway.series.label_values import distinct_values
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.labels import encode_label_blob

labels = st.dictionaries(
    st.sampled_from(["job", "jo", "jobs", "a", "z"]), st.text(st.characters(exclude_categories=["Cs"])), max_size=4
)


def index_of(sets: list[dict[str, str]], kinds: list[int] | None = None) -> tuple[SeriesIndex, np.ndarray]:
    index = SeriesIndex(4096, arena_bytes=1 << 24)
    blobs = [encode_label_blob({"__name__": "m", **one}) for one in sets]
    of_kind = np.array(kinds if kinds is not None else [kind.GAUGE] * len(sets), np.uint8)
    return index, index.define(Definitions.from_blobs(blobs, of_kind))


@settings(max_examples=100, deadline=None)
@given(st.lists(labels, max_size=12))
def test_values_are_those_of_the_decoded_labels(sets: list[dict[str, str]]) -> None:
    index, sids = index_of(sets)
    values, which = distinct_values(index, sids, "job")
    assert [values[i] for i in which] == [one.get("job", "") for one in sets]
    assert len(values) == len({one.get("job", "") for one in sets})


def test_bounds_of_buckets_are_learned() -> None:
    bucket, ranged = kind.HISTOGRAM_BUCKET, kind.HISTOGRAM_BUCKET | kind.VMRANGE
    sets = [
        {"le": "0.5"}, {"le": "+Inf"}, {"le": "x"}, {"vmrange": "1.0e+00...2.5e+00"}, {"vmrange": "3...+Inf"},
        {"le": "7"}, {},
    ]  # fmt: skip
    index, sids = index_of(sets, [bucket, bucket, bucket, ranged, ranged | kind.DELTA, kind.GAUGE, bucket])
    bounds = BucketBounds(index)
    bounds.learn(sids)
    expected = [0.5, math.inf, math.nan, 2.5, math.inf, math.nan, math.nan]
    assert np.array_equal(bounds.array[sids], expected, equal_nan=True)
