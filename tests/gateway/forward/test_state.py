"""What the forwarder keeps: running totals, progress, dead letters; and its small parts."""

import os
import stat

import numpy as np
import pytest

from gateway.errors import StateError, UnknownVersion
from gateway.forward.dead_letter import DeadLetterFile, read_letters
from gateway.forward.dead_letter import main as show_dead_letters
from gateway.forward.progress import Progress, ProgressFiles, Record, SafePoint, Step
from gateway.forward.remote_write_encoder import PackedRows, RemoteWriteEncoder, decode_request, decompress
from gateway.forward.retry import Backoff
from gateway.forward.running_totals import RunningTotals, TotalsCheckpoint
from gateway.forward.score_queue import ScoreQueue
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.settings_types import Secret
from gateway.telemetry import kind
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.labels import decode_label_blob, encode_label_blob
from gateway.telemetry.lag import LagWindow
from gateway.telemetry.state_file import read_checked, write_checked
from tests.gateway.forward.feeds import SeriesInMemory


def counters(names: list[str]) -> SeriesInMemory:
    index = SeriesInMemory()
    for name in names:
        index.add({"__name__": name}, kind.COUNTER | kind.DELTA)
    return index


def checkpoint_of(names: list[str], values: list[float]) -> TotalsCheckpoint:
    totals = RunningTotals()
    totals.claim(np.arange(len(names), dtype=np.uint32), counters(names))
    totals.totals[: len(names)] = values
    totals.ends[: len(names)] = 1000 + np.arange(len(names))
    return totals.checkpoint(0)


def test_totals_find_their_series_under_another_id():
    names = [f"orders_{i}" for i in range(50)]
    kept = TotalsCheckpoint.from_bytes(b"".join(checkpoint_of(names, [float(i) for i in range(50)]).parts()))
    totals = RunningTotals(kept)
    order = [*names[30:], "new", *names[:10]]
    totals.claim(np.arange(len(order), dtype=np.uint32), counters(order))
    assert totals.totals[:31].tolist() == [*map(float, range(30, 50)), 0.0, *map(float, range(10))]
    assert len(totals) == 51
    again = RunningTotals(totals.checkpoint(0))
    again.claim(np.arange(50, dtype=np.uint32), counters(names))
    assert again.totals[:50].tolist() == list(map(float, range(50))), "series that were not seen again are still kept"


def test_equal_high_halves_are_told_apart():
    kept = checkpoint_of(["a", "b", "c"], [1.0, 2.0, 3.0])
    same_high = np.sort(kept.low)
    same = TotalsCheckpoint(kept.hash_key, np.full(3, 5, np.uint64), same_high, kept.totals, kept.ends)
    totals = RunningTotals(same)
    totals.claim(np.arange(3, dtype=np.uint32), counters(["x", "y", "z"]))
    totals._high[:3], totals._low[:3] = 5, same_high[[2, 0, 1]]
    totals._take_up(np.arange(3))
    assert totals.totals[:3].tolist() == [kept.totals[2], kept.totals[0], kept.totals[1]]


def test_old_totals_are_forgotten():
    totals = RunningTotals(checkpoint_of(["a", "b", "c"], [1.0, 2.0, 3.0]))
    assert sorted(totals.checkpoint(1001).totals.tolist()) == [2.0, 3.0]


def test_damaged_totals_are_refused():
    content = b"".join(checkpoint_of(["a", "b"], [1.0, 2.0]).parts())
    for damaged in (content[:-1], content[:3], b"", content + b"x", content.replace(b'"probe":[', b'"probe":[1')):
        with pytest.raises(StateError):
            TotalsCheckpoint.from_bytes(damaged)


def test_a_state_file_is_whole_or_an_error(tmp_path):
    path = tmp_path / "file"
    assert read_checked(path, b"MAGIC123", 1) is None
    write_checked(path, b"MAGIC123", 1, [b"abc", b"def"])
    assert read_checked(path, b"MAGIC123", 2) == (1, b"abcdef")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(StateError):
            read_checked(path, b"MAGIC123", 2)
        path.write_bytes(whole[:at])
        with pytest.raises(StateError):
            read_checked(path, b"MAGIC123", 2)


def test_a_state_file_is_the_owners_alone_whatever_lay_where_it_is_made(tmp_path):
    path, temporary = tmp_path / "file", tmp_path / "file.tmp"
    path.write_bytes(b"of an earlier version")
    path.chmod(0o644)
    os.mkfifo(temporary, 0o644)  # open(2) for writing would wait for a reader
    write_checked(path, b"MAGIC123", 1, [b"abc"])
    assert path.stat().st_mode == stat.S_IFREG | 0o600
    assert not temporary.exists()
    assert read_checked(path, b"MAGIC123", 1) == (1, b"abc")


def test_no_more_of_a_state_file_is_read_than_may_be_there(tmp_path):
    path = tmp_path / "file"
    write_checked(path, b"MAGIC123", 1, [b"abcdef"])
    assert read_checked(path, b"MAGIC123", 1, limit=6) == (1, b"abcdef")
    with pytest.raises(StateError, match="6 bytes; 5 are the most"):
        read_checked(path, b"MAGIC123", 1, limit=5)
    write_checked(path, b"MAGIC123", 2, [b"abcdef"])
    with pytest.raises(UnknownVersion):
        read_checked(path, b"MAGIC123", 1, limit=5)
    os.truncate(path, 10**12)  # sparse
    with pytest.raises(StateError, match="wrong length"):
        read_checked(path, b"MAGIC123", 1)


def test_what_is_no_regular_file_is_not_read(tmp_path):
    path = tmp_path / "file"
    os.mkfifo(path)
    with pytest.raises(StateError, match="regular"):
        read_checked(path, b"MAGIC123", 1)
    path.unlink()
    path.symlink_to("/dev/null")
    with pytest.raises(StateError, match="regular"):
        read_checked(path, b"MAGIC123", 1)


def step_to(offset: int, rows: int = 10, blocks: int = 1, checkpoint: bool = False) -> Step:
    totals = TotalsCheckpoint.empty() if checkpoint else None
    return Step(end=LogPosition(1, offset), rows=rows, forwarded=rows, open_blocks=blocks, checkpoint=totals)


def test_acked_is_the_unbroken_run_of_finished_steps():
    progress = Progress(Record(), SafePoint(Record(), TotalsCheckpoint.empty()), 30.0)
    first, second, third = step_to(100), step_to(200, checkpoint=True), step_to(300)
    for step in (first, second, third):
        progress.begin(step)
    third.open_blocks = 0
    assert progress.settle(1.0) == []
    first.open_blocks = 0
    assert progress.settle(2.0) == [first]
    second.reject("rejected_by_target", 4, 0)
    second.open_blocks = 0
    assert progress.settle(3.0) == [second, third]
    acked = progress.acked
    assert (acked.position, acked.rows, acked.forwarded, acked.dropped) == (
        LogPosition(1, 300), 30, 26, {"rejected_by_target": 4},
    )  # fmt: skip
    assert not progress.confirm(32.9)
    assert progress.confirm(33.0)
    assert progress.safe.record.position == LogPosition(1, 200)
    progress.go_back()
    assert (progress.acked.rows, progress.acked.forwarded) == (20, 16)


def test_progress_survives_and_its_loss_only_repeats(tmp_path):
    files = ProgressFiles(tmp_path, 3)
    assert files.read()[0] == Record()
    safe = SafePoint(Record(position=LogPosition(1, 5), rows=5, forwarded=5), checkpoint_of(["a"], [4.0]))
    acked = Record(position=LogPosition(2, 7), rows=9, forwarded=8, dropped={"nan": 1})
    files.write_safe(safe)
    files.write_progress(acked, safe.record, 17.0)
    found, found_safe, start = files.read()
    assert (found, found_safe.record, start) == (acked, safe.record, 17.0)
    assert found_safe.totals.totals.tolist() == [4.0]
    (tmp_path / "forward-3.totals").write_bytes(b"rubbish")
    found, found_safe, start = files.read()
    assert (found, found_safe.record, len(found_safe.totals), start) == (acked, safe.record, 0, 17.0)
    (tmp_path / "forward-3.progress").write_bytes(b"")
    assert files.read()[0] == Record()


def test_dead_letters_are_bounded_and_a_torn_end_is_left_out(tmp_path):
    letters = DeadLetterFile(tmp_path, 0, 1500, 3)
    packed = PackedRows.from_blobs([encode_label_blob({"__name__": "a"})], [5], [1.5])
    body = next(RemoteWriteEncoder(10, 1000, 1).encode(packed, "zstd")).body
    for number in range(40):
        letters.append(time=float(number), status=400, words="w" * 100, rows=1, encoding="zstd", body=body)
    paths = letters.paths()
    assert len(paths) == 3
    assert all(path.stat().st_size <= 2000 for path in paths)
    kept = [letter.time for path in paths for letter, _ in read_letters(path)]
    assert kept == [float(n) for n in range(40 - len(kept), 40)]
    whole = paths[-1].read_bytes()
    count = len(list(read_letters(paths[-1])))
    for cut in range(1, len(body) + 30):
        paths[-1].write_bytes(whole[:-cut])
        assert len(list(read_letters(paths[-1]))) == count - 1
    assert show_dead_letters([]) == 2


@pytest.mark.parametrize("encoding", ["zstd", "snappy"])
def test_blocks_hold_what_was_packed_and_can_change_their_encoding(encoding):
    blobs = [encode_label_blob({"__name__": "m", "n": str(i // 3)}) for i in range(100)]
    blobs.append(encode_label_blob({"__name__": "huge", "text": "x" * 5000}))
    packed = PackedRows.from_blobs(blobs, list(range(101)), [i / 7 for i in range(101)])
    encoder = RemoteWriteEncoder(40, 1000, 1)
    blocks = list(encoder.encode(packed, encoding))
    assert sum(block.rows for block in blocks) == 101
    assert all(block.raw_bytes <= 1000 for block in blocks[:-1])
    for block in blocks:
        encoder.recode(block, "snappy")
        assert block.encoding == "snappy"
    found = [
        (labels, time, value)
        for block in blocks
        for labels, samples in decode_request(decompress(block.body, "snappy"))
        for time, value in samples
    ]
    assert found == [(decode_label_blob(blobs[i]), i, i / 7) for i in range(101)]


def test_waits_grow_are_random_and_respect_what_the_server_asks():
    backoff = Backoff(1.0, 8.0, lambda: 0.5)
    assert [backoff.delay() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    backoff.reset()
    assert backoff.delay(asked=10.0) == 10.5
    assert backoff.delay(asked=1e9) <= 301.0


def test_the_score_queue_is_bounded():
    queue = ScoreQueue(3)
    assert queue.add([b"a", b"b"], [1, 2], [0.0, 0.0]) == 2
    assert queue.add([b"c", b"d"], [3, 4], [0.0, 0.0]) == 1
    assert queue.dropped == 1
    taken = queue.take(10)
    assert taken is not None
    assert taken.times_ms.tolist() == [1, 2, 3]
    assert queue.take(10) is None


def test_lag_percentiles_are_weighted_and_forget():
    lag = LagWindow()
    assert lag.percentile(0.0, 0.5) is None
    lag.add(0.0, 0.01, 98)
    lag.add(5.0, 2.0, 2)
    assert lag.percentile(6.0, 0.5) == pytest.approx(0.01, rel=0.11)
    assert lag.percentile(6.0, 0.99) == pytest.approx(2.0, rel=0.11)
    assert lag.percentile(400.0, 0.5) is None
    lag.add(400.0, -3.0, 1)
    assert lag.percentile(400.0, 0.5) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "127.0.0.1:8428"}, {"url": "ftp://a"}, {"username": "a", "bearer_token": Secret("b")},
        {"tls_cert_file": "a"}, {"poll_interval": 0.0}, {"backoff_min": 9.0, "backoff_max": 1.0},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        VictoriaMetricsSettings(**wrong)
