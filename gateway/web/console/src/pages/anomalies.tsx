import { useState } from "preact/hooks";
import { oneOf, update, useAddress } from "../address";
import { sinceOf, tellingLabels } from "../anomaly";
import { Course } from "../anomaly_rows";
import { query } from "../api";
import { plural } from "../format";
import { Containing } from "../fields";
import { useLive } from "../live";
import { useLoad } from "../load";
import { Badge, Breaks, Empty, Link, More, Name, State, useSeen } from "../parts";
import { RangePicker } from "../range";
import { serviceOf } from "../selector";
import { Spark } from "../spark";
import { rangeOf, sinceText } from "../time";
import { type Anomaly, type AnomalyPage as Page, SEVERITIES } from "../types";
import { useSeriesOf } from "./anomaly_series";

function Row({ anomaly: a }: { anomaly: Anomaly }) {
  const [ref, seen] = useSeen<HTMLLIElement>();
  const plot = useSeriesOf(a, 900, 300, seen);
  return (
    <li ref={ref} class={`anomaly ${a.state}`}>
      <Link to={["anomalies", a.id]}>
        <span class="what">
          <Badge severity={a.severity} />
          <Name labels={tellingLabels(a)} />
        </span>
        <span class="why">
          <Breaks text={a.reasons.join("; ")} />
        </span>
        {plot.series ? (
          <Spark series={plot.series} mark={[sinceOf(a), a.ended ?? Date.now() / 1000]} width={180} height={40} />
        ) : (
          <svg class="spark" width={180} height={40} aria-hidden="true" />
        )}
        <span class="when">
          <Course of={a} />
        </span>
      </Link>
    </li>
  );
}

const PAGE = 50;

export function Anomalies() {
  const { search } = useAddress();
  const live = useLive();
  const [pages, turn] = useState(1);
  const severity = oneOf(search, "severity", SEVERITIES);
  const state = oneOf(search, "state", ["firing", "resolved"]);
  const words = search.get("q") ?? "";
  const grouped = search.get("by") !== "none";
  const range = rangeOf(search);
  const since = sinceText(range);
  const until = range.relative ? "" : range.end.toFixed(0);
  const found = useLoad<Page>(
    query("/api/v1/anomalies/page", { severity, state, since, until, q: words, limit: Math.min(1000, PAGE * pages) }),
    live.anomalies.version,
  );
  return (
    <>
      <div class="head">
        <h1>Anomalies</h1>
        <RangePicker />
      </div>
      <div class="tools">
        <Containing hint="name, label or reason" changed={() => turn(1)} />
        <label>
          From severity{" "}
          <select value={severity} onChange={(e) => update({ severity: e.currentTarget.value || undefined })}>
            <option value="">any</option>
            {SEVERITIES.slice(1).map((s) => (
              <option key={s} value={s}>
                {s}
              </option>
            ))}
          </select>
        </label>
        <label>
          State{" "}
          <select value={state} onChange={(e) => update({ state: e.currentTarget.value || undefined })}>
            <option value="">open and ended</option>
            <option value="firing">open</option>
            <option value="resolved">ended</option>
          </select>
        </label>
        <label>
          <input
            type="checkbox"
            checked={grouped}
            onChange={(e) => update({ by: e.currentTarget.checked ? undefined : "none" })}
          />{" "}
          Group by service
        </label>
        {found.data && (
          <span class="rest" role="status">
            {found.data.open} open of {plural(found.data.total, "anomaly", "anomalies")}
          </span>
        )}
      </div>
      <State of={found} what="anomalies">
        {({ anomalies: list, total }) => {
          if (!list.length)
            return (
              <Empty>
                <p>
                  {words
                    ? "None of them contains these words."
                    : "No anomaly in this time range. A longer range, or a lower severity, may show some."}
                </p>
              </Empty>
            );
          const groups = new Map<string, Anomaly[]>();
          for (const a of list) {
            const key = grouped ? serviceOf(a.series) || "without a service" : "";
            groups.set(key, [...(groups.get(key) ?? []), a]);
          }
          return (
            <>
              {[...groups].map(([name, members]) => (
                <section key={name} class="card" aria-label={name || "All"}>
                  {name && (
                    <h2>
                      <Link to={["services", name]}>{name}</Link>{" "}
                      <small>
                        {members.filter((a) => a.state === "firing").length} open of {members.length}
                      </small>
                    </h2>
                  )}
                  <ul class="anomalies">
                    {members.map((a) => (
                      <Row key={a.id} anomaly={a} />
                    ))}
                  </ul>
                </section>
              ))}
              <More shown={list.length} total={Math.min(total, 1000)} more={() => turn(pages + 1)} />
            </>
          );
        }}
      </State>
    </>
  );
}
