import { useMemo, useState } from "preact/hooks";
import { href } from "../address";
import { headline, isGroup, metricOf, sinceOf, tellingLabels } from "../anomaly";
import { ApiError, query, send } from "../api";
import { Chart } from "../chart";
import { clockTime, seconds, unitOf } from "../format";
import { isCounter } from "../history";
import { useName, YourName } from "../fields";
import { useLive } from "../live";
import { useLoad } from "../load";
import { Badge, Breaks, Card, Empty, exploreSearch, Link, Name, State, useTitle, When } from "../parts";
import type { Line } from "../plot_data";
import { selector, serviceOf } from "../selector";
import { useZone } from "../time";
import type { Anomaly, HistorySeries } from "../types";
import { isBucket, isSum, useSeriesOf } from "./anomaly_series";

/** Others that began within a few minutes of this one, in order of onset: the first is where to look. */
function siblings(a: Anomaly, all: Anomaly[]): Anomaly[] {
  const from = sinceOf(a) - 300,
    to = (a.ended ?? Date.now() / 1000) + 60;
  return all
    .filter((o) => sinceOf(o) >= from && sinceOf(o) <= Math.min(to, sinceOf(a) + 900))
    .sort((x, y) => sinceOf(x) - sinceOf(y))
    .slice(0, 30);
}

export function AnomalyPage({ id }: { id: string }) {
  const live = useLive();
  const found = useLoad<Anomaly>(`/api/v1/anomalies/${encodeURIComponent(id)}`, live.anomalies.version);
  const a = found.data;
  useTitle(a ? `${headline(a)} – Anomalies` : undefined);
  const others = useLoad<Anomaly[]>(
    a ? query("/api/v1/anomalies", { since: Math.floor(sinceOf(a) - 300), limit: 1000 }) : "",
    live.anomalies.version,
  );
  return (
    <State of={found} what="the anomaly">
      {(anomaly) => (
        <>
          <div class="head">
            <h1>
              <Badge severity={anomaly.severity} />{" "}
              <span>
                <Breaks text={metricOf(anomaly)} />
                {serviceOf(anomaly.series) && (
                  <small>
                    {" "}
                    of <Breaks text={serviceOf(anomaly.series)} />
                  </small>
                )}
              </span>
            </h1>
          </div>
          <Detail anomaly={anomaly} />
          <Feedback anomaly={anomaly} />
          <Card title="What moved with it, in order of onset">
            <State of={others} what="other anomalies">
              {(all) => {
                const list = siblings(anomaly, all);
                if (list.length < 2)
                  return (
                    <Empty>
                      <p>Nothing else left its range at that time.</p>
                    </Empty>
                  );
                return (
                  <ol class="rows onsets">
                    {list.map((o) => (
                      <li key={o.id} class={o.id === anomaly.id ? "self" : ""}>
                        <Link to={["anomalies", o.id]}>
                          <Badge severity={o.severity} />
                          <span class="offset">{offset(sinceOf(o) - sinceOf(anomaly))}</span>
                          <span class="who">
                            <Name labels={tellingLabels(o)} />
                            <span class="why">
                              <Breaks text={o.reasons[0] ?? ""} />
                            </span>
                          </span>
                        </Link>
                      </li>
                    ))}
                  </ol>
                );
              }}
            </State>
          </Card>
        </>
      )}
    </State>
  );
}

const offset = (d: number): string =>
  Math.abs(d) < 0.5 ? "same time" : d < 0 ? `${seconds(-d)} before` : `${seconds(d)} after`;

/** What a person thinks of it: the detector and the report on its worth take it up. */
function Feedback({ anomaly: a }: { anomaly: Anomaly }) {
  const [by, name] = useName();
  const [comment, note] = useState("");
  const [said, say] = useState("");
  const judge = (verdict: "useful" | "noise") => {
    if (!by.trim()) {
      say("Say who you are first.");
      return;
    }
    send("POST", `/api/v1/anomalies/${encodeURIComponent(a.id)}/feedback`, { verdict, by, comment }).then(
      () => {
        say(verdict === "useful" ? "Thank you: useful." : "Thank you: noise.");
        note("");
      },
      (e: ApiError) => say(e.status === 404 || e.status === 405 ? "This gateway takes no feedback." : e.message),
    );
  };
  return (
    <Card title="Was this worth telling?">
      <div class="tools">
        <YourName name={by} change={name} />
        <label>
          Comment <input value={comment} onInput={(e) => note(e.currentTarget.value)} />
        </label>
        <button type="button" onClick={() => judge("useful")}>
          Useful
        </button>
        <button type="button" onClick={() => judge("noise")}>
          Noise
        </button>
        <span role="status">{said}</span>
      </div>
      {!said && a.feedback && (
        <p>
          {a.feedback.by} called it {a.feedback.verdict}
          {a.feedback.comment ? `: ${a.feedback.comment}` : ""}. A new verdict replaces it.
        </p>
      )}
    </Card>
  );
}

function Detail({ anomaly: a }: { anomaly: Anomaly }) {
  const zone = useZone();
  const plot = useSeriesOf(a, 1800, 600, true, true);
  const counter = isCounter(a.series) && !isSum(a.series) && !isBucket(a.series);
  const metric = a.series.__name__ ?? "";
  const unit = useMemo(() => {
    const u = unitOf(metric.replace(/_bucket$/, ""));
    return (v: number) => (counter ? `${u(v)}/s` : u(v));
  }, [metric, counter]);
  const show = (v: number | null) => (v === null ? "no value" : isGroup(a) ? `${v} series` : unit(v));
  const points = useMemo(
    () => a.exemplars.map((e) => ({ time: e.time, value: e.value, text: `trace ${e.trace_id}` })),
    [a.exemplars],
  );
  const lines: Line[] = useMemo(() => (plot.series ? [toLine(plot.series)] : []), [plot.series]);
  const service = serviceOf(a.series);
  const from = sinceOf(a);
  return (
    <>
      <section class="card" aria-label="What happened">
        <p class="reasons">{a.reasons.join("; ")}.</p>
        <dl class="facts">
          {(isBucket(a.series) || isSum(a.series)) && (
            <div>
              <dt>Scored</dt>
              <dd>{isBucket(a.series) ? "95 % quantile" : "mean"}</dd>
            </div>
          )}
          <div>
            <dt>Value</dt>
            <dd>{show(a.value)}</dd>
          </div>
          <div>
            <dt>Expected</dt>
            <dd>
              {show(a.expected)}
              {a.lower !== null && a.upper !== null && (
                <small>
                  {" "}
                  {show(a.lower)} to {show(a.upper)}
                </small>
              )}
            </dd>
          </div>
          <div>
            <dt>Score</dt>
            <dd>{a.score.toFixed(2)}</dd>
          </div>
          <div>
            <dt>Since</dt>
            <dd>{clockTime(from, zone, true)}</dd>
          </div>
          <div>
            <dt>State</dt>
            <dd>
              {a.state === "firing" ? (
                <>
                  open <When time={from} long />
                </>
              ) : (
                `ended ${a.ended ? clockTime(a.ended, zone, true) : ""}`
              )}
            </dd>
          </div>
          {surroundings(a).map(([name, text]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>
                <Breaks text={text} />
              </dd>
            </div>
          ))}
        </dl>
        {isGroup(a) ? (
          <Members anomaly={a} />
        ) : plot.series ? (
          <Chart
            lines={lines}
            start={plot.span.start}
            end={plot.span.end}
            zone={zone}
            format={unit}
            height={280}
            label={`${metric} around the anomaly`}
            points={points}
            onZoom={(s, e) => {
              location.hash = href(["explore"], { ...exploreSearch(a.series), from: s.toFixed(0), to: e.toFixed(0) });
            }}
            marks={[
              [Math.min(from, a.ended ?? from), a.ended !== null ? Math.max(a.ended, a.time) : Date.now() / 1000],
            ]}
          />
        ) : (
          <State of={plot} what="the series">
            {() => (
              <Empty>
                <p>Its samples are no longer kept.</p>
              </Empty>
            )}
          </State>
        )}
        <p class="actions">
          {a.context?.fingerprint && (
            <Link to={["alerts", a.context.fingerprint]}>Its alert: act, and who was told why</Link>
          )}
          {!isGroup(a) && (
            <Link
              to={["explore"]}
              search={{ ...exploreSearch(a.series), from: String(plot.span.start), to: String(plot.span.end) }}
            >
              Explore this series
            </Link>
          )}
          {service && <Link to={["services", service]}>Service {service}</Link>}
          <Link to={["alerts"]} search={{ silence: JSON.stringify(silenceFor(a)) }}>
            Silence alerts like this
          </Link>
        </p>
        <details>
          <summary>Labels</summary>
          <table>
            <tbody>
              {Object.entries(a.series).map(([k, v]) => (
                <tr key={k}>
                  <th scope="row">{k}</th>
                  <td class="breaks">{v}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
        {a.exemplars.length > 0 && (
          <details open>
            <summary>Traces at that time</summary>
            <ul>
              {a.exemplars.map((e) => (
                <li key={e.trace_id}>
                  <code>{e.trace_id}</code> value {show(e.value)}
                </li>
              ))}
            </ul>
          </details>
        )}
      </section>
    </>
  );
}

/** What else is known about it: [name, text]. */
function surroundings({ context: c = {} }: Anomaly): [string, string][] {
  const all: [string, string | undefined][] = [
    ["After the deploy", c.after_deploy],
    ["During maintenance", c.maintenance],
    ["Business impact", c.business_impact],
    ["Verdicts", c.feedback],
    ["Not told", c.muted],
  ];
  return all.flatMap(([name, text]) => (text ? [[name, text] as [string, string]] : []));
}

/** The series of a service that deviate at once, the first to do so at the top: that is where to look. */
function Members({ anomaly: a }: { anomaly: Anomaly }) {
  return (
    <ol class="rows onsets">
      {a.members.map((m) => (
        <li key={selector(m.series)}>
          <Link
            to={["explore"]}
            search={{
              ...exploreSearch(m.series),
              from: (sinceOf(a) - 1800).toFixed(0),
              to: Math.min(Date.now() / 1000, (a.ended ?? Date.now() / 1000) + 600).toFixed(0),
            }}
          >
            <span class="offset">{offset(m.onset - sinceOf(a))}</span>
            <span class="who">
              <Name labels={m.series} />
            </span>
            <span class="why">score {m.score.toFixed(2)}</span>
          </Link>
        </li>
      ))}
    </ol>
  );
}

const toLine = (s: HistorySeries): Line => ({
  name: isSum(s.labels) ? "mean" : isBucket(s.labels) ? "95 % quantile" : "value",
  times: s.times,
  values: s.values,
  lower: s.lower,
  upper: s.upper,
  expected: s.expected,
  score: s.score,
  color: 0,
});

const ALERTS: Record<string, string> = { group: "ServiceAnomalyDetected", exhaustion: "LimitApproaching" };

function silenceFor(a: Anomaly): Record<string, string> {
  const service = serviceOf(a.series);
  const metric = a.series.__name__;
  return {
    alertname: ALERTS[a.kind] ?? "AnomalyDetected",
    ...(metric ? { metric } : {}),
    ...(service ? { service } : {}),
  };
}
