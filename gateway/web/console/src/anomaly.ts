// How anomalies are called: most are of one series, some of a whole service.

import { serviceOf } from "./selector";
import type { Anomaly, Labels } from "./types";

/** Begin, Unix seconds; a series that fell silent is told later than it ended. */
export const sinceOf = (a: Anomaly): number => (a.ended !== null && a.ended < a.time ? a.ended : a.time);

export const isGroup = (a: Anomaly): boolean => a.kind === "group";

export const metricOf = (a: Anomaly): string =>
  a.series.__name__ ?? (isGroup(a) ? "many series at once" : "series without a name");

/** In one line: the metric, and whose. */
export const headline = (a: Anomaly): string => `${metricOf(a)} of ${serviceOf(a.series) || "a host"}`;

/** Labels that tell it from others: a histogram is scored as a whole, so the bucket that stands for it says nothing. */
export function tellingLabels(a: Anomaly): Labels {
  if (isGroup(a)) return { __name__: metricOf(a), ...a.series };
  const { le: _, ...rest } = a.series;
  return (a.series.__name__ ?? "").endsWith("_bucket") ? rest : a.series;
}
