import { useState } from "preact/hooks";
import { oneOf, update, useAddress } from "../address";
import { nameOf, summaryOf } from "../alert";
import { query } from "../api";
import { clockTime, plural, seconds } from "../format";
import { Containing } from "../fields";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Card, Empty, LabelChips, Link, More, Problem, State, Tabs, When } from "../parts";
import { Table } from "../table";
import { useZone } from "../time";
import type { AlertList, Deliveries, ListedAlert, ListedGroup, Silence } from "../types";
import { SilenceForm, SilenceRow } from "./silences";

export const ALERT_TABS: [string, string][] = [
  ["alerts", "Active"],
  ["incidents", "Incidents"],
  ["suppressed", "Not told"],
  ["maintenance", "Maintenance"],
  ["oncall", "On call"],
  ["analytics", "Analytics"],
];
const OWN = new Set(["alertname", "service", "severity", "metric"]);

const STATES: [string, string][] = [
  ["", "all"],
  ["active", "told"],
  ["suppressed", "not told"],
  ["unacknowledged", "not acknowledged"],
  ["acknowledged", "acknowledged"],
];
const EACH = 5;

export function Alerts() {
  const live = useLive();
  const beat = useBeat(10);
  const { search } = useAddress();
  const [pages, turn] = useState(1);
  const filter = {
    q: search.get("q") ?? "",
    state: oneOf(
      search,
      "state",
      STATES.map(([value]) => value),
    ),
  };
  const changes = `${live.alerts.version} ${beat}`;
  const groups = useLoad<AlertList>(
    query("/api/v1/alerts/groups", { ...filter, limit: 20 * pages, each: EACH }),
    changes,
  );
  const silences = useLoad<Silence[]>("/api/v2/silences", live.alerts.version);
  const silencing = search.get("silence");
  const close = () => {
    update({ silence: undefined });
    groups.again();
    silences.again();
  };
  return (
    <>
      <div class="head">
        <h1>Alerts</h1>
        {silencing === null && (
          <button type="button" onClick={() => update({ silence: "{}" })}>
            New silence
          </button>
        )}
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="alerts" />
      {silencing !== null && <SilenceForm key={silencing} given={silencing} done={close} />}
      <div class="tools">
        <Containing hint="any label or text" changed={() => turn(1)} />
        <label>
          State{" "}
          <select value={filter.state} onChange={(e) => update({ state: e.currentTarget.value || undefined })}>
            {STATES.map(([v, text]) => (
              <option key={v} value={v}>
                {text}
              </option>
            ))}
          </select>
        </label>
        {groups.data && (
          <span class="rest" role="status">
            {plural(groups.data.alerts, "alert")} in {plural(groups.data.total, "group")}
          </span>
        )}
      </div>
      <State of={groups} what="alerts">
        {(found) =>
          found.groups.length === 0 ? (
            <Empty>
              <p>
                {filter.q || filter.state
                  ? "No alert fits. Fewer words, or another state, may show some."
                  : "No alert is active. What leaves its normal range, and what Prometheus or others post to /api/v2/alerts, appears here."}
              </p>
            </Empty>
          ) : (
            <>
              {found.groups.map((g) => (
                <Group key={g.id} group={g} filter={filter} changes={changes} />
              ))}
              <More shown={found.groups.length} total={found.total} more={() => turn(pages + 1)} />
            </>
          )
        }
      </State>
      {/* What stands below waits for what is above, so that nothing moves under a reader. */}
      {(groups.data ?? groups.error) && (
        <>
          <Card title="Silences">
            <State of={silences} what="silences">
              {(all) => {
                const list = all.filter((s) => s.status.state !== "expired");
                return list.length === 0 ? (
                  <Empty>
                    <p>None. A silence keeps matching alerts from notifying for a while; the alerts stay visible.</p>
                  </Empty>
                ) : (
                  <ul>
                    {list.map((s) => (
                      <SilenceRow
                        key={s.id}
                        silence={s}
                        done={() => {
                          silences.again();
                          groups.again();
                        }}
                      />
                    ))}
                  </ul>
                );
              }}
            </State>
          </Card>
          {(silences.data ?? silences.error) && <Delivery version={live.alerts.version} />}
        </>
      )}
    </>
  );
}

type Recent = Deliveries["recent"][number];

function Delivery({ version }: { version: number }) {
  const beat = useBeat(5);
  const zone = useZone();
  const found = useLoad<Deliveries>("/api/v1/notifications?limit=200", `${version} ${beat}`);
  return (
    <Card title="Notifications">
      <State of={found} what="notifications">
        {({ pending, recent }) => (
          <>
            {pending.length > 0 && (
              <ul class="rows">
                {pending.slice(0, 20).map((p) => (
                  <li key={p.id}>
                    {p.integration}: waiting {seconds(p.lagSeconds)},{" "}
                    {p.attempts
                      ? `${plural(p.attempts, "attempt")}, ${p.lastError}; again at ${clockTime(Date.parse(p.nextAttempt) / 1000, zone)}`
                      : "on its way"}
                  </li>
                ))}
              </ul>
            )}
            <Table<Recent>
              id="sent"
              label="Notifications"
              rows={recent}
              page={10}
              filter={recent.length > 10 ? "receiver or group" : undefined}
              rowKey={(r, i) => `${r.time} ${i}`}
              empty={
                <p>
                  None was sent and none is waiting. Receivers are set in alerting.config_file, or one webhook in
                  alerting.webhook_url.
                </p>
              }
              columns={[
                {
                  key: "time",
                  name: "When",
                  value: (r) => r.time,
                  show: (r) => clockTime(Date.parse(r.time) / 1000, zone),
                },
                { key: "to", name: "To", value: (r) => String(r.integration ?? "") },
                { key: "state", name: "State", value: (r) => r.event.replaceAll("_", " ") },
                {
                  key: "about",
                  name: "About",
                  value: (r) => /\{([^{}]*)\}$/.exec(r.group)?.[1] || r.group,
                  show: (r) => <Breaks text={/\{([^{}]*)\}$/.exec(r.group)?.[1] || r.group} />,
                  breaks: true,
                },
                {
                  key: "lag",
                  name: "Took",
                  value: (r) => (typeof r.lag === "number" ? r.lag : null),
                  show: (r) => (typeof r.lag === "number" ? seconds(r.lag) : ""),
                  number: true,
                },
              ]}
            />
          </>
        )}
      </State>
    </Card>
  );
}

function Group({
  group: g,
  filter,
  changes,
}: {
  group: ListedGroup;
  filter: { q: string; state: string };
  changes: string;
}) {
  const [wanted, want] = useState(EACH);
  const whole = useLoad<AlertList>(
    wanted > EACH ? query("/api/v1/alerts/groups", { ...filter, group: g.id, each: wanted }) : "",
    changes,
  );
  const alerts = whole.data?.groups[0]?.alerts ?? g.alerts;
  const name =
    Object.entries(g.labels)
      .map(([k, v]) => (k === "alertname" ? v : `${k} ${v}`))
      .join(", ") || "All alerts";
  return (
    <section class="card" aria-label={name}>
      <h2>
        <Breaks text={name} />{" "}
        <small>
          {plural(g.total, "alert")}, to <Breaks text={g.receiver} />, <When time={Date.parse(g.started) / 1000} long />
        </small>
      </h2>
      {alerts.map((a) => (
        <AlertRow key={a.fingerprint} alert={a} />
      ))}
      <Problem text={whole.error} />
      {wanted < 200 && <More shown={alerts.length} total={g.total} more={() => want(Math.min(200, wanted * 4))} />}
      {wanted >= 200 && g.total > 200 && <p class="state">{g.total - 200} more; the field above narrows.</p>}
    </section>
  );
}

const why = (a: ListedAlert): string =>
  a.acknowledgedBy
    ? `acknowledged by ${a.acknowledgedBy}`
    : a.silencedBy.length
      ? "silenced"
      : a.inhibitedBy.length
        ? "inhibited by another alert"
        : a.muted;

function AlertRow({ alert: a }: { alert: ListedAlert }) {
  const { severity = "none" } = a.labels;
  const rest = Object.entries(a.labels).filter(([k]) => !OWN.has(k));
  const anomaly = a.annotations.anomaly_id;
  const matchers = Object.fromEntries(
    Object.entries(a.labels).filter(([k]) => k === "alertname" || k === "service" || k === "metric"),
  );
  return (
    <article class={`alert ${a.state}`}>
      <p>
        <Badge severity={severity} />{" "}
        <b>
          <Breaks text={nameOf(a.labels)} />
        </b>{" "}
        <Breaks text={summaryOf(a.labels, a.annotations)} /> <When time={Date.parse(a.startsAt) / 1000} long />
        {why(a) && <b> {why(a)}</b>}
        {a.snoozedUntil && <b> snoozed</b>}
      </p>
      {(a.annotations.reasons || a.annotations.description) && (
        <p class="why">
          <Breaks text={a.annotations.reasons ?? a.annotations.description ?? ""} />
        </p>
      )}
      <LabelChips labels={rest} />
      <p class="actions">
        <Link to={["alerts", a.fingerprint]}>Act and explain</Link>
        {anomaly && <Link to={["anomalies", anomaly]}>Show the anomaly</Link>}
        {!anomaly && a.generatorURL && /^https?:/.test(a.generatorURL) && (
          <a href={a.generatorURL} rel="noreferrer">
            Source
          </a>
        )}
        <Link to={["alerts"]} search={{ silence: JSON.stringify(matchers) }}>
          Silence
        </Link>
      </p>
    </article>
  );
}
