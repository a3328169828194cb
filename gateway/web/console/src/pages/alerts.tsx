import { useState } from "preact/hooks";
import { update, useAddress } from "../address";
import { ApiError, request, type Alert, type AlertGroup, type Deliveries, type Explanation, type Matcher, type Silence } from "../api";
import { clockTime, seconds } from "../format";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Empty, Link, State, useSeen, When } from "../parts";
import { useZone } from "../time";

const OWN = new Set(["alertname", "service", "severity", "metric"]);
const quoted = (m: Matcher): string => `${m.name}${m.isEqual ? (m.isRegex ? "=~" : "=") : m.isRegex ? "!~" : "!="}${JSON.stringify(m.value)}`;
const LENGTHS: [number, string][] = [[1800, "30 minutes"], [3600, "1 hour"], [4 * 3600, "4 hours"], [86400, "1 day"], [7 * 86400, "1 week"]];

export function Alerts() {
  const live = useLive();
  const { search } = useAddress();
  const groups = useLoad<AlertGroup[]>("/api/v2/alerts/groups", live.alerts.version);
  const silences = useLoad<Silence[]>("/api/v2/silences", live.alerts.version);
  const words = (search.get("q") ?? "").toLowerCase();
  const silencing = search.get("silence");
  const close = () => { update({ silence: undefined }); groups.again(); silences.again(); };
  return (
    <>
      <div class="head"><h1>Alerts</h1>{silencing === null && <button type="button" onClick={() => update({ silence: "{}" })}>New silence</button>}</div>
      {silencing !== null && <SilenceForm key={silencing} given={silencing} done={close} />}
      <div class="tools"><label>Containing <input type="search" value={search.get("q") ?? ""} onInput={(e) => update({ q: e.currentTarget.value || undefined })} placeholder="any label or text" /></label></div>
      <State of={groups} what="alerts">{(all) => {
        const list = all.map((g) => ({ ...g, alerts: g.alerts.filter((a) => !words || JSON.stringify([a.labels, a.annotations]).toLowerCase().includes(words)) })).filter((g) => g.alerts.length);
        if (!list.length) return <Empty><p>{all.length ? "No alert contains these words." : "No alert is active. What leaves its normal range, and what Prometheus or others post to /api/v2/alerts, appears here."}</p></Empty>;
        return <>{list.map((g) => <Group key={JSON.stringify([g.labels, g.receiver.name])} group={g} />)}</>;
      }}</State>
      <Delivery version={live.alerts.version} />
      <section class="card" aria-labelledby="sil"><h2 id="sil">Silences</h2>
        <State of={silences} what="silences">{(all) => {
          const list = all.filter((s) => s.status.state !== "expired");
          return list.length === 0 ? <Empty><p>None. A silence keeps matching alerts from notifying for a while; the alerts stay visible.</p></Empty>
            : <ul>{list.map((s) => <SilenceRow key={s.id} silence={s} done={() => { silences.again(); groups.again(); }} />)}</ul>;
        }}</State>
      </section>
    </>
  );
}

function Delivery({ version }: { version: number }) {
  const beat = useBeat(5);
  const zone = useZone();
  const found = useLoad<Deliveries>("/api/v1/notifications?limit=20", `${version} ${beat}`);
  return (
    <section class="card" aria-labelledby="del"><h2 id="del">Notifications</h2>
      <State of={found} what="notifications">{({ pending, recent }) => pending.length + recent.length === 0
        ? <Empty><p>None was sent and none is waiting. Receivers are set in alerting.config_file, or one webhook in alerting.webhook_url.</p></Empty>
        : <div class="scroll" tabIndex={0} role="region" aria-label="Notifications"><table><thead><tr><th scope="col">When</th><th scope="col">To</th><th scope="col">State</th><th scope="col">About</th></tr></thead><tbody>
          {pending.map((p) => <tr key={p.id}><td>waiting {seconds(p.lagSeconds)}</td><td>{p.integration}</td><td>{p.attempts ? `${p.attempts} attempts, ${p.lastError}; again at ${clockTime(Date.parse(p.nextAttempt) / 1000, zone)}` : "on its way"}</td><td class="breaks">{p.groupKey}</td></tr>)}
          {recent.map((r, i) => <tr key={i}><td>{clockTime(Date.parse(r.time) / 1000, zone)}</td><td>{String(r.integration ?? "")}</td><td>{r.event}</td><td class="breaks">{r.group}</td></tr>)}
        </tbody></table></div>}</State>
    </section>
  );
}

function Group({ group }: { group: AlertGroup }) {
  const name = Object.entries(group.labels).map(([k, v]) => (k === "alertname" ? v : `${k} ${v}`)).join(", ") || "All alerts";
  return (
    <section class="card" aria-label={name}>
      <h2>{name} <small>{group.alerts.length} {group.alerts.length === 1 ? "alert" : "alerts"}, to {group.receiver.name}</small></h2>
      {group.alerts.slice(0, 50).map((a) => <AlertRow key={a.fingerprint} alert={a} />)}
      {group.alerts.length > 50 && <p class="state">{group.alerts.length - 50} more; the field above narrows.</p>}
    </section>
  );
}

function AlertRow({ alert: a }: { alert: Alert }) {
  const [ref, seen] = useSeen<HTMLElement>();
  const live = useLive();
  const said = useLoad<Explanation>(seen ? `/api/v1/alerts/${a.fingerprint}/explain` : "", live.alerts.version);
  const by = said.data?.now?.acknowledgedBy;
  const { severity = "none" } = a.labels;
  const rest = Object.entries(a.labels).filter(([k]) => !OWN.has(k));
  const anomaly = a.annotations.anomaly_id;
  const matchers = Object.fromEntries(Object.entries(a.labels).filter(([k]) => k === "alertname" || k === "service" || k === "metric"));
  return (
    <article ref={ref} class={`alert ${a.status.state}`}>
      <p><Badge severity={severity} /> <b>{a.labels.metric ?? a.labels.alertname}</b> {(a.annotations.summary ?? "").replace(`${a.labels.metric}: `, "")} <When time={Date.parse(a.startsAt) / 1000} />
        {a.status.silencedBy.length > 0 && <b> silenced</b>}{a.status.inhibitedBy.length > 0 && <b> inhibited by another alert</b>}{by && <b> acknowledged by {by}</b>}</p>
      {(a.annotations.reasons || a.annotations.description) && <p class="why">{a.annotations.reasons ?? a.annotations.description}</p>}
      <div class="alert-labels">{rest.map(([k, v]) => <span key={k}>{k}={v}</span>)}</div>
      <p class="actions">
        <Link to={["alerts", a.fingerprint]}>Act and explain</Link>
        {anomaly && <Link to={["anomalies", anomaly]}>Show the anomaly</Link>}
        {!anomaly && a.generatorURL && /^https?:/.test(a.generatorURL) && <a href={a.generatorURL} rel="noreferrer">Source</a>}
        <Link to={["alerts"]} search={{ silence: JSON.stringify(matchers) }}>Silence</Link>
      </p>
    </article>
  );
}

function SilenceRow({ silence: s, done }: { silence: Silence; done: () => void }) {
  const zone = useZone();
  const [problem, say] = useState("");
  const end = Date.parse(s.endsAt) / 1000;
  return (
    <li class="alert">
      <p><b>{s.status.state === "pending" ? "from " + clockTime(Date.parse(s.startsAt) / 1000, zone, true) : "active"}</b> until {clockTime(end, zone, true)} <small>({seconds(Math.max(0, Math.round(end - Date.now() / 1000)))} left), by {s.createdBy}: {s.comment}</small></p>
      <div class="alert-labels">{s.matchers.map((m) => <span key={quoted(m)}>{quoted(m)}</span>)}</div>
      <button type="button" onClick={() => { request(`/api/v2/silence/${s.id}`, { method: "DELETE" }).then(done, (e: ApiError) => say(e.message)); }}>End it now</button> <span role="status">{problem}</span>
    </li>
  );
}

function startingMatchers(given: string): Matcher[] {
  let labels: Record<string, unknown> = {};
  try { labels = JSON.parse(given) as Record<string, unknown>; } catch { /* a mangled link opens an empty form */ }
  const list = Object.entries(labels).map(([name, value]) => ({ name, value: String(value), isRegex: false, isEqual: true }));
  return list.length ? list : [{ name: "alertname", value: "", isRegex: false, isEqual: true }];
}

function SilenceForm({ given, done }: { given: string; done: () => void }) {
  const [matchers, set] = useState<Matcher[]>(() => startingMatchers(given));
  const [length, long] = useState(3600);
  const [comment, say] = useState("");
  const [by, name] = useState(() => localStorage.getItem("name") ?? "");
  const [problem, fail] = useState("");
  const [busy, work] = useState(false);
  const complete = matchers.filter((m) => m.name && m.value);
  const search = new URLSearchParams();
  for (const m of complete) search.append("filter", quoted(m));
  const preview = useLoad<Alert[]>(complete.length ? `/api/v2/alerts?${search}` : "");
  const change = (i: number, part: Partial<Matcher>) => set(matchers.map((m, k) => (k === i ? { ...m, ...part } : m)));
  const send = (event: Event) => {
    event.preventDefault();
    work(true);
    localStorage.setItem("name", by);
    const now = Date.now();
    request("/api/v2/silences", {
      method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ matchers: complete, startsAt: new Date(now).toISOString(), endsAt: new Date(now + length * 1000).toISOString(), createdBy: by, comment }),
    }).then(done, (e: ApiError) => { fail(e.message); work(false); });
  };
  return (
    <form class="card form" onSubmit={send} aria-labelledby="new">
      <h2 id="new">New silence</h2>
      {matchers.map((m, i) => (
        <div class="matcher" key={i}>
          <input aria-label="Label" value={m.name} onInput={(e) => change(i, { name: e.currentTarget.value })} />
          <select aria-label="Comparison" value={`${m.isEqual ? "" : "!"}${m.isRegex ? "~" : "="}`} onChange={(e) => change(i, { isEqual: !e.currentTarget.value.startsWith("!"), isRegex: e.currentTarget.value.endsWith("~") })}>
            <option value="=">is</option><option value="!=">is not</option><option value="~">fits the expression</option><option value="!~">does not fit</option></select>
          <input aria-label="Value" value={m.value} onInput={(e) => change(i, { value: e.currentTarget.value })} />
          <button type="button" aria-label={`Remove the condition on ${m.name || "nothing"}`} onClick={() => set(matchers.filter((_, k) => k !== i))}>×</button>
        </div>))}
      <div class="tools">
        <button type="button" onClick={() => set([...matchers, { name: "", value: "", isRegex: false, isEqual: true }])}>Add a condition</button>
        <label>For <select value={length} onChange={(e) => long(Number(e.currentTarget.value))}>{LENGTHS.map(([s, text]) => <option key={s} value={s}>{text}</option>)}</select></label>
        <label>Your name <input required value={by} onInput={(e) => name(e.currentTarget.value)} autocomplete="name" /></label>
        <label>Why <input required value={comment} onInput={(e) => say(e.currentTarget.value)} /></label>
      </div>
      <div role="status" class="preview">
        {complete.length === 0 ? "Give at least one condition; what it catches now is shown here."
          : preview.error ? <span class="state failed">{preview.error}</span>
          : preview.data === null ? "Looking…"
          : preview.data.length === 0 ? "Catches no alert that is active now."
          : <>Catches {preview.data.length} active {preview.data.length === 1 ? "alert" : "alerts"}: {preview.data.slice(0, 6).map((a) => a.labels.metric ?? a.labels.alertname).join(", ")}{preview.data.length > 6 && " and more"}.</>}
      </div>
      {problem && <p class="state failed" role="alert">{problem}</p>}
      <div class="tools"><button type="submit" class="primary" disabled={busy || complete.length === 0}>Silence</button><button type="button" onClick={() => update({ silence: undefined })}>Cancel</button></div>
    </form>
  );
}
