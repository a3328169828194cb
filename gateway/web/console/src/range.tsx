// The time range: relative ranges, an own one, steps to the left and right, the zone; with keys for all of it.

import { useState } from "preact/hooks";
import { parse, update, useAddress } from "./address";
import { clockTime, type Zone } from "./format";
import { defaultRange, rangeOf, RANGES, typedMoment, useZone } from "./time";

const set = (start: number, end: number): void =>
  update({ from: start.toFixed(0), to: Math.min(end, Date.now() / 1000).toFixed(0) }, false);

/** Moves by a share of the length, or changes the length around the middle. */
export function shift(share: number): void {
  const { start, end } = rangeOf(parse().search);
  const by = (end - start) * share;
  if (end + by >= Date.now() / 1000 - 1) {
    const length = end - start;
    set(Date.now() / 1000 - length, Date.now() / 1000);
  } else set(start + by, end + by);
}
export function widen(factor: number): void {
  const { start, end, relative } = rangeOf(parse().search);
  const length = Math.max(30, (end - start) * factor);
  if (relative) set(end - length, end);
  else set((start + end) / 2 - length / 2, (start + end) / 2 + length / 2);
}
export const now = (): void => update({ from: undefined, to: undefined }, false);

export const KEYS: [string, string][] = [
  ["/", "search on this page"],
  ["[ and ]", "earlier and later"],
  ["- and +", "longer and shorter range"],
  ["n", "back to now"],
  ["z", "UTC or local time"],
  ["← → + −", "on a focused plot: move, zoom"],
  ["o s h e a l t", "overview, services, hosts, explore, anomalies, alerts, status"],
  ["?", "this list"],
];

const isToday = (t: number): boolean => new Date(t * 1000).toDateString() === new Date().toDateString();

const inputValue = (t: number, zone: Zone): string => {
  const d = new Date(t * 1000);
  return new Date(zone === "utc" ? d : d.getTime() - d.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};

export function RangePicker() {
  const { search } = useAddress();
  const zone = useZone();
  const [own, open] = useState(false);
  const fallback = defaultRange();
  const { from, start, end, relative } = rangeOf(search);
  const fixed = !relative;
  const known = fixed || RANGES.some(([v]) => v === from);
  return (
    <div class="range">
      <button type="button" aria-label="Earlier" title="Earlier ([)" onClick={() => shift(-0.5)}>
        ‹
      </button>
      <label>
        <span class="hidden">Time range</span>
        <select
          value={fixed ? "fixed" : from}
          onChange={(e) => {
            const v = e.currentTarget.value;
            if (v === "own") {
              open(true);
              e.currentTarget.value = fixed ? "fixed" : from;
            } else if (v !== "fixed") {
              open(false);
              update({ from: v === fallback ? undefined : v, to: undefined }, false);
            }
          }}
        >
          {fixed && (
            <option value="fixed">
              {clockTime(start, zone, !isToday(start))} – {clockTime(end, zone, !isToday(end))}
            </option>
          )}
          {!known && <option value={from}>Last {from.slice(1)}</option>}
          {RANGES.map(([value, text]) => (
            <option key={value} value={value}>
              Last {text}
            </option>
          ))}
          <option value="own">From … to …</option>
        </select>
      </label>
      <button type="button" aria-label="Later" title="Later (])" disabled={!fixed} onClick={() => shift(0.5)}>
        ›
      </button>
      {fixed && (
        <button type="button" onClick={now}>
          Back to now
        </button>
      )}
      {own && <Own zone={zone} done={() => open(false)} />}
    </div>
  );
}

function Own({ zone, done }: { zone: Zone; done: () => void }) {
  const range = rangeOf(parse().search);
  const [from, begin] = useState(() => inputValue(range.start, zone));
  const [to, finish] = useState(() => inputValue(range.end, zone));
  const start = typedMoment(from, zone),
    end = typedMoment(to, zone);
  const good = start < end;
  return (
    <form
      class="own"
      onSubmit={(e) => {
        e.preventDefault();
        if (good) {
          set(start, end);
          done();
        }
      }}
      onKeyDown={(e) => {
        if (e.key === "Escape") done();
      }}
    >
      <label>
        From <input type="datetime-local" value={from} onInput={(e) => begin(e.currentTarget.value)} />
      </label>
      <label>
        To <input type="datetime-local" value={to} onInput={(e) => finish(e.currentTarget.value)} />
      </label>
      <button type="submit" class="primary" disabled={!good}>
        Show
      </button>
      <button type="button" onClick={done}>
        Cancel
      </button>
      {!good && (
        <span class="state failed" role="alert">
          The beginning must be before the end.
        </span>
      )}
    </form>
  );
}
