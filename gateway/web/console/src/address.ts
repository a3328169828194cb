// The address is the state: `#/page/argument?key=value`. Everything a person can share or reload is in it.

import { useEffect, useState } from "preact/hooks";

export interface Address {
  path: string[];
  search: URLSearchParams;
}

/** A mangled part of an address stands for itself. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function parse(hash = location.hash): Address {
  const text = hash.replace(/^#\/?/, "");
  const cut = text.indexOf("?");
  const path = (cut < 0 ? text : text.slice(0, cut)).split("/").filter(Boolean).map(decoded);
  return { path, search: new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1)) };
}

export function href(path: string[], search: Record<string, string | undefined> | URLSearchParams = {}): string {
  const given = search instanceof URLSearchParams ? search : new URLSearchParams();
  if (!(search instanceof URLSearchParams)) for (const [k, v] of Object.entries(search)) if (v) given.set(k, v);
  const text = given.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function useAddress(): Address {
  const [address, set] = useState(parse);
  useEffect(() => {
    const listen = () => set(parse());
    addEventListener("hashchange", listen);
    return () => removeEventListener("hashchange", listen);
  }, []);
  return address;
}

/** A part of the address that is one of `known`; what is none counts as if it were not there. */
export function oneOf(search: URLSearchParams, key: string, known: readonly string[]): string {
  const value = search.get(key) ?? "";
  return known.includes(value) ? value : "";
}

/** Changes parts of the search; `replace` keeps one entry in the browser's history for a gesture. */
export function update(changes: Record<string, string | string[] | undefined>, replace = true): void {
  const { path, search } = parse();
  for (const [key, value] of Object.entries(changes)) {
    search.delete(key);
    for (const one of Array.isArray(value) ? value : value ? [value] : []) search.append(key, one);
  }
  const next = href(path, search);
  if (next === location.hash) return;
  if (replace) {
    history.replaceState(null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = next;
}
