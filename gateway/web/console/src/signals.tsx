// The golden signals of many services at once: asked for those that are on the screen, and again while they are.

import { useEffect, useRef, useState } from "preact/hooks";
import { request } from "./api";
import { count, percent, seconds } from "./format";

export interface Signals {
  traffic: number | null;
  errors: number | null;
  latency: number | null;
  saturation: number | null;
}

export const SIGNAL_COLUMNS: [keyof Signals, string, (v: number) => string][] = [
  ["traffic", "Traffic", (v) => `${count(v)}/s`],
  ["errors", "Errors", percent],
  ["latency", "Latency", seconds],
  ["saturation", "Saturation", percent],
];

/** Services in one question; the gateway takes no more. */
const AT_ONCE = 50;
/** Milliseconds in which rows that come into sight are gathered. */
const GATHER = 80;

/** Figures by service, and how a row says that its service is seen. `beat` asks again for all that were. */
export function useSignals(beat: number): [Map<string, Signals>, (name: string) => void] {
  const [known, set] = useState<Map<string, Signals>>(new Map());
  const seen = useRef(new Set<string>());
  const waiting = useRef(new Set<string>());
  const timer = useRef(0);
  const gone = useRef(false);
  const ask = () => {
    timer.current = 0;
    const names = [...waiting.current].slice(0, AT_ONCE);
    names.forEach((name) => waiting.current.delete(name));
    if (!names.length) return;
    const search = new URLSearchParams(names.map((name) => ["name", name]));
    // Figures that do not come stay as they were: the page shows what is wrong without them.
    request<Record<string, Signals>>(`/api/v1/services/signals?${search}`)
      .then(
        (found) => {
          if (!gone.current) set((old) => new Map([...old, ...Object.entries(found)]));
        },
        () => undefined,
      )
      .then(() => {
        if (!gone.current && waiting.current.size) ask();
      });
  };
  useEffect(() => {
    seen.current.forEach((name) => waiting.current.add(name));
    ask();
  }, [beat]);
  useEffect(() => {
    gone.current = false;
    return () => {
      gone.current = true;
      clearTimeout(timer.current);
    };
  }, []);
  const show = (name: string) => {
    seen.current.add(name);
    waiting.current.add(name);
    timer.current ||= setTimeout(ask, GATHER);
  };
  return [known, show];
}
