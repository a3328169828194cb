// Lines with their bands and scores as uPlot takes them: columns on one time axis.

import uPlot from "uplot";
import { onOneAxis } from "./history";

export interface Line {
  name: string;
  times: number[];
  values: (number | null)[];
  lower?: (number | null)[];
  upper?: (number | null)[];
  expected?: (number | null)[];
  score?: (number | null)[];
  dashed?: boolean;
  color: number;
}

export interface Point {
  time: number;
  value: number;
  text: string;
}

export const style = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const COLORS = 8;
/** Lines of a plot up to which their bands can be told apart. */
export const MOST_BANDS = 4;
/** Lines in a plot from which on they are thin. */
const THIN_FROM = 12;
const fits = (list: (number | null)[] | undefined): list is (number | null)[] => !!list && list.some((v) => v !== null);

interface Built {
  data: uPlot.AlignedData;
  series: uPlot.Series[];
  bands: uPlot.Band[];
  shades: [number, number][];
}

export function build(lines: Line[], format: (v: number) => string): Built {
  const tables: { times: number[]; columns: (number | null)[][] }[] = [];
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  const shades: [number, number][] = [];
  // A line of one device pixel is drawn several times as fast.
  const thin = lines.length > THIN_FROM;
  const showBand = lines.filter((l) => fits(l.lower)).length <= MOST_BANDS;
  for (const line of lines) {
    const color = style(`--c${line.color % COLORS}`);
    const columns: (number | null)[][] = [line.values];
    series.push({
      label: line.name,
      stroke: color,
      width: thin ? 1 / devicePixelRatio : 1.5,
      dash: line.dashed ? [5, 4] : undefined,
      points: { show: line.times.length < 3 },
      spanGaps: false,
    });
    if (showBand && fits(line.lower) && fits(line.upper)) {
      const at = series.length;
      columns.push(line.upper, line.lower);
      const bound = { stroke: "transparent", width: 0, points: { show: false } };
      series.push({ ...bound, label: `${line.name} upper` }, { ...bound, label: `${line.name} lower` });
      bands.push({ series: [at, at + 1], fill: `${color}2e` });
      if (fits(line.expected)) {
        columns.push(line.expected);
        series.push({
          label: `${line.name} expected`,
          stroke: `${color}99`,
          width: 1,
          dash: [2, 3],
          points: { show: false },
        });
      }
    }
    tables.push({ times: line.times, columns });
    if (fits(line.score)) {
      let from = -1;
      for (let i = 0; i <= line.times.length; i++) {
        const hot = i < line.times.length && (line.score[i] ?? 0) >= 0.5;
        if (hot && from < 0) from = line.times[i]!;
        if (!hot && from >= 0) {
          shades.push([from, line.times[Math.max(0, i - 1)]!]);
          from = -1;
        }
      }
    }
  }
  return { data: onOneAxis(tables) as uPlot.AlignedData, series, bands, shades };
}
