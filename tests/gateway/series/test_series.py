"""Edge table, index and local ids over a real log."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.clock import ManualClock
from gateway.log.reader import LogReader
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.series.edge_table import EdgeTable
from gateway.series.index import Matcher, SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.telemetry.columns import Definitions, PointColumns
from gateway.telemetry.frame import Frame
from gateway.telemetry.labels import encode_label_blob


def blob_of(number: int) -> bytes:
    return encode_label_blob({"__name__": "metric", "number": str(number), "half": str(number // 2)})


class Source:
    def __init__(self, numbers: list[int]) -> None:
        self.numbers, self.asked = numbers, 0
        self.fails = False

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        if self.fails:
            raise RuntimeError("the source failed")
        self.asked += len(rows)
        return Definitions.from_blobs([blob_of(self.numbers[r]) for r in rows], np.ones(len(rows), np.uint8))


def columns(numbers: list[int], points: list[int] | None = None) -> tuple[PointColumns, Source]:
    source = Source(numbers)
    n = len(numbers)
    key = np.array(numbers, np.uint64)
    return PointColumns(
        key * np.uint64(0x9E3779B97F4A7C15),
        key + np.uint64(1),
        np.arange(n, dtype=np.int64),
        np.array(numbers, np.float64),
        None,
        np.ones(n, np.uint8),
        source,
        row_points=None if points is None else np.array(points, np.uint32),
    ), source


class Edge:
    """Writer and edge table as the pipeline runs them."""

    def __init__(self, directory: Path, max_series: int = 1_000_000) -> None:
        self.writer = LogWriter.open(directory, 0, LogSettings(durability="os"), ManualClock())
        self.table = EdgeTable(max_series)

    def put(self, numbers: list[int]) -> tuple[Frame, int]:
        """The frame, and how many labels were read from the request."""
        segment = self.writer.prepare()
        if segment != self.table.segment:
            self.table.rotated(segment, self.writer.path_of(segment))
        given, source = columns(numbers)
        found = self.table.resolve(given)
        rows = len(given) if found.keep is None else int(found.keep.sum())
        frame = self.writer.append(
            ids=found.ids,
            times_ms=given.times_ms,
            values=given.values,
            starts_ms=None,
            definitions=found.definitions,
            first_new_id=found.first_new_id,
            counted_rows=rows,
            received_ns=0,
            keep=found.keep,
        )
        self.writer.sync()
        self.table.appended(frame)
        return frame, source.asked


def check(index: SeriesIndex, ids: LocalIds, frame: Frame) -> None:
    resolved = ids.resolve(frame)
    for sid, value in zip(resolved.sids.tolist(), resolved.frame.values.tolist(), strict=True):
        assert index.labels(sid)["number"] == str(int(value))


def test_series_keep_their_identity_over_segments_and_readers(tmp_path: Path) -> None:
    edge, index = Edge(tmp_path), SeriesIndex()
    score, forward = LocalIds(index, "score"), LocalIds(index, "forward", touch=False)
    assert edge.put([3, 1, 3, 2])[1] == 3
    assert edge.put([1, 2, 4])[1] == 1
    edge.writer.rotate()
    frame, asked = edge.put([9, 4, 1, 4])
    assert asked == 1  # 4 and 1 come out of the previous segment's file
    assert len(frame.definitions) == 3
    edge.writer.rotate()
    assert edge.put([2, 1])[1] == 1  # the segment before the previous one is forgotten
    frames = LogReader.open(tmp_path, 0).read(100_000)
    for frame in frames:
        check(index, score, frame)
    for frame in frames:
        check(index, forward, frame)
    assert index.active_count == 5
    assert score.unresolved_rows == 0


def test_a_restarted_reader_resolves_from_the_middle(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    edge.put(list(range(5000)))
    middle, _ = edge.put([4999, 5000, 17])
    edge.put([5000, 3])
    reader, index = LogReader.open(tmp_path, 0, middle.start), SeriesIndex()
    ids = LocalIds(index, "score")
    for frame in [*reader.definitions_before(), *reader.read(100_000)]:
        check(index, ids, frame)
    assert index.active_count == 5001


def test_over_the_limit_known_series_pass_and_points_go_whole(tmp_path: Path) -> None:
    edge = Edge(tmp_path, max_series=3)
    edge.put([1, 2])
    found = edge.table.resolve(columns([1, 3, 4, 5, 2, 1], points=[0, 1, 1, 2, 3, 3])[0])
    assert found.keep is not None
    assert found.keep.tolist() == [True, False, False, False, True, True]
    assert found.refused_points == 2
    assert edge.table.active_series == 3
    edge = Edge(tmp_path / "other", max_series=3)
    frame, _ = edge.put([1, 2, 3, 4])
    assert frame.values.tolist() == [1, 2, 3]
    edge.writer.rotate()
    assert edge.put([4, 1])[0].values.tolist() == [1]
    edge.writer.rotate()
    assert edge.put([4, 5, 6])[0].values.tolist() == [4, 5]  # 2 and 3 stayed away for a whole segment


def test_a_failed_source_or_append_leaves_no_undefined_series(tmp_path: Path) -> None:
    edge, index = Edge(tmp_path), SeriesIndex()
    edge.put([1])
    broken, source = columns([2, 1])
    source.fails = True
    with pytest.raises(RuntimeError):
        edge.table.resolve(broken)
    assert edge.table.active_series == 1
    edge.put([2])
    edge.writer.prepare()
    edge.table.resolve(columns([3])[0])
    edge.writer.discard()
    edge.table.restarted(edge.writer.prepare(), edge.writer.path_of(edge.writer.segment))
    assert edge.put([3, 1, 2])[1] == 3
    ids = LocalIds(index, "score")
    for frame in LogReader.open(tmp_path, 0).read(100_000):
        check(index, ids, frame)
    assert ids.unresolved_rows == 0


def test_rows_of_a_damaged_definition_are_dropped_and_counted(tmp_path: Path) -> None:
    edge, index = Edge(tmp_path), SeriesIndex()
    edge.put([1])
    lost, _ = edge.put([2])
    edge.put([2, 1, 3])
    path = edge.writer.path_of(1)
    damaged = bytearray(path.read_bytes())
    damaged[lost.blobs_at] ^= 1
    path.write_bytes(damaged)
    reader, ids = LogReader.open(tmp_path, 0), LocalIds(index, "score")
    for frame in reader.read(100_000):
        check(index, ids, frame)
    assert reader.lost == {"corrupt_frame": 1}
    assert ids.unresolved_rows == 1
    assert index.active_count == 2


def test_expiry_spares_pinned_and_recent_series() -> None:
    index = SeriesIndex()
    pin = index.pin_of("score")
    kinds = np.ones(3, np.uint8)
    sids = index.define(Definitions.from_blobs([blob_of(i) for i in range(3)], kinds), pin=pin, seen_ms=1000)
    assert index.expire(5000).tolist() == []
    index.release(sids, pin)
    index.touch(sids[:1], np.array([6000], np.int64))
    assert index.expire(5000).tolist() == sids[1:].tolist()
    assert index.find([], 10) == [int(sids[0])]
    again = index.define(Definitions.from_blobs([blob_of(7)], kinds[:1]))
    assert int(again[0]) in sids[1:].tolist()
    assert index.generations[again[0]] == 1
    assert index.labels(int(again[0]))["number"] == "7"


def test_series_are_found_by_matchers() -> None:
    index = SeriesIndex()
    index.define(Definitions.from_blobs([blob_of(i) for i in range(20)], np.ones(20, np.uint8)))
    assert index.find([("number", "=", "7")], 9) == [7]
    assert index.find([("half", "=", "3"), ("number", "!=", "7")], 9) == [6]
    assert index.find([("number", "=~", "1.|2")], 99) == [2, *range(10, 20)]
    assert index.find([("number", "!~", "1.|2")], 3) == [0, 1, 3]
    assert index.find([("absent", "=", ""), ("__name__", "=", "metric")], 2) == [0, 1]
    assert index.find([("number", "=", "umber")], 9) == []
    with pytest.raises(ValueError, match="regular expression"):
        index.find([("number", "=~", "(")], 9)


def test_an_id_that_is_given_up_after_it_was_found_is_not_shown_as_another_series() -> None:
    class Slow(SeriesIndex):
        """Between the search and a look at the labels everything expires, and the ids go to other series."""

        def find(self, matchers: Sequence[Matcher], limit: int) -> list[int]:
            found = super().find(matchers, limit)
            self.expire(100)
            self.define(Definitions.from_blobs([blob_of(9), blob_of(3)], np.ones(2, np.uint8)))
            return found

    index = Slow(16)
    index.define(Definitions.from_blobs([blob_of(n) for n in (1, 3, 5)], np.ones(3, np.uint8)), seen_ms=1)
    shown = index.labels_of([("number", "=~", "[135]")], 10)
    assert [labels["number"] for labels in shown.values()] == ["3"]


def test_two_threads_define_the_same_series_once() -> None:
    index = SeriesIndex(capacity=4096)
    blobs = [blob_of(i) for i in range(20_000)]
    results: dict[int, list[int]] = {}

    def define(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(blobs))
        sids = np.empty(len(blobs), np.uint32)
        for part in np.array_split(order, 40):
            found = index.define(
                Definitions.from_blobs([blobs[i] for i in part], np.ones(len(part), np.uint8)), pin=seed
            )
            sids[part] = found
        results[seed] = sids.tolist()

    threads = [threading.Thread(target=define, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[1] == results[2]
    assert sorted(results[1]) == list(range(len(blobs)))
    assert all(index.blob(sid) == blobs[i] for i, sid in enumerate(results[1]))


def test_series_that_two_segments_passed_without_make_room(tmp_path: Path) -> None:
    edge, index = Edge(tmp_path), SeriesIndex()
    ids = LocalIds(index, "score")
    many = list(range(9000))
    assert edge.put(many)[1] == 9000
    edge.writer.rotate()
    few = [8999, 17, 4000]
    assert edge.put(few)[1] == 0
    assert edge.table.active_series == 9000
    edge.writer.rotate()
    assert edge.put([*few, 9000])[1] == 1, "what is left still knows where its labels stand"
    assert edge.table.active_series == 4
    assert edge.put(many)[1] == 8997, "the others are new"
    edge.writer.rotate()
    assert edge.put([*many, 9000])[1] == 0
    for frame in LogReader.open(tmp_path, 0).read(1 << 22):
        check(index, ids, frame)
    assert index.active_count == 9001


def test_a_segment_that_was_given_up_leaves_the_one_before_as_it_was(tmp_path: Path) -> None:
    edge, index = Edge(tmp_path, max_series=5), SeriesIndex()
    edge.put([1, 2, 3])
    edge.writer.rotate()
    edge.put([1, 4])
    assert edge.table.active_series == 4
    edge.writer.discard()
    segment = edge.writer.prepare()
    edge.table.restarted(segment, edge.writer.path_of(segment))
    assert edge.table.active_series == 3
    frame, asked = edge.put([2, 1, 4, 5, 6])
    assert asked == 3, "2 comes out of the segment before, whose place of 1 was written over"
    assert len(frame.definitions) == 4, "6 is one too many"
    ids = LocalIds(index, "score")
    for frame in LogReader.open(tmp_path, 0).read(1 << 22):
        check(index, ids, frame)
    assert ids.unresolved_rows == 0
