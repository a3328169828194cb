"""[victoriametrics]: where samples go and how."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.settings_types import ByteSize, Duration, Secret, Settings


class VictoriaMetricsSettings(Settings, frozen=True):
    """The target, what is written to it, and how hard it is pushed."""

    url: str = ""
    """Base address, for example http://127.0.0.1:8428; empty = embedded log only, nothing is forwarded."""
    naming: Literal["prometheus", "otlp"] = "prometheus"
    """Metric and label names: sanitised with unit and type suffixes, or left as OTLP has them."""
    scores: Literal["exceedances", "all", "none"] = "exceedances"
    """Which scores are written back as series: those of exceedances, every one, or none."""

    username: str = ""
    """User of basic authentication; empty = none."""
    password: Secret = Secret("")
    """Password of basic authentication."""
    bearer_token: Secret = Secret("")
    """Token of bearer authentication; not together with username."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Further request headers, for example a tenant."""
    tls_ca_file: str = ""
    """Certificate authorities that sign the target's certificate, PEM; empty = those of the system."""
    tls_cert_file: str = ""
    """Our client certificate, PEM; empty = none."""
    tls_key_file: str = ""
    """Key of the client certificate, PEM."""

    blocks_in_flight: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Requests on their way at one time; also bounds the memory held while the target is down."""
    block_rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100_000
    """Samples in one request, at most."""
    block_bytes: ByteSize = ByteSize(8 * 2**20)
    """Bytes of one request before compression, at most (a single larger series still goes)."""
    backlog_rows: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000
    """Rows taken together while a backlog stands, at most: a series' samples among them share one label set, which is
    most of what they cost. Up to 80 bytes of memory each. Never less than block_rows."""
    flush_interval: Duration = Duration(0.25)
    """Seconds in which samples are gathered before they are sent, unless so many wait that they fill a step. A series'
    samples that go out together share one label set."""
    zstd_level: Annotated[int, msgspec.Meta(ge=-7, le=19)] = -2
    """Compression level where the target takes zstd; lower is faster."""

    connect_timeout: Duration = Duration(5.0)
    """Seconds to wait for a connection."""
    request_timeout: Duration = Duration(60.0)
    """Seconds to wait for the whole answer to a request."""
    backoff_min: Duration = Duration(0.25)
    """Upper end of the first random wait after a failure, seconds; doubles with each failure."""
    backoff_max: Duration = Duration(30.0)
    """Longest random wait, seconds."""
    poll_interval: Duration = Duration(5.0)
    """Seconds between looks at the target's start time, by which its restarts are noticed."""
    replay_seconds: Duration = Duration(30.0)
    """How far the committed offset goes back after the target restarted: its answer 204 is not durable."""
    commit_interval: Duration = Duration(1.0)
    """Seconds between writes of the progress file."""
    checkpoint_interval: Duration = Duration(5.0)
    """Seconds between writes of the file with the running totals of delta series; longer with very many of them."""
    forget_totals_after: Duration = Duration(48 * 3600.0)
    """Running totals of delta series without a point for so long are dropped; a later point starts from zero."""
    retention: Duration = Duration(0.0)
    """The target's retention, seconds; older samples are dropped here and counted. 0 = ask the target."""

    score_queue_rows: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    """Score samples waiting to be written back, at most; more are dropped and counted."""
    dead_letter_bytes: ByteSize = ByteSize(64 * 2**20)
    """Size at which a dead-letter file is rotated."""
    dead_letter_files: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    """Dead-letter files kept, the newest ones."""

    def __post_init__(self) -> None:
        if self.url:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise ValueError("url: expected http://host:port or https://host:port, optionally with a path")
            if parts.username is not None or parts.password is not None:
                # An address is shown in the banner, by /api/v1/configuration and in errors; secrets never are.
                raise ValueError("url: expected no credentials in it; username, password and bearer_token take them")
        if self.username and self.bearer_token:
            raise ValueError("username and bearer_token: expected at most one of them")
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file: expected both or none")
        for name in ("connect_timeout", "request_timeout", "backoff_min", "poll_interval", "commit_interval"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0 seconds")
        if self.backoff_max < self.backoff_min:
            raise ValueError("backoff_max: expected no less than backoff_min")
        for name in ("flush_interval", "replay_seconds", "retention", "checkpoint_interval", "forget_totals_after"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 seconds or more")
        if self.block_bytes < 1024 or self.dead_letter_bytes < 1024:
            raise ValueError("block_bytes and dead_letter_bytes: expected at least 1KiB")
