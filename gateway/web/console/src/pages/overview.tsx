import { useMemo } from "preact/hooks";
import { useAddress } from "../address";
import { headline, tellingLabels } from "../anomaly";
import { query } from "../api";
import { Chart, Legend } from "../chart";
import { count, plural, seconds } from "../format";
import { type Live, useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Card, Empty, Link, Name, State, Tile, When } from "../parts";
import type { Line } from "../plot_data";
import { RangePicker } from "../range";
import { rangeOf, sinceText, useZone, zoom } from "../time";
import { type Anomaly, type ProbeShown, type ServiceSummary, SEVERITIES, type StatusSample } from "../types";

interface Part {
  name: string;
  state: "good" | "warn" | "bad" | "idle";
  text: string;
}

/** Health of each part, in the order data goes. */
export function partsOf(live: Live): Part[] {
  const { status, rates } = live;
  if (!live.connected) return [{ name: "Console", state: "bad", text: "No connection to the gateway; trying again." }];
  if (!status) return [{ name: "Data plane", state: "bad", text: live.problem || "Not heard from yet." }];
  const lag = status.lag_seconds;
  const backlog = status.unscored_backlog_points ?? 0;
  const sending = rates.accepted > 0;
  const log = status.log;
  const full = log ? log.bytes / log.limit_bytes : 0;
  const parts: Part[] = [
    {
      name: "Sources",
      state: sending ? "good" : "idle",
      text: sending
        ? `${count(rates.accepted)} points/s`
        : "Nothing arrives now. Point an exporter at port 4317 or 4318.",
    },
    {
      name: "Log",
      state: full > 0.9 ? "bad" : full > 0.7 ? "warn" : "good",
      text: `${full < 0.001 ? "under 0.1" : (full * 100).toFixed(full < 0.1 ? 1 : 0)} % of its room used`,
    },
    {
      name: "Detection",
      state: status.problem ? "bad" : backlog > 1e6 || lag.score_p99 > 5 ? "warn" : "good",
      text: `p99 ${seconds(lag.score_p99)} after arrival`,
    },
  ];
  const f = status.forwarding;
  if (f) {
    parts.push({
      name: "VictoriaMetrics",
      state: !f.connected ? "bad" : status.pending_forward_points > 1e6 ? "warn" : "good",
      text: !f.connected
        ? `Does not take data: ${f.last_error || "no answer"}. ${count(status.pending_forward_points)} points wait in the log.`
        : `p99 ${seconds(lag.forward_p99)}, ${count(status.pending_forward_points)} waiting`,
    });
  } else
    parts.push({ name: "VictoriaMetrics", state: "idle", text: "None configured; the embedded log is the history." });
  parts.push({
    name: "Alerting",
    state: live.alerts.alerts ? "warn" : "good",
    text: `${live.alerts.alerts} active in ${plural(live.alerts.groups, "group")}, ${plural(live.alerts.silences, "silence")}`,
  });
  if (status.problem) parts.unshift({ name: "Pipeline", state: "bad", text: status.problem });
  return parts;
}

/** Seconds that a rate is taken over at least; exports come mostly every ten to thirty. */
const STRETCH = 30;
function rate(samples: StatusSample[], pick: (s: StatusSample) => number): (number | null)[] {
  let from = 0;
  return samples.map((s, i) => {
    if (i === 0) return null;
    while (from < i - 1 && samples[from + 1]!.time <= s.time - STRETCH) from++;
    const before = samples[from]!;
    return Math.max(0, (pick(s) - pick(before)) / Math.max(0.001, s.time - before.time));
  });
}

export function urgent(anomalies: Anomaly[]): Anomaly[] {
  return anomalies
    .filter((a) => a.state === "firing")
    .sort((a, b) => SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity) || b.score - a.score);
}

const perSecond = (v: number) => `${count(v)}/s`;

export function Overview() {
  const live = useLive();
  const beat = useBeat(10);
  const zone = useZone();
  const { search } = useAddress();
  const range = rangeOf(search);
  const recent = useLoad<StatusSample[]>(query("/api/v1/status/recent", { since: sinceText(range) }), beat);
  const firing = useLoad<Anomaly[]>(query("/api/v1/anomalies", { state: "firing", limit: 50 }), live.anomalies.version);
  const services = useLoad<ServiceSummary[]>("/api/v1/services?strip=no", beat);
  const { status, rates } = live;
  const probes = useLoad<ProbeShown[]>("/api/v1/probes", beat);
  const parts = partsOf(live);
  if (probes.data?.length) {
    const failing = probes.data.filter((p) => p.state === "failing");
    parts.push({
      name: "Probes",
      state: failing.length ? "warn" : "good",
      text: failing.length
        ? `Failing: ${failing
            .map((p) => p.name)
            .slice(0, 3)
            .join(", ")}${failing.length > 3 ? ` and ${failing.length - 3} more` : ""}`
        : `${plural(probes.data.length, "probe")}, all succeed`,
    });
  }
  const bad = parts.some((p) => p.state === "bad");
  const shown = useMemo(
    () => (recent.data ?? []).filter((s) => s.time >= range.start && s.time <= range.end),
    [recent.data, search.get("from"), search.get("to")],
  );
  // The record is as old as the process: a plot begins where it does.
  const start = range.relative && shown[0] ? Math.max(range.start, shown[0].time) : range.start;
  const times = shown.map((s) => s.time);
  const forwards = !!status?.forwarding;
  const throughput: Line[] = useMemo(
    () => [
      { name: "accepted", times, values: rate(shown, (s) => s.accepted), color: 0 },
      { name: "scored", times, values: rate(shown, (s) => s.scored), color: 1 },
      ...(forwards ? [{ name: "forwarded", times, values: rate(shown, (s) => s.forwarded), color: 2 }] : []),
    ],
    [shown, forwards],
  );
  const trouble: Line[] = useMemo(
    () => [{ name: "open anomalies", times, values: shown.map((s) => s.anomalies), color: 3 }],
    [shown],
  );
  const lags: Line[] = useMemo(
    () => [
      { name: "scored p99", times, values: shown.map((s) => s.score_p99), color: 1 },
      ...(forwards ? [{ name: "forwarded p99", times, values: shown.map((s) => s.forward_p99), color: 2 }] : []),
    ],
    [shown, forwards],
  );
  const open = urgent(firing.data ?? []);
  const worst = open[0];
  return (
    <>
      <div class="head">
        <h1>Overview</h1>
        <RangePicker />
      </div>
      <p class={`verdict lead ${bad ? "bad" : open.length ? "warn" : "good"}`} role="status">
        {!live.connected ? (
          "Connecting to the gateway…"
        ) : bad ? (
          parts.find((p) => p.state === "bad")!.text
        ) : open.length ? (
          <>
            {live.anomalies.open} {live.anomalies.open === 1 ? "series is" : "series are"} away from normal
            {worst && (
              <>
                ; first{" "}
                <Link to={["anomalies", worst.id]}>
                  <Breaks text={headline(worst)} />
                </Link>
              </>
            )}
            .
          </>
        ) : (
          "All is well: every part makes progress and no series is away from its normal range."
        )}
      </p>
      <dl class="tiles">
        <Tile
          name="Ingest"
          value={status ? perSecond(rates.accepted) : "–"}
          note={status ? `${count(status.accepted_points)} points in all` : " "}
        />
        <Tile
          name="Active series"
          value={status ? count(status.active_series) : "–"}
          note={services.data ? plural(services.data.length, "service") : " "}
        />
        <Tile
          name="Lag to score"
          value={status ? seconds(status.lag_seconds.score_p99) : "–"}
          note="p99 of 5 minutes"
        />
        <Tile
          name="Open anomalies"
          value={String(live.anomalies.open)}
          tone={open.length ? "warn" : ""}
          note={<Link to={["anomalies"]}>All anomalies</Link>}
        />
        <Tile
          name="Active alerts"
          value={String(live.alerts.alerts)}
          tone={live.alerts.alerts ? "warn" : ""}
          note={<Link to={["alerts"]}>{plural(live.alerts.groups, "group")}</Link>}
        />
      </dl>
      <div class="columns">
        <section class="card room" aria-labelledby="needs">
          <h2 id="needs">Needs a person first</h2>
          <State of={firing} what="anomalies">
            {() =>
              open.length === 0 ? (
                <Empty>
                  <p>Nothing. What deviates from its own past appears here within seconds.</p>
                </Empty>
              ) : (
                <ul class="rows">
                  {open.slice(0, 8).map((a) => (
                    <li key={a.id}>
                      <Link to={["anomalies", a.id]}>
                        <Badge severity={a.severity} />
                        <Name labels={tellingLabels(a)} short />
                        <span class="why">
                          <Breaks text={a.reasons[0] ?? ""} />
                        </span>
                        <When time={a.time} />
                      </Link>
                    </li>
                  ))}
                </ul>
              )
            }
          </State>
        </section>
        <section class="card room" aria-labelledby="parts">
          <h2 id="parts">Health of each part</h2>
          <ul class="parts">
            {parts.map((p) => (
              <li key={p.name}>
                <span class={`dot ${p.state}`} role="img" aria-label={p.state} />
                <b>{p.name}</b>
                <span>{p.text}</span>
              </li>
            ))}
          </ul>
        </section>
      </div>
      <section class="card room plot" aria-labelledby="pps">
        <h2 id="pps">Points a second</h2>
        <State of={recent} what="the last hours">
          {() =>
            shown.length < 3 ? (
              <Empty>
                <p>The record begins when the gateway starts; a first line appears after some seconds.</p>
              </Empty>
            ) : (
              <>
                <Chart
                  lines={throughput}
                  start={start}
                  end={range.end}
                  zone={zone}
                  format={perSecond}
                  height={200}
                  label="Points accepted, scored and forwarded a second"
                  sync="overview"
                  onZoom={zoom}
                />
                <Legend lines={throughput} />
              </>
            )
          }
        </State>
      </section>
      {shown.length >= 3 && (
        <div class="columns">
          <Card title="Open anomalies">
            <Chart
              lines={trouble}
              start={start}
              end={range.end}
              zone={zone}
              format={count}
              height={150}
              label="Open anomalies over time"
              sync="overview"
              onZoom={zoom}
            />
          </Card>
          <Card title="Lag">
            <Chart
              lines={lags}
              start={start}
              end={range.end}
              zone={zone}
              format={seconds}
              fromZero
              height={150}
              label="Lag to score and to forward, p99"
              sync="overview"
              onZoom={zoom}
            />
            <Legend lines={lags} />
          </Card>
        </div>
      )}
    </>
  );
}
