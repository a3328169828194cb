// Numbers and times for people.

const STEPS: [number, string][] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

const digits = (v: number): string => {
  if (!Number.isFinite(v)) return Number.isNaN(v) ? "no value" : v > 0 ? "∞" : "−∞";
  const a = Math.abs(v);
  if (a >= 100) return v.toFixed(0);
  if (a >= 10) return String(Number(v.toFixed(1)));
  return String(Number(v.toFixed(2)));
};

export function count(v: number): string {
  for (const [step, unit] of STEPS) if (Math.abs(v) >= step) return `${digits(v / step)} ${unit}`;
  if (v !== 0 && Math.abs(v) < 0.01) return v.toPrecision(2);
  return digits(v);
}

export function bytes(v: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (Math.abs(v) >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return `${digits(v)} ${units[i]}`;
}

export function seconds(v: number): string {
  const a = Math.abs(v);
  if (a === 0) return "0 s";
  if (a < 1e-3) return `${digits(v * 1e6)} µs`;
  if (a < 1) return `${digits(v * 1e3)} ms`;
  if (a < 120) return `${digits(v)} s`;
  if (a < 7200) return `${Math.floor(v / 60)} min`;
  const two = (whole: number, unit: string, rest: number, small: string) =>
    `${whole} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
  if (a < 86400 || (a < 172800 && a % 86400)) return two(Math.floor(v / 3600), "h", Math.floor((v % 3600) / 60), "min");
  return two(Math.floor(v / 86400), "d", Math.floor((v % 86400) / 3600), "h");
}

export const plural = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

export const percent = (v: number): string => `${digits(v * 100)} %`;

/** The unit that a metric's name promises (OpenMetrics: the name ends in its unit). */
export function unitOf(metric: string): (v: number) => string {
  if (/_bucket$|_count$/.test(metric)) return count;
  const name = metric.replace(/_total$|_sum$/, "");
  if (/_bytes$|_byte$/.test(name)) return bytes;
  if (/_seconds$|_duration$/.test(name)) return seconds;
  if (/_milliseconds$/.test(name)) return (v) => seconds(v / 1000);
  if (/_ratio$|utilization$/.test(name)) return percent;
  return count;
}

/** Names have no limit; a page has. */
const LONGEST = 300;
export const shortened = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

export type Zone = "local" | "utc";

export function clockTime(t: number, zone: Zone, withDate = false): string {
  if (!Number.isFinite(t)) return "unknown";
  const options: Intl.DateTimeFormatOptions = {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hourCycle: "h23",
    timeZone: zone === "utc" ? "UTC" : undefined,
  };
  if (withDate) Object.assign(options, { year: "numeric", month: "short", day: "numeric" });
  return new Intl.DateTimeFormat(undefined, options).format(t * 1000);
}

export function ago(t: number, now = Date.now() / 1000): string {
  const d = Math.max(0, now - t);
  return d < 2 ? "now" : `${seconds(Math.round(d))} ago`;
}

/** A series in words: its metric first, then what tells it from its siblings. */
export function title(labels: Record<string, string>): { metric: string; rest: string } {
  const { __name__: metric = "(no name)", ...others } = labels;
  return {
    metric,
    rest: Object.entries(others)
      .map(([k, v]) => `${k}=${v}`)
      .join(", "),
  };
}
