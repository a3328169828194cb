// Samples as they are scored: counters as rates, so that the line and its expected band share a unit.

import type { HistorySeries, Labels } from "./api";

export const isCounter = (labels: Labels): boolean => /_(total|count|sum|bucket)$/.test(labels.__name__ ?? "");

export function scored(series: HistorySeries): HistorySeries {
  if (series.scored_as ? series.scored_as === "value" : !isCounter(series.labels)) return series;
  const { times, values } = series;
  const rates: (number | null)[] = [];
  let before: number | null = null, at = 0;
  for (let i = 0; i < times.length; i++) {
    const v = values[i] ?? null;
    const t = times[i]!;
    // After a reset the counter began again at zero.
    rates.push(v === null || before === null || t <= at ? null : (v >= before ? v - before : v) / (t - at));
    if (v !== null) { before = v; at = t; }
  }
  return { ...series, values: rates, scored_as: "rate" };
}

/** Of a histogram's sum and count, both already as rates: the mean of what was observed, as the gateway scores it. */
export function meanOf(sums: HistorySeries, counts: HistorySeries): HistorySeries {
  const at = new Map(counts.times.map((t, i) => [t, counts.values[i] ?? null]));
  const values = sums.values.map((v, i) => { const n = at.get(sums.times[i]!); return v === null || !n ? null : v / n; });
  const none = values.map(() => null);
  return { ...sums, values, expected: none, lower: none, upper: none, score: none };
}

/**
 * Of a histogram's buckets, each as rates: the 95 % quantile of each interval, linear within a bucket, which is what the
 * gateway scores (the last bucket has no upper bound: its lower one counts).
 */
export function quantileOf(buckets: HistorySeries[], q = 0.95): HistorySeries | null {
  const bounds = buckets.map((b) => ({ le: Number((b.labels.le ?? "").replace("+Inf", "Infinity")), at: new Map(b.times.map((t, i) => [t, b.values[i] ?? null])) }))
    .filter((b) => !Number.isNaN(b.le)).sort((a, b) => a.le - b.le);
  const all = buckets.find((b) => /^\+?Inf$/.test(b.labels.le ?? ""));
  if (!all) return null;
  const values = all.times.map((t) => {
    const counts = bounds.map((b) => b.at.get(t) ?? null);
    const total = counts[counts.length - 1] ?? 0;
    if (!total || counts.some((c) => c === null)) return null;
    const rank = q * total;
    const i = counts.findIndex((c) => c! >= rank);
    const low = i > 0 ? bounds[i - 1]!.le : 0, high = bounds[i]!.le;
    if (!Number.isFinite(high)) return low;
    const below = i > 0 ? counts[i - 1]! : 0;
    return low + (high - low) * ((rank - below) / Math.max(counts[i]! - below, 1e-12));
  });
  const none = values.map(() => null);
  return { ...all, values, expected: none, lower: none, upper: none, score: none };
}

/** At most `most` points, the extremes of each stretch kept, so that a spike never disappears. */
export function thinned(series: HistorySeries, most: number): HistorySeries {
  const n = series.times.length;
  if (n <= most) return series;
  const stretch = Math.ceil(n / (most / 2));
  const keep: number[] = [];
  for (let from = 0; from < n; from += stretch) {
    let low = from, high = from;
    for (let i = from; i < Math.min(n, from + stretch); i++) {
      const v = series.values[i];
      if (v === null || v === undefined) continue;
      if (v < (series.values[low] ?? Infinity)) low = i;
      if (v > (series.values[high] ?? -Infinity)) high = i;
    }
    keep.push(Math.min(low, high));
    if (low !== high) keep.push(Math.max(low, high));
  }
  const pick = <T>(list: T[]): T[] => keep.map((i) => list[i]!);
  return {
    ...series, times: pick(series.times), values: pick(series.values), expected: pick(series.expected),
    lower: pick(series.lower), upper: pick(series.upper), score: pick(series.score),
  };
}
