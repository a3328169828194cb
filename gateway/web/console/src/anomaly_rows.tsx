// Anomalies in short, as a list of links.

import { metricOf, sinceOf } from "./anomaly";
import { Badge, Breaks, Link, When } from "./parts";
import type { Anomaly } from "./types";

/** For how long it has been open, or when it ended. */
export function Course({ of: a }: { of: Anomaly }) {
  if (a.state !== "firing") {
    return (
      <>
        ended <When time={a.ended ?? a.time} />
      </>
    );
  }
  return (
    <>
      <b>open</b> <When time={sinceOf(a)} long />
    </>
  );
}

export function AnomalyRows({ list }: { list: Anomaly[] }) {
  return (
    <ul class="rows">
      {list.map((a) => (
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
              <Course of={a} />
            </span>
          </Link>
        </li>
      ))}
    </ul>
  );
}
