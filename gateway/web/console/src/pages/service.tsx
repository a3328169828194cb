import { useMemo, useState } from "preact/hooks";
import { useAddress } from "../address";
import { AnomalyRows } from "../anomaly_rows";
import { query } from "../api";
import { count, plural } from "../format";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Card, Empty, Link, More, State, When } from "../parts";
import { RangePicker } from "../range";
import { Table } from "../table";
import { rangeOf, sinceText } from "../time";
import type { AlertList, Anomaly, Marker, ServiceSummary, Severity } from "../types";
import { matchOf, Signal } from "./service_signal";

type Metric = { metric: string; series: number; signal: string };
type Neighbour = {
  name: string;
  direction: "calls" | "called by";
  calls: number;
  last_seen: number;
  sends: boolean;
  open: number;
  worst: Severity;
};
export type Service = ServiceSummary & {
  match: string;
  metric_list: Metric[];
  anomalies: Anomaly[];
  neighbours: Neighbour[];
};

const SIGNALS = ["traffic", "errors", "latency", "saturation"] as const;

export function ServicePage({ name }: { name: string }) {
  const live = useLive();
  const beat = useBeat(30);
  const found = useLoad<Service>(`/api/v1/services/${encodeURIComponent(name)}`, `${live.anomalies.version} ${beat}`);
  const alerts = useLoad<AlertList>(
    query("/api/v1/alerts/groups", { q: `service=${name}`, limit: 6, each: 6 }),
    `${live.alerts.version} ${beat}`,
  );
  const { search } = useAddress();
  const markers = useLoad<Marker[]>(
    query("/api/v1/markers", {
      service: name,
      from: search.get("from") ? sinceText(rangeOf(search)) : "-24h",
      limit: 100,
    }),
    beat,
  );
  const deploys = useMemo(() => (markers.data ?? []).map((m) => Date.parse(m.time) / 1000), [markers.data]);
  return (
    <>
      <div class="head">
        <h1>
          <Breaks text={name} />
        </h1>
        <RangePicker />
      </div>
      <State of={found} what="the service">
        {(s) => {
          const open = s.anomalies.filter((a) => a.state === "firing");
          return (
            <>
              <p class={`verdict ${open.length ? "warn" : "good"}`} role="status">
                {open.length
                  ? `${plural(open.length, "anomaly is", "anomalies are")} open.`
                  : "Every series is within its normal range."}{" "}
                {count(s.series)} series{s.hosts.length ? ` from ${plural(s.hosts.length, "instance")}` : ""}.
              </p>
              <Card title="Anomalies of the last six hours">
                {s.anomalies.length === 0 ? (
                  <Empty>
                    <p>None.</p>
                  </Empty>
                ) : (
                  <AnomalyRows list={s.anomalies.slice(0, 12)} />
                )}
              </Card>
              <div class="columns three">
                <Neighbours list={s.neighbours} />
                <Card title="Alerts">
                  <State of={alerts} what="alerts">
                    {(found) =>
                      found.alerts === 0 ? (
                        <Empty>
                          <p>None is active.</p>
                        </Empty>
                      ) : (
                        <ul class="rows">
                          {found.groups
                            .flatMap((g) => g.alerts)
                            .slice(0, 6)
                            .map((a) => (
                              <li key={a.fingerprint}>
                                <Link to={["alerts", a.fingerprint]}>
                                  <Badge severity={a.labels.severity ?? "none"} />
                                  <b>
                                    <Breaks text={a.labels.metric ?? a.labels.alertname ?? ""} />
                                  </b>
                                  <span class="why">
                                    {a.acknowledgedBy
                                      ? `acknowledged by ${a.acknowledgedBy}`
                                      : a.state === "suppressed"
                                        ? "not told"
                                        : ""}
                                  </span>
                                  <When time={Date.parse(a.startsAt) / 1000} />
                                </Link>
                              </li>
                            ))}
                        </ul>
                      )
                    }
                  </State>
                </Card>
                <Card title="Deploys">
                  <State of={markers} what="deploys">
                    {(list) =>
                      list.length === 0 ? (
                        <Empty>
                          <p>
                            None is known in this time range. Deploy tools tell of them with a POST to /api/v1/markers.
                          </p>
                        </Empty>
                      ) : (
                        <ul class="rows">
                          {list.slice(0, 6).map((m) => (
                            <li key={m.id} class="plain">
                              <b>
                                <Breaks text={m.title} />
                              </b>
                              <span class="why">{[m.version, m.environment, m.source].filter(Boolean).join(", ")}</span>
                              <When time={Date.parse(m.time) / 1000} />
                            </li>
                          ))}
                        </ul>
                      )
                    }
                  </State>
                </Card>
              </div>
              <div class="signals">
                {SIGNALS.map((signal) => {
                  const metrics = choose(signal, s.metric_list);
                  return (
                    metrics.length > 0 && (
                      <section key={signal} aria-label={signal}>
                        <h2>{signal[0]!.toUpperCase() + signal.slice(1)}</h2>
                        {metrics.slice(0, 3).map((m) => (
                          <Signal
                            key={m}
                            metric={m}
                            service={s}
                            deploys={deploys}
                            mean={signal === "latency" && m.endsWith("_sum")}
                            beat={beat}
                          />
                        ))}
                      </section>
                    )
                  );
                })}
              </div>
              <Card title="All metrics">
                <Table<Metric>
                  id="m"
                  label="Metrics"
                  rows={s.metric_list}
                  filter="metric or signal"
                  rowKey={(m) => m.metric}
                  empty={<p>None.</p>}
                  columns={[
                    {
                      key: "metric",
                      name: "Metric",
                      value: (m) => m.metric,
                      show: (m) => (
                        <Link to={["explore"]} search={{ m: matchOf(m.metric, s) }}>
                          {m.metric}
                        </Link>
                      ),
                      breaks: true,
                    },
                    { key: "signal", name: "Signal", value: (m) => m.signal },
                    { key: "series", name: "Series", value: (m) => m.series, number: true },
                  ]}
                />
              </Card>
            </>
          );
        }}
      </State>
    </>
  );
}

const NEIGHBOURS = 12;

/** Who calls the service and whom it calls, those with open anomalies first. */
function Neighbours({ list }: { list: Neighbour[] }) {
  const [all, show] = useState(false);
  const sorted = [...list].sort((a, b) => b.open - a.open || b.calls - a.calls);
  const shown = all ? sorted : sorted.slice(0, NEIGHBOURS);
  return (
    <Card title="Neighbours">
      {list.length === 0 ? (
        <Empty>
          <p>None is known. Send traces to port 4317 or 4318: who calls whom is read from them.</p>
        </Empty>
      ) : (
        <>
          <ul class="rows">
            {shown.map((n) => {
              const what = (
                <>
                  <span
                    class={`dot ${n.open ? (n.worst === "critical" || n.worst === "high" ? "bad" : "warn") : n.sends ? "good" : ""}`}
                    role="img"
                    aria-label={n.open ? `${n.open} open anomalies` : n.sends ? "healthy" : "sends no series"}
                  />
                  <b>
                    <Breaks text={n.name} />
                  </b>
                  <span class="why">
                    {n.direction === "calls" ? "is called" : "calls it"}
                    {n.open ? `, ${n.open} open` : ""}
                  </span>
                  <When time={n.last_seen} />
                </>
              );
              return (
                <li key={n.direction + n.name} class={n.sends ? "" : "plain"}>
                  {n.sends ? <Link to={["services", n.name]}>{what}</Link> : what}
                </li>
              );
            })}
          </ul>
          <More shown={shown.length} total={list.length} more={() => show(true)} />
        </>
      )}
    </Card>
  );
}

/** A histogram of durations is its traffic (count) and its latency (sum divided by count). */
function choose(signal: string, metrics: Metric[]): string[] {
  const names = metrics.map((m) => m.metric).filter((m) => !m.endsWith("_bucket"));
  const durations = names.filter((m) => /(duration|latency).*_count$/.test(m));
  if (signal === "latency") return names.filter((m) => /(duration|latency)/.test(m) && !m.endsWith("_count"));
  const own = metrics
    .filter((m) => m.signal === signal && !m.metric.endsWith("_bucket"))
    .map((m) => m.metric)
    .filter((m) => !/(duration|latency)/.test(m));
  return signal === "traffic" ? [...new Set([...own, ...durations])] : own;
}
