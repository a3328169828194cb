"""The alerting configuration: an `alertmanager.yml`, read as it is.

Every key is understood or refused with its line; names that are used must be defined; texts are evaluated over a
sample.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.alerting.document import Section, Value, read_document, redact
from gateway.alerting.http_delivery import HttpOptions, read_http_options
from gateway.alerting.inhibition import InhibitRule, read_rule
from gateway.alerting.moments import SECOND
from gateway.alerting.mute_interval import IntervalPart, read_interval
from gateway.alerting.receivers import READERS, GlobalOptions
from gateway.alerting.route import Route, read_route
from gateway.alerting.template import Texts
from gateway.alerting.template_syntax import TemplateProblem
from gateway.bounded_text import read_text
from gateway.errors import ConfigError

DEFAULT_RESOLVE_TIMEOUT: Final = 300 * SECOND


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """One way out of a receiver."""

    receiver: str
    kind: str
    index: int
    send_resolved: bool
    options: Any

    @property
    def key(self) -> str:
        """`receiver/kind/index`, the name under which deliveries are logged."""
        return f"{self.receiver}/{self.kind}/{self.index}"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, checked."""

    original: str
    """The YAML text with secrets hidden."""
    route: Route
    receivers: dict[str, tuple[Integration, ...]]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    intervals: dict[str, tuple[IntervalPart, ...]] = {}
    resolve_timeout: int = DEFAULT_RESOLVE_TIMEOUT
    texts: Texts

    @property
    def integrations(self) -> list[Integration]:
        """Of all receivers."""
        return [integration for group in self.receivers.values() for integration in group]


def read_configuration(text: str, source: str) -> Configuration:
    """From YAML text; `source` names it in errors and is the base of relative template paths. Raises ConfigError."""
    root = read_document(text, source)
    section = root.section()
    texts = _texts(section, Path(source).parent)
    given_global = section.take("global")
    globals_, resolve_timeout = _global(given_global)
    intervals: dict[str, tuple[IntervalPart, ...]] = {}
    for key in ("mute_time_intervals", "time_intervals"):
        for item in section.items(key):
            name, parts = read_interval(item)
            if name in intervals:
                raise item.refuse(f'the time interval "{name}" is defined twice')
            intervals[name] = parts
    receivers: dict[str, tuple[Integration, ...]] = {}
    for item in section.items("receivers"):
        name, integrations = _receiver(item, globals_, texts)
        if name in receivers:
            raise item.refuse(f'the receiver "{name}" is defined twice')
        receivers[name] = integrations
    route_value = section.must("route")
    route = read_route(route_value, None)
    rules = tuple(read_rule(item) for item in section.items("inhibit_rules"))
    section.finish("global, templates, route, receivers, inhibit_rules, time_intervals, mute_time_intervals")
    _check_names(route_value, route, receivers, intervals)
    return Configuration(
        original=redact(text, root),
        route=route,
        receivers=receivers,
        inhibit_rules=rules,
        intervals=intervals,
        resolve_timeout=resolve_timeout,
        texts=texts,
    )


def _texts(section: Section, base: Path) -> Texts:
    texts = Texts()
    for item in section.items("templates"):
        pattern = item.text()
        for name in sorted(glob.glob(pattern if Path(pattern).is_absolute() else str(base / pattern))):
            try:
                texts.define(read_text(Path(name)))
            except (OSError, UnicodeDecodeError, TemplateProblem) as error:
                raise item.refuse(f"{name}: {error}") from error
    return texts


def _global(value: Value | None) -> tuple[GlobalOptions, int]:
    if value is None:
        return GlobalOptions(), DEFAULT_RESOLVE_TIMEOUT
    section = value.section()
    resolve_timeout = section.duration("resolve_timeout", DEFAULT_RESOLVE_TIMEOUT)
    http = read_http_options(section.take("http_config"), HttpOptions())
    found: dict[str, Any] = {"http": http}
    for key in ("smtp_from", "smtp_hello", "smtp_smarthost", "smtp_auth_username", "smtp_auth_identity"):
        given = section.take(key)
        if given is not None:
            found[key] = given.text()
    for key in ("smtp_auth_password", "slack_api_url", "opsgenie_api_key"):
        found[key] = section.secret(key)
    for key in ("pagerduty_url", "opsgenie_api_url"):
        given = section.take(key)
        if given is not None:
            found[key] = given.text()
    found["smtp_require_tls"] = section.boolean("smtp_require_tls", True)
    section.finish("resolve_timeout, http_config, smtp_…, slack_api_url, pagerduty_url, opsgenie_api_…")
    return GlobalOptions(**found), resolve_timeout


def _receiver(value: Value, globals_: GlobalOptions, texts: Texts) -> tuple[str, tuple[Integration, ...]]:
    section = value.section()
    name = section.must("name").text()
    if not name:
        raise value.refuse("a receiver needs a name")
    integrations: list[Integration] = []
    for key, reader in READERS.items():
        for index, item in enumerate(section.items(key)):
            below = item.section()
            send_resolved = below.boolean("send_resolved", reader.send_resolved)
            options = reader.read(below, globals_)
            below.finish(f"the keys of {key} in docs/alerting.md")
            for text in reader.texts(options):
                try:
                    texts.check(text)
                except TemplateProblem as problem:
                    raise item.refuse(
                        f"a text cannot be used: {problem}", "the template subset of docs/alerting.md"
                    ) from problem
            kind = key.removesuffix("_configs")
            integrations.append(
                Integration(receiver=name, kind=kind, index=index, send_resolved=send_resolved, options=options)
            )
    section.finish("name and " + ", ".join(READERS))
    return name, tuple(integrations)


def _check_names(
    value: Value,
    root: Route,
    receivers: dict[str, tuple[Integration, ...]],
    intervals: dict[str, tuple[IntervalPart, ...]],
) -> None:
    if not root.receiver:
        raise value.refuse("the root route needs a receiver")
    for node in root.walk():
        if node.receiver not in receivers:
            raise value.refuse(f'the receiver "{node.receiver}" of route {node.key} is not defined')
        for name in (*node.mute_intervals, *node.active_intervals):
            if name not in intervals:
                raise value.refuse(f'the time interval "{name}" of route {node.key} is not defined')


def load_configuration(path: Path) -> Configuration:
    """From a file; raises ConfigError."""
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", source=str(path)) from error
    return read_configuration(text, str(path))


def built_in_configuration(webhook_url: str) -> Configuration:
    """What holds without a file: one notification for an incident group; critical alerts wait a second.

    Without a webhook address the receiver is empty: everything is kept, grouped and shown, nobody is told. The address
    is a secret of the settings: what is shown of it tells the host alone, and is an address all the same, so that
    amtool reads it.
    """

    def text(address: str) -> str:
        receiver = f"    webhook_configs:\n      - url: {_yaml_string(address)}\n" if address else ""
        return BUILT_IN.replace("    # channels\n", receiver)

    read = read_configuration(text(webhook_url), "built-in configuration")
    place = urlsplit(webhook_url)
    shown = f"{place.scheme}://{place.netloc.rpartition('@')[2]}/<secret>" if webhook_url else ""
    return msgspec.structs.replace(read, original=text(shown))


def _yaml_string(text: str) -> str:
    return msgspec.json.encode(text).decode()


BUILT_IN: Final = """\
route:
  receiver: default
  group_by: [incident_group]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  routes:
    - matchers: ['severity="critical"']
      group_wait: 1s
      group_interval: 1m
receivers:
  - name: default
    # channels
"""
