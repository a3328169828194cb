// Small pieces that every page shares.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { href } from "./address";
import { ago, clockTime, seconds, shortened, title } from "./format";
import { selector, serviceOf } from "./selector";
import { carried, useZone } from "./time";
import type { Labels, Severity } from "./types";

export function Loading({ what }: { what: string }) {
  return (
    <p class="state loading" role="status">
      <span class="spin" aria-hidden="true" /> Loading {what}…
    </p>
  );
}

export function Failed({ error, again }: { error: string; again?: () => void }) {
  return (
    <div class="state failed" role="alert">
      <p>{error}</p>
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

/** Why what a person has just asked for did not happen; nothing while there is no reason. */
export function Problem({ text }: { text: string }) {
  return text ? (
    <p class="state failed" role="alert">
      {text}
    </p>
  ) : null;
}

/** A part of a page under its own heading, which names it for screen readers too. */
export function Card({
  title,
  note,
  children,
}: {
  title: string;
  note?: ComponentChildren;
  children: ComponentChildren;
}) {
  const id = useId();
  return (
    <section class="card" aria-labelledby={id}>
      <h2 id={id}>
        {title}
        {note && <small> {note}</small>}
      </h2>
      {children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="state empty">{children}</div>;
}

/** Loading, failed, empty or the data: the four states of everything that is asked for. */
export function State<T>({
  of,
  what,
  children,
}: {
  of: { data: T | null; error: string; again: () => void };
  what: string;
  children: (data: T) => ComponentChildren;
}) {
  if (of.data === null) return of.error ? <Failed error={of.error} again={of.again} /> : <Loading what={what} />;
  return (
    <>
      {of.error && <Failed error={`Shown is older data: ${of.error}`} again={of.again} />}
      {children(of.data)}
    </>
  );
}

export function Badge({ severity, state }: { severity: Severity | string; state?: string }) {
  return <span class={`badge ${severity} ${state ?? ""}`}>{severity}</span>;
}

/** A name that may be broken between its words; of an endless one the beginning, the whole at its place. */
export function Breaks({ text }: { text: string }) {
  const shown = shortened(text);
  return (
    <bdi title={shown === text ? undefined : text}>
      {shown.split(/(?<=[_./:,=-])/).flatMap((part, i) => (i ? [<wbr key={i} />, part] : [part]))}
    </bdi>
  );
}

export function LabelChips({ labels, children }: { labels: [string, string][]; children?: ComponentChildren }) {
  return (
    <div class="alert-labels">
      {labels.map(([k, v]) => (
        <span key={k}>
          <Breaks text={`${k}=${v}`} />
        </span>
      ))}
      {children}
    </div>
  );
}

export function Name({ labels, short = false }: { labels: Labels; short?: boolean }) {
  const { metric, rest } = title(labels);
  const service = serviceOf(labels);
  return (
    <span class="name">
      <b>
        <Breaks text={metric} />
      </b>{" "}
      <span class="rest">
        <Breaks text={short && service ? service : rest} />
      </span>
    </span>
  );
}

/** How long ago; `long` tells a state that still holds instead, as "for 2 min". */
export function When({ time, long = false }: { time: number; long?: boolean }) {
  const zone = useZone();
  const exact = clockTime(time, zone, true);
  return (
    <time dateTime={Number.isFinite(time) ? new Date(time * 1000).toISOString() : undefined} title={exact}>
      {long ? `for ${seconds(Math.max(0, Math.round(Date.now() / 1000 - time)))}` : ago(time)}
    </time>
  );
}

/** The title of the page in the browser's tab, once it is known what it is about. */
export function useTitle(text: string | undefined): void {
  useEffect(() => {
    if (text) document.title = `${shortened(text)} – Gateway`;
  }, [text]);
}

export function Link({
  to,
  search,
  class: className,
  children,
  label,
  current,
}: {
  to: string[];
  search?: Record<string, string | undefined>;
  class?: string;
  children: ComponentChildren;
  label?: string;
  current?: boolean;
}) {
  return (
    <a
      href={href(to, { ...carried(), ...search })}
      class={className}
      aria-label={label}
      aria-current={current ? "page" : undefined}
    >
      {children}
    </a>
  );
}

export const exploreSearch = (labels: Labels): Record<string, string> => ({ m: selector(labels) });

export function Tile({
  name,
  value,
  note,
  tone = "",
}: {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: string;
}) {
  return (
    <div class={`tile ${tone}`}>
      <dt>{name}</dt>
      <dd>
        {value}
        {note && <small>{note}</small>}
      </dd>
    </div>
  );
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
  return (
    <nav class="tabs" aria-label={label} ref={list}>
      <ul>
        {pages.map(([path, name]) => (
          <li key={path}>
            <Link to={[path]} class={path === here ? "here" : ""} current={path === here}>
              {name}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** "Show more" under a list that the gateway cuts into pages. */
export function More({ shown, total, more }: { shown: number; total: number; more: () => void }) {
  return shown < total ? (
    <p class="more">
      <button type="button" onClick={more}>
        Show more
      </button>{" "}
      <small>
        {shown.toLocaleString()} of {total.toLocaleString()}
      </small>
    </p>
  ) : null;
}

/** Calls back when the element first comes near the screen. */
export function useSeen<E extends HTMLElement>(): [preact.RefObject<E>, boolean] {
  const ref = useRef<E>(null);
  const [seen, set] = useState(false);
  useEffect(() => {
    if (seen || !ref.current) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((e) => e.isIntersecting)) set(true);
      },
      { rootMargin: "150px" },
    );
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [seen]);
  return [ref, seen];
}
