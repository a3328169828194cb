import { useMemo } from "preact/hooks";
import { useAddress } from "../address";
import { query } from "../api";
import { title, unitOf } from "../format";
import { isCounter, meanOf, scored, thinned } from "../history";
import { LateChart } from "../late_chart";
import { useLoad } from "../load";
import { Link, useSeen } from "../parts";
import { COLORS, MOST_BANDS, type Line } from "../plot_data";
import { selectorOf } from "../selector";
import { rangeOf, useZone } from "../time";
import type { History } from "../types";
import type { Service } from "./service";

export const matchOf = (metric: string, service: Service): string => selectorOf(metric, [service.match]);

export function Signal({
  metric,
  service,
  deploys,
  mean,
  beat,
}: {
  metric: string;
  service: Service;
  deploys: number[];
  mean: boolean;
  beat: number;
}) {
  const [ref, seen] = useSeen<HTMLDivElement>();
  const zone = useZone();
  const { search } = useAddress();
  const frame = useMemo(() => rangeOf(search), [search.get("from"), search.get("to"), beat]);
  const span = { start: frame.start.toFixed(0), end: frame.end.toFixed(0), limit: 20 };
  // A mean has none, and a plot of many lines shows none.
  const banded = !mean && (service.metric_list.find((m) => m.metric === metric)?.series ?? 0) <= MOST_BANDS;
  const found = useLoad<History>(
    seen
      ? query("/api/v1/history", { match: matchOf(metric, service), ...span, bands: banded ? "recomputed" : "none" })
      : "",
  );
  const counts = useLoad<History>(
    seen && mean
      ? query("/api/v1/history", { match: matchOf(metric.replace(/_sum$/, "_count"), service), ...span, bands: "none" })
      : "",
  );
  const first = found.data?.series[0];
  const rate = !mean && !!first && scored(first).scored_as === "rate";
  const unit = useMemo(() => {
    const u = unitOf(metric);
    return rate ? (v: number) => `${u(v)}/s` : u;
  }, [metric, rate]);
  const lines: Line[] = useMemo(() => {
    const key = (labels: Record<string, string>) =>
      JSON.stringify({ ...labels, __name__: "" }, Object.keys(labels).sort());
    const by = new Map((counts.data?.series ?? []).map((s) => [key(s.labels), scored(s)]));
    return (found.data?.series ?? []).map((raw, i) => {
      let s = scored(raw);
      const per = by.get(key(raw.labels));
      if (mean && per) s = meanOf(s, per);
      s = thinned(s, 1500);
      const { rest } = title(
        Object.fromEntries(
          Object.entries(raw.labels).filter(([k]) => !["job", "otel_scope_name", "service_name"].includes(k)),
        ),
      );
      return {
        name: rest || metric,
        color: i % COLORS,
        times: s.times,
        values: s.values,
        lower: s.lower,
        upper: s.upper,
        expected: s.expected,
        score: s.score,
      };
    });
  }, [found.data, counts.data, mean]);
  return (
    <div ref={ref} class="card">
      <h3>
        <Link to={["explore"]} search={{ m: matchOf(metric, service) }}>
          {mean ? metric.replace(/_sum$/, "") : metric}
        </Link>{" "}
        {mean ? (
          <small>mean</small>
        ) : first && !rate && isCounter({ __name__: metric }) ? (
          <small>in each interval</small>
        ) : null}
      </h3>
      <LateChart
        seen={seen}
        of={found}
        lines={lines}
        start={frame.start}
        end={frame.end}
        zone={zone}
        format={unit}
        label={`${metric} of ${service.name}`}
        sync="service"
        deploys={deploys}
      />
    </div>
  );
}
