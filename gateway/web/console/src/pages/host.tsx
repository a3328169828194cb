import { useMemo } from "preact/hooks";
import { useAddress } from "../address";
import { metricOf, sinceOf } from "../anomaly";
import { query } from "../api";
import { Chart, Legend } from "../chart";
import { count, plural } from "../format";
import { scored, thinned } from "../history";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Empty, Link, State, useSeen, When } from "../parts";
import { RangePicker } from "../range";
import { selector } from "../selector";
import { rangeOf, useZone, zoom } from "../time";
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
              <section class="card" aria-labelledby="ha">
                <h2 id="ha">Anomalies of the last six hours</h2>
                <State of={recent} what="anomalies">
                  {({ anomalies }) => {
                    const own = anomalies.filter((a: Anomaly) => (a.series.__name__ ?? "").startsWith(prefix));
                    return own.length === 0 ? (
                      <Empty>
                        <p>None.</p>
                      </Empty>
                    ) : (
                      <ul class="rows">
                        {own.map((a) => (
                          <li key={a.id}>
                            <Link to={["anomalies", a.id]}>
                              <Badge severity={a.severity} state={a.state} />
                              <b>
                                <Breaks text={metricOf(a)} />
                              </b>
                              <span class="why">
                                <Breaks text={a.reasons[0] ?? ""} />
                              </span>
                              <span>
                                {a.state === "firing" ? (
                                  <>
                                    open <When time={sinceOf(a)} long />
                                  </>
                                ) : (
                                  <>
                                    ended <When time={a.ended ?? a.time} />
                                  </>
                                )}
                              </span>
                            </Link>
                          </li>
                        ))}
                      </ul>
                    );
                  }}
                </State>
              </section>
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
      {!seen ? (
        <div class="later" />
      ) : (
        <State of={a} what="samples">
          {() =>
            lines.length === 0 ? (
              <Empty>
                <p>No samples in this time range.</p>
              </Empty>
            ) : (
              <>
                <Chart
                  lines={lines}
                  start={frame.start}
                  end={frame.end}
                  zone={zone}
                  format={panel.format}
                  fromZero
                  height={150}
                  label={`${panel.title} of ${name}`}
                  sync="host"
                  onZoom={zoom}
                />
                {lines.length > 1 && <Legend lines={lines} />}
              </>
            )
          }
        </State>
      )}
    </section>
  );
}
