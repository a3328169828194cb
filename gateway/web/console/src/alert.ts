// An alert in words; values that a baseline found get the unit that the metric's name promises.

import { unitOf } from "./format";
import { isCounter } from "./history";
import type { Labels } from "./types";

const END = /_(bucket|sum|count)$/;

/** What the alert's metric is called; the rule where it is of no metric. */
export const nameOf = (labels: Labels): string => labels.metric ?? labels.alertname ?? "alert";

/** The summary without the name before it. */
export function summaryOf(labels: Labels, annotations: Labels): string {
  const { value, lower, upper, expected, summary = "" } = annotations;
  const metric = labels.metric ?? "";
  const numbers = [value, lower, upper, expected].map((text) =>
    text === undefined || text === "" ? NaN : Number(text),
  );
  const [v, low, high, usual] = numbers as [number, number, number, number];
  if (!metric || Number.isNaN(v)) return summary.startsWith(`${metric}: `) ? summary.slice(metric.length + 2) : summary;
  // A histogram is scored by its mean and its quantile, which have the unit of what it measures; the rest that counts is
  // scored by its rate.
  const whole = /_(bucket|sum)$/.test(metric);
  const unit = unitOf(whole ? metric.replace(END, "") : metric);
  const show = (n: number) => (isCounter({ __name__: metric }) && !whole ? `${unit(n)}/s` : unit(n));
  const range =
    Number.isNaN(low) || Number.isNaN(high)
      ? Number.isNaN(usual)
        ? ""
        : `, expected ${show(usual)}`
      : `, expected ${show(low)} to ${show(high)}`;
  return show(v) + range;
}
