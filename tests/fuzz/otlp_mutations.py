"""Mutations of valid OTLP requests: any bytes give a result or the declared error.

`python -m tests.fuzz.otlp_mutations --cases 10000000 [--seed N]` prints one JSON line. Every body stands against a page
that may not be touched, in turn before and behind it, so that a read outside the body ends the process at once.
"""

from __future__ import annotations

import random

import numpy as np

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry.labels import decode_label_blob
from tests.fuzz.command_line import main
from tests.fuzz.guarded_pages import GuardedPages

NOW = 1_700_000_000_000
_INTERESTING = (0, 1, 2, 7, 8, 9, 0x0A, 0x12, 0x7F, 0x80, 0xFE, 0xFF)


def seeds() -> list[bytes]:
    """Valid requests to begin from."""
    from tests.kernels.test_otlp_points import sample

    whole = sample()
    bodies = [whole.SerializeToString()]
    for metric in whole.resource_metrics[0].scope_metrics[0].metrics:
        single = type(whole)()
        scope = single.resource_metrics.add().scope_metrics.add()
        scope.metrics.add().CopyFrom(metric)
        bodies.append(single.SerializeToString())
    return bodies


def mutate(body: bytes, choose: random.Random) -> bytes:
    """One to three changes: bits flipped, bytes replaced, pieces cut, doubled or moved, the end cut off."""
    data = bytearray(body)
    for _ in range(choose.randint(1, 3)):
        if not data:
            break
        at = choose.randrange(len(data))
        what = choose.randrange(6)
        if what == 0:
            data[at] ^= 1 << choose.randrange(8)
        elif what == 1:
            data[at] = choose.choice(_INTERESTING)
        elif what == 2:
            del data[at : at + choose.randint(1, 8)]
        elif what == 3:
            data[at:at] = data[at : at + choose.randint(1, 16)]
        elif what == 4:
            data[at:at] = bytes([0xFF]) * choose.randint(1, 11)
        else:
            del data[at:]
    return bytes(data)


def run(cases: int, seed: int) -> dict[str, int]:
    """Decode `cases` mutations and read the labels of every row; raises whatever is not declared."""
    choose = random.Random(seed)
    bodies = seeds()
    decoders = [
        OtlpMetricsDecoder((seed, 1), DecodeSettings(naming="prometheus")),
        OtlpMetricsDecoder((seed, 2), DecodeSettings(naming="otlp")),
    ]
    pages = GuardedPages(4 * max(len(body) for body in bodies))
    decoded = refused = rows = 0
    for case in range(cases):
        try:
            body = pages.place(mutate(choose.choice(bodies), choose), at_end=case % 8 < 6)
            columns = decoders[case & 1].decode_protobuf(body, NOW)
        except (DecodeError, BodyTooLarge):
            refused += 1
            continue
        decoded += 1
        rows += len(columns)
        if len(columns) and case % 4 < 2:
            definitions = columns.source.definitions(np.arange(len(columns)))
            if case % 16 < 2:
                for index in range(len(definitions)):
                    decode_label_blob(definitions.blob(index))
    return {"decoded": decoded, "refused": refused, "rows": rows}


if __name__ == "__main__":
    main("otlp_metrics", __doc__, run)
