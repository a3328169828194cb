// One stream of events for the whole page; components subscribe to what it says.

import { useEffect, useState } from "preact/hooks";
import type { Anomaly, Status } from "./types";

export interface AlertCounts {
  alerts: number;
  groups: number;
  silences: number;
}
export interface Live {
  connected: boolean;
  status: Status | null;
  problem: string;
  anomalies: { open: number; newest: Anomaly[]; version: number };
  alerts: AlertCounts & { version: number };
  /** Accepted, scored and forwarded points a second, over the last three quarters of a minute. */
  rates: { accepted: number; scored: number; forwarded: number; dropped: number };
}

const NO_RATES = { accepted: 0, scored: 0, forwarded: 0, dropped: 0 };

let state: Live = {
  connected: false,
  status: null,
  problem: "",
  anomalies: { open: 0, newest: [], version: 0 },
  alerts: { alerts: 0, groups: 0, silences: 0, version: 0 },
  rates: NO_RATES,
};
const listeners = new Set<() => void>();
let source: EventSource | null = null;
let leaving = 0;
/** Milliseconds that a page out of sight keeps its stream: browsers open six connections to one place, not more. */
const KEPT_HIDDEN = 10_000;
function change(part: Partial<Live>): void {
  state = { ...state, ...part };
  for (const listener of listeners) listener();
}

function onStatus(event: MessageEvent): void {
  const { status, error, rates } = JSON.parse(event.data as string) as {
    status: Status | null;
    error: string;
    rates?: Partial<Live["rates"]>;
  };
  if (!status) {
    change({ connected: true, problem: error });
    return;
  }
  change({ connected: true, status, problem: status.problem, rates: { ...NO_RATES, ...rates } });
}

function open(): void {
  if (source || document.hidden) return;
  source = new EventSource("/api/v1/events");
  source.addEventListener("status", onStatus);
  source.addEventListener("anomalies", (event) => {
    change({
      anomalies: { ...JSON.parse((event as MessageEvent).data as string), version: state.anomalies.version + 1 },
    });
  });
  source.addEventListener("alerts", (event) => {
    change({ alerts: { ...JSON.parse((event as MessageEvent).data as string), version: state.alerts.version + 1 } });
  });
  source.onerror = () => {
    change({ connected: false });
    // The browser tries again by itself unless the answer was final.
    if (source?.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(open, 3000);
    }
  };
}

export function useLive(): Live {
  const [, tick] = useState(0);
  useEffect(() => {
    open();
    const listener = () => tick((n) => n + 1);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return state;
}

function close(): void {
  source?.close();
  source = null;
}

addEventListener("pagehide", close);
addEventListener("pageshow", (event) => {
  if (event.persisted) open();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(leaving);
  if (document.hidden) leaving = setTimeout(close, KEPT_HIDDEN);
  else if (listeners.size) open();
});
