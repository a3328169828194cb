import { useEffect, useMemo, useState } from "preact/hooks";
import { update, useAddress } from "../address";
import { query, request } from "../api";
import { CopyButton } from "../copy";
import { title } from "../format";
import { scored, thinned } from "../history";
import { useBeat } from "../load";
import { Empty, Failed, Loading } from "../parts";
import { COLORS } from "../plot_data";
import { RangePicker } from "../range";
import { selector } from "../selector";
import { rangeOf, useZone } from "../time";
import type { History, HistorySeries, Traces } from "../types";
import { ofHistogram, Plot } from "./explore_plot";
import { Finder } from "./finder";

const COMPARE: [string, string, number][] = [
  ["", "Nothing", 0],
  ["day", "Yesterday", 86400],
  ["week", "Last week", 7 * 86400],
];
const MOST_POINTS = 3000;

/** One question for each selector of the page; the answers stay in the order of the selectors. */
function useHistories(matches: string[], start: number, end: number, band: boolean, beat: number) {
  const paths = matches.map((match) =>
    query("/api/v1/history", {
      match,
      start: start.toFixed(0),
      end: end.toFixed(0),
      limit: 20,
      bands: band ? "recomputed" : "none",
    }),
  );
  const path = paths.length ? paths.join("\n") : "";
  return useMany<History>(path, beat);
}

function useMany<T>(joined: string, beat: number): { data: (T | null)[]; error: string; loading: boolean } {
  const [state, set] = useState<{ key: string; data: (T | null)[]; error: string }>({ key: "", data: [], error: "" });
  useEffect(() => {
    const abort = new AbortController();
    const paths = joined ? joined.split("\n") : [];
    let error = "";
    Promise.all(
      paths.map((p) =>
        request<T>(p, { signal: abort.signal }).catch((e: Error) => {
          error = e.name === "AbortError" ? error : e.message;
          return null;
        }),
      ),
    ).then((data) => {
      if (!abort.signal.aborted) set({ key: joined, data, error });
    });
    return () => abort.abort();
  }, [joined, beat]);
  return { data: state.data, error: state.error, loading: joined !== "" && state.key === "" };
}

function csv(series: HistorySeries[]): string {
  const quote = (t: string) => `"${t.replaceAll('"', '""')}"`;
  const rows = ["series,timestamp,value,expected,lower,upper,score"];
  for (const s of series) {
    const name = quote(selector(s.labels));
    s.times.forEach((t, i) =>
      rows.push(
        [name, t, s.values[i] ?? "", s.expected[i] ?? "", s.lower[i] ?? "", s.upper[i] ?? "", s.score[i] ?? ""].join(
          ",",
        ),
      ),
    );
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
  const traced = useMany<Traces[]>(
    exemplars && !histories.loading
      ? matches
          .map((m) =>
            query("/api/v1/exemplars", {
              match: ofHistogram(m),
              start: frame.start.toFixed(0),
              end: frame.end.toFixed(0),
            }),
          )
          .join("\n")
      : "",
    0,
  );
  // The first search of a while has all series listed: it begins before somebody types, after what is seen at once.
  useEffect(() => {
    if (histories.loading) return;
    const timer = setTimeout(() => {
      request("/api/v1/series/search?q=&limit=1").catch(() => undefined);
    }, 1000);
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
    before.data
      .flatMap((h) => h?.series ?? [])
      .map(scored)
      .forEach((s) => {
        const color = order.get(selector(s.labels)) ?? 0;
        put(
          { ...s, times: s.times.map((t) => t + compare[2]), lower: [], upper: [], expected: [], score: [] },
          color % COLORS,
          true,
          ` (${compare[1].toLowerCase()})`,
        );
      });
    return [...by.entries()];
  }, [shown, before.data, compare[0]]);
  return (
    <>
      <div class="head">
        <h1>Explore</h1>
        <RangePicker />
      </div>
      <Finder chosen={matches} />
      {matches.length === 0 ? (
        <Empty>
          <p>
            Choose series above; they are plotted with the range in which the gateway expected them. Drag across a plot
            to zoom in. The address of this page keeps all you chose.
          </p>
        </Empty>
      ) : (
        <div class="tools">
          <label>
            Compare with{" "}
            <select value={compare[0]} onChange={(e) => update({ vs: e.currentTarget.value || undefined })}>
              {COMPARE.map(([key, text]) => (
                <option key={key} value={key}>
                  {text}
                </option>
              ))}
            </select>
          </label>
          <label>
            <input
              type="checkbox"
              checked={band}
              onChange={(e) => update({ band: e.currentTarget.checked ? undefined : "off" })}
            />{" "}
            Expected range
          </label>
          <label>
            <input
              type="checkbox"
              checked={exemplars}
              onChange={(e) => update({ ex: e.currentTarget.checked ? undefined : "off" })}
            />{" "}
            Traces
          </label>
          <CopyButton text={matches.map(promql).join("\n")}>Copy as PromQL</CopyButton>
          <button type="button" disabled={!shown.length} onClick={() => download(csv(shown))}>
            Download CSV
          </button>
          <button type="button" onClick={() => update({ m: [] })}>
            Clear
          </button>
        </div>
      )}
      {histories.error && <Failed error={histories.error} />}
      {histories.loading && <Loading what="samples" />}
      {!histories.loading &&
        !histories.error &&
        matches.length > 0 &&
        histories.data.length > 0 &&
        shown.length === 0 && (
          <Empty>
            <p>No samples in this time range. Choose a longer one, or another series.</p>
          </Empty>
        )}
      {groups.map(([metric, entries]) => (
        <Plot
          key={metric}
          metric={metric}
          entries={entries}
          start={frame.start}
          end={frame.end}
          zone={zone}
          matches={matches}
          traces={exemplars ? traced.data.flatMap((t) => t ?? []) : []}
        />
      ))}
    </>
  );
}
