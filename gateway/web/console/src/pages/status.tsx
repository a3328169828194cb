import type { ComponentChildren } from "preact";
import { bytes, count, plural, seconds } from "../format";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Card, Empty, Link, Loading, State, Tabs } from "../parts";
import type { Refusal, Setting, Status } from "../types";

export const STATUS_TABS: [string, string][] = [
  ["status", "Pipeline"],
  ["senders", "Senders"],
  ["configuration", "Configuration"],
];
const WHY: Record<string, string> = {
  late: "older than the newest point of their series",
  repeated: "same time as the newest point of their series",
  skipped: "kinds that have no baseline",
  series_limit: "new series over the limit ingest.max_series",
};

/** Limits of the configuration, with what is used of those that fill up. */
const LIMITS: [string, string, (s: Status) => number | null][] = [
  ["ingest.max_series", "Active series", (s) => s.active_series],
  ["log.max_bytes", "Bytes of the log", (s) => s.log?.bytes ?? null],
  ["ingest.max_request_bytes", "Bytes of a request", () => null],
  ["ingest.max_in_flight_bytes", "Bytes of requests not yet answered", () => null],
  ["ingest.max_connections", "HTTP connections", () => null],
  ["ingest.max_age", "Age of a point", () => null],
  ["ingest.max_future", "Time ahead of a point", () => null],
];
const WHAT = {
  points: "points refused",
  requests: "requests refused",
  tenant: "told to come again, tenant",
  events: "maintenance events refused, sender",
};

/** "64MiB" and "10m" of the configuration as everything else on the page: with a space, and minutes apart from metres. */
const withUnit = (text: string): string =>
  text.replace(/^(\d+)([A-Za-z]+)$/, (_, n: string, unit: string) => `${n} ${unit === "m" ? "min" : unit}`);

/** What was not taken further: rows of what, why, and how often. */
function Reasons({ count, children }: { count: string; children: ComponentChildren }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">What</th>
          <th scope="col">Reason</th>
          <th scope="col" class="number">
            {count}
          </th>
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}

function Limits({ status }: { status: Status }) {
  const beat = useBeat(15);
  const settings = useLoad<Record<string, Record<string, Setting>>>("/api/v1/configuration");
  const refused = useLoad<Refusal[]>("/api/v1/refusals", beat);
  return (
    <Card title="Limits">
      <State of={settings} what="limits">
        {(all) => (
          <table>
            <thead>
              <tr>
                <th scope="col">Limit</th>
                <th scope="col" class="number">
                  Now
                </th>
                <th scope="col" class="number">
                  At most
                </th>
              </tr>
            </thead>
            <tbody>
              {LIMITS.map(([key, name, used]) => {
                const [section, field] = key.split(".") as [string, string];
                const value = all[section]?.[field]?.value,
                  now = used(status);
                const most = typeof value === "number" ? value.toLocaleString() : withUnit(String(value ?? "–"));
                return (
                  <tr key={key}>
                    <th scope="row">
                      {name}{" "}
                      <small>
                        <Link to={["configuration"]} search={{ "set.q": key }}>
                          {key}
                        </Link>
                      </small>
                    </th>
                    <td class="number">
                      {now === null ? "" : key.endsWith("bytes") ? bytes(now) : now.toLocaleString()}
                    </td>
                    <td class="number">{most}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        )}
      </State>
      <h3>Refused since the data plane started</h3>
      <State of={refused} what="refusals">
        {(list) =>
          list.length === 0 ? (
            <Empty>
              <p>
                Nothing. What is over a limit, or cannot be read, is refused with a reason, which its sender is told
                too.
              </p>
            </Empty>
          ) : (
            <Reasons count="Count">
              {list.map((r) => (
                <tr key={r.what + r.by + r.reason}>
                  <th scope="row">
                    {WHAT[r.what]} <small>{r.by.replaceAll("_", " ")}</small>
                  </th>
                  <td>{r.reason.replaceAll("_", " ")}</td>
                  <td class="number">{r.count.toLocaleString()}</td>
                </tr>
              ))}
            </Reasons>
          )
        }
      </State>
    </Card>
  );
}

function Stage({
  name,
  at,
  rate,
  lines,
  tone = "",
}: {
  name: string;
  at: string;
  rate?: string;
  lines: string[];
  tone?: string;
}) {
  return (
    <li class={`stage at-${at} ${tone}`}>
      <b>{name}</b>
      {rate && <span class="big">{rate}</span>}
      {lines.map((l) => (
        <span key={l}>{l}</span>
      ))}
    </li>
  );
}

/** Learning that maintenance windows freeze. */
function Frozen({ of }: { of: NonNullable<Status["frozen_learning"]> }) {
  const facts: [string, string][] = [
    ["Windows that hold", of.windows.toLocaleString()],
    ["Series frozen", of.series.toLocaleString()],
    ["New series, begin anew", of.new_series.toLocaleString()],
    ["Memory", bytes(of.bytes)],
    ["Windows left out, too many", of.windows_left_out.toLocaleString()],
    ["Series that go on learning, too many", of.refused_series.toLocaleString()],
  ];
  return (
    <Card title="Learning in maintenance">
      {of.problem && (
        <p class="verdict bad" role="alert">
          {of.problem}
        </p>
      )}
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

export function StatusPage() {
  const live = useLive();
  const { status, rates } = live;
  const f = status?.forwarding;
  const lost = Object.entries(status?.dropped_points ?? {});
  const unscored = Object.entries(status?.not_scored_points ?? {});
  return (
    <>
      <div class="head">
        <h1>Status</h1>
      </div>
      <Tabs label="Status" pages={STATUS_TABS} here="status" />
      <Card title="Pipeline">
        {!status ? (
          live.connected ? (
            <p class="state failed" role="alert">
              {live.problem || "The data plane has not answered yet."}
            </p>
          ) : (
            <Loading what="status" />
          )
        ) : (
          <>
            {status.problem && (
              <p class="verdict bad" role="alert">
                {status.problem}
              </p>
            )}
            <ol class="pipeline">
              <Stage
                name="Receive"
                at="receive"
                rate={`${count(rates.accepted)}/s`}
                lines={["OTLP and remote write", `${count(status.accepted_points)} accepted`]}
              />
              <Stage
                name="Log"
                at="log"
                rate={status.log ? bytes(status.log.bytes) : undefined}
                lines={[
                  status.log ? `of ${bytes(status.log.limit_bytes)}` : "",
                  `${count(status.active_series)} active series`,
                ]}
              />
              <Stage
                name="Score"
                at="score"
                tone={status.problem ? "bad" : ""}
                rate={`${count(rates.scored)}/s`}
                lines={[
                  `p50 ${seconds(status.lag_seconds.score_p50)}, p99 ${seconds(status.lag_seconds.score_p99)}`,
                  `${count(status.unscored_backlog_points ?? 0)} waiting`,
                ]}
              />
              <Stage
                name="Alert"
                at="alert"
                rate={String(live.alerts.alerts)}
                lines={[
                  plural(live.alerts.groups, "group"),
                  plural(live.anomalies.open, "open anomaly", "open anomalies"),
                ]}
              />
              {f ? (
                <Stage
                  name="Forward"
                  at="forward"
                  tone={f.connected ? "" : "bad"}
                  rate={`${count(rates.forwarded)}/s`}
                  lines={[
                    f.connected
                      ? `p50 ${seconds(status.lag_seconds.forward_p50)}, p99 ${seconds(status.lag_seconds.forward_p99)}`
                      : f.last_error || "not connected",
                    `${count(status.pending_forward_points)} waiting, ${f.encoding}`,
                  ]}
                />
              ) : (
                <Stage
                  name="Forward"
                  at="forward"
                  lines={["No VictoriaMetrics configured", "Set victoriametrics.url"]}
                />
              )}
              {f && (
                <Stage
                  name="VictoriaMetrics"
                  at="store"
                  tone={f.connected ? "" : "bad"}
                  lines={[
                    f.connected ? "takes what is sent" : "does not take data",
                    `${count(f.scores_forwarded)} scores written back`,
                  ]}
                />
              )}
            </ol>
            <dl class="facts">
              <div>
                <dt>Version</dt>
                <dd>{status.version}</dd>
              </div>
              <div>
                <dt>Data plane up for</dt>
                <dd>{seconds(status.uptime_seconds)}</dd>
              </div>
              {f && (
                <div>
                  <dt>Set aside as unacceptable</dt>
                  <dd>{f.dead_letter_blocks} blocks</dd>
                </div>
              )}
            </dl>
          </>
        )}
      </Card>
      {status && (
        <Card title="Dropped and not scored">
          {lost.length + unscored.filter(([, n]) => n > 0).length === 0 ? (
            <Empty>
              <p>Nothing was dropped after it was accepted, and every point was scored.</p>
            </Empty>
          ) : (
            <Reasons count="Points">
              {lost.map(([k, n]) => (
                <tr key={k}>
                  <td>dropped</td>
                  <td>
                    {k.replaceAll("_", " ")}
                    {WHY[k] && <small> {WHY[k]}</small>}
                  </td>
                  <td class="number">{n.toLocaleString()}</td>
                </tr>
              ))}
              {unscored
                .filter(([, n]) => n > 0)
                .map(([k, n]) => (
                  <tr key={`n${k}`}>
                    <td>forwarded, not scored</td>
                    <td>
                      {k}
                      {WHY[k] && <small> {WHY[k]}</small>}
                    </td>
                    <td class="number">{n.toLocaleString()}</td>
                  </tr>
                ))}
            </Reasons>
          )}
        </Card>
      )}
      {status?.frozen_learning && <Frozen of={status.frozen_learning} />}
      {status && <Limits status={status} />}
    </>
  );
}
