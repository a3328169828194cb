// Samples as they are scored: counters as rates, so that the line and its expected band share a unit.

import type { HistorySeries, Labels } from "./types";

export const isCounter = (labels: Labels): boolean => /_(total|count|sum|bucket)$/.test(labels.__name__ ?? "");

export function scored(series: HistorySeries): HistorySeries {
  if (series.scored_as ? series.scored_as === "value" : !isCounter(series.labels)) return series;
  const { times, values } = series;
  const rates: (number | null)[] = [];
  let before: number | null = null,
    at = 0;
  for (let i = 0; i < times.length; i++) {
    const v = values[i] ?? null;
    const t = times[i]!;
    // After a reset the counter began again at zero.
    rates.push(v === null || before === null || t <= at ? null : (v >= before ? v - before : v) / (t - at));
    if (v !== null) {
      before = v;
      at = t;
    }
  }
  return { ...series, values: rates, scored_as: "rate" };
}

/** Of a histogram's sum and count, both already as rates: the mean of what was observed, as the gateway scores it. */
export function meanOf(sums: HistorySeries, counts: HistorySeries): HistorySeries {
  const at = new Map(counts.times.map((t, i) => [t, counts.values[i] ?? null]));
  const values = sums.values.map((v, i) => {
    const n = at.get(sums.times[i]!);
    return v === null || !n ? null : v / n;
  });
  const none = values.map(() => null);
  return { ...sums, values, expected: none, lower: none, upper: none, score: none };
}

/**
 * Of a histogram's buckets, each as rates: the 95 % quantile of each interval, linear within a bucket, which is what the
 * gateway scores (the last bucket has no upper bound: its lower one counts).
 */
export function quantileOf(buckets: HistorySeries[], q = 0.95): HistorySeries | null {
  const bounds = buckets
    .map((b) => ({
      le: Number((b.labels.le ?? "").replace("+Inf", "Infinity")),
      at: new Map(b.times.map((t, i) => [t, b.values[i] ?? null])),
    }))
    .filter((b) => !Number.isNaN(b.le))
    .sort((a, b) => a.le - b.le);
  const all = buckets.find((b) => /^\+?Inf$/.test(b.labels.le ?? ""));
  if (!all) return null;
  const values = all.times.map((t) => {
    const counts = bounds.map((b) => b.at.get(t) ?? null);
    const total = counts[counts.length - 1] ?? 0;
    if (!total || counts.some((c) => c === null)) return null;
    const rank = q * total;
    const i = counts.findIndex((c) => c! >= rank);
    const low = i > 0 ? bounds[i - 1]!.le : 0,
      high = bounds[i]!.le;
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
    let low = from,
      high = from;
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
    ...series,
    times: pick(series.times),
    values: pick(series.values),
    expected: pick(series.expected),
    lower: pick(series.lower),
    upper: pick(series.upper),
    score: pick(series.score),
  };
}

/** Rows of one time axis; more are folded into columns of time. */
const MOST_ROWS = 4000;
type Cell = number | null | undefined;

/**
 * Tables of times (seconds, ascending) with columns, as rows of one time axis: [times, ...columns], undefined where
 * another table has its sample. Senders take samples at their own moments: fifty series of 2,000 would make 100,000 rows
 * of fifty. Beyond MOST_ROWS each stretch of time therefore keeps the lowest and the highest of a table's first column, in
 * the order in which they came, and the last of its others.
 */
export function onOneAxis(tables: { times: number[]; columns: (number | null)[][] }[]): Cell[][] {
  const distinct = new Set<number>();
  let first = Infinity,
    last = -Infinity;
  for (const { times } of tables) {
    for (const t of times) distinct.add(t);
    if (times.length) {
      first = Math.min(first, times[0]!);
      last = Math.max(last, times[times.length - 1]!);
    }
  }
  if (distinct.size <= MOST_ROWS) {
    const axis = [...distinct].sort((a, b) => a - b);
    const row = new Map(axis.map((t, i) => [t, i]));
    const out: Cell[][] = [axis];
    for (const { times, columns } of tables)
      for (const column of columns) {
        const cells = new Array<Cell>(axis.length).fill(undefined);
        times.forEach((t, i) => {
          cells[row.get(t)!] = column[i];
        });
        out.push(cells);
      }
    return out;
  }
  const stretches = MOST_ROWS / 2,
    step = (last - first) / (stretches - 1) || 1;
  const out: Cell[][] = [Array.from({ length: MOST_ROWS }, (_, i) => first + (i / 2) * step)];
  for (const { times, columns } of tables) {
    const cells = columns.map(() => new Array<Cell>(MOST_ROWS).fill(undefined));
    const values = columns[0]!;
    for (let i = 0; i < times.length; ) {
      const stretch = Math.floor((times[i]! - first) / step),
        from = i;
      let low = -1,
        high = -1;
      for (; i < times.length && Math.floor((times[i]! - first) / step) === stretch; i++) {
        const v = values[i];
        if (v === null || v === undefined) continue;
        if (low < 0 || v < values[low]!) low = i;
        if (high < 0 || v > values[high]!) high = i;
      }
      const at = 2 * stretch;
      cells[0]![at] = low < 0 ? null : values[Math.min(low, high)];
      if (low !== high) cells[0]![at + 1] = values[Math.max(low, high)];
      for (let c = 1; c < columns.length; c++)
        cells[c]![at] = columns[c]!.slice(from, i).findLast((v) => v !== null) ?? null;
    }
    out.push(...cells);
  }
  return out;
}
