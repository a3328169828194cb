// What is plotted of a host, by who reports on it: node_exporter or OpenTelemetry's system metrics.

import { bytes, count, percent } from "../format";
import { COLORS, type Line } from "../plot_data";
import type { HistorySeries, Labels } from "../types";

type Make = (of: (metric: string, extra?: Labels) => HistorySeries[]) => Line[];
export interface Panel {
  title: string;
  metrics: string[];
  format: (v: number) => string;
  lines: Make;
  limit?: number;
}

const byTime = (s: HistorySeries): Map<number, number> =>
  new Map(
    s.times.flatMap((t, i) =>
      s.values[i] === null || s.values[i] === undefined ? [] : [[t, s.values[i]!] as [number, number]],
    ),
  );
const line = (name: string, color: number, times: number[], values: (number | null)[]): Line => ({
  name,
  color: color % COLORS,
  times,
  values,
});
const each = (list: HistorySeries[], name: (s: HistorySeries) => string, from = 0): Line[] =>
  list.map((s, i) => line(name(s), from + i, s.times, s.values));

/** Both ways of each device, eight lines at most. */
const bothWays = (first: HistorySeries[], one: string, second: HistorySeries[], other: string): Line[] =>
  [...each(first, (s) => `${s.labels.device} ${one}`), ...each(second, (s) => `${s.labels.device} ${other}`, 4)].slice(
    0,
    8,
  );

/** Point by point of several series with the same times. */
function fold(list: HistorySeries[], how: (values: number[]) => number): { times: number[]; values: number[] } {
  const at = new Map<number, number[]>();
  for (const s of list)
    for (const [t, v] of byTime(s)) {
      const a = at.get(t);
      if (a) a.push(v);
      else at.set(t, [v]);
    }
  const times = [...at.keys()].sort((a, b) => a - b);
  return { times, values: times.map((t) => how(at.get(t)!)) };
}
const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const total = (values: number[]): number => values.reduce((a, b) => a + b, 0);

/** A line for each way (in, out), summed over the devices. */
const summed = (all: HistorySeries[], ways: string[]): Line[] =>
  ways.flatMap((way, i) => {
    const f = fold(
      all.filter((s) => Object.values(s.labels).includes(way)),
      total,
    );
    return f.times.length ? [line(way, i, f.times, f.values)] : [];
  });

/** One minus a part of a whole, label set by label set. */
function used(part: HistorySeries[], whole: HistorySeries[], key: string): Line[] {
  return part.flatMap((p, i) => {
    const w = whole.find((x) => x.labels[key] === p.labels[key] && x.labels.device === p.labels.device);
    if (!w) return [];
    const of = byTime(w);
    return [
      line(
        p.labels[key] ?? "used",
        i,
        p.times,
        p.times.map((t, k) => {
          const all = of.get(t),
            v = p.values[k];
          return all && v !== null && v !== undefined ? 1 - v / all : null;
        }),
      ),
    ];
  });
}
const perSecond = (v: number) => `${bytes(v)}/s`;

export const NODE: Panel[] = [
  {
    title: "Processor, busy",
    metrics: ['node_cpu_seconds_total{mode="idle"}'],
    format: percent,
    limit: 64,
    lines: (of) => {
      const idle = fold(of("node_cpu_seconds_total"), mean);
      return idle.times.length
        ? [
            line(
              "busy",
              0,
              idle.times,
              idle.values.map((v) => Math.max(0, 1 - v)),
            ),
          ]
        : [];
    },
  },
  {
    title: "Load",
    metrics: ["node_load1", "node_load5", "node_load15"],
    format: count,
    lines: (of) => ["node_load1", "node_load5", "node_load15"].flatMap((m, i) => each(of(m), () => m.slice(5), i)),
  },
  {
    title: "Memory, used",
    metrics: ["node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes"],
    format: percent,
    lines: (of) =>
      used(of("node_memory_MemAvailable_bytes"), of("node_memory_MemTotal_bytes"), "instance").map((l) => ({
        ...l,
        name: "used",
      })),
  },
  {
    title: "File systems, used",
    metrics: ['node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"}', "node_filesystem_size_bytes"],
    format: percent,
    lines: (of) => used(of("node_filesystem_avail_bytes"), of("node_filesystem_size_bytes"), "mountpoint").slice(0, 8),
  },
  {
    title: "Network",
    metrics: ['node_network_receive_bytes_total{device!="lo"}', 'node_network_transmit_bytes_total{device!="lo"}'],
    format: perSecond,
    lines: (of) =>
      bothWays(of("node_network_receive_bytes_total"), "in", of("node_network_transmit_bytes_total"), "out"),
  },
  {
    title: "Disks",
    metrics: ["node_disk_read_bytes_total", "node_disk_written_bytes_total"],
    format: perSecond,
    lines: (of) => bothWays(of("node_disk_read_bytes_total"), "read", of("node_disk_written_bytes_total"), "written"),
  },
];
export const OTEL: Panel[] = [
  {
    title: "Processor, busy",
    metrics: ["system_cpu_utilization_ratio", "system_cpu_utilization"],
    format: percent,
    limit: 100,
    lines: (of) => {
      const all = [...of("system_cpu_utilization_ratio"), ...of("system_cpu_utilization")];
      const idle = fold(
        all.filter((s) => (s.labels.state ?? s.labels.cpu_mode ?? s.labels.system_cpu_state) === "idle"),
        mean,
      );
      return idle.times.length
        ? [
            line(
              "busy",
              0,
              idle.times,
              idle.values.map((v) => Math.max(0, 1 - v)),
            ),
          ]
        : each(all.slice(0, 8), (s) => s.labels.state ?? "busy");
    },
  },
  {
    title: "Memory",
    metrics: ["system_memory_usage_bytes"],
    format: bytes,
    lines: (of) => each(of("system_memory_usage_bytes"), (s) => s.labels.state ?? "used"),
  },
  {
    title: "Network",
    metrics: ["system_network_io_bytes_total"],
    format: perSecond,
    limit: 40,
    lines: (of) => summed(of("system_network_io_bytes_total"), ["receive", "transmit"]),
  },
  {
    title: "Disks",
    metrics: ["system_disk_io_bytes_total"],
    format: perSecond,
    limit: 60,
    lines: (of) => summed(of("system_disk_io_bytes_total"), ["read", "write"]),
  },
];
