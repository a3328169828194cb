"""Would this configuration do? Asked before a reload or a restart, answered without changing anything.

Without a text, what stands in the files now is read as the next start or reload would read it, the alerting files
included. A text is the contents of a configuration file that somebody is about to write; environment and command line
are laid over it as always. As it comes over the network, nothing that it names is opened: references to secrets are
checked for their form alone, and an alerting file only if it is the one in use.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.access.tokens import require_safe_address
from gateway.addresses import parse_address
from gateway.alerting.channels import with_extra_receivers
from gateway.alerting.configuration import built_in_configuration, load_configuration
from gateway.alerting.oncall import load_oncall
from gateway.alerting.settings import AlertingSettings
from gateway.config import Config, LoadedConfig, is_settings, load_config, parse_toml, plain_type, shown_value
from gateway.errors import ConfigError
from gateway.settings_types import Secret, Settings

_FORM_OF_SECRET = ({"file"}, {"env"})


def check(running: LoadedConfig, text: str = "") -> dict[str, Any]:
    """`{"ok": true, "changes": [{"key", "from", "to", "source"}], "alerting": …}`, or what is wrong and where.

    running: what the program was started with. Reads files: call it in a thread.
    """
    try:
        found = _load(running, text)
        check_listeners(found.config)
        alerting = check_alerting(found.config.alerting, running.config.alerting if text else None)
    except ConfigError as error:
        return {
            "ok": False,
            "problem": error.problem,
            "key": error.key,
            "source": error.source,
            "expected": error.expected,
        }
    return {"ok": True, "changes": list(_changes(running.config, found.config, found.sources)), "alerting": alerting}


def check_listeners(config: Config) -> None:
    """Raises ConfigError for an address that other machines reach although nobody has to say who he is."""
    for name in ("otlp_grpc", "otlp_http", "http"):
        host, _ = parse_address(getattr(config.server, name))
        require_safe_address(host, config.access, key=f"server.{name}")


def _load(running: LoadedConfig, text: str) -> LoadedConfig:
    if not text.strip():
        return load_config(running.file, assignments=running.assignments)
    given = parse_toml(text, "the text")
    return load_config(assignments=running.assignments, given=(_without_references(given), "the text"))


def _without_references(given: dict[str, Any]) -> dict[str, Any]:
    def walk(value: Any, kind: Any) -> Any:
        kind = plain_type(kind)
        if kind is Secret and isinstance(value, dict) and set(value) in _FORM_OF_SECRET:
            (name,) = value.values()
            return "given elsewhere" if isinstance(name, str) else value
        if is_settings(kind) and isinstance(value, dict):
            hints = typing.get_type_hints(kind, include_extras=True)
            return {key: walk(inner, hints.get(key, Any)) for key, inner in value.items()}
        inner = [plain_type(k) for k in typing.get_args(kind) if is_settings(plain_type(k))]
        if inner and isinstance(value, list):
            return [walk(item, inner[0]) for item in value]
        return value

    walked: dict[str, Any] = walk(given, Config)
    return walked


def check_alerting(settings: AlertingSettings, in_use: AlertingSettings | None = None) -> str:
    """What was read of the alerting files, in words. in_use: if given, only the files it names are opened."""
    if in_use is not None and (settings.config_file, settings.oncall_file) != (in_use.config_file, in_use.oncall_file):
        return "names other alerting files than those in use; they were not opened"
    if settings.config_file:
        configuration = load_configuration(Path(settings.config_file))
    else:
        configuration = built_in_configuration(settings.webhook_url.reveal())
    configuration = with_extra_receivers(configuration, settings)
    said = f"{len(configuration.receivers)} receivers"
    if settings.oncall_file:
        oncall = load_oncall(Path(settings.oncall_file), set(configuration.receivers))
        said += f", {len(oncall.schedules)} schedules, {len(oncall.policies)} escalation policies"
    return said


def _changes(old: Settings, new: Settings, sources: Mapping[str, str], at: str = "") -> Iterator[dict[str, Any]]:
    for name in old.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        path = f"{at}.{name}" if at else name
        if isinstance(before, Settings):
            yield from _changes(before, after, sources, path)
        elif _plain(before) != _plain(after):
            yield {
                "key": path,
                "from": shown_value(before),
                "to": shown_value(after),
                "source": sources.get(path, "default"),
            }


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value
