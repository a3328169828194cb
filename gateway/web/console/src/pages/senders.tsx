import { useMemo, useRef } from "preact/hooks";
import { bytes, count, seconds } from "../format";
import { useBeat, useLoad } from "../load";
import { Breaks, Card, Link, State, Tabs, When } from "../parts";
import { Table } from "../table";
import type { SendersShown } from "../types";
import { STATUS_TABS } from "./status";

type Sender = SendersShown["senders"][number];
type Client = SendersShown["clients"][number];
const CHECKS: Record<string, string> = {
  clock_ahead: "clock ahead",
  clock_behind: "clock behind",
  lost_series: "series lost",
  repeated: "repeated points",
  gaps: "gaps",
  unit_change: "unit changed",
};

/** Points a second of each client between two looks, as the gateway tells totals alone. */
function useRates(clients: Client[] | undefined): Map<string, number> {
  const before = useRef<{ at: number; points: Map<string, number>; rates: Map<string, number> }>({
    at: 0,
    points: new Map(),
    rates: new Map(),
  });
  return useMemo(() => {
    if (!clients) return new Map<string, number>();
    const now = performance.now() / 1000,
      old = before.current;
    const points = new Map(clients.map((c) => [key(c), c.points]));
    const rates = new Map(
      [...points].flatMap(([k, n]) => {
        const was = old.points.get(k);
        return was === undefined || n < was ? [] : [[k, (n - was) / Math.max(0.1, now - old.at)] as [string, number]];
      }),
    );
    before.current = { at: now, points, rates };
    return rates;
  }, [clients]);
}
const key = (c: Client): string => `${c.protocol} ${c.agent} ${c.address}`;

export function SendersPage() {
  const found = useLoad<SendersShown>("/api/v1/senders", useBeat(5));
  const rates = useRates(found.data?.clients);
  return (
    <>
      <div class="head">
        <h1>Senders</h1>
      </div>
      <Tabs label="Status" pages={STATUS_TABS} here="senders" />
      <State of={found} what="senders">
        {({ senders, clients }) => (
          <>
            <Card title="By service" note="over the last half minute">
              <Table<Sender>
                id="se"
                label="Senders by service"
                rows={senders}
                filter="service or SDK"
                first="-rate"
                rowKey={(s) => s.sender}
                empty={
                  <p>Nothing has been looked at yet. Half a minute after the first points a sender appears here.</p>
                }
                columns={[
                  {
                    key: "name",
                    name: "Service",
                    value: (s) => s.sender,
                    show: (s) =>
                      s.sender ? (
                        <Link to={["services", s.sender.slice(s.sender.lastIndexOf("/") + 1)]}>
                          <Breaks text={s.sender} />
                        </Link>
                      ) : (
                        <span class="rest">without a job</span>
                      ),
                  },
                  {
                    key: "sdk",
                    name: "SDK",
                    value: (s) => (s.sdk ? `${s.sdk.name} ${s.sdk.language}` : ""),
                    show: (s) =>
                      s.sdk ? (
                        <>
                          {s.sdk.name} <small>{s.sdk.language}</small>
                        </>
                      ) : (
                        <span class="rest">not said</span>
                      ),
                  },
                  { key: "version", name: "Version", value: (s) => s.sdk?.version ?? "" },
                  {
                    key: "rate",
                    name: "Points/s",
                    value: (s) => s.points_per_second,
                    show: (s) => count(s.points_per_second),
                    number: true,
                  },
                  {
                    key: "series",
                    name: "Live series",
                    value: (s) => s.live_series,
                    show: (s) => count(s.live_series),
                    number: true,
                  },
                  {
                    key: "skew",
                    name: "Delay, skew",
                    value: (s) => s.delay_seconds,
                    show: (s) =>
                      s.delay_seconds === null
                        ? "–"
                        : s.delay_seconds < 0
                          ? `${seconds(-s.delay_seconds)} ahead`
                          : seconds(s.delay_seconds),
                    number: true,
                  },
                  {
                    key: "problem",
                    name: "Problems",
                    value: (s) => s.problems.map((p) => p.check).join(" "),
                    show: (s) =>
                      s.problems.length ? (
                        <b class="bad">{s.problems.map((p) => CHECKS[p.check] ?? p.check).join(", ")}</b>
                      ) : (
                        "none"
                      ),
                  },
                ]}
              />
            </Card>
            <Card title="By client" note="user agent and address, since the data plane started">
              <Table<Client>
                id="cli"
                label="Clients"
                rows={clients}
                filter="agent, protocol or address"
                first="-points"
                rowKey={key}
                empty={<p>No request came yet. OTLP is taken at ports 4317 and 4318, remote write at 4318.</p>}
                columns={[
                  { key: "agent", name: "User agent", value: (c) => c.agent, breaks: true },
                  { key: "protocol", name: "Protocol", value: (c) => c.protocol.replaceAll("_", " ") },
                  { key: "address", name: "Address", value: (c) => c.address },
                  {
                    key: "rate",
                    name: "Points/s",
                    value: (c) => rates.get(key(c)) ?? null,
                    show: (c) => {
                      const r = rates.get(key(c));
                      return r === undefined ? "…" : count(r);
                    },
                    number: true,
                  },
                  { key: "points", name: "Points", value: (c) => c.points, show: (c) => count(c.points), number: true },
                  {
                    key: "requests",
                    name: "Requests",
                    value: (c) => c.requests,
                    show: (c) => count(c.requests),
                    number: true,
                  },
                  { key: "bytes", name: "Received", value: (c) => c.bytes, show: (c) => bytes(c.bytes), number: true },
                  { key: "refused", name: "Refused", value: (c) => c.refused, number: true },
                  { key: "last", name: "Last", value: (c) => c.last, show: (c) => <When time={c.last} /> },
                ]}
              />
            </Card>
          </>
        )}
      </State>
    </>
  );
}
