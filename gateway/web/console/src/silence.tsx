// Matchers in a form, with a live look at what they catch; used for silences and maintenance windows.

import { nameOf } from "./alert";
import { shortened } from "./format";
import { useLoad } from "./load";
import type { Alert, Matcher } from "./types";

export const quoted = (m: Matcher): string =>
  `${m.name}${m.isEqual ? (m.isRegex ? "=~" : "=") : m.isRegex ? "!~" : "!="}${JSON.stringify(m.value)}`;
export const complete = (matchers: Matcher[]): Matcher[] => matchers.filter((m) => m.name && m.value);

/** From what a link carries: a JSON object of labels. */
export function startingMatchers(given: string): Matcher[] {
  let labels: unknown = null;
  try {
    labels = JSON.parse(given);
  } catch {
    /* a mangled link opens an empty form */
  }
  const list = Object.entries(labels && typeof labels === "object" ? labels : {}).map(([name, value]) => ({
    name,
    value: String(value),
    isRegex: false,
    isEqual: true,
  }));
  return list.length ? list : [{ name: "alertname", value: "", isRegex: false, isEqual: true }];
}

export function Matchers({ matchers, set }: { matchers: Matcher[]; set: (matchers: Matcher[]) => void }) {
  const change = (i: number, part: Partial<Matcher>) => set(matchers.map((m, k) => (k === i ? { ...m, ...part } : m)));
  return (
    <>
      {matchers.map((m, i) => (
        <div class="matcher" key={i}>
          <input aria-label="Label" value={m.name} onInput={(e) => change(i, { name: e.currentTarget.value })} />
          <select
            aria-label="Comparison"
            value={`${m.isEqual ? "" : "!"}${m.isRegex ? "~" : "="}`}
            onChange={(e) =>
              change(i, {
                isEqual: !e.currentTarget.value.startsWith("!"),
                isRegex: e.currentTarget.value.endsWith("~"),
              })
            }
          >
            <option value="=">is</option>
            <option value="!=">is not</option>
            <option value="~">fits the expression</option>
            <option value="!~">does not fit</option>
          </select>
          <input aria-label="Value" value={m.value} onInput={(e) => change(i, { value: e.currentTarget.value })} />
          <button
            type="button"
            aria-label={`Remove the condition on ${m.name || "nothing"}`}
            onClick={() => set(matchers.filter((_, k) => k !== i))}
          >
            ×
          </button>
        </div>
      ))}
      <button
        type="button"
        class="add"
        onClick={() => set([...matchers, { name: "", value: "", isRegex: false, isEqual: true }])}
      >
        Add a condition
      </button>
    </>
  );
}

export function Preview({ matchers }: { matchers: Matcher[] }) {
  const given = complete(matchers);
  const search = new URLSearchParams();
  for (const m of given) search.append("filter", quoted(m));
  const found = useLoad<Alert[]>(given.length ? `/api/v2/alerts?${search}` : "");
  return (
    <div role="status" class="preview">
      {given.length === 0 ? (
        "Give at least one condition; what it catches now is shown here."
      ) : found.error ? (
        <span class="state failed">{found.error}</span>
      ) : found.data === null ? (
        "Looking…"
      ) : found.data.length === 0 ? (
        "Catches no alert that is active now."
      ) : (
        <>
          Catches {found.data.length} active {found.data.length === 1 ? "alert" : "alerts"}:{" "}
          {found.data
            .slice(0, 6)
            .map((a) => shortened(nameOf(a.labels)))
            .join(", ")}
          {found.data.length > 6 && " and more"}.
        </>
      )}
    </div>
  );
}
