import { useEffect, useState } from "preact/hooks";
import { update, useAddress } from "../address";
import { query } from "../api";
import { clockTime, count, plural, seconds } from "../format";
import { Containing } from "../fields";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Badge, Breaks, Empty, Link, More, State, useSeen } from "../parts";
import { RangePicker } from "../range";
import { SIGNAL_COLUMNS, type Signals, useSignals } from "../signals";
import { rangeOf, sinceText, useZone } from "../time";
import { type ServiceSummary, SEVERITIES, type Severity } from "../types";

function Strip({ spans, start, end }: { spans: NonNullable<ServiceSummary["strip"]>; start: number; end: number }) {
  const x = (t: number) => Math.max(0, Math.min(100, ((t - start) / (end - start)) * 100));
  // One path for each severity: a hundred services of a hundred anomalies would be ten thousand elements.
  const paths = new Map<Severity, string>();
  for (const [from, to, severity] of spans) {
    if ((to ?? end) < start || from > end) continue;
    const left = x(from),
      width = Math.max(0.7, x(to ?? end) - left);
    paths.set(
      severity,
      `${paths.get(severity) ?? ""}M${left.toFixed(2)} 0h${width.toFixed(2)}v10h-${width.toFixed(2)}z`,
    );
  }
  return (
    <svg class="strip" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      {SEVERITIES.map(
        (severity) => paths.has(severity) && <path key={severity} class={severity} d={paths.get(severity)} />,
      )}
    </svg>
  );
}

const PAGE = 100;

export function Services() {
  const beat = useBeat(10);
  const live = useLive();
  const { search } = useAddress();
  const words = (search.get("q") ?? "").toLowerCase();
  const order = search.get("sort") ?? "health";
  const range = rangeOf(search);
  const zone = useZone();
  const found = useLoad<ServiceSummary[]>(
    query("/api/v1/services", { since: sinceText(range) }),
    `${beat} ${live.anomalies.version}`,
  );
  const [pages, turn] = useState(1);
  const [signals, seen] = useSignals(useBeat(15));
  return (
    <>
      <div class="head">
        <h1>Services</h1>
        <RangePicker />
      </div>
      <div class="tools">
        <Containing hint="part of a name" changed={() => turn(1)} />
        <label>
          Order{" "}
          <select
            value={order}
            onChange={(e) => update({ sort: e.currentTarget.value === "health" ? undefined : e.currentTarget.value })}
          >
            <option value="health">what is wrong first</option>
            <option value="name">name</option>
            <option value="series">series</option>
          </select>
        </label>
        {found.data && (
          <span class="rest" role="status">
            {plural(found.data.length, "service")}, {found.data.filter((s) => s.open).length} with open anomalies
          </span>
        )}
      </div>
      <State of={found} what="services">
        {(all) => {
          const list = all
            .filter((s) => s.name.toLowerCase().includes(words))
            .sort((a, b) =>
              order === "name"
                ? a.name.localeCompare(b.name)
                : order === "series"
                  ? b.series - a.series
                  : b.open - a.open || a.name.localeCompare(b.name),
            );
          if (!list.length)
            return (
              <Empty>
                <p>
                  {all.length
                    ? "No service has this in its name."
                    : "No service yet. A service is what a series names as service.name or job; send metrics to port 4317 or 4318."}
                </p>
              </Empty>
            );
          return (
            <section class="card">
              <div class="columns-head services-grid" aria-hidden="true">
                <span />
                <span>Service</span>
                {SIGNAL_COLUMNS.map(([key, name]) => (
                  <span key={key} class="number">
                    {name}
                  </span>
                ))}
                <span class="span">
                  <span>
                    {range.relative ? `${seconds(range.end - range.start)} ago` : clockTime(range.start, zone, true)}
                  </span>
                  <span>{range.relative ? "now" : clockTime(range.end, zone, true)}</span>
                </span>
                <span />
              </div>
              <ul class="services">
                {list.slice(0, PAGE * pages).map((s) => (
                  <ServiceRow
                    key={s.name}
                    service={s}
                    signals={signals.get(s.name)}
                    seen={seen}
                    start={range.start}
                    end={range.end}
                  />
                ))}
              </ul>
              <More shown={Math.min(list.length, PAGE * pages)} total={list.length} more={() => turn(pages + 1)} />
            </section>
          );
        }}
      </State>
    </>
  );
}

function ServiceRow({
  service: s,
  signals,
  seen,
  start,
  end,
}: {
  service: ServiceSummary;
  signals: Signals | undefined;
  seen: (name: string) => void;
  start: number;
  end: number;
}) {
  const [ref, near] = useSeen<HTMLLIElement>();
  useEffect(() => {
    if (near) seen(s.name);
  }, [near, s.name]);
  return (
    <li ref={ref}>
      <Link to={["services", s.name]} class="services-grid">
        <span
          class={`dot ${s.open ? (s.worst === "critical" || s.worst === "high" ? "bad" : "warn") : "good"}`}
          role="img"
          aria-label={s.open ? plural(s.open, "open anomaly", "open anomalies") : "healthy"}
        />
        <span class="named">
          <b>
            <Breaks text={s.name} />
          </b>{" "}
          <small>{count(s.series)} series</small>
        </span>
        {SIGNAL_COLUMNS.map(([key, name, show]) => {
          const v = signals?.[key];
          return (
            <span key={key} class="number">
              <span class="label">{name} </span>
              {signals === undefined ? "…" : v === null || v === undefined ? "–" : show(v)}
            </span>
          );
        })}
        <Strip spans={s.strip ?? []} start={start} end={end} />
        <span class="health">
          {s.open ? (
            <>
              <Badge severity={s.worst} /> {s.open} open
            </>
          ) : s.recent ? (
            `${s.recent} ended`
          ) : (
            "quiet"
          )}
        </span>
      </Link>
    </li>
  );
}
