// One stream of events for the whole page; components subscribe to what it says.

import { useEffect, useState } from "preact/hooks";
import type { Anomaly, Status } from "./api";

export interface AlertCounts { alerts: number; groups: number; silences: number }
export interface Live {
  connected: boolean;
  status: Status | null;
  problem: string;
  anomalies: { open: number; newest: Anomaly[]; version: number };
  alerts: AlertCounts & { version: number };
  /** Accepted, scored and forwarded points a second, over the last three quarters of a minute. */
  rates: { accepted: number; scored: number; forwarded: number; dropped: number };
}

let state: Live = {
  connected: false, status: null, problem: "",
  anomalies: { open: 0, newest: [], version: 0 },
  alerts: { alerts: 0, groups: 0, silences: 0, version: 0 },
  rates: { accepted: 0, scored: 0, forwarded: 0, dropped: 0 },
};
const listeners = new Set<() => void>();
let source: EventSource | null = null;
const recent: { at: number; status: Status }[] = [];
/** Statuses, one a second: wider than the usual export intervals, so that a rate does not fall to 0 between two exports. */
const WINDOW = 45;

const sum = (parts: Record<string, number>): number => Object.values(parts).reduce((a, b) => a + b, 0);

function change(part: Partial<Live>): void {
  state = { ...state, ...part };
  for (const listener of listeners) listener();
}

function onStatus(event: MessageEvent): void {
  const { status, time, error } = JSON.parse(event.data as string) as { status: Status | null; time: number; error: string };
  if (!status) { change({ connected: true, problem: error }); return; }
  if (recent.length && recent[recent.length - 1]!.status.accepted_points > status.accepted_points) recent.length = 0;
  recent.push({ at: time, status });
  while (recent.length > WINDOW) recent.shift();
  const first = recent[0]!;
  const span = Math.max(time - first.at, 1e-9);
  const rate = (pick: (s: Status) => number) => (recent.length > 1 ? Math.max(0, (pick(status) - pick(first.status)) / span) : 0);
  change({
    connected: true, status, problem: status.problem,
    rates: {
      accepted: rate((s) => s.accepted_points), scored: rate((s) => s.scored_points),
      forwarded: rate((s) => s.forwarded_points), dropped: rate((s) => sum(s.dropped_points)),
    },
  });
}

function open(): void {
  source = new EventSource("/api/v1/events");
  source.addEventListener("status", onStatus);
  source.addEventListener("anomalies", (event) => {
    change({ anomalies: { ...JSON.parse((event as MessageEvent).data as string), version: state.anomalies.version + 1 } });
  });
  source.addEventListener("alerts", (event) => {
    change({ alerts: { ...JSON.parse((event as MessageEvent).data as string), version: state.alerts.version + 1 } });
  });
  source.onerror = () => {
    change({ connected: false });
    // The browser tries again by itself unless the answer was final.
    if (source?.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 3000); }
  };
}

export function useLive(): Live {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!source) open();
    const listener = () => tick((n) => n + 1);
    listeners.add(listener);
    return () => { listeners.delete(listener); };
  }, []);
  return state;
}

addEventListener("pagehide", () => { source?.close(); source = null; });
addEventListener("pageshow", (event) => { if (event.persisted && !source) open(); });
