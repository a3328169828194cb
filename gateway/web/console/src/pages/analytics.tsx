import { useMemo } from "preact/hooks";
import { update, useAddress } from "../address";
import { query } from "../api";
import { Chart, Legend } from "../chart";
import { count, percent, plural, seconds } from "../format";
import { useLoad } from "../load";
import { Card, Empty, Link, State, Tabs, Tile } from "../parts";
import type { Line } from "../plot_data";
import { type Column, Table } from "../table";
import { useZone } from "../time";
import type { AnalyticsRow, AnalyticsShown, Tally } from "../types";
import { ALERT_TABS } from "./alerts";

const SPANS: [string, string][] = [
  ["-1d", "1 day"],
  ["-7d", "7 days"],
  ["-30d", "30 days"],
  ["-90d", "90 days"],
];
const DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const share = (t: Tally): string => (t.noise.share === null ? "not known" : percent(t.noise.share));

const ROWS: Column<AnalyticsRow>[] = [
  {
    key: "name",
    name: "Name",
    value: (r) => r.name,
    show: (r) => r.name || <span class="rest">none</span>,
    breaks: true,
  },
  { key: "alerts", name: "Alerts", value: (r) => r.tally.alerts, number: true },
  { key: "told", name: "Notifications", value: (r) => r.notifications, number: true },
  { key: "noise", name: "Noise", value: (r) => r.tally.noise.share, show: (r) => share(r.tally), number: true },
  { key: "brief", name: "Under 5 min", value: (r) => r.tally.brief, number: true },
  {
    key: "ack",
    name: "To acknowledge",
    value: (r) => r.tally.to_acknowledge?.p50 ?? null,
    show: (r) => (r.tally.to_acknowledge ? seconds(r.tally.to_acknowledge.p50) : "–"),
    number: true,
  },
  {
    key: "res",
    name: "To resolve",
    value: (r) => r.tally.to_resolve?.p50 ?? null,
    show: (r) => (r.tally.to_resolve ? seconds(r.tally.to_resolve.p50) : "–"),
    number: true,
  },
];

export function AnalyticsPage() {
  const { search } = useAddress();
  const zone = useZone();
  const span = search.get("span") ?? "-7d";
  const timezone = zone === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone;
  const found = useLoad<AnalyticsShown>(query("/api/v1/alerting/analytics", { from: span, timezone }));
  return (
    <>
      <div class="head">
        <h1>Alerting analytics</h1>
        <div class="range">
          <label>
            <span class="hidden">Span</span>
            <select
              value={span}
              onChange={(e) => update({ span: e.currentTarget.value === "-7d" ? undefined : e.currentTarget.value })}
            >
              {SPANS.map(([v, t]) => (
                <option key={v} value={v}>
                  Last {t}
                </option>
              ))}
            </select>
          </label>
          <a href={query("/api/v1/alerting/report", { from: span, timezone, format: "html" })}>Report</a>
        </div>
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="analytics" />
      <State of={found} what="the record of alerting">
        {(a) => <Analytics a={a} zone={zone} />}
      </State>
    </>
  );
}

function Analytics({ a, zone }: { a: AnalyticsShown; zone: "utc" | "local" }) {
  const { total: t } = a;
  const start = Date.parse(a.start) / 1000,
    end = Date.parse(a.end) / 1000;
  const lines: Line[] = useMemo(() => {
    const times = a.over_time.map((b) => Date.parse(b.start) / 1000);
    return [
      { name: "alerts", times, values: a.over_time.map((b) => b.tally.alerts), color: 1 },
      { name: "notifications", times, values: a.over_time.map((b) => b.notifications), color: 0 },
    ];
  }, [a]);
  if (!t.alerts && !a.notifications)
    return (
      <Empty>
        <p>Nothing fired in this span. A longer one may show something.</p>
      </Empty>
    );
  const night = a.receivers.reduce((n, r) => n + r.at_night, 0);
  return (
    <>
      <dl class="tiles">
        <Tile name="Alerts" value={count(t.alerts)} note={`${count(a.notifications)} notifications`} />
        <Tile
          name="Noise"
          value={t.noise.share === null ? "not known" : percent(t.noise.share)}
          note={
            t.noise.share === null
              ? "nobody acted here"
              : `${t.noise.nobody_acted} of ${t.noise.told_and_ended} told and ended`
          }
        />
        <Tile
          name="To acknowledge"
          value={t.to_acknowledge ? seconds(t.to_acknowledge.p50) : "–"}
          note={
            t.to_acknowledge
              ? `p90 ${seconds(t.to_acknowledge.p90)}, ${t.to_acknowledge.count} times`
              : "nothing acknowledged"
          }
        />
        <Tile
          name="To resolve"
          value={t.to_resolve ? seconds(t.to_resolve.p50) : "–"}
          note={t.to_resolve ? `p90 ${seconds(t.to_resolve.p90)}` : "nothing ended"}
        />
        <Tile name="At night" value={count(night)} note="notifications, 22 to 7 o'clock" tone={night ? "warn" : ""} />
      </dl>
      <Card title="Over time" note={<>each {seconds(a.step_seconds)}</>}>
        <Chart
          lines={lines}
          start={start}
          end={end}
          zone={zone}
          format={count}
          height={170}
          label="Alerts and notifications over time"
        />
        <Legend lines={lines} />
      </Card>
      <Card title="Busiest hours" note={<>alerts that began, by weekday and hour, {a.timezone}</>}>
        <Heat grid={a.by_weekday_and_hour} />
      </Card>
      <Card title="Who is told, and at night">
        <Table
          id="rc"
          label="Receivers"
          rows={a.receivers}
          rowKey={(r) => r.integration}
          first="-night"
          empty={<p>No notification was delivered in this span.</p>}
          columns={[
            { key: "to", name: "Receiver", value: (r) => r.integration, breaks: true },
            { key: "n", name: "Delivered", value: (r) => r.delivered, number: true },
            {
              key: "night",
              name: "At night",
              value: (r) => r.at_night,
              show: (r) => (
                <>
                  {r.at_night}
                  {r.delivered > 0 && <small> {percent(r.at_night / r.delivered)}</small>}
                </>
              ),
              number: true,
            },
            { key: "fail", name: "Failed attempts", value: (r) => r.failed_attempts, number: true },
            { key: "ref", name: "Refused", value: (r) => r.refused, number: true },
            {
              key: "lag",
              name: "Lag p90",
              value: (r) => r.lag?.p90 ?? null,
              show: (r) => (r.lag ? seconds(r.lag.p90) : "–"),
              number: true,
            },
          ]}
        />
      </Card>
      {(
        [
          ["Services", a.services, "sv"],
          ["Rules", a.rules, "ru"],
          ["Teams", a.teams, "te"],
        ] as [string, AnalyticsRow[], string][]
      ).map(([name, rows, id]) => (
        <section class="card" key={id} aria-labelledby={id}>
          <h2 id={id}>{name}</h2>
          <Table
            id={id}
            label={name}
            rows={rows}
            columns={ROWS}
            rowKey={(r) => r.name}
            page={10}
            first="-alerts"
            empty={<p>None.</p>}
          />
        </section>
      ))}
      <Card title="Fired most often">
        <ul class="rows">
          {a.loudest.map((l) => (
            <li key={l.fingerprint}>
              <Link to={["alerts", l.fingerprint]}>
                <b>{l.labels.metric ?? l.labels.alertname}</b>
                <span class="why">{l.labels.service ?? ""}</span>
                <span>{plural(l.alerts, "time")}</span>
              </Link>
            </li>
          ))}
        </ul>
      </Card>
    </>
  );
}

function Heat({ grid }: { grid: number[][] }) {
  const most = Math.max(1, ...grid.flat());
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Alerts by weekday and hour">
      <table class="heat">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">Day</span>
            </th>
            {Array.from({ length: 24 }, (_, h) => (
              <th key={h} scope="col">
                {h}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {grid.map((row, d) => (
            <tr key={d}>
              <th scope="row">{DAYS[d]}</th>
              {row.map((n, h) => (
                <td key={h} class={n ? `heat${Math.ceil((n / most) * 5)}` : ""}>
                  {n || ""}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
