import { useEffect, useMemo, useState } from "preact/hooks";
import { update, useAddress } from "../address";
import { query, selectorOf, SEVERITIES, type AlertList, type Anomaly, type History, type Marker, type ServiceSummary, type Severity } from "../api";
import { metricOf, sinceOf } from "../anomaly";
import { Chart, COLORS, Legend, type Line } from "../chart";
import { clockTime, count, plural, seconds, title, unitOf } from "../format";
import { isCounter, meanOf, scored, thinned } from "../history";
import { useBeat, useLoad } from "../load";
import { useLive } from "../live";
import { Badge, Breaks, Empty, Link, More, State, useSeen, When } from "../parts";
import { RangePicker } from "../range";
import { SIGNAL_COLUMNS, useSignals, type Signals } from "../signals";
import { Table } from "../table";
import { rangeOf, sinceText, useZone, zoom } from "../time";

type Metric = { metric: string; series: number; signal: string };
type Neighbour = { name: string; direction: "calls" | "called by"; calls: number; last_seen: number; sends: boolean; open: number; worst: Severity };
type Service = ServiceSummary & { match: string; metric_list: Metric[]; anomalies: Anomaly[]; neighbours: Neighbour[] };

const SIGNALS = ["traffic", "errors", "latency", "saturation"] as const;

function Strip({ spans, start, end }: { spans: NonNullable<ServiceSummary["strip"]>; start: number; end: number }) {
  const x = (t: number) => Math.max(0, Math.min(100, ((t - start) / (end - start)) * 100));
  // One path for each severity: a hundred services of a hundred anomalies would be ten thousand elements.
  const paths = new Map<Severity, string>();
  for (const [from, to, severity] of spans) {
    if ((to ?? end) < start || from > end) continue;
    const left = x(from), width = Math.max(0.7, x(to ?? end) - left);
    paths.set(severity, `${paths.get(severity) ?? ""}M${left.toFixed(2)} 0h${width.toFixed(2)}v10h-${width.toFixed(2)}z`);
  }
  return (
    <svg class="strip" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      {SEVERITIES.map((severity) => paths.has(severity) && <path key={severity} class={severity} d={paths.get(severity)} />)}
    </svg>
  );
}

const PAGE = 100;

export function Services() {
  const beat = useBeat(10);
  const live = useLive();
  const { search } = useAddress();
  const words = (search.get("q") ?? "").toLowerCase();
  const order = search.get("sort") ?? "health";
  const range = rangeOf(search);
  const zone = useZone();
  const found = useLoad<ServiceSummary[]>(query("/api/v1/services", { since: sinceText(range) }), `${beat} ${live.anomalies.version}`);
  const [pages, turn] = useState(1);
  const [signals, seen] = useSignals(useBeat(15));
  return (
    <>
      <div class="head"><h1>Services</h1><RangePicker /></div>
      <div class="tools">
        <label>Containing <input type="search" value={search.get("q") ?? ""} placeholder="part of a name" onInput={(e) => { turn(1); update({ q: e.currentTarget.value || undefined }); }} /></label>
        <label>Order <select value={order} onChange={(e) => update({ sort: e.currentTarget.value === "health" ? undefined : e.currentTarget.value })}>
          <option value="health">what is wrong first</option><option value="name">name</option><option value="series">series</option></select></label>
        {found.data && <span class="rest" role="status">{plural(found.data.length, "service")}, {found.data.filter((s) => s.open).length} with open anomalies</span>}
      </div>
      <State of={found} what="services">{(all) => {
        const list = all.filter((s) => s.name.toLowerCase().includes(words)).sort((a, b) =>
          order === "name" ? a.name.localeCompare(b.name) : order === "series" ? b.series - a.series : b.open - a.open || a.name.localeCompare(b.name));
        if (!list.length) return <Empty><p>{all.length ? "No service has this in its name." : "No service yet. A service is what a series names as service.name or job; send metrics to port 4317 or 4318."}</p></Empty>;
        return <section class="card">
          <div class="columns-head services-grid" aria-hidden="true"><span /><span>Service</span>{SIGNAL_COLUMNS.map(([key, name]) => <span key={key} class="number">{name}</span>)}
            <span class="span"><span>{range.relative ? `${seconds(range.end - range.start)} ago` : clockTime(range.start, zone, true)}</span><span>{range.relative ? "now" : clockTime(range.end, zone, true)}</span></span><span /></div>
          <ul class="services">{list.slice(0, PAGE * pages).map((s) => <ServiceRow key={s.name} service={s} signals={signals.get(s.name)} seen={seen} start={range.start} end={range.end} />)}</ul>
          <More shown={Math.min(list.length, PAGE * pages)} total={list.length} more={() => turn(pages + 1)} />
        </section>;
      }}</State>
    </>
  );
}

function ServiceRow({ service: s, signals, seen, start, end }: {
  service: ServiceSummary; signals: Signals | undefined; seen: (name: string) => void; start: number; end: number;
}) {
  const [ref, near] = useSeen<HTMLLIElement>();
  useEffect(() => { if (near) seen(s.name); }, [near, s.name]);
  return (
    <li ref={ref}><Link to={["services", s.name]} class="services-grid">
      <span class={`dot ${s.open ? (s.worst === "critical" || s.worst === "high" ? "bad" : "warn") : "good"}`} role="img" aria-label={s.open ? plural(s.open, "open anomaly", "open anomalies") : "healthy"} />
      <span class="named"><b><Breaks text={s.name} /></b> <small>{count(s.series)} series</small></span>
      {SIGNAL_COLUMNS.map(([key, name, show]) => {
        const v = signals?.[key];
        return <span key={key} class="number"><span class="label">{name} </span>{signals === undefined ? "…" : v === null || v === undefined ? "–" : show(v)}</span>;
      })}
      <Strip spans={s.strip ?? []} start={start} end={end} />
      <span class="health">{s.open ? <><Badge severity={s.worst} /> {s.open} open</> : s.recent ? `${s.recent} ended` : "quiet"}</span>
    </Link></li>
  );
}

export function ServicePage({ name }: { name: string }) {
  const live = useLive();
  const beat = useBeat(30);
  const found = useLoad<Service>(`/api/v1/services/${encodeURIComponent(name)}`, `${live.anomalies.version} ${beat}`);
  const alerts = useLoad<AlertList>(query("/api/v1/alerts/groups", { q: `service=${name}`, limit: 6, each: 6 }), `${live.alerts.version} ${beat}`);
  const { search } = useAddress();
  const markers = useLoad<Marker[]>(query("/api/v1/markers", { service: name, from: search.get("from") ? sinceText(rangeOf(search)) : "-24h", limit: 100 }), beat);
  const deploys = useMemo(() => (markers.data ?? []).map((m) => Date.parse(m.time) / 1000), [markers.data]);
  return (
    <>
      <div class="head"><h1><Breaks text={name} /></h1><RangePicker /></div>
      <State of={found} what="the service">{(s) => {
        const open = s.anomalies.filter((a) => a.state === "firing");
        return <>
          <p class={`verdict ${open.length ? "warn" : "good"}`} role="status">{open.length ? `${plural(open.length, "anomaly is", "anomalies are")} open.` : "Every series is within its normal range."} {count(s.series)} series{s.hosts.length ? ` from ${plural(s.hosts.length, "instance")}` : ""}.</p>
          <section class="card" aria-labelledby="an"><h2 id="an">Anomalies of the last six hours</h2>
            {s.anomalies.length === 0 ? <Empty><p>None.</p></Empty> : <ul class="rows">{s.anomalies.slice(0, 12).map((a) => (
              <li key={a.id}><Link to={["anomalies", a.id]}><Badge severity={a.severity} state={a.state} /><b><Breaks text={metricOf(a)} /></b><span class="why"><Breaks text={a.reasons[0] ?? ""} /></span><span>{a.state === "firing" ? <>open <When time={sinceOf(a)} long /></> : <>ended <When time={a.ended ?? a.time} /></>}</span></Link></li>))}</ul>}
          </section>
          <div class="columns three">
            <Neighbours list={s.neighbours} />
            <section class="card" aria-labelledby="sa"><h2 id="sa">Alerts</h2>
              <State of={alerts} what="alerts">{(found) => found.alerts === 0 ? <Empty><p>None is active.</p></Empty> : <ul class="rows">{found.groups.flatMap((g) => g.alerts).slice(0, 6).map((a) => (
                <li key={a.fingerprint}><Link to={["alerts", a.fingerprint]}><Badge severity={a.labels.severity ?? "none"} /><b><Breaks text={a.labels.metric ?? a.labels.alertname ?? ""} /></b><span class="why">{a.acknowledgedBy ? `acknowledged by ${a.acknowledgedBy}` : a.state === "suppressed" ? "not told" : ""}</span><When time={Date.parse(a.startsAt) / 1000} /></Link></li>))}</ul>}</State>
            </section>
            <section class="card" aria-labelledby="sd"><h2 id="sd">Deploys</h2>
              <State of={markers} what="deploys">{(list) => list.length === 0 ? <Empty><p>None is known in this time range. Deploy tools tell of them with a POST to /api/v1/markers.</p></Empty> : <ul class="rows">{list.slice(0, 6).map((m) => (
                <li key={m.id} class="plain"><b><Breaks text={m.title} /></b><span class="why">{[m.version, m.environment, m.source].filter(Boolean).join(", ")}</span><When time={Date.parse(m.time) / 1000} /></li>))}</ul>}</State>
            </section>
          </div>
          <div class="signals">{SIGNALS.map((signal) => {
            const metrics = choose(signal, s.metric_list);
            return metrics.length > 0 && <section key={signal} aria-label={signal}><h2>{signal[0]!.toUpperCase() + signal.slice(1)}</h2>
              {metrics.slice(0, 3).map((m) => <Signal key={m} metric={m} service={s} deploys={deploys} mean={signal === "latency" && m.endsWith("_sum")} beat={beat} />)}</section>;
          })}</div>
          <section class="card" aria-labelledby="me"><h2 id="me">All metrics</h2>
            <Table<Metric> id="m" label="Metrics" rows={s.metric_list} filter="metric or signal" rowKey={(m) => m.metric} empty={<p>None.</p>} columns={[
              { key: "metric", name: "Metric", value: (m) => m.metric, show: (m) => <Link to={["explore"]} search={{ m: matchOf(m.metric, s) }}>{m.metric}</Link>, breaks: true },
              { key: "signal", name: "Signal", value: (m) => m.signal },
              { key: "series", name: "Series", value: (m) => m.series, number: true },
            ]} />
          </section>
        </>;
      }}</State>
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
    <section class="card" aria-labelledby="sn"><h2 id="sn">Neighbours</h2>
      {list.length === 0 ? <Empty><p>None is known. Send traces to port 4317 or 4318: who calls whom is read from them.</p></Empty> : <>
        <ul class="rows">{shown.map((n) => {
          const what = <>
            <span class={`dot ${n.open ? (n.worst === "critical" || n.worst === "high" ? "bad" : "warn") : n.sends ? "good" : ""}`} role="img" aria-label={n.open ? `${n.open} open anomalies` : n.sends ? "healthy" : "sends no series"} />
            <b><Breaks text={n.name} /></b><span class="why">{n.direction === "calls" ? "is called" : "calls it"}{n.open ? `, ${n.open} open` : ""}</span><When time={n.last_seen} /></>;
          return <li key={n.direction + n.name} class={n.sends ? "" : "plain"}>{n.sends ? <Link to={["services", n.name]}>{what}</Link> : what}</li>;
        })}</ul>
        <More shown={shown.length} total={list.length} more={() => show(true)} /></>}
    </section>
  );
}

/** A histogram of durations is its traffic (count) and its latency (sum divided by count). */
function choose(signal: string, metrics: Metric[]): string[] {
  const names = metrics.map((m) => m.metric).filter((m) => !m.endsWith("_bucket"));
  const durations = names.filter((m) => /(duration|latency).*_count$/.test(m));
  if (signal === "latency") return names.filter((m) => /(duration|latency)/.test(m) && !m.endsWith("_count"));
  const own = metrics.filter((m) => m.signal === signal && !m.metric.endsWith("_bucket")).map((m) => m.metric).filter((m) => !/(duration|latency)/.test(m));
  return signal === "traffic" ? [...new Set([...own, ...durations])] : own;
}

const matchOf = (metric: string, service: Service): string => selectorOf(metric, [service.match]);

function Signal({ metric, service, deploys, mean, beat }: { metric: string; service: Service; deploys: number[]; mean: boolean; beat: number }) {
  const [ref, seen] = useSeen<HTMLDivElement>();
  const zone = useZone();
  const { search } = useAddress();
  const frame = useMemo(() => rangeOf(search), [search.get("from"), search.get("to"), beat]);
  const span = { start: frame.start.toFixed(0), end: frame.end.toFixed(0), limit: 20 };
  const found = useLoad<History>(seen ? query("/api/v1/history", { match: matchOf(metric, service), ...span, bands: mean ? undefined : "recomputed" }) : "");
  const counts = useLoad<History>(seen && mean ? query("/api/v1/history", { match: matchOf(metric.replace(/_sum$/, "_count"), service), ...span }) : "");
  const first = found.data?.series[0];
  const rate = !mean && !!first && scored(first).scored_as === "rate";
  const unit = useMemo(() => { const u = unitOf(metric); return rate ? (v: number) => `${u(v)}/s` : u; }, [metric, rate]);
  const lines: Line[] = useMemo(() => {
    const key = (labels: Record<string, string>) => JSON.stringify({ ...labels, __name__: "" }, Object.keys(labels).sort());
    const by = new Map((counts.data?.series ?? []).map((s) => [key(s.labels), scored(s)]));
    return (found.data?.series ?? []).map((raw, i) => {
      let s = scored(raw);
      const per = by.get(key(raw.labels));
      if (mean && per) s = meanOf(s, per);
      s = thinned(s, 1500);
      const { rest } = title(Object.fromEntries(Object.entries(raw.labels).filter(([k]) => !["job", "otel_scope_name", "service_name"].includes(k))));
      return { name: rest || metric, color: i % COLORS, times: s.times, values: s.values, lower: s.lower, upper: s.upper, expected: s.expected, score: s.score };
    });
  }, [found.data, counts.data, mean]);
  return (
    <div ref={ref} class="card">
      <h3><Link to={["explore"]} search={{ m: matchOf(metric, service) }}>{mean ? metric.replace(/_sum$/, "") : metric}</Link> {mean ? <small>mean</small> : first && !rate && isCounter({ __name__: metric }) ? <small>in each interval</small> : null}</h3>
      {!seen ? <div class="later" /> : <State of={found} what="samples">{() => lines.length === 0 ? <Empty><p>No samples in this time range.</p></Empty>
        : <><Chart lines={lines} start={frame.start} end={frame.end} zone={zone} format={unit} height={150} label={`${metric} of ${service.name}`} sync="service" onZoom={zoom} deploys={deploys} />{lines.length > 1 && <Legend lines={lines} />}</>}</State>}
    </div>
  );
}
