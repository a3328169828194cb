// Samples as they are scored: counters as rates, so that the line and its expected band share a unit.

import type { HistorySeries, Labels } from "./api";

export const isCounter = (labels: Labels): boolean => /_(total|count|sum|bucket)$/.test(labels.__name__ ?? "");

export function scored(series: HistorySeries): HistorySeries {
  if (!isCounter(series.labels)) return series;
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
