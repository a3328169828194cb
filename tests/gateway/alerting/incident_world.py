"""The virtual world with incident groups, and a small fleet to fail in: web calls cart and shop, both call db."""

from __future__ import annotations

from gateway.alerting.engine import Engine
from gateway.alerting.incident_group import IncidentGroup
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.moments import SECOND
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import Store
from gateway.telemetry.call_edge import CallEdge
from tests.gateway.alerting.virtual import World

FLEET = [("web", "cart"), ("web", "shop"), ("cart", "db"), ("shop", "db"), ("mail", "smtp"), ("batch", "lake")]
BY_INCIDENT = """
route:
  receiver: a
  group_by: [incident_group]
  group_wait: 10s
  group_interval: 60s
  repeat_interval: 4h
  routes:
    - {matchers: ['severity="critical"'], group_wait: 1s, group_interval: 60s}
receivers: [{name: a, webhook_configs: [{url: 'http://a.example/'}]}]
"""


class IncidentWorld(World):
    """A World whose engine has incident groups, also after a crash."""

    def __init__(
        self, configuration: str = BY_INCIDENT, settings: AlertingSettings | None = None, store: Store | None = None
    ) -> None:
        self.settings = settings or AlertingSettings()
        super().__init__(configuration, store)
        self.see(FLEET)

    def _engine(self) -> Engine:
        engine = super()._engine()
        self.markers = Markers(engine.journal, 90 * 86400 * SECOND)
        self.incidents = Incidents(engine, self.settings, self.markers)
        self.incidents.load(self.store, self.now)
        return engine

    def see(self, calls: list[tuple[str, str]]) -> None:
        edges = [CallEdge(caller, callee, calls=10, last_seen=self.now) for caller, callee in calls]
        self.incidents.see_topology(edges, (), self.now)
        self.commit()

    def crash(self, down: float = 0.0, *, delivered_but_not_noted: bool = False) -> None:
        super().crash(down, delivered_but_not_noted=delivered_but_not_noted)
        self.incidents.after_load(self.now)
        self.commit()

    def group(self, fingerprint: str) -> IncidentGroup:
        found = self.incidents.correlator.group_of(fingerprint)
        assert found is not None
        return found

    def together(self, *fingerprints: str) -> bool:
        return len({self.group(name).id for name in fingerprints}) == 1
