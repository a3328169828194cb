import { useMemo } from "preact/hooks";
import { useAddress } from "../address";
import { metricOf, sinceOf } from "../anomaly";
import { query, selector, type Anomaly, type AnomalyPage, type History, type HistorySeries, type HostShown, type Labels, type ProbeShown } from "../api";
import { Chart, COLORS, Legend, type Line } from "../chart";
import { bytes, clockTime, count, percent, plural, seconds } from "../format";
import { scored, thinned } from "../history";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Empty, Link, Spark, State, useSeen, When } from "../parts";
import { RangePicker } from "../range";
import { Table } from "../table";
import { rangeOf, useZone, zoom } from "../time";

const KIND = { node_exporter: "node_exporter", opentelemetry: "OpenTelemetry" };

export function HostsPage() {
  const beat = useBeat(10);
  const zone = useZone();
  const hosts = useLoad<HostShown[]>("/api/v1/hosts", beat);
  const probes = useLoad<ProbeShown[]>("/api/v1/probes", beat);
  return (
    <>
      <div class="head"><h1>Hosts and probes</h1></div>
      <section class="card" aria-labelledby="ho"><h2 id="ho">Hosts</h2>
        <State of={hosts} what="hosts">{(all) => <Table<HostShown> id="h" label="Hosts" rows={all} filter={all.length > 5 ? "name" : undefined} rowKey={(h) => `${h.kind} ${h.name}`}
          empty={<p>No machine reports on itself. Let Prometheus or vmagent scrape node_exporter and write to port 4318, or start the gateway with <code>gateway run</code>.</p>}
          columns={[
            { key: "name", name: "Host", value: (h) => h.name, show: (h) => <Link to={["hosts", h.kind, h.name]}><Breaks text={h.name} /></Link>, breaks: true },
            { key: "kind", name: "From", value: (h) => KIND[h.kind] },
            { key: "open", name: "Open anomalies", value: (h) => h.open, show: (h) => (h.open ? <>{h.open} <Badge severity={h.worst} /></> : "none"), number: true },
            { key: "last", name: "Last anomaly", value: (h) => h.last, show: (h) => (h.last ? <When time={h.last} /> : "none lately") },
            { key: "series", name: "Series", value: (h) => h.series, show: (h) => count(h.series), number: true },
          ]} />}</State>
      </section>
      <section class="card" aria-labelledby="pr"><h2 id="pr">Probes</h2>
        <State of={probes} what="probes">{(all) => <Table<ProbeShown> id="p" label="Probes" rows={all} filter={all.length > 5 ? "name or target" : undefined} rowKey={(p) => p.name}
          empty={<p>None. HTTP and TCP probes are configured as <code>[[probes.probe]]</code> with a name and a target; their results become series and alerts.</p>}
          columns={[
            { key: "name", name: "Probe", value: (p) => p.name, show: (p) => <Link to={["explore"]} search={{ m: selector({ __name__: "probe_duration_seconds", probe: p.name }) }}>{p.name}</Link> },
            { key: "state", name: "State", value: (p) => p.state, show: (p) => <span class={`dotted ${p.state === "ok" ? "good" : p.state === "failing" ? "bad" : "idle"}`}>{p.state}{p.since && <> <small><When time={p.since} long /></small></>}</span> },
            { key: "problem", name: "Last answer", value: (p) => p.last?.problem ?? "", show: (p) => (p.last ? p.last.problem || (p.last.status ? `HTTP ${p.last.status}` : "connected") : "not asked yet"), breaks: true },
            { key: "took", name: "Took", value: (p) => p.last?.duration ?? null, show: (p) => (p.last ? seconds(p.last.duration) : "–"), number: true },
            { key: "past", name: "Lately", value: (p) => p.recent.filter(([, ok]) => !ok).length, show: (p) => <Spark series={{ times: p.recent.map(([t]) => t), values: p.recent.map(([, ok, d]) => (ok ? d : null)) }} width={120} height={26} /> },
            { key: "cert", name: "Certificate ends", value: (p) => p.last?.certificate_ends || null, show: (p) => (p.last?.certificate_ends ? clockTime(p.last.certificate_ends, zone, true) : "–") },
            { key: "target", name: "Target", value: (p) => p.target, breaks: true },
          ]} />}</State>
      </section>
    </>
  );
}

type Make = (of: (metric: string, extra?: Labels) => HistorySeries[]) => Line[];
interface Panel { title: string; metrics: string[]; format: (v: number) => string; lines: Make; limit?: number }

const byTime = (s: HistorySeries): Map<number, number> => new Map(s.times.flatMap((t, i) => (s.values[i] === null || s.values[i] === undefined ? [] : [[t, s.values[i]!] as [number, number]])));
const line = (name: string, color: number, times: number[], values: (number | null)[]): Line => ({ name, color: color % COLORS, times, values });
const each = (list: HistorySeries[], name: (s: HistorySeries) => string, from = 0): Line[] => list.map((s, i) => line(name(s), from + i, s.times, s.values));

/** Point by point of several series with the same times. */
function fold(list: HistorySeries[], how: (values: number[]) => number): { times: number[]; values: number[] } {
  const at = new Map<number, number[]>();
  for (const s of list) for (const [t, v] of byTime(s)) { const a = at.get(t); if (a) a.push(v); else at.set(t, [v]); }
  const times = [...at.keys()].sort((a, b) => a - b);
  return { times, values: times.map((t) => how(at.get(t)!)) };
}
const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);

/** One minus a part of a whole, label set by label set. */
function used(part: HistorySeries[], whole: HistorySeries[], key: string): Line[] {
  return part.flatMap((p, i) => {
    const w = whole.find((x) => x.labels[key] === p.labels[key] && x.labels.device === p.labels.device);
    if (!w) return [];
    const of = byTime(w);
    return [line(p.labels[key] ?? "used", i, p.times, p.times.map((t, k) => { const all = of.get(t), v = p.values[k]; return all && v !== null && v !== undefined ? 1 - v / all : null; }))];
  });
}
const perSecond = (v: number) => `${bytes(v)}/s`;

const NODE: Panel[] = [
  { title: "Processor, busy", metrics: ['node_cpu_seconds_total{mode="idle"}'], format: percent, limit: 64, lines: (of) => { const idle = fold(of("node_cpu_seconds_total"), mean); return idle.times.length ? [line("busy", 0, idle.times, idle.values.map((v) => Math.max(0, 1 - v)))] : []; } },
  { title: "Load", metrics: ["node_load1", "node_load5", "node_load15"], format: count, lines: (of) => ["node_load1", "node_load5", "node_load15"].flatMap((m, i) => each(of(m), () => m.slice(5), i)) },
  { title: "Memory, used", metrics: ["node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"], format: percent, lines: (of) => used(of("node_memory_MemAvailable_bytes"), of("node_memory_MemTotal_bytes"), "instance").map((l) => ({ ...l, name: "used" })) },
  { title: "File systems, used", metrics: ['node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"}', "node_filesystem_size_bytes"], format: percent, lines: (of) => used(of("node_filesystem_avail_bytes"), of("node_filesystem_size_bytes"), "mountpoint").slice(0, 8) },
  { title: "Network", metrics: ['node_network_receive_bytes_total{device!="lo"}', 'node_network_transmit_bytes_total{device!="lo"}'], format: perSecond, lines: (of) => [...each(of("node_network_receive_bytes_total"), (s) => `${s.labels.device} in`), ...each(of("node_network_transmit_bytes_total"), (s) => `${s.labels.device} out`, 4)].slice(0, 8) },
  { title: "Disks", metrics: ["node_disk_read_bytes_total", "node_disk_written_bytes_total"], format: perSecond, lines: (of) => [...each(of("node_disk_read_bytes_total"), (s) => `${s.labels.device} read`), ...each(of("node_disk_written_bytes_total"), (s) => `${s.labels.device} written`, 4)].slice(0, 8) },
];
const OTEL: Panel[] = [
  { title: "Processor, busy", metrics: ["system_cpu_utilization_ratio", "system_cpu_utilization"], format: percent, limit: 100, lines: (of) => {
    const all = [...of("system_cpu_utilization_ratio"), ...of("system_cpu_utilization")];
    const idle = fold(all.filter((s) => (s.labels.state ?? s.labels.cpu_mode ?? s.labels.system_cpu_state) === "idle"), mean);
    return idle.times.length ? [line("busy", 0, idle.times, idle.values.map((v) => Math.max(0, 1 - v)))] : each(all.slice(0, 8), (s) => s.labels.state ?? "busy");
  } },
  { title: "Memory", metrics: ["system_memory_usage_bytes"], format: bytes, lines: (of) => each(of("system_memory_usage_bytes"), (s) => s.labels.state ?? "used") },
  { title: "Network", metrics: ["system_network_io_bytes_total"], format: perSecond, limit: 40, lines: (of) => ["receive", "transmit"].map((d, i) => { const f = fold(of("system_network_io_bytes_total").filter((s) => Object.values(s.labels).includes(d)), total); return line(d, i, f.times, f.values); }).filter((l) => l.times.length) },
  { title: "Disks", metrics: ["system_disk_io_bytes_total"], format: perSecond, limit: 60, lines: (of) => ["read", "write"].map((d, i) => { const f = fold(of("system_disk_io_bytes_total").filter((s) => Object.values(s.labels).includes(d)), total); return line(d, i, f.times, f.values); }).filter((l) => l.times.length) },
];

export function HostPage({ kind, name }: { kind: string; name: string }) {
  const live = useLive();
  const hosts = useLoad<HostShown[]>("/api/v1/hosts", useBeat(20));
  const host = hosts.data?.find((h) => h.kind === kind && h.name === name);
  const recent = useLoad<AnomalyPage>(host ? query("/api/v1/anomalies/page", { since: "-6h", q: name, limit: 12 }) : "", live.anomalies.version);
  const prefix = kind === "node_exporter" ? "node_" : "system_";
  return (
    <>
      <div class="head"><h1><Breaks text={name} /></h1><RangePicker /></div>
      <State of={hosts} what="the host">{() => !host ? <Empty><p>This host sends nothing now. <Link to={["hosts"]}>All hosts.</Link></p></Empty> : <>
        <p class={`verdict ${host.open ? "warn" : "good"}`}>{host.open ? `${plural(host.open, "series is", "series are")} away from normal.` : "Every series is within its normal range."} {count(host.series)} series from {KIND[host.kind]}.</p>
        <div class="signals">{(kind === "node_exporter" ? NODE : OTEL).map((p) => <PanelCard key={p.title} panel={p} match={host.match} name={name} />)}</div>
        <section class="card" aria-labelledby="ha"><h2 id="ha">Anomalies of the last six hours</h2>
          <State of={recent} what="anomalies">{({ anomalies }) => {
            const own = anomalies.filter((a: Anomaly) => (a.series.__name__ ?? "").startsWith(prefix));
            return own.length === 0 ? <Empty><p>None.</p></Empty> : <ul class="rows">{own.map((a) => (
              <li key={a.id}><Link to={["anomalies", a.id]}><Badge severity={a.severity} state={a.state} /><b><Breaks text={metricOf(a)} /></b><span class="why"><Breaks text={a.reasons[0] ?? ""} /></span><span>{a.state === "firing" ? <>open <When time={sinceOf(a)} long /></> : <>ended <When time={a.ended ?? a.time} /></>}</span></Link></li>))}</ul>;
          }}</State></section>
        <p class="actions"><Link to={["explore"]} search={{ m: `{__name__=~"${prefix}.*",${within(host.match)}}` }}>Explore its series</Link></p>
      </>}</State>
    </>
  );
}

/** Matchers of exactly these labels, as they stand inside of the braces. */
const within = (match: Labels): string => selector(match).slice(1, -1);

function PanelCard({ panel, match, name }: { panel: Panel; match: Labels; name: string }) {
  const [ref, seen] = useSeen<HTMLElement>();
  const zone = useZone();
  const { search } = useAddress();
  const beat = useBeat(15);
  const frame = useMemo(() => rangeOf(search), [search.get("from"), search.get("to"), beat]);
  const labels = within(match);
  const paths = panel.metrics.map((m) => query("/api/v1/history", {
    match: m.includes("{") ? m.replace("{", `{${labels},`) : `${m}{${labels}}`, start: frame.start.toFixed(0), end: frame.end.toFixed(0), limit: panel.limit ?? 20,
  }));
  const a = useLoad<History>(seen ? paths[0]! : "");
  const b = useLoad<History>(seen && paths[1] ? paths[1] : "");
  const c = useLoad<History>(seen && paths[2] ? paths[2] : "");
  const lines = useMemo(() => {
    const all = [a, b, c].flatMap((x) => x.data?.series ?? []).map((s) => thinned(scored(s), 1500));
    return panel.lines((metric) => all.filter((s) => s.labels.__name__ === metric));
  }, [a.data, b.data, c.data]);
  return (
    <section ref={ref} class="card" aria-label={panel.title}>
      <h2>{panel.title}</h2>
      {!seen ? <div class="later" /> : <State of={a} what="samples">{() => lines.length === 0 ? <Empty><p>No samples in this time range.</p></Empty>
        : <><Chart lines={lines} start={frame.start} end={frame.end} zone={zone} format={panel.format} fromZero height={150} label={`${panel.title} of ${name}`} sync="host" onZoom={zoom} />{lines.length > 1 && <Legend lines={lines} />}</>}</State>}
    </section>
  );
}
