"""The metrics of both planes as one OpenMetrics exposition."""

from __future__ import annotations


def merge_expositions(first: bytes, second: bytes) -> bytes:
    """Two OpenMetrics texts without their end marks as one.

    A family present in both (both processes count task failures) keeps one header; samples of the second get the
    label `plane="data"`, those of the first `plane="control"`, so that they stay apart.
    """
    shared = _families(first).keys() & _families(second).keys()
    out: list[bytes] = []
    seconds = _families(second)
    for name, lines in _families(first).items():
        out.extend(lines if name not in shared else [_labelled(line, "control") for line in lines])
        if name in shared:
            out.extend(_labelled(line, "data") for line in seconds[name] if not line.startswith(b"#"))
    for name, lines in seconds.items():
        if name not in shared:
            out.extend(lines)
    return b"\n".join(out) + b"\n"


def _families(text: bytes) -> dict[bytes, list[bytes]]:
    families: dict[bytes, list[bytes]] = {}
    current = b""
    for line in text.splitlines():
        if line.startswith((b"# HELP ", b"# TYPE ")):
            current = line.split(b" ", 3)[2]
        families.setdefault(current, []).append(line)
    return families


def _labelled(line: bytes, plane: str) -> bytes:
    return line if line.startswith(b"#") else with_label(line, f'plane="{plane}"')


def with_label(line: bytes, label: str) -> bytes:
    """A sample's line with one label more, given as `name="value"`."""
    end, brace = line.find(b" "), line.find(b"{")
    if 0 <= brace < end:
        return line[: brace + 1] + label.encode() + b"," + line[brace + 1 :]
    return line[:end] + b"{" + label.encode() + b"}" + line[end:]
