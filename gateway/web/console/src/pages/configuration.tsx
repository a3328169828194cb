import { useState } from "preact/hooks";
import { ApiError, request } from "../api";
import { useLoad } from "../load";
import { Card, State, Tabs } from "../parts";
import { Table } from "../table";
import type { ConfigChecked, Setting } from "../types";
import { STATUS_TABS } from "./status";

interface Row {
  key: string;
  value: string;
  source: string;
}

const plain = (value: unknown): string =>
  Array.isArray(value) || (value && typeof value === "object") ? JSON.stringify(value) : String(value);

export function ConfigurationPage() {
  const settings = useLoad<Record<string, Record<string, Setting>>>("/api/v1/configuration");
  const [changed, only] = useState(false);
  return (
    <>
      <div class="head">
        <h1>Configuration</h1>
      </div>
      <Tabs label="Status" pages={STATUS_TABS} here="configuration" />
      <Check />
      <Card title="In use now, with the source of each value">
        <State of={settings} what="the configuration">
          {(sections) => {
            const rows: Row[] = Object.entries(sections)
              .flatMap(([section, keys]) =>
                Object.entries(keys).map(([key, { value, source }]) => ({
                  key: `${section}.${key}`,
                  value: plain(value),
                  source,
                })),
              )
              .filter((r) => !changed || r.source !== "default");
            return (
              <Table<Row>
                id="set"
                label="Settings"
                rows={rows}
                filter="key, value or source"
                rowKey={(r) => r.key}
                page={200}
                empty={<p>Every setting is at its default.</p>}
                columns={[
                  { key: "key", name: "Key", value: (r) => r.key, show: (r) => <code>{r.key}</code> },
                  {
                    key: "value",
                    name: "Value",
                    value: (r) => r.value,
                    show: (r) =>
                      r.value === "" ? (
                        <span class="rest">empty</span>
                      ) : r.value.startsWith("Secret(") ? (
                        <span class="rest">secret, not shown</span>
                      ) : (
                        r.value
                      ),
                    breaks: true,
                  },
                  { key: "source", name: "From", value: (r) => r.source, breaks: true },
                ]}
              >
                <label>
                  <input type="checkbox" checked={changed} onChange={(e) => only(e.currentTarget.checked)} /> Only what
                  is not default
                </label>
              </Table>
            );
          }}
        </State>
      </Card>
    </>
  );
}

/** What would a reload or a restart make of the files, or of a text; then the reload itself. */
function Check() {
  const [text, write] = useState("");
  const [found, set] = useState<ConfigChecked | null>(null);
  const [said, say] = useState("");
  const check = () => {
    say("Checking…");
    request<ConfigChecked>("/api/v1/config/check", {
      method: "POST",
      headers: { "Content-Type": "application/toml" },
      body: text,
    }).then(
      (c) => {
        set(c);
        say("");
      },
      (e: ApiError) => say(e.message),
    );
  };
  const reload = () => {
    say("Reading the configuration…");
    request<{ reloaded: string[] }>("/-/reload", { method: "POST" }).then(
      (done) => say(`Read again: ${done.reloaded.join(", ")}. Other sections change with a restart.`),
      (error: ApiError) => say(`Nothing was changed: ${error.message}`),
    );
  };
  return (
    <section class="card form" aria-labelledby="check">
      <h2 id="check">Check before it is taken up</h2>
      <label>
        A configuration to check (TOML; empty: the files as they are now)
        <textarea
          rows={4}
          spellcheck={false}
          value={text}
          onInput={(e) => write(e.currentTarget.value)}
          placeholder={'[log]\nretention = "48h"'}
        />
      </label>
      <div class="tools">
        <button type="button" class="primary" onClick={check}>
          Check
        </button>
        <button type="button" onClick={reload}>
          Read the alerting files again
        </button>
        <span role="status">{said}</span>
      </div>
      {found &&
        (found.ok ? (
          <div role="status">
            <p class="verdict good">
              It can be used. Alerting: {found.alerting}.{" "}
              {found.changes.length === 0
                ? "Nothing differs from what is in use."
                : "These values differ and take effect with a restart:"}
            </p>
            {found.changes.length > 0 && (
              <div class="scroll" tabIndex={0} role="region" aria-label="Changes">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">Key</th>
                      <th scope="col">In use</th>
                      <th scope="col">Then</th>
                      <th scope="col">From</th>
                    </tr>
                  </thead>
                  <tbody>
                    {found.changes.map((c) => (
                      <tr key={c.key}>
                        <th scope="row">
                          <code>{c.key}</code>
                        </th>
                        <td class="breaks">{plain(c.from)}</td>
                        <td class="breaks">{plain(c.to)}</td>
                        <td>{c.source}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            )}
          </div>
        ) : (
          <p class="verdict bad" role="alert">
            {found.key && (
              <>
                <code>{found.key}</code>:{" "}
              </>
            )}
            {found.problem}
            {found.source && ` (${found.source})`}
            {found.expected && <>; expected {found.expected}</>}.
          </p>
        ))}
    </section>
  );
}
