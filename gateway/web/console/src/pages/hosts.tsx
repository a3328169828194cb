import { clockTime, count, seconds } from "../format";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Card, Link, State, When } from "../parts";
import { selector } from "../selector";
import { Spark } from "../spark";
import { Table } from "../table";
import { useZone } from "../time";
import type { HostShown, ProbeShown } from "../types";

export const KIND = { node_exporter: "node_exporter", opentelemetry: "OpenTelemetry" };

export function HostsPage() {
  const beat = useBeat(10);
  const zone = useZone();
  const hosts = useLoad<HostShown[]>("/api/v1/hosts", beat);
  const probes = useLoad<ProbeShown[]>("/api/v1/probes", beat);
  return (
    <>
      <div class="head">
        <h1>Hosts and probes</h1>
      </div>
      <Card title="Hosts">
        <State of={hosts} what="hosts">
          {(all) => (
            <Table<HostShown>
              id="h"
              label="Hosts"
              rows={all}
              filter={all.length > 5 ? "name" : undefined}
              rowKey={(h) => `${h.kind} ${h.name}`}
              empty={
                <p>
                  No machine reports on itself. Let Prometheus or vmagent scrape node_exporter and write to port 4318,
                  or start the gateway with <code>gateway run</code>.
                </p>
              }
              columns={[
                {
                  key: "name",
                  name: "Host",
                  value: (h) => h.name,
                  show: (h) => (
                    <Link to={["hosts", h.kind, h.name]}>
                      <Breaks text={h.name} />
                    </Link>
                  ),
                  breaks: true,
                },
                { key: "kind", name: "From", value: (h) => KIND[h.kind] },
                {
                  key: "open",
                  name: "Open anomalies",
                  value: (h) => h.open,
                  show: (h) =>
                    h.open ? (
                      <>
                        {h.open} <Badge severity={h.worst} />
                      </>
                    ) : (
                      "none"
                    ),
                  number: true,
                },
                {
                  key: "last",
                  name: "Last anomaly",
                  value: (h) => h.last,
                  show: (h) => (h.last ? <When time={h.last} /> : "none lately"),
                },
                { key: "series", name: "Series", value: (h) => h.series, show: (h) => count(h.series), number: true },
              ]}
            />
          )}
        </State>
      </Card>
      <Card title="Probes">
        <State of={probes} what="probes">
          {(all) => (
            <Table<ProbeShown>
              id="p"
              label="Probes"
              rows={all}
              filter={all.length > 5 ? "name or target" : undefined}
              rowKey={(p) => p.name}
              empty={
                <p>
                  None. HTTP and TCP probes are configured as <code>[[probes.probe]]</code> with a name and a target;
                  their results become series and alerts.
                </p>
              }
              columns={[
                {
                  key: "name",
                  name: "Probe",
                  value: (p) => p.name,
                  show: (p) => (
                    <Link
                      to={["explore"]}
                      search={{ m: selector({ __name__: "probe_duration_seconds", probe: p.name }) }}
                    >
                      {p.name}
                    </Link>
                  ),
                },
                {
                  key: "state",
                  name: "State",
                  value: (p) => p.state,
                  show: (p) => (
                    <span class={`dotted ${p.state === "ok" ? "good" : p.state === "failing" ? "bad" : "idle"}`}>
                      {p.state}
                      {p.since && (
                        <>
                          {" "}
                          <small>
                            <When time={p.since} long />
                          </small>
                        </>
                      )}
                    </span>
                  ),
                },
                {
                  key: "problem",
                  name: "Last answer",
                  value: (p) => p.last?.problem ?? "",
                  show: (p) =>
                    p.last
                      ? p.last.problem || (p.last.status ? `HTTP ${p.last.status}` : "connected")
                      : "not asked yet",
                  breaks: true,
                },
                {
                  key: "took",
                  name: "Took",
                  value: (p) => p.last?.duration ?? null,
                  show: (p) => (p.last ? seconds(p.last.duration) : "–"),
                  number: true,
                },
                {
                  key: "past",
                  name: "Lately",
                  value: (p) => p.recent.filter(([, ok]) => !ok).length,
                  show: (p) => (
                    <Spark
                      series={{ times: p.recent.map(([t]) => t), values: p.recent.map(([, ok, d]) => (ok ? d : null)) }}
                      width={120}
                      height={26}
                    />
                  ),
                },
                {
                  key: "cert",
                  name: "Certificate ends",
                  value: (p) => p.last?.certificate_ends || null,
                  show: (p) => (p.last?.certificate_ends ? clockTime(p.last.certificate_ends, zone, true) : "–"),
                },
                { key: "target", name: "Target", value: (p) => p.target, breaks: true },
              ]}
            />
          )}
        </State>
      </Card>
    </>
  );
}
