import type { HistorySeries } from "./types";

/** A line without axes: values, with its band where there is one. Purely a picture; the words stand beside it. */
export function Spark({
  series,
  width = 160,
  height = 36,
  mark,
}: {
  series: Pick<HistorySeries, "times" | "values"> & Partial<HistorySeries>;
  width?: number;
  height?: number;
  mark?: [number, number];
}) {
  const { times, values } = series;
  const lower = series.lower ?? [];
  const upper = series.upper ?? [];
  if (times.length < 2) return <svg class="spark" width={width} height={height} aria-hidden="true" />;
  let low = Infinity,
    high = -Infinity;
  for (const list of [values, lower, upper])
    for (const v of list)
      if (v !== null && v !== undefined) {
        if (v < low) low = v;
        if (v > high) high = v;
      }
  if (!Number.isFinite(low)) return <svg class="spark" width={width} height={height} aria-hidden="true" />;
  const t0 = times[0]!,
    t1 = times[times.length - 1]!;
  const x = (t: number) => ((t - t0) / (t1 - t0 || 1)) * (width - 2) + 1;
  const y = (v: number) => height - 3 - ((v - low) / (high - low || 1)) * (height - 6);
  let line = "",
    pen = false;
  for (let i = 0; i < times.length; i++) {
    const v = values[i];
    if (v === null || v === undefined) {
      pen = false;
      continue;
    }
    line += `${pen ? "L" : "M"}${x(times[i]!).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = true;
  }
  const top: string[] = [],
    bottom: string[] = [];
  for (let i = 0; i < times.length; i++) {
    const l = lower[i],
      u = upper[i];
    if (l === null || l === undefined || u === null || u === undefined) continue;
    top.push(`${x(times[i]!).toFixed(1)} ${y(u).toFixed(1)}`);
    bottom.unshift(`${x(times[i]!).toFixed(1)} ${y(l).toFixed(1)}`);
  }
  const from = mark ? Math.max(1, x(mark[0])) : 0;
  const to = mark ? Math.min(width - 1, x(mark[1])) : 0;
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {mark && to > 0 && <rect class="mark" x={from} y={0} width={Math.max(2, to - from)} height={height} />}
      {top.length > 1 && <path class="band" d={`M${top.join("L")}L${bottom.join("L")}Z`} />}
      <path class="line" d={line} />
    </svg>
  );
}
