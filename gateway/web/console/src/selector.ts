// Series as PromQL names them, and the service that one belongs to.

import type { Labels } from "./types";

/** PromQL's spelling of a metric with matchers; a name that is no identifier is quoted inside of the braces. */
export function selectorOf(metric: string, matchers: string[]): string {
  const plain = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(metric);
  const inner = plain || !metric ? matchers : [JSON.stringify(metric), ...matchers];
  return (plain ? metric : "") + (inner.length || !plain ? `{${inner.join(",")}}` : "");
}

const quotedName = (name: string): string => (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) ? name : JSON.stringify(name));

/** PromQL's spelling of exactly one series. */
export function selector({ __name__: metric = "", ...rest }: Labels): string {
  return selectorOf(
    metric,
    Object.entries(rest).map(([k, v]) => `${quotedName(k)}=${JSON.stringify(v)}`),
  );
}

const SERVICE = ["service", "service_name", "service.name", "job"];
export const serviceOf = (labels: Labels): string => {
  for (const name of SERVICE) {
    const value = labels[name];
    if (value) return value.slice(value.lastIndexOf("/") + 1);
  }
  return "";
};
