// Data of a page: asked for when its address changes, again on a beat, and dropped when the page goes.

import { useEffect, useRef, useState } from "preact/hooks";
import { request } from "./api";

export interface Loaded<T> {
  data: T | null;
  error: string;
  loading: boolean;
  again: () => void;
}

/** An empty path asks nothing. `beat` changes when the data may be new; the old data stays on screen meanwhile. */
export function useLoad<T>(path: string, beat: unknown = 0): Loaded<T> {
  const [state, set] = useState<{ path: string; data: T | null; error: string }>({ path: "", data: null, error: "" });
  const [round, again] = useState(0);
  const busy = useRef(false);
  const last = useRef("");
  useEffect(() => {
    if (!path) {
      set({ path: "", data: null, error: "" });
      return;
    }
    const same = path === last.current;
    // A slow answer is not overtaken by the beat, only by another question.
    if (busy.current && same) return;
    last.current = path;
    const abort = new AbortController();
    busy.current = true;
    request<T>(path, { signal: abort.signal })
      .then(
        (data) => {
          if (last.current === path) set({ path, data, error: "" });
        },
        (error: Error) => {
          if (error.name !== "AbortError" && last.current === path)
            set((s) => ({ path, data: s.path === path ? s.data : null, error: error.message }));
        },
      )
      .finally(() => {
        if (last.current === path) busy.current = false;
      });
    return () => {
      if (last.current !== path) abort.abort();
    };
  }, [path, beat, round]);
  const current = state.path === path;
  return {
    data: state.data,
    error: current ? state.error : "",
    loading: !current && path !== "",
    again: () => again((n) => n + 1),
  };
}

/** A number that changes every `seconds` while the page is visible. */
export function useBeat(seconds: number): number {
  const [beat, set] = useState(0);
  useEffect(() => {
    if (!seconds) return;
    const timer = setInterval(() => {
      if (!document.hidden) set((n) => n + 1);
    }, seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
  return beat;
}
