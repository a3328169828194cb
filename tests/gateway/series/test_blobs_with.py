"""Label blobs chosen by whole labels, against decoding each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.series.label_values import blobs_with
from gateway.telemetry.labels import decode_label_blob, encode_label_blob

LABELS = st.dictionaries(st.sampled_from(["a", "ab", "b"]), st.sampled_from(["1", "12", "x" * 130]), max_size=3)


WANTED = st.dictionaries(
    st.sampled_from(["a", "ab", "b"]), st.lists(st.sampled_from(["1", "12", "x" * 130]), min_size=1), max_size=3
)


@given(st.lists(LABELS, max_size=20), WANTED, st.integers(0, 3))
def test_those_with_one_of_the_values_for_each_name_are_kept(
    series: list[dict[str, str]], wanted: dict[str, list[str]], gap: int
) -> None:
    blobs = [encode_label_blob(labels) for labels in series]
    area, begins = bytearray(), []
    for blob in blobs:
        area += b"\x0a" * gap  # what stands between blobs in a segment is not theirs
        begins.append(len(area))
        area += blob
    found = blobs_with(
        wanted,
        np.frombuffer(bytes(area) or b"\0", np.uint8),
        np.array(begins, np.uint64),
        np.array([len(blob) for blob in blobs], np.uint32),
    )
    labels = [decode_label_blob(blob) for blob in blobs]
    assert found.tolist() == [
        bool(own) and all(own.get(name) in values for name, values in wanted.items()) for own in labels
    ]
