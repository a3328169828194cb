"""Hostile bytes: a short run of the fuzz loop, and the 1.0 decoder against the slow twin on damaged requests."""

from __future__ import annotations

import random
import struct

import numpy as np

from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.errors import DecodeError
from gateway.telemetry.labels import decode_label_blob
from tests.fuzz.remote_write_mutations import NOW_MS, mutate, run, seeds
from tests.reference.remote_write_twin import Series, encode_v1, samples_v1


def test_any_input_gives_columns_or_the_declared_error() -> None:
    results = run(50_000, seed=7)
    assert results["columns"] + results["errors"] == 50_000
    assert min(results.values()) > 1000


def test_damaged_requests_decode_as_the_twin_decodes_them() -> None:
    decoder = RemoteWriteV1Decoder((1, 2), RemoteWriteSettings())
    random_of = random.Random(3)
    body = encode_v1([seeds()[0], *(Series([("__name__", "up"), ("job", "x" * i)], [(NOW_MS, i)]) for i in range(4))])
    agreed = 0
    for _ in range(3000):
        data = mutate(random_of, body)
        try:
            expected = samples_v1(data)
        except ValueError:
            expected = None
        try:
            columns = decoder.decode(data, NOW_MS)
        except DecodeError:
            # Exemplars and histograms a mutation made are beyond this twin; all else must agree.
            assert expected is None or b"\x1a" in data or b"\x22" in data
            continue
        if expected is None or columns.rejected or columns.row_points is not None:
            continue
        agreed += 1
        definitions = columns.source.definitions(np.arange(len(columns)))
        assert len(expected) == len(columns)
        for row, (labels, time, bits) in enumerate(expected):
            found = decode_label_blob(definitions.blob(row))
            assert tuple((n.encode(), v.encode()) for n, v in found.items()) == labels
            assert int(columns.times_ms[row]) == time
            assert struct.pack("<d", columns.values[row]) == bits
    assert agreed > 50
