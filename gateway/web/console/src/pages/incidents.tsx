import { useState } from "preact/hooks";
import { oneOf, update, useAddress } from "../address";
import { ApiError, query, send } from "../api";
import { clockTime, plural } from "../format";
import { useName, YourName } from "../fields";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Card, Empty, Link, State, Tabs, useTitle, When } from "../parts";
import { Table } from "../table";
import { useZone } from "../time";
import { ALERT_TABS } from "./alerts";

interface Cause {
  fingerprint: string;
  name: string;
  service: string;
  score?: number;
  reasons?: string[];
}
interface Incident {
  id: string;
  state: string;
  title: string;
  openedAt: string;
  changedAt: string;
  severity: string;
  total: number;
  active: number;
  places: string[];
  likelyCause: Cause | null;
}
interface Member {
  fingerprint: string;
  name: string;
  service: string;
  host: string;
  severity: string;
  summary: string;
  state: string;
  startsAt: string;
  why: string[];
}
interface Detail extends Incident {
  alerts: Member[];
  likelyCauses: Cause[];
  calls: { caller: string; callee: string }[];
}

const causeOf = ({ likelyCause: c }: Incident): string => (c ? `${c.name}${c.service ? ` of ${c.service}` : ""}` : "");

/** Alerts that probably have one cause, as one thing. */
export function IncidentsPage() {
  const live = useLive();
  const { search } = useAddress();
  const state = oneOf(search, "state", ["open", "closed", "all"]) || "open";
  const found = useLoad<Incident[]>(
    query("/api/v1/incident-groups", { state, limit: 500 }),
    `${live.alerts.version} ${useBeat(10)}`,
  );
  return (
    <>
      <div class="head">
        <h1>Incidents</h1>
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="incidents" />
      <section class="card" aria-label="Incident groups">
        <State of={found} what="incidents">
          {(all) => (
            <Table<Incident>
              id="inc"
              label="Incidents"
              rows={all}
              filter="service or cause"
              rowKey={(g) => g.id}
              empty={
                <p>
                  None. Alerts that begin together, or in services that call each other, are gathered here with their
                  likely cause.
                </p>
              }
              columns={[
                {
                  key: "what",
                  name: "Likely cause",
                  value: (g) => g.likelyCause?.name ?? g.id,
                  show: (g) => (
                    <Link to={["incidents", g.id]}>
                      <Breaks text={causeOf(g) || "not known yet"} />
                    </Link>
                  ),
                  breaks: true,
                },
                {
                  key: "sev",
                  name: "Severity",
                  value: (g) => g.severity,
                  show: (g) => <Badge severity={g.severity || "none"} />,
                },
                {
                  key: "n",
                  name: "Alerts",
                  value: (g) => g.total,
                  show: (g) => (
                    <>
                      {g.total} <small>{g.active} active</small>
                    </>
                  ),
                  number: true,
                },
                {
                  key: "open",
                  name: "Opened",
                  value: (g) => g.openedAt,
                  show: (g) => <When time={Date.parse(g.openedAt) / 1000} />,
                },
                { key: "where", name: "Where", value: (g) => g.places.join(", "), breaks: true },
                { key: "state", name: "State", value: (g) => g.state },
              ]}
            >
              <label>
                State{" "}
                <select
                  value={state}
                  onChange={(e) =>
                    update({ state: e.currentTarget.value === "open" ? undefined : e.currentTarget.value })
                  }
                >
                  <option value="open">open</option>
                  <option value="closed">closed</option>
                  <option value="all">all</option>
                </select>
              </label>
            </Table>
          )}
        </State>
      </section>
    </>
  );
}

export function IncidentPage({ id }: { id: string }) {
  const live = useLive();
  const zone = useZone();
  const [by, name] = useName();
  const [out, choose] = useState<string[]>([]);
  const [said, say] = useState("");
  const path = `/api/v1/incident-groups/${encodeURIComponent(id)}`;
  const found = useLoad<Detail>(path, `${live.alerts.version} ${useBeat(10)}`);
  useTitle(found.data ? `${causeOf(found.data) || "Incident"} – Incidents` : undefined);
  const act = (verb: string, body: object, words: string) => {
    if (!by.trim()) {
      say("Say who you are first.");
      return;
    }
    send("POST", `${path}/${verb}`, { by, ...body }).then(
      () => {
        say(words);
        choose([]);
        found.again();
      },
      (e: ApiError) => say(e.message),
    );
  };
  return (
    <State of={found} what="the incident">
      {(g) => {
        const { likelyCauses: causes, alerts: members } = g;
        return (
          <>
            <div class="head">
              <h1>
                <Badge severity={g.severity || "none"} /> <Breaks text={causeOf(g) || "Incident"} />
              </h1>
            </div>
            <p class={`verdict ${g.state === "open" ? "warn" : "good"}`}>
              {g.title && (
                <>
                  <Breaks text={g.title} />.{" "}
                </>
              )}
              It is {g.state}: {plural(g.total, "alert")}, {g.active} active
              {g.places.length > 0 && (
                <>
                  {" "}
                  in <Breaks text={g.places.join(", ")} />
                </>
              )}
              .
            </p>
            <Card title="Likely causes">
              {causes.length === 0 ? (
                <Empty>
                  <p>Nothing stands out yet.</p>
                </Empty>
              ) : (
                <ol class="rows">
                  {causes.map((c) => (
                    <li key={c.fingerprint}>
                      <Link to={["alerts", c.fingerprint]}>
                        <b>
                          <Breaks text={c.name} />
                        </b>
                        <span>
                          <Breaks text={c.service} />
                        </span>
                        <span class="why">{(c.reasons ?? []).join("; ")}</span>
                      </Link>
                    </li>
                  ))}
                </ol>
              )}
            </Card>
            <Card title="Its alerts, in order of onset">
              <Table<Member>
                id="mem"
                label="Alerts of the incident"
                rows={members}
                first="start"
                filter={members.length > 8 ? "name, service or reason" : undefined}
                rowKey={(m) => m.fingerprint}
                empty={<p>None.</p>}
                columns={[
                  {
                    key: "name",
                    name: "Alert",
                    value: (m) => m.name,
                    show: (m) => (
                      <Link to={["alerts", m.fingerprint]}>
                        <Breaks text={m.name} />
                      </Link>
                    ),
                    breaks: true,
                  },
                  {
                    key: "sev",
                    name: "Severity",
                    value: (m) => m.severity,
                    show: (m) => <Badge severity={m.severity || "none"} />,
                  },
                  { key: "svc", name: "Service", value: (m) => m.service || m.host },
                  {
                    key: "start",
                    name: "Began",
                    value: (m) => m.startsAt,
                    show: (m) => clockTime(Date.parse(m.startsAt) / 1000, zone, true),
                  },
                  { key: "state", name: "State", value: (m) => m.state },
                  { key: "why", name: "Why it belongs here", value: (m) => m.why.join("; "), breaks: true },
                  {
                    key: "out",
                    name: "Take out",
                    value: () => null,
                    show: (m) => (
                      <input
                        type="checkbox"
                        aria-label={`Take ${m.name} of ${m.service || m.host} out`}
                        checked={out.includes(m.fingerprint)}
                        onChange={(e) =>
                          choose(
                            e.currentTarget.checked ? [...out, m.fingerprint] : out.filter((f) => f !== m.fingerprint),
                          )
                        }
                      />
                    ),
                  },
                ]}
              />
              <div class="tools">
                <YourName name={by} change={name} />
                <button
                  type="button"
                  disabled={!out.length}
                  onClick={() => act("split", { fingerprints: out }, "Taken out.")}
                >
                  Take {out.length || ""} out
                </button>
                <button type="button" onClick={() => act("undo", {}, "Taken back.")}>
                  Take the last change back
                </button>
                <span role="status">{said}</span>
              </div>
            </Card>
            <p class="rest">
              Opened <When time={Date.parse(g.openedAt) / 1000} />, changed{" "}
              <When time={Date.parse(g.changedAt) / 1000} />
              {g.calls.length > 0 && <>; calls: {g.calls.map((c) => `${c.caller} → ${c.callee}`).join(", ")}</>}
            </p>
          </>
        );
      }}
    </State>
  );
}
