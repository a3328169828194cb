// Small pieces that every page shares.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { href } from "./address";
import { selector, serviceOf, type HistorySeries, type Labels, type Severity } from "./api";
import { ago, clockTime, seconds, shortened, title } from "./format";
import { carried, useZone } from "./time";

export function Loading({ what }: { what: string }) {
  return <p class="state loading" role="status"><span class="spin" aria-hidden="true" /> Loading {what}…</p>;
}

export function Failed({ error, again }: { error: string; again?: () => void }) {
  return (
    <div class="state failed" role="alert">
      <p>{error}</p>
      {again && <button type="button" onClick={again}>Try again</button>}
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="state empty">{children}</div>;
}

/** Loading, failed, empty or the data: the four states of everything that is asked for. */
export function State<T>({ of, what, children }: {
  of: { data: T | null; error: string; again: () => void }; what: string; children: (data: T) => ComponentChildren;
}) {
  if (of.data === null) return of.error ? <Failed error={of.error} again={of.again} /> : <Loading what={what} />;
  return <>{of.error && <Failed error={`Shown is older data: ${of.error}`} again={of.again} />}{children(of.data)}</>;
}

export function Badge({ severity, state }: { severity: Severity | string; state?: string }) {
  return <span class={`badge ${severity} ${state ?? ""}`}>{severity}</span>;
}

/** A name that may be broken between its words; of an endless one the beginning, the whole at its place. */
export function Breaks({ text }: { text: string }) {
  const shown = shortened(text);
  return <bdi title={shown === text ? undefined : text}>{shown.split(/(?<=[_./:,=-])/).flatMap((part, i) => (i ? [<wbr key={i} />, part] : [part]))}</bdi>;
}

export function LabelChips({ labels, children }: { labels: [string, string][]; children?: ComponentChildren }) {
  return <div class="alert-labels">{labels.map(([k, v]) => <span key={k}><Breaks text={`${k}=${v}`} /></span>)}{children}</div>;
}

export function Name({ labels, short = false }: { labels: Labels; short?: boolean }) {
  const { metric, rest } = title(labels);
  const service = serviceOf(labels);
  return (
    <span class="name">
      <b><Breaks text={metric} /></b>{" "}
      <span class="rest"><Breaks text={short && service ? service : rest} /></span>
    </span>
  );
}

/** How long ago; `long` tells a state that still holds instead, as "for 2 min". */
export function When({ time, long = false }: { time: number; long?: boolean }) {
  const zone = useZone();
  const exact = clockTime(time, zone, true);
  return <time dateTime={Number.isFinite(time) ? new Date(time * 1000).toISOString() : undefined} title={exact}>{long ? `for ${seconds(Math.max(0, Math.round(Date.now() / 1000 - time)))}` : ago(time)}</time>;
}

/** The title of the page in the browser's tab, once it is known what it is about. */
export function useTitle(text: string | undefined): void {
  useEffect(() => { if (text) document.title = `${shortened(text)} – Gateway`; }, [text]);
}

export function Link({ to, search, class: className, children, label, current }: {
  to: string[]; search?: Record<string, string | undefined>; class?: string; children: ComponentChildren; label?: string; current?: boolean;
}) {
  return <a href={href(to, { ...carried(), ...search })} class={className} aria-label={label} aria-current={current ? "page" : undefined}>{children}</a>;
}

export const exploreSearch = (labels: Labels): Record<string, string> => ({ m: selector(labels) });

export function Tile({ name, value, note, tone = "" }: {
  name: string; value: ComponentChildren; note?: ComponentChildren; tone?: string;
}) {
  return <div class={`tile ${tone}`}><dt>{name}</dt><dd>{value}{note && <small>{note}</small>}</dd></div>;
}

/** Moves a list of pages that is wider than the screen to the one that is shown. */
export function intoView(list: HTMLElement | null): void {
  const at = list?.querySelector<HTMLElement>(".here");
  if (list && at) list.scrollLeft = at.offsetLeft - (list.clientWidth - at.offsetWidth) / 2;
}

/** Under the heading of a section of the console: its pages side by side. */
export function Tabs({ label, pages, here }: { label: string; pages: [string, string][]; here: string }) {
  const list = useRef<HTMLElement>(null);
  useEffect(() => intoView(list.current), [here]);
  return <nav class="tabs" aria-label={label} ref={list}><ul>{pages.map(([path, name]) => (
    <li key={path}><Link to={[path]} class={path === here ? "here" : ""} current={path === here}>{name}</Link></li>))}</ul></nav>;
}

/** Who acts; kept in this browser, as there are no accounts. */
export function useName(): [string, (name: string) => void] {
  const [name, set] = useState(remembered);
  return [name, (text) => { remember(text); set(text); }];
}

// A browser may be told to keep nothing.
function remembered(): string { try { return localStorage.getItem("name") ?? ""; } catch { return ""; } }
function remember(name: string): void { try { localStorage.setItem("name", name); } catch { /* asked for again next time */ } }

/** "Show more" under a list that the gateway cuts into pages. */
export function More({ shown, total, more }: { shown: number; total: number; more: () => void }) {
  return shown < total ? <p class="more"><button type="button" onClick={more}>Show more</button> <small>{shown.toLocaleString()} of {total.toLocaleString()}</small></p> : null;
}

/** Calls back when the element first comes near the screen. */
export function useSeen<E extends HTMLElement>(): [preact.RefObject<E>, boolean] {
  const ref = useRef<E>(null);
  const [seen, set] = useState(false);
  useEffect(() => {
    if (seen || !ref.current) return;
    const observer = new IntersectionObserver((entries) => { if (entries.some((e) => e.isIntersecting)) set(true); }, { rootMargin: "150px" });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [seen]);
  return [ref, seen];
}

/** A line without axes: values, with its band where there is one. Purely a picture; the words stand beside it. */
export function Spark({ series, width = 160, height = 36, mark }: {
  series: Pick<HistorySeries, "times" | "values"> & Partial<HistorySeries>; width?: number; height?: number; mark?: [number, number];
}) {
  const { times, values } = series;
  const lower = series.lower ?? [];
  const upper = series.upper ?? [];
  if (times.length < 2) return <svg class="spark" width={width} height={height} aria-hidden="true" />;
  let low = Infinity, high = -Infinity;
  for (const list of [values, lower, upper]) for (const v of list) if (v !== null && v !== undefined) { if (v < low) low = v; if (v > high) high = v; }
  if (!Number.isFinite(low)) return <svg class="spark" width={width} height={height} aria-hidden="true" />;
  const t0 = times[0]!, t1 = times[times.length - 1]!;
  const x = (t: number) => ((t - t0) / (t1 - t0 || 1)) * (width - 2) + 1;
  const y = (v: number) => height - 3 - ((v - low) / (high - low || 1)) * (height - 6);
  let line = "", pen = false;
  for (let i = 0; i < times.length; i++) {
    const v = values[i];
    if (v === null || v === undefined) { pen = false; continue; }
    line += `${pen ? "L" : "M"}${x(times[i]!).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = true;
  }
  const top: string[] = [], bottom: string[] = [];
  for (let i = 0; i < times.length; i++) {
    const l = lower[i], u = upper[i];
    if (l === null || l === undefined || u === null || u === undefined) continue;
    top.push(`${x(times[i]!).toFixed(1)} ${y(u).toFixed(1)}`);
    bottom.unshift(`${x(times[i]!).toFixed(1)} ${y(l).toFixed(1)}`);
  }
  const from = mark ? Math.max(1, x(mark[0])) : 0;
  const to = mark ? Math.min(width - 1, x(mark[1])) : 0;
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
      {mark && to > 0 && <rect class="mark" x={from} y={0} width={Math.max(2, to - from)} height={height} />}
      {top.length > 1 && <path class="band" d={`M${top.join("L")}L${bottom.join("L")}Z`} />}
      <path class="line" d={line} />
    </svg>
  );
}

/** Browsers give the clipboard to pages of https and loopback alone; elsewhere a selection is copied. */
async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function CopyButton({ text, children }: { text: string; children: ComponentChildren }) {
  const [said, set] = useState("");
  return (
    <button type="button" onClick={() => {
      copied(text).then((done) => { set(done ? "Copied" : "Copying was refused"); setTimeout(set, 1500, ""); });
    }}><span aria-live="polite">{said || children}</span></button>
  );
}
