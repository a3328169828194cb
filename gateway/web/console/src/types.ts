// What the gateway answers.

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
    connected: boolean;
    encoding: string;
    scores_forwarded: number;
    scores_dropped: number;
    scores_waiting: number;
    dead_letter_blocks: number;
    replays: number;
    last_error: string;
  };
  frozen_learning?: {
    windows: number;
    windows_left_out: number;
    series: number;
    new_series: number;
    refused_series: number;
    bytes: number;
    problem: string;
  };
  problem: string;
  version: string;
  open_anomalies: number;
}

export interface Member {
  series: Labels;
  onset: number;
  score: number;
}
/** What surrounds an anomaly; the alert it became, by fingerprint. */
export interface Context {
  fingerprint?: string;
  muted?: string;
  after_deploy?: string;
  maintenance?: string;
  business_impact?: string;
  feedback?: string;
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
  kind: string;
  /** Of an anomaly of many series: those that deviate, in the order in which they began. */
  members: Member[];
  context?: Context;
  feedback?: { verdict: "useful" | "noise"; by: string; comment: string; at: string } | null;
}

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
export interface History {
  source: string;
  bands: string;
  series: HistorySeries[];
}

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
export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual: boolean;
}
export interface Silence {
  id: string;
  status: { state: string };
  comment: string;
  createdBy: string;
  startsAt: string;
  endsAt: string;
  matchers: Matcher[];
}
export interface Setting {
  value: unknown;
  source: string;
}

export interface Explanation {
  fingerprint: string;
  now: {
    labels: Labels;
    annotations: Labels;
    state: string;
    startsAt: string;
    endsAt: string | null;
    origin: string;
    acknowledgedBy: string;
    snoozedUntil: string | null;
    silencedBy: string[];
    inhibitedBy: string[];
    routes: {
      route: string;
      receiver: string;
      groupLabels: Labels;
      members: number;
      mutedAtLastFlush: string | null;
      lastFlush: string | null;
      nextFlush: string | null;
      verdict: string;
    }[];
  } | null;
  history: ({ time: string; event: string } & Record<string, unknown>)[];
}
export interface Deliveries {
  pending: {
    id: string;
    integration: string;
    groupKey: string;
    status: string;
    why: string;
    attempts: number;
    nextAttempt: string;
    lastError: string;
    lagSeconds: number;
  }[];
  recent: ({ time: string; event: string; group: string; integration?: string } & Record<string, unknown>)[];
}

export interface ListedAlert {
  fingerprint: string;
  labels: Labels;
  annotations: Labels;
  startsAt: string;
  generatorURL: string;
  origin: string;
  state: string;
  acknowledgedBy: string;
  snoozedUntil: string | null;
  silencedBy: string[];
  inhibitedBy: string[];
  muted: string;
}
export interface ListedGroup {
  id: string;
  labels: Labels;
  receiver: string;
  total: number;
  worst: string;
  started: string;
  alerts: ListedAlert[];
}
export interface AlertList {
  total: number;
  alerts: number;
  groups: ListedGroup[];
}
export interface AnomalyPage {
  total: number;
  open: number;
  anomalies: Anomaly[];
}
export interface EscalationShown {
  policy: string;
  receiver: string;
  began: string;
  stopped: string;
  steps: {
    step: number;
    round: number;
    due: string;
    targets: string[];
    state: "told" | "next" | "later" | "dropped";
  }[];
}
export interface CalendarShown {
  schedule: string;
  location: string;
  now: string;
  shifts: { person: string; start: number; end: number; override: boolean }[];
}
export interface MaintenanceWindow {
  id: string;
  name: string;
  state: "pending" | "active" | "idle" | "expired";
  matchers: string[];
  start: string;
  end: string | null;
  recurring: Record<string, unknown>[];
  by: string;
  comment: string;
}
export interface Suppressions {
  counts: Record<string, number>;
  storm: { active: boolean; since: string | null; newGroupsLastMinute: number; usualPerMinute: number };
  suppressions: {
    id?: string;
    kind: string;
    reason: string;
    since: string | null;
    fingerprint?: string;
    alertname?: string;
    integration?: string;
    groupKey?: string;
    alerts?: number;
    receiver?: string;
    release: string | null;
  }[];
}
export interface Marker {
  id: string;
  time: string;
  title: string;
  service: string;
  version: string;
  environment: string;
  url: string;
  source: string;
}
export interface Times {
  count: number;
  p50: number;
  p90: number;
  longest: number;
}
export interface Tally {
  alerts: number;
  told: number;
  suppressed: number;
  acknowledged: number;
  acted_on: number;
  resolved_by_hand: number;
  ended: number;
  brief: number;
  noise: { told_and_ended: number; nobody_acted: number; share: number | null };
  to_acknowledge: Times | null;
  to_resolve: Times | null;
}
export interface AnalyticsShown {
  start: string;
  end: string;
  timezone: string;
  step_seconds: number;
  notifications: number;
  suppressed_by: Record<string, number>;
  total: Tally;
  teams: AnalyticsRow[];
  services: AnalyticsRow[];
  rules: AnalyticsRow[];
  severities: AnalyticsRow[];
  receivers: {
    integration: string;
    delivered: number;
    reasons: Record<string, number>;
    at_night: number;
    failed_attempts: number;
    refused: number;
    lag: Times | null;
  }[];
  by_hour: number[];
  by_weekday_and_hour: number[][];
  over_time: { start: string; notifications: number; tally: Tally }[];
  loudest: { fingerprint: string; labels: Labels; alerts: number }[];
}
export interface AnalyticsRow {
  name: string;
  notifications: number;
  tally: Tally;
}
export interface SendersShown {
  senders: {
    sender: string;
    points_per_second: number;
    delay_seconds: number | null;
    live_series: number;
    sdk: { name: string; version: string; language: string } | null;
    problems: { check: string; value: number; since: number }[];
  }[];
  clients: {
    protocol: string;
    agent: string;
    address: string;
    requests: number;
    points: number;
    bytes: number;
    refused: number;
    first: number;
    last: number;
  }[];
}
export interface Refusal {
  what: "points" | "requests" | "tenant" | "events";
  by: string;
  reason: string;
  count: number;
}
export interface HostShown {
  name: string;
  kind: "node_exporter" | "opentelemetry";
  match: Labels;
  series: number;
  open: number;
  worst: Severity;
  last: number | null;
}
export interface ProbeShown {
  name: string;
  target: string;
  kind: "http" | "tcp";
  interval: number;
  state: "ok" | "failing" | "waiting";
  since: number | null;
  failures: number;
  last: { at: number; ok: boolean; duration: number; status: number; certificate_ends: number; problem: string } | null;
  recent: [number, boolean, number][];
}
export interface Traces {
  labels: Labels;
  exemplars: { trace_id: string; span_id: string; value: number; time: number }[];
}
export type ConfigChecked =
  | { ok: true; changes: { key: string; from: unknown; to: unknown; source: string }[]; alerting: string }
  | { ok: false; problem: string; key: string; source: string; expected: string };

/** One sample of the status, as the gateway remembers it; `recent` begins a few hours ago. */
export interface StatusSample {
  time: number;
  accepted: number;
  scored: number;
  forwarded: number;
  pending: number;
  dropped: number;
  series: number;
  score_p99: number;
  forward_p99: number;
  anomalies: number;
}

export interface ServiceSummary {
  name: string;
  series: number;
  metrics: number;
  hosts: string[];
  open: number;
  recent: number;
  worst: Severity;
  last: number | null;
  signals: Partial<Record<"traffic" | "errors" | "latency" | "saturation", string[]>>;
  /** Begin, end (null while open) and severity of its newest anomalies. */
  strip?: [number, number | null, Severity][];
}

export const SEVERITIES: readonly Severity[] = ["none", "low", "medium", "high", "critical"];
