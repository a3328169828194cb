import { useState } from "preact/hooks";
import { ApiError, send } from "../api";
import { plural } from "../format";
import { useName, YourName } from "../fields";
import { useLive } from "../live";
import { useBeat, useLoad } from "../load";
import { Empty, Link, State, Tabs, When } from "../parts";
import { Table } from "../table";
import type { Suppressions } from "../types";
import { ALERT_TABS } from "./alerts";

type Suppressed = Suppressions["suppressions"][number];

/** What fires and is not told, and how to take that back. */
export function SuppressedPage() {
  const live = useLive();
  const [by, name] = useName();
  const [said, say] = useState("");
  const found = useLoad<Suppressions>("/api/v1/suppressions?limit=2000", `${live.alerts.version} ${useBeat(10)}`);
  const release = (path: string) => {
    const [method = "POST", address = ""] = path.split(" ");
    if (!by.trim()) {
      say("Say who you are first.");
      return;
    }
    send(method, address, method === "DELETE" ? undefined : { by }).then(
      () => {
        say("Released; it is told at the next look.");
        found.again();
      },
      (e: ApiError) => say(e.message),
    );
  };
  return (
    <>
      <div class="head">
        <h1>Not told</h1>
      </div>
      <Tabs label="Alerting" pages={ALERT_TABS} here="suppressed" />
      <State of={found} what="suppressions">
        {({ counts, storm, suppressions }) => (
          <>
            <p class={`verdict ${storm.active ? "bad" : Object.keys(counts).length ? "warn" : "good"}`} role="status">
              {storm.active ? (
                <>
                  Alert storm
                  {storm.since && (
                    <>
                      {" "}
                      since <When time={Date.parse(storm.since) / 1000} />
                    </>
                  )}
                  : {plural(storm.newGroupsLastMinute, "new group")} in the last minute, usual is {storm.usualPerMinute}
                  . What is not critical is gathered into digests.
                </>
              ) : Object.keys(counts).length ? (
                `Fires and is not told: ${Object.entries(counts)
                  .map(([k, n]) => `${n} by ${k}`)
                  .join(", ")}.`
              ) : (
                "Everything that fires is told."
              )}
            </p>
            <section class="card" aria-label="Suppressions">
              <Table<Suppressed>
                id="sup"
                label="Suppressions"
                rows={suppressions}
                filter="alert, group or reason"
                rowKey={(s, i) => `${s.id ?? s.fingerprint ?? ""} ${i}`}
                empty={
                  <p>
                    Nothing is held back by a silence, a maintenance window, an inhibition, a budget, a storm or a
                    snooze.
                  </p>
                }
                columns={[
                  {
                    key: "what",
                    name: "Alert",
                    value: (s) => s.alertname ?? s.groupKey ?? "",
                    show: (s) =>
                      s.fingerprint ? (
                        <Link to={["alerts", s.fingerprint]}>{s.alertname || s.fingerprint}</Link>
                      ) : (
                        <>
                          {s.groupKey} {s.alerts !== undefined && <small>{plural(s.alerts, "alert")}</small>}
                        </>
                      ),
                    breaks: true,
                  },
                  { key: "kind", name: "By", value: (s) => s.kind },
                  { key: "reason", name: "Why", value: (s) => s.reason, breaks: true },
                  { key: "to", name: "To", value: (s) => s.integration ?? s.receiver ?? "" },
                  {
                    key: "since",
                    name: "Since",
                    value: (s) => s.since,
                    show: (s) => (s.since ? <When time={Date.parse(s.since) / 1000} /> : ""),
                  },
                  {
                    key: "act",
                    name: "Take back",
                    value: () => null,
                    show: (s) =>
                      s.release ? (
                        <button
                          type="button"
                          aria-label={`Tell ${s.alertname ?? s.groupKey ?? "it"} now`}
                          onClick={() => release(s.release!)}
                        >
                          Tell it
                        </button>
                      ) : null,
                  },
                ]}
              >
                <YourName name={by} change={name} />
                <span role="status">{said}</span>
              </Table>
            </section>
          </>
        )}
      </State>
      {found.error && !found.data && (
        <Empty>
          <p>This needs the alert router; see Status.</p>
        </Empty>
      )}
    </>
  );
}
