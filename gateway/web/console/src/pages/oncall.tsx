import { useMemo } from "preact/hooks";
import { update, useAddress } from "../address";
import { query } from "../api";
import { clockTime } from "../format";
import { useBeat, useLoad } from "../load";
import { Empty, State, Tabs } from "../parts";
import { Table } from "../table";
import { momentOf, useZone } from "../time";
import type { CalendarShown } from "../types";
import { ALERT_TABS } from "./alerts";

const DAY = 86400;
const WEEKS = 2;

/** Midnight before a moment, in the zone shown. */
function midnight(t: number, utc: boolean): number {
  const d = new Date(t * 1000);
  if (utc) d.setUTCHours(0, 0, 0, 0);
  else d.setHours(0, 0, 0, 0);
  return d.getTime() / 1000;
}

const nextDay = (t: number, utc: boolean): number => midnight(t + DAY * 1.5, utc);

export function OnCallPage() {
  const { search } = useAddress();
  const zone = useZone();
  const utc = zone === "utc";
  const beat = useBeat(60);
  const start = useMemo(
    () => midnight(momentOf(search.get("week") ?? "") || Date.now() / 1000, utc),
    [search.get("week"), utc, beat],
  );
  const days = useMemo(() => {
    const list = [start];
    for (let i = 1; i <= 7 * WEEKS; i++) list.push(nextDay(list[i - 1]!, utc));
    return list;
  }, [start, utc]);
  const found = useLoad<CalendarShown[]>(
    query("/api/v1/oncall/calendar", { from: start, to: days[days.length - 1] }),
    beat,
  );
  const go = (by: number) => update({ week: by ? String(start + by * 7 * WEEKS * DAY + DAY / 2) : undefined });
  return (
    <>
      <div class="head">
        <h1>On call</h1>
        <div class="range">
          <button type="button" aria-label="Earlier" onClick={() => go(-1)}>
            ‹
          </button>
          <button type="button" onClick={() => go(0)}>
            Today
          </button>
          <button type="button" aria-label="Later" onClick={() => go(1)}>
            ›
          </button>
        </div>
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="oncall" />
      <State of={found} what="schedules">
        {(all) =>
          all.length === 0 ? (
            <Empty>
              <p>
                No schedule. People, schedules with rotations, and escalation policies stand in a file that
                alerting.oncall_file names.
              </p>
            </Empty>
          ) : (
            <>
              {all.map((s) => (
                <Schedule key={s.schedule} schedule={s} days={days} />
              ))}
            </>
          )
        }
      </State>
    </>
  );
}

function Schedule({ schedule: s, days }: { schedule: CalendarShown; days: number[] }) {
  const zone = useZone();
  const people = useMemo(() => [...new Set(s.shifts.map((x) => x.person).filter(Boolean))].sort(), [s]);
  const date = (t: number) =>
    new Intl.DateTimeFormat(undefined, {
      weekday: "short",
      day: "numeric",
      month: "short",
      timeZone: zone === "utc" ? "UTC" : undefined,
    }).format(t * 1000);
  const now = Date.now() / 1000,
    utc = zone === "utc";
  return (
    <section class="card" aria-label={s.schedule}>
      <h2>
        {s.schedule}{" "}
        <small>
          {s.now ? (
            <>
              now <b>{s.now}</b>
            </>
          ) : (
            "nobody is on call now"
          )}
          , rotates by the clock of {s.location}, shown in {utc ? "UTC" : "local time"}
        </small>
      </h2>
      <div class="calendar" aria-hidden="true">
        <div class="day hours">
          <span />
          <div>
            {[0, 6, 12, 18].map((h) => (
              <span key={h} style={{ left: `${(h / 24) * 100}%` }}>
                {String(h).padStart(2, "0")}:00
              </span>
            ))}
          </div>
        </div>
        {days.slice(0, -1).map((day, i) => {
          const end = days[i + 1]!;
          const at = (t: number) => `${(((Math.min(Math.max(t, day), end) - day) / (end - day)) * 100).toFixed(2)}%`;
          return (
            <div class={`day ${now >= day && now < end ? "today" : ""}`} key={day}>
              <span>{date(day)}</span>
              <div class="bar">
                {s.shifts
                  .filter((x) => x.start < end && x.end > day)
                  .map((x) => {
                    const from = Math.max(x.start, day),
                      to = Math.min(x.end, end);
                    return (
                      <i
                        key={x.start}
                        class={`shift ${x.person ? `k${people.indexOf(x.person) % 8}` : "nobody"} ${x.override ? "override" : ""}`}
                        style={{ left: at(from), width: `${(((to - from) / (end - day)) * 100).toFixed(2)}%` }}
                      >
                        <b>{(to - from) / (end - day) > 0.12 || to - from >= 4 * 3600 ? x.person || "nobody" : ""}</b>
                      </i>
                    );
                  })}
                {now >= day && now < end && <i class="now" style={{ left: at(now) }} />}
              </div>
            </div>
          );
        })}
      </div>
      <details>
        <summary>Shifts as a list</summary>
        <Table
          id={`sh-${s.schedule}`}
          label={`Shifts of ${s.schedule}`}
          rows={s.shifts}
          rowKey={(x) => String(x.start)}
          empty={<p>None.</p>}
          columns={[
            {
              key: "person",
              name: "Person",
              value: (x) => x.person || "nobody",
              show: (x) => (
                <>
                  {x.person || "nobody"}
                  {x.override && <small> by override</small>}
                </>
              ),
            },
            { key: "from", name: "From", value: (x) => x.start, show: (x) => clockTime(x.start, zone, true) },
            { key: "to", name: "To", value: (x) => x.end, show: (x) => clockTime(x.end, zone, true) },
          ]}
        />
      </details>
    </section>
  );
}
