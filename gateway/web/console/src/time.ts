// The time range and the zone, both in the address (`from`, `to`, `tz`) so that a link shows the same thing.

import { parse, update, useAddress } from "./address";
import type { Zone } from "./format";

export interface Range { from: string; to: string; start: number; end: number; relative: boolean }

export const RANGES: [string, string][] = [
  ["-15m", "15 minutes"], ["-1h", "1 hour"], ["-3h", "3 hours"], ["-6h", "6 hours"],
  ["-12h", "12 hours"], ["-24h", "24 hours"], ["-48h", "2 days"], ["-7d", "7 days"],
];
export const DEFAULT_RANGE = "-1h";
const UNIT: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86400 };

export function secondsOf(relative: string): number {
  const found = /^-(\d+)([smhd])$/.exec(relative);
  return found ? Number(found[1]) * UNIT[found[2]!]! : 0;
}

export function rangeOf(search: URLSearchParams): Range {
  const from = search.get("from") ?? DEFAULT_RANGE;
  const to = search.get("to") ?? "now";
  const now = Date.now() / 1000;
  const end = to === "now" ? now : Number(to) || now;
  const start = from.startsWith("-") ? end - (secondsOf(from) || 3600) : Number(from) || end - 3600;
  return { from, to, start: Math.min(start, end - 1), end, relative: from.startsWith("-") && to === "now" };
}

export const useZone = (): Zone => (useAddress().search.get("tz") === "utc" ? "utc" : "local");
export const setZone = (zone: Zone): void => update({ tz: zone === "utc" ? "utc" : undefined });
export const zoom = (start: number, end: number): void =>
  update({ from: start.toFixed(3), to: end.toFixed(3) }, false);

/** What every link inside the console carries along. */
export function carried(): Record<string, string | undefined> {
  const { search } = parse();
  return { from: search.get("from") ?? undefined, to: search.get("to") ?? undefined, tz: search.get("tz") ?? undefined };
}
