// Fields that many pages have: the words a list must contain, and who acts.

import { useState } from "preact/hooks";
import { update, useAddress } from "./address";

/** Words kept in the address under `name`; `changed` is told, so that a list begins at its first page again. */
export function Containing({ name = "q", hint, changed }: { name?: string; hint: string; changed: () => void }) {
  const { search } = useAddress();
  return (
    <label>
      Containing{" "}
      <input
        type="search"
        value={search.get(name) ?? ""}
        placeholder={hint}
        onInput={(e) => {
          changed();
          update({ [name]: e.currentTarget.value || undefined });
        }}
      />
    </label>
  );
}

/** Who acts; kept in this browser, as there are no accounts. */
export function useName(): [string, (name: string) => void] {
  const [name, set] = useState(remembered);
  return [
    name,
    (text) => {
      remember(text);
      set(text);
    },
  ];
}

export function YourName({
  name,
  change,
  required,
}: {
  name: string;
  change: (to: string) => void;
  required?: boolean;
}) {
  return (
    <label>
      Your name{" "}
      <input required={required} value={name} onInput={(e) => change(e.currentTarget.value)} autocomplete="name" />
    </label>
  );
}

// A browser may be told to keep nothing.
function remembered(): string {
  try {
    return localStorage.getItem("name") ?? "";
  } catch {
    return "";
  }
}
function remember(name: string): void {
  try {
    localStorage.setItem("name", name);
  } catch {
    /* asked for again next time */
  }
}
