"""Mutates remote write requests and decodes them: every input gives columns or DecodeError, never anything else.

`python -m tests.fuzz.remote_write_mutations [--cases N] [--seed N]` prints one JSON line. Each case decodes 1.0 and 2.0
in turn, inside a buffer that ends at the last byte of a memory page followed by a page that may not be read, so a read
behind the request ends the process; label blobs of all rows are made and read back.
"""

from __future__ import annotations

import math
import random

import numpy as np

from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.remote_write_v2 import RemoteWriteV2Decoder
from gateway.errors import DecodeError
from gateway.telemetry.labels import decode_label_blob
from tests.fuzz.command_line import main
from tests.fuzz.guarded_pages import GuardedPages
from tests.reference.remote_write_twin import STALE, Histogram, Series, encode_v1, encode_v2

NOW_MS = 1_790_000_000_000
ROOM = 1 << 16


def seeds() -> list[Series]:
    """Series that reach every branch of the decoders."""
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    return [
        Series(
            [("__name__", "http_requests_total"), ("job", "shop"), ("zone", "höhe")], [(NOW_MS, 1.0)], kind=1, start=5
        ),
        Series([("__name__", "http_requests_total"), ("job", "shop"), ("zone", "b" * 200)], [(NOW_MS, math.nan)]),
        Series(
            [("job", "x"), ("__name__", "d_bucket"), ("le", "1")], [(NOW_MS, STALE)], exemplars=[(0, 1, trace, span)]
        ),
        Series(
            [("__name__", "native")],
            histograms=[
                Histogram(NOW_MS, 12, 30.5, 3, 0.001, 2, positive=[(-1, [1, 2]), (2, [3])], negative=[(0, [1])]),
                Histogram(NOW_MS, 10, 8.0, -53, positive=[(0, [1]), (1, [4, 5])], bounds=[0.005, 1.0, 2.5]),
                Histogram(NOW_MS, 3, STALE, floating=True, start=7),
            ],
        ),
        Series([("__name__", "up"), ("a", "1"), ("a", "2")], [(1, 1.0)]),
    ]


def mutate(random_of: random.Random, data: bytes) -> bytes:
    """One to four edits: flip, overwrite with a telling byte, cut, insert, repeat a piece."""
    out = bytearray(data)
    for _ in range(random_of.randint(1, 4)):
        at = random_of.randrange(len(out)) if out else 0
        what = random_of.randrange(6)
        if not out or what == 0:
            out[at:at] = random_of.randbytes(random_of.randint(1, 8))
        elif what == 1:
            out[at] ^= 1 << random_of.randrange(8)
        elif what == 2:
            out[at] = random_of.choice((0, 1, 7, 8, 0x0A, 0x12, 0x7F, 0x80, 0xFF))
        elif what == 3:
            del out[at : at + random_of.randint(1, 16)]
        elif what == 4:
            del out[at:]
        else:
            piece = out[at : at + random_of.randint(1, 64)]
            to = random_of.randrange(len(out))
            out[to:to] = piece
    return bytes(out[:ROOM])


def run(cases: int, seed: int) -> dict[str, int]:
    """Decodes `cases` inputs; returns how many gave columns and how many DecodeError."""
    random_of = random.Random(seed)
    series = seeds()
    settings = RemoteWriteSettings(max_labels=64, max_buckets=256)
    corpora = (
        (RemoteWriteV1Decoder((1, 2), settings), [encode_v1(series), *(encode_v1([one]) for one in series)]),
        (
            RemoteWriteV2Decoder((1, 2), settings),
            [encode_v2(series), encode_v2(series, packed=False), *(encode_v2([one]) for one in series)],
        ),
    )
    pages = GuardedPages(ROOM)
    results = {"columns": 0, "errors": 0, "rows": 0}
    for case in range(cases):
        decoder, corpus = corpora[case & 1]
        data = mutate(random_of, random_of.choice(corpus))
        try:
            columns = decoder.decode(pages.place(data, at_end=True), NOW_MS)
        except DecodeError as error:
            if error.offset is None or not 0 <= error.offset <= len(data):
                raise AssertionError(f"offset {error.offset} of {len(data)}: {data.hex()}") from error
            results["errors"] += 1
            continue
        results["columns"] += 1
        results["rows"] += len(columns)
        if len(columns):
            definitions = columns.source.definitions(np.arange(len(columns)))
            for i in range(len(columns)):
                if "__name__" not in decode_label_blob(definitions.blob(i)):
                    raise AssertionError(f"a blob without a name: {data.hex()}")
    return results


if __name__ == "__main__":
    main("remote write 1.0 and 2.0", __doc__, run, cases=1_000_000)
