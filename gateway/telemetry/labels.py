"""Label sets as bytes: the one form that is hashed, stored in the log, kept by the index and sent on.

A label blob is the remote write 1.0 encoding of a TimeSeries' labels: for each label, sorted by name (bytewise),
`0x0a <length> 0x0a <length> name 0x12 <length> value`, lengths as varints, names unique, no empty values. It can be
copied into an outgoing request as it stands. Source: prometheus/prompb/types.proto, messages TimeSeries and Label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.telemetry.varint import read_varint, varint


def encode_label_blob(labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> bytes:
    """The blob of a label set; sorts, drops labels with an empty value.

    A repeated name is the caller's error (ValueError): receivers refuse it before they come here.
    """
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    encoded = sorted((name.encode(), value.encode()) for name, value in pairs if value)
    out = bytearray()
    previous = None
    for name, value in encoded:
        if name == previous:
            raise ValueError(f"label {name.decode()} is repeated")
        previous = name
        body = b"\x0a" + varint(len(name)) + name + b"\x12" + varint(len(value)) + value
        out += b"\x0a" + varint(len(body)) + body
    return bytes(out)


def decode_label_blob(blob: bytes) -> dict[str, str]:
    """The label set of a blob made by us; in order of names. Raises ValueError for anything else."""
    labels: dict[str, str] = {}
    at = 0
    try:
        while at < len(blob):
            if blob[at] != 0x0A:
                raise ValueError("not a label blob")
            _, at = read_varint(blob, at + 1)
            length, at = read_varint(blob, at + 1)
            name = blob[at : at + length]
            length, at = read_varint(blob, at + length + 1)
            labels[name.decode()] = blob[at : at + length].decode()
            at += length
    except IndexError:
        raise ValueError("not a label blob") from None
    return labels


def format_labels(labels: Mapping[str, str]) -> str:
    """`name{key="value",…}` as in the text exposition format."""
    name = labels.get("__name__", "")
    inner = ",".join(
        '{}="{}"'.format(k, v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for k, v in labels.items()
        if k != "__name__"
    )
    return f"{name}{{{inner}}}" if inner else name
