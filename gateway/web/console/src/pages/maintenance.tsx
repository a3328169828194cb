import { useState } from "preact/hooks";
import { ApiError, send } from "../api";
import { clockTime } from "../format";
import { useName, YourName } from "../fields";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Problem, State, Tabs } from "../parts";
import { complete, Matchers, Preview, quoted, startingMatchers } from "../silence";
import { Table } from "../table";
import { typedMoment, useZone } from "../time";
import type { MaintenanceWindow, Matcher } from "../types";
import { ALERT_TABS } from "./alerts";

const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const STATE: Record<MaintenanceWindow["state"], string> = {
  pending: "planned",
  active: "holds now",
  idle: "between two times",
  expired: "over",
};

/** A part of a recurrence in words. */
function words(part: Record<string, unknown>): string {
  const times = (part.times as { start_time: string; end_time: string }[] | undefined)
    ?.map((t) => `${t.start_time} to ${t.end_time}`)
    .join(", ");
  const others = ["weekdays", "days_of_month", "months", "years"]
    .filter((k) => part[k])
    .map((k) => (part[k] as unknown[]).join(", "));
  return [...others, times, part.location ? `(${String(part.location)})` : ""].filter(Boolean).join(" ");
}

export function MaintenancePage() {
  const live = useLive();
  const zone = useZone();
  const [making, make] = useState(false);
  const [problem, say] = useState("");
  const found = useLoad<MaintenanceWindow[]>("/api/v1/maintenance", `${live.alerts.version} ${useBeat(15)}`);
  const end = (w: MaintenanceWindow) =>
    send("DELETE", `/api/v1/maintenance/${w.id}`).then(
      () => {
        say("");
        found.again();
      },
      (e: ApiError) => say(e.message),
    );
  return (
    <>
      <div class="head">
        <h1>Maintenance windows</h1>
        {!making && (
          <button type="button" onClick={() => make(true)}>
            New window
          </button>
        )}
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="maintenance" />
      {making && (
        <WindowForm
          done={() => {
            make(false);
            found.again();
          }}
        />
      )}
      <Problem text={problem} />
      <section class="card" aria-label="Windows">
        <State of={found} what="maintenance windows">
          {(windows) => (
            <Table<MaintenanceWindow>
              id="mw"
              label="Maintenance windows"
              rows={windows}
              filter="name, matcher or person"
              first="start"
              rowKey={(w) => w.id}
              empty={
                <p>
                  None. A window keeps alerts of what is being worked on from notifying; they are shown and recorded as
                  ever, and told when it ends if they still fire.
                </p>
              }
              columns={[
                {
                  key: "name",
                  name: "Name",
                  value: (w) => w.name,
                  show: (w) => (
                    <>
                      <b>{w.name}</b>
                      {w.comment && <small> {w.comment}</small>}
                    </>
                  ),
                  breaks: true,
                },
                { key: "state", name: "State", value: (w) => STATE[w.state] },
                {
                  key: "start",
                  name: "From",
                  value: (w) => w.start,
                  show: (w) => clockTime(Date.parse(w.start) / 1000, zone, true),
                },
                {
                  key: "end",
                  name: "To",
                  value: (w) => w.end,
                  show: (w) => (w.end ? clockTime(Date.parse(w.end) / 1000, zone, true) : "no end"),
                },
                { key: "rec", name: "Recurring", value: (w) => w.recurring.map(words).join("; ") },
                {
                  key: "what",
                  name: "What",
                  value: (w) => w.matchers.join(" "),
                  show: (w) => (
                    <div class="alert-labels">
                      {w.matchers.map((m) => (
                        <span key={m}>{m}</span>
                      ))}
                    </div>
                  ),
                },
                { key: "by", name: "By", value: (w) => w.by },
                {
                  key: "act",
                  name: "End",
                  value: () => null,
                  show: (w) =>
                    w.state === "expired" ? null : (
                      <button type="button" aria-label={`End ${w.name} now`} onClick={() => end(w)}>
                        End now
                      </button>
                    ),
                },
              ]}
            />
          )}
        </State>
      </section>
    </>
  );
}

function WindowForm({ done }: { done: () => void }) {
  const zone = useZone();
  const [matchers, set] = useState<Matcher[]>(() => startingMatchers('{"service":""}'));
  const [by, setName] = useName();
  const [name, call] = useState("");
  const [comment, note] = useState("");
  const [hours, long] = useState("1");
  const [start, begin] = useState("");
  const [days, choose] = useState<string[]>([]);
  const [from, opens] = useState("");
  const [to, closes] = useState("");
  const [problem, fail] = useState("");
  const recurring = days.length > 0 || (from && to);
  const submit = (event: Event) => {
    event.preventDefault();
    const starts = start ? new Date(typedMoment(start, zone) * 1000) : new Date();
    const part: Record<string, unknown> = {
      location: zone === "utc" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone,
    };
    if (days.length) part.weekdays = days;
    if (from && to) part.times = [{ start_time: from, end_time: to }];
    send("POST", "/api/v1/maintenance", {
      name,
      by,
      comment,
      matchers: complete(matchers).map(quoted),
      start: starts.toISOString(),
      ...(hours === "none" ? {} : { end: new Date(starts.getTime() + Number(hours) * 3600e3).toISOString() }),
      ...(recurring ? { recurring: [part] } : {}),
    }).then(done, (e: ApiError) => fail(e.message));
  };
  return (
    <form class="card form" onSubmit={submit} aria-labelledby="mwnew">
      <h2 id="mwnew">New maintenance window</h2>
      <div class="tools">
        <label>
          Name <input required value={name} onInput={(e) => call(e.currentTarget.value)} />
        </label>
        <YourName name={by} change={setName} required />
        <label>
          Comment <input value={comment} onInput={(e) => note(e.currentTarget.value)} />
        </label>
      </div>
      <Matchers matchers={matchers} set={set} />
      <div class="tools">
        <label>
          From (empty: now) <input type="datetime-local" value={start} onInput={(e) => begin(e.currentTarget.value)} />
        </label>
        <label>
          For{" "}
          <select value={hours} onChange={(e) => long(e.currentTarget.value)}>
            {[
              ["1", "1 hour"],
              ["2", "2 hours"],
              ["4", "4 hours"],
              ["8", "8 hours"],
              ["24", "1 day"],
              ["168", "1 week"],
              ["720", "30 days"],
            ].map(([v, t]) => (
              <option key={v} value={v}>
                {t}
              </option>
            ))}
            {recurring && <option value="none">without an end</option>}
          </select>
        </label>
      </div>
      <fieldset>
        <legend>Only at these times (optional, {zone === "utc" ? "UTC" : "this browser's time zone"})</legend>
        <div class="tools">
          {DAYS.map((d) => (
            <label key={d}>
              <input
                type="checkbox"
                checked={days.includes(d)}
                onChange={(e) => choose(e.currentTarget.checked ? [...days, d] : days.filter((x) => x !== d))}
              />{" "}
              {d.slice(0, 3)}
            </label>
          ))}
          <label>
            from <input type="time" value={from} onInput={(e) => opens(e.currentTarget.value)} />
          </label>
          <label>
            to <input type="time" value={to} onInput={(e) => closes(e.currentTarget.value)} />
          </label>
        </div>
      </fieldset>
      <Preview matchers={matchers} />
      <Problem text={problem} />
      <div class="tools">
        <button type="submit" class="primary" disabled={complete(matchers).length === 0}>
          Create
        </button>
        <button type="button" onClick={done}>
          Cancel
        </button>
      </div>
    </form>
  );
}
