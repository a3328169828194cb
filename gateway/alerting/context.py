"""What surrounds an anomaly, and what that means for its alert.

Rules of the subject:
  * Context shifts the severity of the alert and says why in its annotations. It never changes the score, and never
    hides the anomaly: the alert is kept, listed and counted.
  * A deploy explains that a service is now different (CHANGES below) if the anomaly of the same service begins within
    `deploy_before` … `deploy_after` of the marker: one step lower, annotation `after_deploy`, and muted for
    `deploy_mute` unless it is critical even so. It does not explain that a service has stopped (silence, zero) or that
    a limit will be reached: those are annotated and keep their severity.
  * A marker that comes late judges the open anomalies again.
  * What begins in a maintenance window that covers it is one step lower, annotation `maintenance`; the window itself
    mutes it while it lasts (see maintenance).
  * Business impact raises the severity after that, so an important service under deploy can still page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.anomaly_alert import GROUP_NAME, higher, labels_of
from gateway.alerting.context_settings import ContextSettings
from gateway.alerting.maintenance import Window
from gateway.alerting.markers import Markers
from gateway.alerting.matcher import Matcher, all_match, parse_matcher, render
from gateway.alerting.moments import SECOND, format_moment, parse_moment
from gateway.alerting.route import Route
from gateway.alerting.stages import Reason
from gateway.errors import ConfigError
from gateway.selfmetrics import counter
from gateway.telemetry.anomaly import SEVERITIES, SEVERITY_FLOORS, Anomaly

AFTER_DEPLOY: Final = "after_deploy"
MUTED_UNTIL: Final = "muted_until"
MAINTENANCE: Final = "maintenance"
FEEDBACK: Final = "feedback"
MUTED_BY_FEEDBACK: Final = "muted_by_feedback"
BUSINESS_IMPACT: Final = "business_impact"
SCORED_SEVERITY: Final = "severity_by_score"
"""Annotations that context sets."""
CHANGES: Final = frozenset({"spike", "sustained", "season", "noisier", "calmer", "flat", "group"})
"""Kinds of anomalies that a deploy explains."""
_ENVIRONMENTS: Final = ("deployment_environment_name", "deployment_environment", "environment", "env")

_APPLIED = counter("context_applied", "Anomalies whose alert has context, by what it is.", ["context"])


class Judgement(msgspec.Struct, frozen=True):
    """The severity an alert has, and what its annotations say of it."""

    severity: str
    annotations: dict[str, str] = {}


class AnomalyContext:
    """Judges anomalies; wired into an engine as a stage. Raises ConfigError for matchers that cannot be read."""

    def __init__(
        self,
        settings: ContextSettings,
        markers: Markers,
        windows: Callable[[Mapping[str, str], int], Sequence[Window]] = lambda _labels, _now: (),
        shift: Callable[[Anomaly, int], float] = lambda _anomaly, _now: 0.0,
    ) -> None:
        """windows: the maintenance windows that cover a label set at a moment. shift: see feedback.Feedback."""
        self._settings, self._markers, self._windows, self._shift = settings, markers, windows, shift
        self._impact = [(_matchers(rule.match), rule.steps, rule.name) for rule in settings.impact]

    def judge(self, anomaly: Anomaly, severity: str, *, first: bool = False) -> Judgement:
        """What holds for an anomaly that its score gives `severity`. first: count it."""
        annotations: dict[str, str] = {}
        labels = labels_of(anomaly.series, severity, anomaly.kind)
        judged = severity
        began = round(anomaly.time * SECOND)
        moved = self._shift(anomaly, began)
        if moved:
            score = min(max(anomaly.score + moved, 0.0), 1.0)
            judged = SEVERITIES[max(n for n, floor in enumerate(SEVERITY_FLOORS) if score >= floor)]
            annotations[FEEDBACK] = f"people's verdicts move the score by {moved:+.2f} to {score:.2f}"
            if score < SEVERITY_FLOORS[2]:
                annotations[MUTED_BY_FEEDBACK] = "yes"
        marker = self._markers.around(
            labels.get("service", ""),
            began - round(self._settings.deploy_after * SECOND),
            began + round(self._settings.deploy_before * SECOND),
            next((anomaly.series[name] for name in _ENVIRONMENTS if anomaly.series.get(name)), ""),
        )
        if marker is not None:
            version = f" ({marker.version})" if marker.version and marker.version not in marker.title else ""
            annotations[AFTER_DEPLOY] = f"{marker.title}{version} at {format_moment(marker.time, 0)}"
            if anomaly.kind in CHANGES:
                judged = _shifted(judged, -1)
        windows = self._windows(labels, began)
        if windows:
            annotations[MAINTENANCE] = windows[0].name
            judged = _shifted(judged, -1)
        steps, why = self._impact_of(labels)
        if steps:
            annotations[BUSINESS_IMPACT] = why
            judged = _shifted(judged, steps)
        mute = round(self._settings.deploy_mute * SECOND)
        if marker is not None and anomaly.kind in CHANGES and judged != SEVERITIES[-1] and mute:
            annotations[MUTED_UNTIL] = format_moment(began + mute, 0)
        if judged != severity:
            annotations[SCORED_SEVERITY] = severity
        if first:
            for name in (AFTER_DEPLOY, MAINTENANCE, FEEDBACK, BUSINESS_IMPACT):
                if name in annotations:
                    _APPLIED.labels(name).inc()
        return Judgement(judged, annotations)

    def _impact_of(self, labels: Mapping[str, str]) -> tuple[int, str]:
        found = [
            (steps, name or render(matchers)) for matchers, steps, name in self._impact if all_match(matchers, labels)
        ]
        return max(found, default=(0, ""))


class ServiceAlerts:
    """Alerts of single series go under the alert of their service while it is open and no less severe; a stage."""

    def __init__(self, alerts: Mapping[str, Alert]) -> None:
        """alerts: all that are known, by fingerprint."""
        self._alerts = alerts
        self._of_service: dict[str, str] = {}

    def take(self, alert: Alert) -> None:
        """An alert of an anomaly, also when it is read back at start."""
        if alert.name == GROUP_NAME:
            self._of_service[alert.labels.get("service", "")] = alert.fingerprint

    def stage(self, _route: Route, alert: Alert, now: int) -> Reason:
        """See stages.Stage."""
        if alert.origin != "anomaly" or alert.name == GROUP_NAME:
            return ""
        whole = self._alerts.get(self._of_service.get(alert.labels.get("service", ""), ""))
        if whole is None or not whole.active(now):
            return ""
        own, theirs = alert.labels.get("severity", ""), whole.labels.get("severity", "")
        if higher(own, theirs) != theirs:
            return ""
        return f"part of {whole.fingerprint}, {GROUP_NAME} of {whole.labels.get('service', '')}"


def deploy_stage(_route: Route, alert: Alert, now: int) -> Reason:
    """Muted while a deploy explains it; see stages.Stage."""
    until = alert.annotations.get(MUTED_UNTIL, "")
    if alert.origin != "anomaly" or not until or now >= parse_moment(until):
        return ""
    return f"deploy {alert.annotations.get(AFTER_DEPLOY, '')}"


def feedback_stage(_route: Route, alert: Alert, _now: int) -> Reason:
    """Muted while people's verdicts hold it under the score of an alert."""
    if alert.origin != "anomaly" or MUTED_BY_FEEDBACK not in alert.annotations:
        return ""
    return f"feedback: {alert.annotations.get(FEEDBACK, '')}"


def _shifted(severity: str, steps: int) -> str:
    """Some steps higher (or lower), between low and critical."""
    return SEVERITIES[min(max(SEVERITIES.index(severity) + steps, 1), len(SEVERITIES) - 1)]


def _matchers(texts: tuple[str, ...]) -> tuple[Matcher, ...]:
    try:
        found = tuple(parse_matcher(text) for text in texts)
    except ValueError as error:
        raise ConfigError(str(error), source="configuration", key="context.impact", expected="matchers") from error
    if not found:
        raise ConfigError("a rule without matchers", source="configuration", key="context.impact", expected="matchers")
    return found
