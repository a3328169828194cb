"""The one configuration tree: where values come from, how they are checked, how they are shown.

Order, later wins: defaults, TOML file, environment `GATEWAY_SECTION__KEY`, `--set section.key=value`. Each value
remembers its source, so that an error and the status page can name it. An unknown key, a wrong type or an impossible
value raises ConfigError with source, key, problem and what was expected.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from gateway.access.settings import AccessSettings
from gateway.addresses import parse_address
from gateway.alerting.context_settings import ContextSettings
from gateway.alerting.settings import AlertingSettings
from gateway.baseline.limit_settings import LimitSettings
from gateway.baseline.settings import DetectionSettings
from gateway.bounded_text import read_text
from gateway.errors import ConfigError
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.ingest.settings import IngestSettings
from gateway.log.settings import LogSettings
from gateway.probes.settings import ProbesSettings
from gateway.series.settings import SeriesSettings
from gateway.settings_types import ByteSize, Duration, Secret, Settings, decode_hook
from gateway.web.self_watch_settings import SelfWatchSettings

ENVIRONMENT_PREFIX = "GATEWAY_"


class ServerSettings(Settings, frozen=True):
    """Addresses, place of the data, processes."""

    otlp_grpc: str = "127.0.0.1:4317"
    """Address of OTLP/gRPC."""
    otlp_http: str = "127.0.0.1:4318"
    """Address of OTLP/HTTP and Prometheus remote write."""
    http: str = "127.0.0.1:4319"
    """Address of the control plane: console, JSON API, Alertmanager API, own metrics."""
    data_dir: str = "data"
    """Directory of everything that is kept; made if absent, locked while the gateway runs."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Data plane processes, which share the ports and the work."""
    fork_roles: bool = True
    """Keep a loaded process behind the planes, which they are forked from: what dies is back within a second, and all
    share the memory of what is loaded. Without it a restart takes as long as a start."""
    external_url: str = ""
    """Address under which people reach the console, for links in notifications; empty = http://<http>."""


class Config(Settings, frozen=True):
    """Everything that can be configured, one attribute a section."""

    server: ServerSettings = ServerSettings()
    ingest: IngestSettings = IngestSettings()
    access: AccessSettings = AccessSettings()
    log: LogSettings = LogSettings()
    series: SeriesSettings = SeriesSettings()
    victoriametrics: VictoriaMetricsSettings = VictoriaMetricsSettings()
    detection: DetectionSettings = DetectionSettings()
    limits: LimitSettings = LimitSettings()
    alerting: AlertingSettings = AlertingSettings()
    context: ContextSettings = ContextSettings()
    self_watch: SelfWatchSettings = SelfWatchSettings()
    probes: ProbesSettings = ProbesSettings()


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A checked configuration and the source of each value that is not a default (`section.key` → source)."""

    config: Config
    sources: Mapping[str, str]
    raw: Mapping[str, Any] = field(repr=False)
    """The merged tree before conversion; secrets given as references are still references."""
    file: Path | None = None
    """The file it was read from."""
    assignments: tuple[str, ...] = field(default=(), repr=False)
    """The `--set` assignments it was made with."""


def load_config(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    given: tuple[Mapping[str, Any], str] | None = None,
) -> LoadedConfig:
    """Read, merge and check. given: a tree in the place of the file, and what to call it. Raises ConfigError."""
    raw: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        _merge(raw, sources, _read_toml(file), str(file))
    if given is not None:
        _merge(raw, sources, *given)
    for name, text in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _assign(raw, sources, path, text, f"environment {name}")
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or "." not in key:
            raise ConfigError("not an assignment", source=f"--set {key}", expected="section.key=value")
        _assign(raw, sources, key.strip().split("."), text, f"--set {key}")
    return dataclasses.replace(check_config(raw, sources), file=file, assignments=tuple(assignments))


def check_config(raw: Mapping[str, Any], sources: Mapping[str, str]) -> LoadedConfig:
    """Convert a merged tree. Raises ConfigError."""
    config = _convert(raw, Config, (), sources)
    assert isinstance(config, Config)
    _check_addresses(config, sources)
    _check_data_dir(config, sources)
    return LoadedConfig(config, dict(sources), raw)


def socket_path(config: Config, worker: int = 0) -> Path:
    """The Unix socket of a worker of the data plane."""
    name = "data.sock" if worker == 0 else f"data-{worker}.sock"
    return Path(config.server.data_dir).resolve() / "run" / name


def _check_addresses(config: Config, sources: Mapping[str, str]) -> None:
    taken: dict[tuple[str, int], str] = {}
    for name in ("otlp_grpc", "otlp_http", "http"):
        try:
            host, port = parse_address(getattr(config.server, name))
            if port and taken.setdefault((host, port), name) != name:
                raise ValueError(f"{taken[host, port]} has the same address")
            if port == 0 and name != "http" and config.server.workers > 1:
                raise ValueError("several workers share a port, so it cannot be any free one")
        except ValueError as error:
            key = f"server.{name}"
            raise ConfigError(
                str(error), source=sources.get(key, "defaults"), key=key, expected='host:port, as "127.0.0.1:4317"'
            ) from None


def _check_data_dir(config: Config, sources: Mapping[str, str]) -> None:
    """Empty, it would be the directory that the program happens to be started in."""
    key, written = "server.data_dir", config.server.data_dir
    if not written.strip() or "\0" in written:
        problem = "holds a NUL character" if written.strip() else 'is empty; "." is the current directory'
        raise ConfigError(problem, source=sources.get(key, "defaults"), key=key, expected="a directory")


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """A configuration file's tree. source: what to call the text. Raises ConfigError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError("is not TOML that can be read: nested too deeply", source=source) from None
    except ValueError as error:  # of numbers with too many digits it is not TOMLDecodeError
        raise ConfigError(f"is not TOML: {error}", source=source) from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        text = read_text(file)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(file)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", source=str(file)) from error
    return parse_toml(text, str(file))


def _merge(raw: dict[str, Any], sources: dict[str, str], new: Mapping[str, Any], source: str, at: str = "") -> None:
    for key, value in new.items():
        path = f"{at}.{key}" if at else key
        if isinstance(value, dict) and not at:
            _merge(raw.setdefault(key, {}), sources, value, source, path)
        else:
            raw[key] = value
            sources[path] = source


def _assign(raw: dict[str, Any], sources: dict[str, str], path: list[str], text: str, source: str) -> None:
    kind: Any = Config
    for step in path:
        hints = typing.get_type_hints(kind, include_extras=True) if is_settings(kind) else {}
        if step not in hints:
            raise ConfigError("no such key", source=source, key=".".join(path), expected=_nearest(step, hints))
        kind = hints[step]
    value: Any = text
    if plain_type(kind) is not str:
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except (ValueError, RecursionError):
            value = text
    place = raw
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = value
    sources[".".join(path)] = source


def _convert(raw: Any, kind: Any, path: tuple[str, ...], sources: Mapping[str, str]) -> Any:
    key = ".".join(path)
    source = sources.get(key) or _source_under(key, sources)
    if not is_settings(kind):
        try:
            return msgspec.convert(raw, kind, dec_hook=decode_hook)
        except (msgspec.ValidationError, ValueError) as error:
            raise ConfigError(str(error), source=source, key=key, expected=describe_type(kind)) from None
    if not isinstance(raw, Mapping):
        raise ConfigError("is not a section", source=source, key=key, expected=f"[{key}]")
    hints = typing.get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name not in hints:
            where = ".".join((*path, name))
            given_in = sources.get(where) or _source_under(where, sources) or source
            raise ConfigError("unknown key", source=given_in, key=where, expected=_nearest(name, hints))
        values[name] = _convert(value, hints[name], (*path, name), sources)
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error), source=source, key=key) from None


def is_settings(kind: Any) -> bool:
    """Whether a type is a section."""
    return isinstance(kind, type) and issubclass(kind, Settings)


def plain_type(kind: Any) -> Any:
    """A type without its annotations."""
    while typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    return kind


def _nearest(name: str, hints: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, hints, n=1, cutoff=0.5)
    return f'"{close[0]}"' if close else "one of " + ", ".join(sorted(hints))


def describe_type(kind: Any) -> str:
    """What a value of this type looks like, in words."""
    plain = plain_type(kind)
    if plain is Duration:
        return 'a duration, as "90s" or "48h"'
    if plain is ByteSize:
        return 'a size, as "64MiB"'
    if plain is Secret:
        return 'a string, { file = "path" } or { env = "NAME" }'
    if typing.get_origin(plain) is typing.Literal:
        return "one of " + ", ".join(f'"{a}"' for a in typing.get_args(plain))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
    if plain in names:
        return names[plain] + "".join(_bounds(m) for m in getattr(kind, "__metadata__", ()))
    if isinstance(plain, types.UnionType):
        return " or ".join(describe_type(a) for a in typing.get_args(plain) if a is not type(None))
    if typing.get_origin(plain) is tuple:
        of = typing.get_args(plain)[0]
        return "a list of tables" if is_settings(of) else f"a list of: {describe_type(of)}"
    if typing.get_origin(plain) is dict:
        return "a table of strings"
    return str(plain)


def _bounds(meta: msgspec.Meta) -> str:
    parts = [f"at least {meta.ge}"] if meta.ge is not None else []
    parts += [f"above {meta.gt}"] if meta.gt is not None else []
    parts += [f"at most {meta.le}"] if meta.le is not None else []
    return " " + " and ".join(parts) if parts else ""


def shown(config: Settings, sources: Mapping[str, str], at: str = "") -> dict[str, Any]:
    """The tree for people: every value with its source, secrets as stars."""
    out: dict[str, Any] = {}
    for name in config.__struct_fields__:
        value, path = getattr(config, name), f"{at}.{name}" if at else name
        if isinstance(value, Settings):
            out[name] = shown(value, sources, path)
        else:
            out[name] = {"value": shown_value(value), "source": sources.get(path, "default")}
    return out


def shown_value(value: Any) -> Any:
    """One value for people: durations and sizes as they are written, secrets as stars."""
    if isinstance(value, Duration | ByteSize):
        return value.text()
    return str(value) if isinstance(value, Secret) else msgspec.to_builtins(value, enc_hook=str)


def _source_under(key: str, sources: Mapping[str, str]) -> str:
    return next((source for at, source in sources.items() if at.startswith(f"{key}.")), "")
