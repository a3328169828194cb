"""HTTP and TCP probes: section `[probes]`."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.settings_types import Duration, Secret, Settings


class Probe(Settings, frozen=True):
    """One thing that is asked again and again."""

    name: str
    """What people call it; the label `probe` of its series."""
    target: str
    """An http:// or https:// address, or host:port for a TCP connection."""
    interval: Duration = Duration(30)
    """Seconds between two probes, at least 1."""
    timeout: Duration = Duration(5)
    """Seconds after which a probe has failed; at most the interval."""
    method: Literal["GET", "HEAD"] = "GET"
    """HTTP method."""
    expect_status: tuple[Annotated[int, msgspec.Meta(ge=100, le=599)], ...] = ()
    """HTTP statuses that count as success; empty = 200 to 299."""
    expect_text: str = ""
    """Text that the first 64 KiB of the body must hold; empty = the body is not read."""
    ca_file: str = ""
    """Authorities (PEM) that the target's certificate is checked against; empty = those of the system."""
    alert_after: Annotated[int, msgspec.Meta(ge=0)] = 3
    """Failures in a row after which an alert `ProbeFailed` is raised; 0 = none."""
    severity: Literal["low", "medium", "high", "critical"] = "high"
    """Severity of that alert."""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 100:
            raise ValueError("a probe needs a name of at most 100 characters")
        self.endpoint()
        if self.interval < 1:
            raise ValueError(f'probe "{self.name}": interval is below a second')
        if not 0 < self.timeout <= self.interval:
            raise ValueError(f'probe "{self.name}": timeout must be above 0 and at most the interval')
        if not self.is_http and (self.expect_status or self.expect_text):
            raise ValueError(f'probe "{self.name}": expectations of HTTP for a TCP target')

    @property
    def is_http(self) -> bool:
        """Whether the target is a web address."""
        return self.target.startswith(("http://", "https://"))

    def endpoint(self) -> tuple[str, int]:
        """Host and port. Raises ValueError for a target that is neither form."""
        said = f'probe "{self.name}": target must be an http(s) address without a password, or host:port'
        try:
            parts = urlsplit(self.target if self.is_http else f"tcp://{self.target}")
            port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        except ValueError:
            raise ValueError(said) from None
        if not parts.hostname or not port or "@" in parts.netloc or (not self.is_http and parts.path):
            raise ValueError(said)
        return parts.hostname, port


class ProbesSettings(Settings, frozen=True):
    """What the gateway asks by itself. Only targets that stand here are ever asked, and redirects are not followed."""

    probe: tuple[Probe, ...] = ()
    """The probes: `[[probes.probe]]`."""
    allow_internal: bool = True
    """Ask private and loopback addresses too. Link-local ones, where clouds keep their metadata, are never asked."""
    token: Secret = Secret("")
    """Bearer token with the role ingest, with which results are sent to the gateway's own OTLP address where that
    asks for one."""

    def __post_init__(self) -> None:
        names = [probe.name for probe in self.probe]
        doubled = {name for name in names if names.count(name) > 1}
        if doubled:
            raise ValueError(f"probes must have different names: {', '.join(sorted(doubled))}")
        if len(names) > 1000:
            raise ValueError("at most 1000 probes")
