// Tables that sort by any column, filter by typing and show a page at a time; sort and filter stand in the address. On a
// narrow screen each row is a block of named values (style.css), which is why the roles are written out.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { update, useAddress } from "./address";
import { Containing } from "./fields";
import { Empty } from "./parts";

export interface Column<T> {
  key: string;
  name: string;
  /** What is sorted and searched by. */
  value: (row: T) => string | number | null;
  /** What is shown; the value itself without it. */
  show?: (row: T) => ComponentChildren;
  number?: boolean;
  breaks?: boolean;
}

export function Table<T>({
  id,
  label,
  rows,
  columns,
  rowKey,
  empty,
  filter,
  first = "",
  page = 50,
  children,
}: {
  id: string;
  label: string;
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T, i: number) => string;
  empty: ComponentChildren;
  /** Placeholder of the field that filters; none without it. */
  filter?: string;
  /** Column sorted by at first, with a leading "-" from the greatest down. */
  first?: string;
  page?: number;
  children?: ComponentChildren;
}) {
  const { search } = useAddress();
  const [pages, more] = useState(1);
  const order = search.get(`${id}.sort`) ?? first;
  const down = order.startsWith("-");
  const by = columns.find((c) => c.key === order.replace(/^-/, ""));
  const words = (search.get(`${id}.q`) ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  let list = words.length
    ? rows.filter((r) => {
        const text = columns
          .map((c) => c.value(r) ?? "")
          .join(" ")
          .toLowerCase();
        return words.every((w) => text.includes(w));
      })
    : rows;
  if (by) {
    list = [...list].sort((a, b) => {
      const x = by.value(a),
        y = by.value(b);
      const d =
        x === y
          ? 0
          : x === null
            ? 1
            : y === null
              ? -1
              : typeof x === "number" && typeof y === "number"
                ? x - y
                : String(x).localeCompare(String(y), undefined, { numeric: true });
      return down ? -d : d;
    });
  }
  const shown = list.slice(0, pages * page);
  const sortBy = (c: Column<T>) =>
    update({ [`${id}.sort`]: by === c ? (down ? c.key : `-${c.key}`) : c.number ? `-${c.key}` : c.key });
  return (
    <>
      {(filter || children) && (
        <div class="tools">
          {filter && <Containing name={`${id}.q`} hint={filter} changed={() => more(1)} />}
          {children}
        </div>
      )}
      {rows.length === 0 ? (
        <Empty>{empty}</Empty>
      ) : list.length === 0 ? (
        <Empty>
          <p>No row contains these words.</p>
        </Empty>
      ) : (
        <>
          <div class="scroll" tabIndex={0} role="region" aria-label={`${label}, table`}>
            <table class="stacks" role="table">
              <thead role="rowgroup">
                <tr role="row">
                  {columns.map((c) => (
                    <th
                      key={c.key}
                      scope="col"
                      role="columnheader"
                      class={c.number ? "number" : ""}
                      aria-sort={by === c ? (down ? "descending" : "ascending") : "none"}
                    >
                      <button type="button" class="sort" onClick={() => sortBy(c)}>
                        {c.name}
                        <span aria-hidden="true">{by === c ? (down ? " ↓" : " ↑") : ""}</span>
                      </button>
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody role="rowgroup">
                {shown.map((r, i) => (
                  <tr key={rowKey(r, i)} role="row">
                    {columns.map((c, k) => {
                      const inside = c.show ? c.show(r) : c.value(r);
                      const style = `${c.number ? "number" : ""} ${c.breaks ? "breaks" : ""}`;
                      return k === 0 ? (
                        <th key={c.key} scope="row" role="rowheader" class={style}>
                          {inside}
                        </th>
                      ) : (
                        <td
                          key={c.key}
                          role="cell"
                          class={`${style} ${inside === null || inside === "" ? "none" : ""}`}
                          data-name={c.name}
                        >
                          <span>{inside}</span>
                        </td>
                      );
                    })}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {list.length > shown.length && (
            <p class="more">
              <button type="button" onClick={() => more(pages + 1)}>
                Show {Math.min(page, list.length - shown.length)} more
              </button>{" "}
              <small>
                {shown.length.toLocaleString()} of {list.length.toLocaleString()}
              </small>
            </p>
          )}
        </>
      )}
    </>
  );
}
