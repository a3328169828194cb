import { useMemo } from "preact/hooks";
import { useAddress } from "../address";
import { AnomalyRows } from "../anomaly_rows";
import { query } from "../api";
import { scored, thinned } from "../history";
import { count, plural } from "../format";
import { LateChart } from "../late_chart";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Breaks, Card, Empty, Link, State, useSeen } from "../parts";
import { RangePicker } from "../range";
import { selector } from "../selector";
import { rangeOf, useZone } from "../time";
import type { Anomaly, AnomalyPage, History, HostShown, Labels } from "../types";
import { NODE, OTEL, type Panel } from "./host_panels";
import { KIND } from "./hosts";

export function HostPage({ kind, name }: { kind: string; name: string }) {
  const live = useLive();
  const hosts = useLoad<HostShown[]>("/api/v1/hosts", useBeat(20));
  const host = hosts.data?.find((h) => h.kind === kind && h.name === name);
  const recent = useLoad<AnomalyPage>(
    host ? query("/api/v1/anomalies/page", { since: "-6h", q: name, limit: 12 }) : "",
    live.anomalies.version,
  );
  const prefix = kind === "node_exporter" ? "node_" : "system_";
  return (
    <>
      <div class="head">
        <h1>
          <Breaks text={name} />
        </h1>
        <RangePicker />
      </div>
      <State of={hosts} what="the host">
        {() =>
          !host ? (
            <Empty>
              <p>
                This host sends nothing now. <Link to={["hosts"]}>All hosts.</Link>
              </p>
            </Empty>
          ) : (
            <>
              <p class={`verdict ${host.open ? "warn" : "good"}`}>
                {host.open
                  ? `${plural(host.open, "series is", "series are")} away from normal.`
                  : "Every series is within its normal range."}{" "}
                {count(host.series)} series from {KIND[host.kind]}.
              </p>
              <div class="signals">
                {(kind === "node_exporter" ? NODE : OTEL).map((p) => (
                  <PanelCard key={p.title} panel={p} match={host.match} name={name} />
                ))}
              </div>
              <Card title="Anomalies of the last six hours">
                <State of={recent} what="anomalies">
                  {({ anomalies }) => {
                    const own = anomalies.filter((a: Anomaly) => (a.series.__name__ ?? "").startsWith(prefix));
                    return own.length === 0 ? (
                      <Empty>
                        <p>None.</p>
                      </Empty>
                    ) : (
                      <AnomalyRows list={own} />
                    );
                  }}
                </State>
              </Card>
              <p class="actions">
                <Link to={["explore"]} search={{ m: `{__name__=~"${prefix}.*",${within(host.match)}}` }}>
                  Explore its series
                </Link>
              </p>
            </>
          )
        }
      </State>
    </>
  );
}

/** Matchers of exactly these labels, as they stand inside of the braces. */
const within = (match: Labels): string => selector(match).slice(1, -1);

function PanelCard({ panel, match, name }: { panel: Panel; match: Labels; name: string }) {
  const [ref, seen] = useSeen<HTMLElement>();
  const zone = useZone();
  const { search } = useAddress();
  const beat = useBeat(15);
  const frame = useMemo(() => rangeOf(search), [search.get("from"), search.get("to"), beat]);
  const labels = within(match);
  const paths = panel.metrics.map((m) =>
    query("/api/v1/history", {
      match: m.includes("{") ? m.replace("{", `{${labels},`) : `${m}{${labels}}`,
      start: frame.start.toFixed(0),
      end: frame.end.toFixed(0),
      limit: panel.limit ?? 20,
      bands: "none",
    }),
  );
  const a = useLoad<History>(seen ? paths[0]! : "");
  const b = useLoad<History>(seen && paths[1] ? paths[1] : "");
  const c = useLoad<History>(seen && paths[2] ? paths[2] : "");
  const lines = useMemo(() => {
    const all = [a, b, c].flatMap((x) => x.data?.series ?? []).map((s) => thinned(scored(s), 1500));
    return panel.lines((metric) => all.filter((s) => s.labels.__name__ === metric));
  }, [a.data, b.data, c.data]);
  return (
    <section ref={ref} class="card" aria-label={panel.title}>
      <h2>{panel.title}</h2>
      <LateChart
        seen={seen}
        of={a}
        lines={lines}
        start={frame.start}
        end={frame.end}
        zone={zone}
        format={panel.format}
        fromZero
        label={`${panel.title} of ${name}`}
        sync="host"
      />
    </section>
  );
}
