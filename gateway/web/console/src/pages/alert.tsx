import { useState } from "preact/hooks";
import { nameOf, summaryOf } from "../alert";
import { ApiError, send } from "../api";
import { clockTime, seconds } from "../format";
import { useName, YourName } from "../fields";
import { useLive } from "../live";
import { useLoad } from "../load";
import { Badge, Breaks, Card, Empty, LabelChips, Link, State, useTitle, When } from "../parts";
import { useZone } from "../time";
import type { EscalationShown, Explanation } from "../types";

const HIDDEN = new Set([
  "time",
  "event",
  "labels",
  "annotations",
  "generator_url",
  "group",
  "id",
  "firing_count",
  "resolved_count",
]);

const at = (text: string | null, zone: "utc" | "local"): string =>
  text ? clockTime(Date.parse(text) / 1000, zone, true) : "never";

/** A detail of an event for people: moments by the clock, lags with their unit. */
const told = (key: string, v: unknown, zone: "utc" | "local"): string =>
  typeof v === "string" && /^\d{4}-\d\d-\d\dT/.test(v)
    ? clockTime(Date.parse(v) / 1000, zone)
    : key === "lag" && typeof v === "number"
      ? seconds(v)
      : Array.isArray(v)
        ? v.join(", ")
        : typeof v === "object"
          ? JSON.stringify(v)
          : String(v);

function labelsOf(e: Explanation | null): Record<string, string> {
  return e?.now?.labels ?? (e?.history.find((one) => one.labels)?.labels as Record<string, string> | undefined) ?? {};
}

/** One alert: what people do about it, and why it was told or not. */
export function AlertPage({ fingerprint }: { fingerprint: string }) {
  const live = useLive();
  const zone = useZone();
  const path = `/api/v1/alerts/${encodeURIComponent(fingerprint)}`;
  const found = useLoad<Explanation>(`${path}/explain`, live.alerts.version);
  const escalations = useLoad<EscalationShown[]>(`${path}/escalation`, live.alerts.version);
  const labels = labelsOf(found.data);
  useTitle(found.data ? `${nameOf(labels)} – Alerts` : undefined);
  return (
    <State of={found} what="the alert">
      {({ now, history }) => {
        const incident = history.findLast((e) => typeof e.incident_group === "string")?.incident_group as
          | string
          | undefined;
        const notes = now?.annotations ?? {};
        return (
          <>
            <div class="head">
              <h1>
                <Badge severity={labels.severity ?? "none"} />{" "}
                <span>
                  <Breaks text={nameOf(labels)} />
                  {labels.service && (
                    <small>
                      {" "}
                      of <Breaks text={labels.service} />
                    </small>
                  )}
                </span>
              </h1>
            </div>
            <section class="card" aria-label="The alert">
              <p class="reasons">
                <Breaks text={summaryOf(labels, notes)} />
              </p>
              {(notes.reasons ?? notes.description) && (
                <p class="why">
                  <Breaks text={notes.reasons ?? notes.description ?? ""} />
                </p>
              )}
              <dl class="facts">
                <div>
                  <dt>State</dt>
                  <dd>
                    {now ? now.state : "ended"}
                    {now?.silencedBy.length ? ", silenced" : ""}
                    {now?.inhibitedBy.length ? ", inhibited" : ""}
                  </dd>
                </div>
                {now && (
                  <div>
                    <dt>Since</dt>
                    <dd>
                      {at(now.startsAt, zone)}{" "}
                      <small>
                        <When time={Date.parse(now.startsAt) / 1000} long />
                      </small>
                    </dd>
                  </div>
                )}
                <div>
                  <dt>Acknowledged</dt>
                  <dd>{now?.acknowledgedBy ? `by ${now.acknowledgedBy}` : "by nobody"}</dd>
                </div>
                {now?.snoozedUntil && (
                  <div>
                    <dt>Snoozed until</dt>
                    <dd>{at(now.snoozedUntil, zone)}</dd>
                  </div>
                )}
              </dl>
              <LabelChips labels={Object.entries(labels)} />
              {now && (
                <Actions
                  path={path}
                  acknowledged={!!now.acknowledgedBy}
                  snoozed={!!now.snoozedUntil}
                  done={() => {
                    found.again();
                    escalations.again();
                  }}
                />
              )}
              <p class="actions">
                {notes.anomaly_id && <Link to={["anomalies", notes.anomaly_id]}>Show the anomaly</Link>}
                {incident && <Link to={["incidents", incident]}>Show the incident</Link>}
                <Link
                  to={["alerts"]}
                  search={{
                    silence: JSON.stringify(
                      Object.fromEntries(
                        Object.entries(labels).filter(([k]) => ["alertname", "service", "metric"].includes(k)),
                      ),
                    ),
                  }}
                >
                  Silence alerts like this
                </Link>
              </p>
            </section>
            {escalations.data?.map((e) => (
              <Escalation key={e.policy + e.receiver} escalation={e} zone={zone} />
            ))}
            {now && (
              <Card title="Who is told, and why">
                {now.routes.length === 0 ? (
                  <Empty>
                    <p>No route takes this alert.</p>
                  </Empty>
                ) : (
                  <ul class="timeline">
                    {now.routes.map((r) => (
                      <li key={r.route + r.receiver}>
                        <b>{r.receiver}</b>
                        <span>{r.members} in its group</span>
                        <span>
                          {r.verdict}. {r.route === "{}" ? "The first route" : `Route ${r.route}`}; last looked at{" "}
                          {at(r.lastFlush, zone)}, next {at(r.nextFlush, zone)}
                          {r.mutedAtLastFlush ? `; muted: ${r.mutedAtLastFlush}` : ""}.
                        </span>
                      </li>
                    ))}
                  </ul>
                )}
              </Card>
            )}
            <Card title="What happened">
              {history.length === 0 ? (
                <Empty>
                  <p>Nothing is recorded yet.</p>
                </Empty>
              ) : (
                <ol class="timeline">
                  {history.map((e, i) => (
                    <li key={i}>
                      <time dateTime={e.time}>{at(e.time, zone)}</time>
                      <b>{e.event.replaceAll("_", " ")}</b>
                      <span>
                        {Object.entries(e)
                          .filter(([k, v]) => !HIDDEN.has(k) && v !== "" && v !== null)
                          .map(([k, v]) => `${k.replaceAll("_", " ")}: ${told(k, v, zone)}`)
                          .join("; ")}
                      </span>
                    </li>
                  ))}
                </ol>
              )}
            </Card>
          </>
        );
      }}
    </State>
  );
}

const STEP = { told: "told", next: "comes next", later: "after that", dropped: "not needed" };

/** Who is told when, as long as nobody acknowledges. */
function Escalation({ escalation: e, zone }: { escalation: EscalationShown; zone: "utc" | "local" }) {
  return (
    <section class="card" aria-label={`Escalation ${e.policy}`}>
      <h2>
        Escalation “{e.policy}”{" "}
        <small>
          began {at(e.began, zone)}
          {e.stopped ? `, stopped: ${e.stopped}` : ""}
        </small>
      </h2>
      <ol class="timeline steps">
        {e.steps.map((s) => (
          <li key={`${s.round}.${s.step}`} class={s.state}>
            <time dateTime={s.due}>{at(s.due, zone)}</time>
            <b>{STEP[s.state]}</b>
            <span>
              {s.targets.join(", ")}
              {s.round > 1 ? `, round ${s.round}` : ""}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Actions({
  path,
  acknowledged,
  snoozed,
  done,
}: {
  path: string;
  acknowledged: boolean;
  snoozed: boolean;
  done: () => void;
}) {
  const [by, name] = useName();
  const [note, write] = useState("");
  const [length, long] = useState("1h");
  const [said, say] = useState("");
  const act = (verb: string, body: Record<string, string>, words: string) => {
    if (!by.trim()) {
      say("Say who you are first.");
      return;
    }
    send("POST", `${path}/${verb}`, { by, ...body }).then(
      () => {
        say(words);
        write("");
        done();
      },
      (e: ApiError) => say(e.message),
    );
  };
  return (
    <div class="form">
      <div class="tools">
        <YourName name={by} change={name} />
        <label>
          Note <input value={note} onInput={(e) => write(e.currentTarget.value)} />
        </label>
      </div>
      <div class="tools">
        {acknowledged ? (
          <button type="button" onClick={() => act("unacknowledge", {}, "Taken back.")}>
            Take the acknowledgement back
          </button>
        ) : (
          <button type="button" class="primary" onClick={() => act("acknowledge", { note }, "Acknowledged.")}>
            Acknowledge
          </button>
        )}
        <label>
          Snooze for{" "}
          <select value={length} onChange={(e) => long(e.currentTarget.value)}>
            {["15m", "1h", "4h", "24h"].map((l) => (
              <option key={l}>{l}</option>
            ))}
          </select>
        </label>
        <button type="button" onClick={() => act("snooze", { duration: length, note }, `Snoozed for ${length}.`)}>
          Snooze
        </button>
        {snoozed && (
          <button type="button" onClick={() => act("unsnooze", {}, "The snooze has ended.")}>
            End the snooze
          </button>
        )}
        <button type="button" disabled={!note} onClick={() => act("comments", { text: note }, "Noted.")}>
          Add the note
        </button>
        <button type="button" onClick={() => act("resolve", { note }, "Resolved.")}>
          Resolve
        </button>
        <span role="status">{said}</span>
      </div>
    </div>
  );
}
