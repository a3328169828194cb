import { useMemo } from "preact/hooks";
import { update } from "../address";
import { Chart } from "../chart";
import { clockTime, unitOf } from "../format";
import { isCounter } from "../history";
import type { Line, Point } from "../plot_data";
import { selector, serviceOf } from "../selector";
import { zoom } from "../time";
import type { HistorySeries, Traces } from "../types";

const FAMILY = /_(bucket|count|sum|total)$/;

/** A histogram's exemplars stand at its count (OTLP) or at its buckets (Prometheus): each of its series asks for all. */
export function ofHistogram(match: string): string {
  const found = /^([a-zA-Z_:][a-zA-Z0-9_:]*)_(bucket|count|sum)(\{(.*)\})?$/.exec(match);
  if (!found) return match;
  const rest = (found[4] ?? "").replace(/(^|,)\s*le\s*(=~?|!=|!~)\s*"(\\.|[^"\\])*"/g, "").replace(/^,/, "");
  return `{__name__=~"${found[1]}_(bucket|count|sum)"${rest ? `,${rest}` : ""}}`;
}

export function Plot({
  metric,
  entries,
  start,
  end,
  zone,
  matches,
  traces,
}: {
  metric: string;
  entries: { series: HistorySeries; color: number; dashed: boolean; name: string }[];
  start: number;
  end: number;
  zone: "utc" | "local";
  matches: string[];
  traces: Traces[];
}) {
  // Deltas in the embedded log are shown as they came: what was counted in each interval.
  const rateOf = entries.some((e) => e.series.scored_as === "rate");
  const counted = !rateOf && isCounter({ __name__: metric });
  const unit = useMemo(() => {
    const u = unitOf(metric);
    return rateOf ? (v: number) => `${u(v)}/s` : u;
  }, [metric]);
  const lines: Line[] = useMemo(
    () =>
      entries.map(({ series, color, dashed, name }) => ({
        name,
        color,
        dashed,
        times: series.times,
        values: series.values,
        lower: series.lower,
        upper: series.upper,
        expected: series.expected,
        score: series.score,
      })),
    [entries],
  );
  const family = metric.replace(FAMILY, "");
  const points: Point[] = useMemo(
    () =>
      traces
        .filter((t) => (t.labels.__name__ ?? "").replace(FAMILY, "") === family)
        .flatMap((t) => t.exemplars)
        .map((e) => ({
          time: e.time,
          value: e.value,
          text: `${unitOf(`${family}_`.replace(/_$/, ""))(e.value)}, trace ${e.trace_id}`,
        }))
        .sort((a, b) => a.time - b.time),
    [traces.length, family, traces[0]?.exemplars.length],
  );
  return (
    <section class="card" aria-label={metric}>
      <h2>
        {metric} {rateOf && <small>as rate a second</small>}
        {counted && <small>in each interval</small>}
      </h2>
      <Chart
        lines={lines}
        start={start}
        end={end}
        zone={zone}
        format={unit}
        label={`${metric}, ${entries.length} series`}
        sync="explore"
        onZoom={zoom}
        points={points}
      />
      <ul class="legend full">
        {entries.map(({ series, color, dashed, name }) => {
          const match = selector(series.labels);
          const last = series.values.findLast((v) => v !== null);
          return (
            <li key={name}>
              <i class={`swatch k${color} ${dashed ? "dashed" : ""}`} />
              <span class="grow">{name}</span>
              <span class="value">{last === null || last === undefined ? "no value" : unit(last)}</span>
              {!dashed && serviceOf(series.labels) && (
                <a href={`#/services/${encodeURIComponent(serviceOf(series.labels))}`}>service</a>
              )}
              {!dashed && matches.includes(match) && (
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Remove ${name}`}
                  onClick={() => update({ m: matches.filter((m) => m !== match) })}
                >
                  ×
                </button>
              )}
            </li>
          );
        })}
      </ul>
      {points.length > 0 && (
        <details>
          <summary>
            {points.length} {points.length === 1 ? "trace" : "traces"} (◆ in the plot)
          </summary>
          <ul class="rows">
            {points
              .slice(-40)
              .reverse()
              .map((p, i) => (
                <li key={i} class="plain">
                  <code>{p.text}</code> <time>{clockTime(p.time, zone)}</time>
                </li>
              ))}
          </ul>
        </details>
      )}
    </section>
  );
}
