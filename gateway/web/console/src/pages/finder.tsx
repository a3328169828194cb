import { useRef, useState } from "preact/hooks";
import { update } from "../address";
import { query } from "../api";
import { count } from "../format";
import { useLoad } from "../load";
import { Failed, Loading, Name } from "../parts";
import { selector } from "../selector";
import type { Labels } from "../types";

interface Found {
  total: number;
  of: number;
  series: Labels[];
}

export function Finder({ chosen }: { chosen: string[] }) {
  const [text, set] = useState("");
  const [open, show] = useState(false);
  const [at, move] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const found = useLoad<Found>(open ? query("/api/v1/series/search", { q: text, limit: 40 }) : "");
  const list = found.data?.series ?? [];
  const toggle = (labels: Labels) => {
    const match = selector(labels);
    update({ m: chosen.includes(match) ? chosen.filter((c) => c !== match) : [...chosen, match] });
  };
  const raw = () => {
    if (text.includes("{")) {
      update({ m: [...chosen, text] });
      set("");
      show(false);
    }
  };
  return (
    <div
      class="finder"
      ref={box}
      onFocusOut={(e) => {
        if (!box.current?.contains(e.relatedTarget as Node)) show(false);
      }}
    >
      <label for="find">Find series</label>
      <input
        id="find"
        type="search"
        role="combobox"
        aria-expanded={open}
        aria-controls="found"
        aria-autocomplete="list"
        autocomplete="off"
        aria-activedescendant={open && list[at] ? `found-${at}` : undefined}
        placeholder='Type parts of a name or a label, or a selector such as up{job="api"}'
        value={text}
        onFocus={() => show(true)}
        onInput={(e) => {
          set(e.currentTarget.value);
          show(true);
          move(0);
        }}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown") {
            show(true);
            move(Math.min(at + 1, list.length - 1));
            e.preventDefault();
          } else if (e.key === "ArrowUp") {
            move(Math.max(0, at - 1));
            e.preventDefault();
          } else if (e.key === "Enter") {
            if (text.includes("{")) raw();
            else if (list[at]) toggle(list[at]);
            e.preventDefault();
          } else if (e.key === "Escape" && open) {
            show(false);
            e.preventDefault();
          }
        }}
      />
      {open && (
        <div class="found">
          {found.error ? (
            <Failed error={found.error} again={found.again} />
          ) : text.includes("{") ? (
            <p class="state">Enter plots every series that this selector matches (at most 20).</p>
          ) : found.data === null ? (
            <Loading what="series" />
          ) : list.length === 0 ? (
            <p class="state">
              {found.data.of === 0
                ? "No series yet. Send metrics to port 4317 or 4318."
                : `None of ${count(found.data.of)} series has all of these words. Try fewer letters.`}
            </p>
          ) : null}
          <ul
            id="found"
            role="listbox"
            aria-label="Series found"
            aria-multiselectable="true"
            hidden={list.length === 0 || text.includes("{")}
          >
            {list.map((labels, i) => {
              const on = chosen.includes(selector(labels));
              return (
                <li
                  key={selector(labels)}
                  id={`found-${i}`}
                  role="option"
                  aria-selected={on}
                  class={i === at ? "at" : ""}
                  onMouseDown={(e) => {
                    e.preventDefault();
                    toggle(labels);
                    move(i);
                  }}
                >
                  <span class="tick" aria-hidden="true">
                    {on ? "✓" : ""}
                  </span>
                  <Name labels={labels} />
                </li>
              );
            })}
          </ul>
          {found.data && found.data.total > list.length && (
            <p class="state">
              {list.length} of {count(found.data.total)} shown; type more to narrow.
            </p>
          )}
        </div>
      )}
    </div>
  );
}
