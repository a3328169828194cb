// What the gateway answers, and the one way the console asks.

export type Labels = Record<string, string>;
export type Severity = "none" | "low" | "medium" | "high" | "critical";

export interface Status {
  accepted_points: number;
  scored_points: number;
  forwarded_points: number;
  dropped_points: Record<string, number>;
  active_series: number;
  pending_forward_points: number;
  lag_seconds: { score_p50: number; score_p99: number; forward_p50: number; forward_p99: number };
  uptime_seconds: number;
  not_scored_points?: Record<string, number>;
  unscored_backlog_points?: number;
  log?: { bytes: number; limit_bytes: number };
  forwarding?: {
    connected: boolean; encoding: string; scores_forwarded: number; scores_dropped: number;
    dead_letter_blocks: number; replays: number; last_error: string;
  };
  problem: string;
  version: string;
  open_anomalies: number;
}

export interface Anomaly {
  id: string;
  time: number;
  series: Labels;
  value: number | null;
  expected: number | null;
  lower: number | null;
  upper: number | null;
  score: number;
  severity: Severity;
  reasons: string[];
  state: "firing" | "resolved";
  ended: number | null;
  exemplars: { trace_id: string; span_id: string; value: number; time: number }[];
}

export interface Series { id: number; labels: Labels }

export interface HistorySeries {
  labels: Labels;
  times: number[];
  values: (number | null)[];
  expected: (number | null)[];
  lower: (number | null)[];
  upper: (number | null)[];
  score: (number | null)[];
  scored_as?: "rate" | "value";
}
export interface History { source: string; bands: string; series: HistorySeries[] }

export interface Alert {
  fingerprint: string;
  labels: Labels;
  annotations: Labels;
  startsAt: string;
  updatedAt: string;
  generatorURL?: string;
  receivers: { name: string }[];
  status: { state: string; silencedBy: string[]; inhibitedBy: string[]; mutedBy?: string[] };
}
export interface AlertGroup { labels: Labels; receiver: { name: string }; alerts: Alert[] }
export interface Matcher { name: string; value: string; isRegex: boolean; isEqual: boolean }
export interface Silence {
  id: string; status: { state: string }; comment: string; createdBy: string;
  startsAt: string; endsAt: string; matchers: Matcher[];
}
export interface Setting { value: unknown; source: string }

export interface Explanation {
  fingerprint: string;
  now: {
    labels: Labels; annotations: Labels; state: string; startsAt: string; endsAt: string | null; origin: string;
    acknowledgedBy: string; snoozedUntil: string | null; silencedBy: string[]; inhibitedBy: string[];
    routes: {
      route: string; receiver: string; groupLabels: Labels; members: number; mutedAtLastFlush: string | null;
      lastFlush: string | null; nextFlush: string | null; verdict: string;
    }[];
  } | null;
  history: ({ time: string; event: string } & Record<string, unknown>)[];
}
export interface Deliveries {
  pending: { id: string; integration: string; groupKey: string; status: string; why: string; attempts: number; nextAttempt: string; lastError: string; lagSeconds: number }[];
  recent: ({ time: string; event: string; group: string; integration?: string } & Record<string, unknown>)[];
}

/** One sample of the status, as the gateway remembers it; `recent` begins a few hours ago. */
export interface StatusSample {
  time: number; accepted: number; scored: number; forwarded: number; pending: number; dropped: number; series: number;
  score_p99: number; forward_p99: number; anomalies: number;
}

export interface ServiceSummary {
  name: string; series: number; metrics: number; hosts: string[]; open: number; recent: number;
  worst: Severity; last: number | null;
  signals: Partial<Record<"traffic" | "errors" | "latency" | "saturation", string[]>>;
}

export class ApiError extends Error {
  constructor(message: string, readonly status: number) { super(message); }
}

/** The answer's JSON. Throws ApiError with words that can be shown. */
export async function request<T>(path: string, options: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new ApiError("The gateway does not answer. Is it running, and is this page's address still right?", 0);
  }
  const text = await response.text();
  let body: unknown = null;
  try { body = text ? JSON.parse(text) : null; } catch { body = text; }
  if (!response.ok) {
    const said = typeof body === "string" ? body : (body as { error?: string } | null)?.error;
    throw new ApiError(said || `The gateway answered ${response.status}.`, response.status);
  }
  return body as T;
}

export const query = (path: string, parameters: Record<string, string | number | undefined>): string => {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined && value !== "") search.set(key, String(value));
  const text = search.toString();
  return text ? `${path}?${text}` : path;
};

/** PromQL's spelling of exactly one series. */
export function selector(labels: Labels): string {
  const { __name__: name = "", ...rest } = labels;
  const inner = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  const plain = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
  if (!plain && name) inner.unshift(JSON.stringify(name));
  return (plain ? name : "") + (inner.length || !plain ? `{${inner.join(",")}}` : "");
}

const SERVICE = ["service", "service_name", "service.name", "job"];
export const serviceOf = (labels: Labels): string => {
  for (const name of SERVICE) {
    const value = labels[name];
    if (value) return value.slice(value.lastIndexOf("/") + 1);
  }
  return "";
};
export const SEVERITIES: readonly Severity[] = ["none", "low", "medium", "high", "critical"];
