"""Blocks that the target refused for good, kept with its words so that a person can look and send them again.

One file is a sequence of records, each a JSON header line and the request body as it was sent, both ended by a line
feed: `{"time":…,"status":400,"words":"…","rows":…,"encoding":"snappy","bytes":…,"crc32c":…}`. Files are
`dead-letter-<edge>-<number>.records`; a full one is followed by the next number and the oldest is removed.

Read them with `python -m gateway.forward.dead_letter FILE…`: one JSON line a block, and with `--samples` one a sample.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import crc32c
import msgspec
import structlog

from gateway.errors import StateError
from gateway.forward.remote_write_encoder import decode_request, decompress
from gateway.telemetry.state_file import open_regular

log = structlog.get_logger(__name__)

_LONGEST_WORDS: Final = 4096
_LONGEST_HEADER: Final = 65536


class DeadLetter(msgspec.Struct, kw_only=True):
    """What is known of one refused block."""

    time: float
    """When it was refused, Unix seconds."""
    status: int
    """The target's HTTP status."""
    words: str
    """The beginning of the target's answer."""
    rows: int
    """Samples in the block."""
    encoding: str
    """Content-Encoding of the body."""
    bytes: int
    """Length of the body."""
    crc32c: int
    """Checksum of the body."""


class DeadLetterFile:
    """The newest file of one edge and its predecessors. Calls block; used by one thread at a time."""

    def __init__(self, directory: Path, edge: int, max_bytes: int, max_files: int) -> None:
        self._directory, self._edge = directory, edge
        self._max_bytes, self._max_files = max_bytes, max_files

    def paths(self) -> list[Path]:
        """All files of this edge, oldest first."""
        pattern = re.compile(rf"dead-letter-{self._edge}-(\d+)\.records")
        found = [(int(m[1]), p) for p in self._directory.iterdir() if (m := pattern.fullmatch(p.name))]
        return [path for _, path in sorted(found)]

    def append(self, *, time: float, status: int, words: str, rows: int, encoding: str, body: bytes) -> None:
        """Add a block and wait until it is on disk. Raises OSError."""
        letter = DeadLetter(
            time=time, status=status, words=words[:_LONGEST_WORDS], rows=rows,
            encoding=encoding, bytes=len(body), crc32c=crc32c.crc32c(body),
        )  # fmt: skip
        with self._current(len(body)).open("ab") as file:
            file.write(msgspec.json.encode(letter) + b"\n" + body + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _current(self, coming: int) -> Path:
        paths = self.paths()
        if paths:
            newest = paths[-1]
            size = newest.stat().st_size
            if size == 0 or size + coming <= self._max_bytes:
                return newest
        number = int(paths[-1].stem.rsplit("-", 1)[1]) + 1 if paths else 1
        for path in paths[: max(0, len(paths) + 1 - self._max_files)]:
            log.warning("the oldest dead-letter file is removed to make room", file=str(path))
            path.unlink()
        return self._directory / f"dead-letter-{self._edge}-{number}.records"


def read_letters(path: Path) -> Iterator[tuple[DeadLetter, bytes]]:
    """The blocks of one file, in order; a record cut off by a crash at the end is left out.

    Raises StateError for a record that is damaged and for what is no regular file.
    """
    with open_regular(path) as (descriptor, size), os.fdopen(descriptor, "rb", closefd=False) as file:
        while line := file.readline(_LONGEST_HEADER):
            try:
                letter = msgspec.json.decode(line, type=DeadLetter)
            except msgspec.MsgspecError as error:
                if not line.endswith(b"\n"):
                    return
                raise StateError(f"{path}: {error}") from error
            if letter.bytes < 0:
                raise StateError(f"{path}: a body of {letter.bytes} bytes")
            body = file.read(min(letter.bytes, size))  # never more is asked for than there is
            if len(body) < letter.bytes or file.read(1) != b"\n":
                return
            if crc32c.crc32c(body) != letter.crc32c:
                raise StateError(f"{path}: a body does not agree with its checksum")
            yield letter, body


def main(arguments: Sequence[str]) -> int:
    """Print the blocks of the named files as JSON lines; with --samples every sample in them."""
    with_samples = "--samples" in arguments
    names = [a for a in arguments if a != "--samples"]
    if not names:
        sys.stderr.write("usage: python -m gateway.forward.dead_letter [--samples] FILE…\n")
        return 2
    for name in names:
        for letter, body in read_letters(Path(name)):
            sys.stdout.write(msgspec.json.encode(letter).decode() + "\n")
            if not with_samples:
                continue
            for labels, samples in decode_request(decompress(body, letter.encoding)):
                for time_ms, value in samples:
                    line = {"labels": labels, "time_ms": time_ms, "value": repr(value)}
                    sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
