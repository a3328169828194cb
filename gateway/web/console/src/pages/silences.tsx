import { useState } from "preact/hooks";
import { update } from "../address";
import { ApiError, request, send } from "../api";
import { clockTime, seconds } from "../format";
import { useName, YourName } from "../fields";
import { Breaks, Problem } from "../parts";
import { complete, Matchers, Preview, quoted, startingMatchers } from "../silence";
import { useZone } from "../time";
import type { Matcher, Silence } from "../types";

const LENGTHS: [number, string][] = [
  [1800, "30 minutes"],
  [3600, "1 hour"],
  [4 * 3600, "4 hours"],
  [86400, "1 day"],
  [7 * 86400, "1 week"],
];

export function SilenceRow({ silence: s, done }: { silence: Silence; done: () => void }) {
  const zone = useZone();
  const [problem, say] = useState("");
  const end = Date.parse(s.endsAt) / 1000;
  return (
    <li class="alert">
      <p>
        <b>
          {s.status.state === "pending" ? "from " + clockTime(Date.parse(s.startsAt) / 1000, zone, true) : "active"}
        </b>{" "}
        until {clockTime(end, zone, true)}{" "}
        <small>
          ({seconds(Math.max(0, Math.round(end - Date.now() / 1000)))} left), by <Breaks text={s.createdBy} />:{" "}
          <Breaks text={s.comment} />
        </small>
      </p>
      <div class="alert-labels">
        {s.matchers.map((m) => (
          <span key={quoted(m)}>
            <Breaks text={quoted(m)} />
          </span>
        ))}
      </div>
      <button
        type="button"
        onClick={() => {
          request(`/api/v2/silence/${s.id}`, { method: "DELETE" }).then(done, (e: ApiError) => say(e.message));
        }}
      >
        End it now
      </button>{" "}
      <span role="status">{problem}</span>
    </li>
  );
}

export function SilenceForm({ given, done }: { given: string; done: () => void }) {
  const [matchers, set] = useState<Matcher[]>(() => startingMatchers(given));
  const [length, long] = useState(3600);
  const [comment, say] = useState("");
  const [by, name] = useName();
  const [problem, fail] = useState("");
  const [busy, work] = useState(false);
  const wanted = complete(matchers);
  const submit = (event: Event) => {
    event.preventDefault();
    work(true);
    const now = Date.now();
    send("POST", "/api/v2/silences", {
      matchers: wanted,
      startsAt: new Date(now).toISOString(),
      endsAt: new Date(now + length * 1000).toISOString(),
      createdBy: by,
      comment,
    }).then(done, (e: ApiError) => {
      fail(e.message);
      work(false);
    });
  };
  return (
    <form class="card form" onSubmit={submit} aria-labelledby="new">
      <h2 id="new">New silence</h2>
      <Matchers matchers={matchers} set={set} />
      <div class="tools">
        <label>
          For{" "}
          <select value={length} onChange={(e) => long(Number(e.currentTarget.value))}>
            {LENGTHS.map(([s, text]) => (
              <option key={s} value={s}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <YourName name={by} change={name} required />
        <label>
          Why <input required value={comment} onInput={(e) => say(e.currentTarget.value)} />
        </label>
      </div>
      <Preview matchers={matchers} />
      <Problem text={problem} />
      <div class="tools">
        <button type="submit" class="primary" disabled={busy || wanted.length === 0}>
          Silence
        </button>
        <button type="button" onClick={() => update({ silence: undefined })}>
          Cancel
        </button>
      </div>
    </form>
  );
}
