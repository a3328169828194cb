import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { update, useAddress } from "../address";
import { query, request, selector, serviceOf, type History, type HistorySeries, type Labels, type Traces } from "../api";
import { Chart, COLORS, type Line, type Point } from "../chart";
import { clockTime, count, title, unitOf } from "../format";
import { isCounter, scored, thinned } from "../history";
import { useBeat, useLoad } from "../load";
import { CopyButton, Empty, Failed, Loading, Name } from "../parts";
import { RangePicker } from "../range";
import { rangeOf, useZone, zoom } from "../time";

const COMPARE: [string, string, number][] = [["", "Nothing", 0], ["day", "Yesterday", 86400], ["week", "Last week", 7 * 86400]];
const MOST_POINTS = 3000;

interface Found { total: number; of: number; series: Labels[] }

/** One question for each selector of the page; the answers stay in the order of the selectors. */
function useHistories(matches: string[], start: number, end: number, band: boolean, beat: number) {
  const paths = matches.map((match) => query("/api/v1/history", { match, start: start.toFixed(0), end: end.toFixed(0), limit: 20, bands: band ? "recomputed" : undefined }));
  const path = paths.length ? paths.join("\n") : "";
  return useMany<History>(path, beat);
}

function useMany<T>(joined: string, beat: number): { data: (T | null)[]; error: string; loading: boolean } {
  const [state, set] = useState<{ key: string; data: (T | null)[]; error: string }>({ key: "", data: [], error: "" });
  useEffect(() => {
    const abort = new AbortController();
    const paths = joined ? joined.split("\n") : [];
    let error = "";
    Promise.all(paths.map((p) => request<T>(p, { signal: abort.signal }).catch((e: Error) => { error = e.name === "AbortError" ? error : e.message; return null; })))
      .then((data) => { if (!abort.signal.aborted) set({ key: joined, data, error }); });
    return () => abort.abort();
  }, [joined, beat]);
  return { data: state.data, error: state.error, loading: joined !== "" && state.key === "" };
}

function csv(series: HistorySeries[]): string {
  const quote = (t: string) => `"${t.replaceAll('"', '""')}"`;
  const rows = ["series,timestamp,value,expected,lower,upper,score"];
  for (const s of series) {
    const name = quote(selector(s.labels));
    s.times.forEach((t, i) => rows.push([name, t, s.values[i] ?? "", s.expected[i] ?? "", s.lower[i] ?? "", s.upper[i] ?? "", s.score[i] ?? ""].join(",")));
  }
  return `${rows.join("\n")}\n`;
}

function download(text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const a = document.createElement("a");
  a.href = url;
  a.download = "series.csv";
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export function promql(match: string): string {
  return /_(total|count|sum|bucket)(\{|$)/.test(match) ? `rate(${match}[1m])` : match;
}

function Finder({ chosen }: { chosen: string[] }) {
  const [text, set] = useState("");
  const [open, show] = useState(false);
  const [at, move] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const found = useLoad<Found>(open ? query("/api/v1/series/search", { q: text, limit: 40 }) : "");
  const list = found.data?.series ?? [];
  const toggle = (labels: Labels) => {
    const match = selector(labels);
    update({ m: chosen.includes(match) ? chosen.filter((c) => c !== match) : [...chosen, match] });
  };
  const raw = () => { if (text.includes("{")) { update({ m: [...chosen, text] }); set(""); show(false); } };
  return (
    <div class="finder" ref={box} onFocusOut={(e) => { if (!box.current?.contains(e.relatedTarget as Node)) show(false); }}>
      <label for="find">Find series</label>
      <input id="find" type="search" role="combobox" aria-expanded={open} aria-controls="found" aria-autocomplete="list" autocomplete="off"
        aria-activedescendant={open && list[at] ? `found-${at}` : undefined}
        placeholder='Type parts of a name or a label, or a selector such as up{job="api"}' value={text}
        onFocus={() => show(true)} onInput={(e) => { set(e.currentTarget.value); show(true); move(0); }}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown") { show(true); move(Math.min(at + 1, list.length - 1)); e.preventDefault(); }
          else if (e.key === "ArrowUp") { move(Math.max(0, at - 1)); e.preventDefault(); }
          else if (e.key === "Enter") { if (text.includes("{")) raw(); else if (list[at]) toggle(list[at]); e.preventDefault(); }
          else if (e.key === "Escape" && open) { show(false); e.preventDefault(); }
        }} />
      {open && <div class="found">
        {found.error ? <Failed error={found.error} again={found.again} /> : text.includes("{")
          ? <p class="state">Enter plots every series that this selector matches (at most 20).</p>
          : found.data === null ? <Loading what="series" /> : list.length === 0
          ? <p class="state">{found.data.of === 0 ? "No series yet. Send metrics to port 4317 or 4318." : `None of ${count(found.data.of)} series has all of these words. Try fewer letters.`}</p>
          : null}
        <ul id="found" role="listbox" aria-label="Series found" aria-multiselectable="true" hidden={list.length === 0 || text.includes("{")}>
          {list.map((labels, i) => {
            const on = chosen.includes(selector(labels));
            return <li key={selector(labels)} id={`found-${i}`} role="option" aria-selected={on} class={i === at ? "at" : ""}
              onMouseDown={(e) => { e.preventDefault(); toggle(labels); move(i); }}><span class="tick" aria-hidden="true">{on ? "✓" : ""}</span><Name labels={labels} /></li>;
          })}
        </ul>
        {found.data && found.data.total > list.length && <p class="state">{list.length} of {count(found.data.total)} shown; type more to narrow.</p>}
      </div>}
    </div>
  );
}

export function Explore() {
  const { search } = useAddress();
  const zone = useZone();
  const matches = search.getAll("m");
  const compare = COMPARE.find(([key]) => key === (search.get("vs") ?? "")) ?? COMPARE[0]!;
  const band = search.get("band") !== "off";
  const range = rangeOf(search);
  const live = useBeat(range.relative ? Math.min(60, Math.max(5, (range.end - range.start) / 200)) : 0);
  // The range moves with the beat only, so that a repaint in between asks nothing new.
  const frame = useMemo(() => rangeOf(search), [search.get("from"), search.get("to"), live]);
  const histories = useHistories(matches, frame.start, frame.end, band, 0);
  const before = useHistories(compare[2] ? matches : [], frame.start - compare[2], frame.end - compare[2], false, 0);
  const exemplars = search.get("ex") !== "off";
  // Traces read the same log again: the samples are there first.
  const traced = useMany<Traces[]>(exemplars && !histories.loading ? matches.map((m) => query("/api/v1/exemplars", { match: ofHistogram(m), start: frame.start.toFixed(0), end: frame.end.toFixed(0) })).join("\n") : "", 0);
  // The first search of a while has all series listed: it begins before somebody types, after what is seen at once.
  useEffect(() => {
    if (histories.loading) return;
    const timer = setTimeout(() => { request("/api/v1/series/search?q=&limit=1").catch(() => undefined); }, 1000);
    return () => clearTimeout(timer);
  }, [histories.loading]);
  const shown = useMemo(() => histories.data.flatMap((h) => h?.series ?? []).map(scored), [histories.data]);
  const groups = useMemo(() => {
    const by = new Map<string, { series: HistorySeries; color: number; dashed: boolean; name: string }[]>();
    const put = (series: HistorySeries, color: number, dashed: boolean, suffix: string) => {
      const metric = series.labels.__name__ ?? "";
      const { rest } = title(series.labels);
      const entry = { series: thinned(series, MOST_POINTS), color, dashed, name: (rest || metric) + suffix };
      by.set(metric, [...(by.get(metric) ?? []), entry]);
    };
    shown.forEach((s, i) => put(s, i % COLORS, false, ""));
    const order = new Map(shown.map((s, i) => [selector(s.labels), i]));
    before.data.flatMap((h) => h?.series ?? []).map(scored).forEach((s) => {
      const color = order.get(selector(s.labels)) ?? 0;
      put({ ...s, times: s.times.map((t) => t + compare[2]), lower: [], upper: [], expected: [], score: [] }, color % COLORS, true, ` (${compare[1].toLowerCase()})`);
    });
    return [...by.entries()];
  }, [shown, before.data, compare[0]]);
  return (
    <>
      <div class="head"><h1>Explore</h1><RangePicker /></div>
      <Finder chosen={matches} />
      {matches.length === 0
        ? <Empty><p>Choose series above; they are plotted with the range in which the gateway expected them. Drag across a plot to zoom in. The address of this page keeps all you chose.</p></Empty>
        : <div class="tools">
            <label>Compare with <select value={compare[0]} onChange={(e) => update({ vs: e.currentTarget.value || undefined })}>
              {COMPARE.map(([key, text]) => <option key={key} value={key}>{text}</option>)}</select></label>
            <label><input type="checkbox" checked={band} onChange={(e) => update({ band: e.currentTarget.checked ? undefined : "off" })} /> Expected range</label>
            <label><input type="checkbox" checked={exemplars} onChange={(e) => update({ ex: e.currentTarget.checked ? undefined : "off" })} /> Traces</label>
            <CopyButton text={matches.map(promql).join("\n")}>Copy as PromQL</CopyButton>
            <button type="button" disabled={!shown.length} onClick={() => download(csv(shown))}>Download CSV</button>
            <button type="button" onClick={() => update({ m: [] })}>Clear</button>
          </div>}
      {histories.error && <Failed error={histories.error} />}
      {histories.loading && <Loading what="samples" />}
      {!histories.loading && !histories.error && matches.length > 0 && histories.data.length > 0 && shown.length === 0 &&
        <Empty><p>No samples in this time range. Choose a longer one, or another series.</p></Empty>}
      {groups.map(([metric, entries]) => <Plot key={metric} metric={metric} entries={entries} start={frame.start} end={frame.end} zone={zone} matches={matches} traces={exemplars ? traced.data.flatMap((t) => t ?? []) : []} />)}
    </>
  );
}

const FAMILY = /_(bucket|count|sum|total)$/;

/** A histogram's exemplars stand at its count (OTLP) or at its buckets (Prometheus): each of its series asks for all. */
function ofHistogram(match: string): string {
  const found = /^([a-zA-Z_:][a-zA-Z0-9_:]*)_(bucket|count|sum)(\{(.*)\})?$/.exec(match);
  if (!found) return match;
  const rest = (found[4] ?? "").replace(/(^|,)\s*le\s*(=~?|!=|!~)\s*"(\\.|[^"\\])*"/g, "").replace(/^,/, "");
  return `{__name__=~"${found[1]}_(bucket|count|sum)"${rest ? `,${rest}` : ""}}`;
}

function Plot({ metric, entries, start, end, zone, matches, traces }: {
  metric: string; entries: { series: HistorySeries; color: number; dashed: boolean; name: string }[];
  start: number; end: number; zone: "utc" | "local"; matches: string[]; traces: Traces[];
}) {
  // Deltas in the embedded log are shown as they came: what was counted in each interval.
  const rateOf = entries.some((e) => e.series.scored_as === "rate");
  const counted = !rateOf && isCounter({ __name__: metric });
  const unit = useMemo(() => { const u = unitOf(metric); return rateOf ? (v: number) => `${u(v)}/s` : u; }, [metric]);
  const lines: Line[] = useMemo(() => entries.map(({ series, color, dashed, name }) => ({
    name, color, dashed, times: series.times, values: series.values, lower: series.lower, upper: series.upper, expected: series.expected, score: series.score,
  })), [entries]);
  const family = metric.replace(FAMILY, "");
  const points: Point[] = useMemo(() => traces.filter((t) => (t.labels.__name__ ?? "").replace(FAMILY, "") === family).flatMap((t) => t.exemplars)
    .map((e) => ({ time: e.time, value: e.value, text: `${unitOf(`${family}_`.replace(/_$/, ""))(e.value)}, trace ${e.trace_id}` })).sort((a, b) => a.time - b.time), [traces.length, family, traces[0]?.exemplars.length]);
  return (
    <section class="card" aria-label={metric}>
      <h2>{metric} {rateOf && <small>as rate a second</small>}{counted && <small>in each interval</small>}</h2>
      <Chart lines={lines} start={start} end={end} zone={zone} format={unit} label={`${metric}, ${entries.length} series`} sync="explore" onZoom={zoom} points={points} />
      <ul class="legend full">{entries.map(({ series, color, dashed, name }) => {
        const match = selector(series.labels);
        const last = series.values.findLast((v) => v !== null);
        return <li key={name}><i class={`swatch k${color} ${dashed ? "dashed" : ""}`} /><span class="grow">{name}</span>
          <span class="value">{last === null || last === undefined ? "no value" : unit(last)}</span>
          {!dashed && serviceOf(series.labels) && <a href={`#/services/${encodeURIComponent(serviceOf(series.labels))}`}>service</a>}
          {!dashed && matches.includes(match) && <button type="button" class="quiet" aria-label={`Remove ${name}`} onClick={() => update({ m: matches.filter((m) => m !== match) })}>×</button>}</li>;
      })}</ul>
      {points.length > 0 && <details><summary>{points.length} {points.length === 1 ? "trace" : "traces"} (◆ in the plot)</summary>
        <ul class="rows">{points.slice(-40).reverse().map((p, i) => <li key={i} class="plain"><code>{p.text}</code> <time>{clockTime(p.time, zone)}</time></li>)}</ul></details>}
    </section>
  );
}
