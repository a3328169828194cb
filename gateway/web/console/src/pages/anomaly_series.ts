// The samples around an anomaly, as it was scored: rates, means and quantiles with their expected range.

import { useMemo } from "preact/hooks";
import { isGroup, sinceOf } from "../anomaly";
import { query } from "../api";
import { meanOf, quantileOf, scored, thinned } from "../history";
import { useLoad } from "../load";
import { selector } from "../selector";
import type { Anomaly, History, HistorySeries } from "../types";

const around = (a: Anomaly, before: number, after: number): { start: number; end: number } => {
  const from = sinceOf(a);
  const to = a.ended ?? Date.now() / 1000;
  const length = Math.min(Math.max(to - from, 60), 6 * 3600);
  return {
    start: Math.round(from - Math.max(before, length)),
    end: Math.round(Math.min(Date.now() / 1000, Math.max(to, from) + after)),
  };
};

export function useSeriesOf(a: Anomaly | null, before: number, after: number, on: boolean, band = false) {
  const span = a ? around(a, before, after) : { start: 0, end: 0 };
  // The end of an open anomaly moves; a minute's steps keep the answer.
  const end = a && a.ended === null ? Math.ceil(span.end / 30) * 30 : span.end;
  // A histogram's buckets are scored as their quantile, and its sum as the mean of what was observed, which needs its
  // count beside it: their range is the one that the anomaly tells.
  const buckets = isBucket(a?.series ?? {}),
    sum = isSum(a?.series ?? {});
  const { le: _, ...whole } = a?.series ?? {};
  const found = useLoad<History>(
    a && on && !isGroup(a)
      ? query("/api/v1/history", {
          match: selector(buckets ? whole : a.series),
          start: span.start,
          end,
          limit: buckets ? 100 : 1,
          bands: buckets || sum ? "none" : band ? "recomputed" : undefined,
        })
      : "",
  );
  const counts = useLoad<History>(
    a && on && sum
      ? query("/api/v1/history", {
          match: selector({ ...a.series, __name__: a.series.__name__!.replace(/_sum$/, "_count") }),
          start: span.start,
          end,
          limit: 1,
          bands: "none",
        })
      : "",
  );
  const series = useMemo(() => {
    if (a && buckets) {
      const p95 = found.data && quantileOf(found.data.series.map(scored));
      return p95 ? thinned(withRange(p95, a), 1500) : null;
    }
    const own = found.data?.series[0],
      count = counts.data?.series[0];
    if (!own || (sum && !counts.data && !counts.error)) return null;
    const one = scored(own);
    return thinned(a && sum && count ? withRange(meanOf(one, scored(count)), a) : one, 1500);
  }, [found.data, counts.data, counts.error]);
  return { ...found, series, span: { start: span.start, end } };
}

export const isBucket = (labels: Record<string, string>): boolean => (labels.__name__ ?? "").endsWith("_bucket");
export const isSum = (labels: Record<string, string>): boolean => (labels.__name__ ?? "").endsWith("_sum");

/** The range that the anomaly itself tells, over the time that it lasts. */
function withRange(s: HistorySeries, a: Anomaly): HistorySeries {
  const inside = s.times.map((t) => t >= sinceOf(a) - 120 && t <= (a.ended ?? Infinity) + 120);
  const put = (v: number | null) => inside.map((yes) => (yes ? v : null));
  return { ...s, expected: put(a.expected), lower: put(a.lower), upper: put(a.upper) };
}
