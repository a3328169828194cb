// The time range and the zone, both in the address (`from`, `to`, `tz`) so that a link shows the same thing.

import { parse, update, useAddress } from "./address";
import type { Zone } from "./format";

export interface Range {
  from: string;
  to: string;
  start: number;
  end: number;
  relative: boolean;
}

export const RANGES: [string, string][] = [
  ["-15m", "15 minutes"],
  ["-1h", "1 hour"],
  ["-3h", "3 hours"],
  ["-6h", "6 hours"],
  ["-12h", "12 hours"],
  ["-24h", "24 hours"],
  ["-48h", "2 days"],
  ["-7d", "7 days"],
];
const LIST_RANGE = "-6h";

/** What a page shows when its address names no range: lists of what happened look further back than plots. */
export function defaultRange(): string {
  const { path } = parse();
  return path.length === 1 && (path[0] === "services" || path[0] === "anomalies") ? LIST_RANGE : "-1h";
}

/** The year 2100. */
const LATEST = 4102444800;
const LONGEST = 400 * 86400;
const UNIT: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

export function secondsOf(relative: string): number {
  const found = /^-(\d+)([smhd])$/.exec(relative);
  return found ? Math.min(Number(found[1]) * UNIT[found[2]!]!, LONGEST) : 0;
}

/** A moment in an address: Unix seconds or ISO 8601; NaN for everything else, and for what no clock shows. */
export function momentOf(text: string): number {
  const t = Number(text) || Date.parse(text) / 1000;
  return t > 0 && t < LATEST ? t : NaN;
}

/** Seconds from what a datetime-local input gives, read in the zone shown. */
export const typedMoment = (text: string, zone: Zone): number => Date.parse(zone === "utc" ? `${text}Z` : text) / 1000;

/** What a page shows of `from` and `to`; parts that cannot be read are as if they were not there. */
export function rangeOf(search: URLSearchParams, fallback = defaultRange()): Range {
  const now = Date.now() / 1000;
  const given = { from: search.get("from") ?? "", to: search.get("to") ?? "" };
  const until = momentOf(given.to),
    since = momentOf(given.from);
  const end = until || now;
  const fixed = since < end;
  const from = fixed ? given.from : secondsOf(given.from) ? given.from : fallback;
  const start = fixed ? since : end - secondsOf(from);
  return { from, to: until ? given.to : "now", start, end, relative: !fixed && !until };
}

/** As the gateway reads it: relative as long as it is, so that the same question is the same address. */
export const sinceText = (range: Range): string => (range.relative ? range.from : range.start.toFixed(0));

export const useZone = (): Zone => (useAddress().search.get("tz") === "utc" ? "utc" : "local");
export const setZone = (zone: Zone): void => update({ tz: zone === "utc" ? "utc" : undefined });
export const zoom = (start: number, end: number): void => update({ from: start.toFixed(3), to: end.toFixed(3) }, false);

/** What every link inside the console carries along. */
export function carried(): Record<string, string | undefined> {
  const { search } = parse();
  return {
    from: search.get("from") ?? undefined,
    to: search.get("to") ?? undefined,
    tz: search.get("tz") ?? undefined,
  };
}
