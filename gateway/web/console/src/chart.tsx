// uPlot under Preact: lines on one time axis, an expected band, shaded exceedances, exemplars, a shared cursor; dragging
// zooms, dragging with Shift moves along, and so do the arrow keys on a focused plot.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clockTime, type Zone } from "./format";
import { follow } from "./pan";
import { Breaks } from "./parts";
import { build, COLORS, type Line, type Point, style } from "./plot_data";

/** Steps of an axis of bytes. */
const BINARY = Array.from({ length: 60 }, (_, i) => 2 ** i);
const NO_POINTS: Point[] = [];
const NO_TIMES: number[] = [];
const NO_MARKS: [number, number][] = [];

export interface ChartShown {
  lines: Line[];
  start: number;
  end: number;
  zone: Zone;
  format: (v: number) => string;
  height?: number;
  label: string;
  onZoom?: (start: number, end: number) => void;
  sync?: string;
  marks?: [number, number][];
  points?: Point[];
  /** The lower end is zero, and of shares the upper end one: what is used of a whole, and not how it varies. */
  fromZero?: boolean;
  /** Moments at which something was changed. */
  deploys?: number[];
}

export function Chart(given: ChartShown) {
  // While it is dragged along a plot keeps what it shows; what came meanwhile is taken afterwards.
  const held = useRef<ChartShown | null>(null);
  const [, released] = useState(0);
  const {
    lines,
    start,
    end,
    zone,
    format,
    height = 260,
    label,
    onZoom,
    sync,
    marks = NO_MARKS,
    points = NO_POINTS,
    deploys = NO_TIMES,
    fromZero = false,
  } = held.current ?? given;
  const latest = useRef(given);
  latest.current = given;
  const box = useRef<HTMLDivElement>(null);
  const built = useMemo(() => build(lines, format), [lines, format]);
  const zoomed = useRef(onZoom);
  zoomed.current = onZoom;
  const plotted = useRef<uPlot | null>(null);

  useEffect(() => {
    const element = box.current!;
    const ink = style("--muted"),
      grid = style("--grid");
    const axis: uPlot.Axis = {
      stroke: ink,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1 },
      font: "12px system-ui, sans-serif",
    };
    const timeAxis: uPlot.Axis = {
      ...axis,
      size: 30,
      space: 70,
      values: (_, at, __, ___, step) =>
        at.map((t) => {
          const text = clockTime(t, zone);
          return step >= 86400 || (step >= 3600 && text.startsWith("00:00"))
            ? new Intl.DateTimeFormat(undefined, {
                month: "short",
                day: "numeric",
                timeZone: zone === "utc" ? "UTC" : undefined,
              }).format(t * 1000)
            : step >= 60
              ? text.slice(0, 5)
              : text;
        }),
    };
    const incrs = format(1024).includes("KiB") ? BINARY : undefined;
    const tzDate = (t: number) => (zone === "utc" ? uPlot.tzDate(new Date(t * 1000), "Etc/UTC") : new Date(t * 1000));
    const xScale = (low: number, high: number): uPlot.Scale => ({
      time: true,
      auto: false,
      range: (_, min, max) => (min === null || max === null ? [low, high] : [min, max]),
    });
    const drawPoints = (u: uPlot) => {
      if (!points.length) return;
      const { ctx, bbox } = u;
      ctx.save();
      ctx.fillStyle = style("--c3");
      const size = 4 * devicePixelRatio;
      for (const p of points) {
        const x = u.valToPos(p.time, "x", true);
        const y = Math.min(bbox.top + bbox.height - size, Math.max(bbox.top + size, u.valToPos(p.value, "y", true)));
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.beginPath();
        ctx.moveTo(x, y - size);
        ctx.lineTo(x + size, y);
        ctx.lineTo(x, y + size);
        ctx.lineTo(x - size, y);
        ctx.fill();
      }
      ctx.restore();
    };
    const drawShades = (u: uPlot) => {
      const { ctx, bbox } = u;
      ctx.save();
      const shade = (color: string, from: number, to: number) => {
        const a = Math.max(bbox.left, u.valToPos(from, "x", true)),
          b = Math.min(bbox.left + bbox.width, u.valToPos(to, "x", true));
        if (b < bbox.left || a > bbox.left + bbox.width) return;
        ctx.fillStyle = color;
        ctx.fillRect(a, bbox.top, Math.max(2, b - a), bbox.height);
      };
      const critical = style("--critical");
      for (const [from, to] of marks) shade(`${critical}22`, from, to);
      for (const [from, to] of built.shades) shade(`${critical}30`, from, to);
      for (const t of deploys) shade(style("--link"), t, t);
      ctx.restore();
    };
    const tell = (u: uPlot) => {
      const at = u.cursor.idx;
      const tip = element.querySelector<HTMLElement>(".tip")!;
      if (at === null || at === undefined || (u.cursor.left ?? -1) < 0) {
        tip.hidden = true;
        return;
      }
      const head = document.createElement("b");
      head.textContent = clockTime(u.data[0]![at]!, zone, true);
      const rows: HTMLElement[] = [head];
      u.series.forEach((s, i) => {
        if (i === 0 || rows.length > 15) return;
        let v = u.data[i]![at];
        // Joined series have holes where another one has its sample: the nearest before counts.
        for (let k = at; (v === null || v === undefined) && k > Math.max(0, at - 8); k--) v = u.data[i]![k];
        if (v === null || v === undefined) return;
        const row = document.createElement("div");
        const dot = document.createElement("i");
        dot.style.background =
          typeof s.stroke === "function"
            ? String((s.stroke as (u: uPlot, i: number) => unknown)(u, i))
            : String(s.stroke);
        row.append(dot, `${s.label}: ${format(v)}`);
        rows.push(row);
      });
      const near = points.find((p) => Math.abs(u.valToPos(p.time, "x") - u.cursor.left!) < 5);
      if (near) {
        const row = document.createElement("div");
        row.textContent = `◆ ${near.text}`;
        rows.push(row);
      }
      tip.replaceChildren(...rows);
      tip.hidden = false;
      const left = u.cursor.left! + 80 + 16;
      const over = left + tip.offsetWidth > element.clientWidth;
      tip.style.left = `${Math.max(0, over ? left - tip.offsetWidth - 32 : left)}px`;
    };
    const make = (): uPlot =>
      new uPlot(
        {
          width: element.clientWidth,
          height,
          series: built.series,
          bands: built.bands,
          tzDate,
          scales: {
            x: xScale(start, end),
            y: {
              range: (_, low, high) => {
                if (low === null || high === null) return [0, 1];
                if (low === 0 && high === 0) return [0, 1];
                if (fromZero && low >= 0) return [0, format(1) === "100 %" ? Math.max(1, high) : high * 1.08];
                if (format(1) === "100 %" && low >= 0 && high <= 1)
                  return [
                    low > 0.5 ? Math.max(0, low - (1 - low) * 0.2 - 0.02) : 0,
                    Math.min(1, Math.max(high * 1.1, 0.02)),
                  ];
                const room = (high - low || Math.abs(high) || 1) * 0.08;
                return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
              },
            },
          },
          axes: [timeAxis, { ...axis, size: 80, incrs, values: (_, at) => at.map((v) => format(v)) }],
          legend: { show: false },
          cursor: {
            sync: sync ? { key: sync, setSeries: false } : undefined,
            drag: { x: true, y: false, setScale: false },
            points: { size: 7 },
          },
          hooks: {
            setSelect: [
              (u) => {
                if (u.select.width > 4)
                  zoomed.current?.(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
                u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              },
            ],
            draw: [drawPoints],
            drawClear: [drawShades],
            setCursor: [tell],
          },
        },
        built.data,
        element,
      );
    let plot = make();
    /**
     * The plot with room to either side, for dragging: its axis and grid go on, and its picture is copied as it stands,
     * as nothing beyond its limits has been asked for.
     */
    const strip = (width: number, min: number, max: number, into: HTMLElement): uPlot => {
      const { min: low, max: high } = plot.scales.y!,
        own = plot.bbox;
      return new uPlot(
        {
          width,
          height,
          series: [{}, {}],
          tzDate,
          padding: [plot.over.offsetTop, 0, 0, 0],
          scales: { x: xScale(min, max), y: { range: () => [low ?? 0, high ?? 1] } },
          axes: [timeAxis, { ...axis, size: 0, incrs, values: () => [], ticks: { show: false } }],
          legend: { show: false },
          cursor: { show: false },
          hooks: {
            drawClear: [drawShades],
            draw: [
              (u) => {
                const at = u.bbox.left + own.width;
                u.ctx.clearRect(at, own.top, own.width, own.height);
                u.ctx.drawImage(
                  plot.ctx.canvas,
                  own.left,
                  own.top,
                  own.width,
                  own.height,
                  at,
                  own.top,
                  own.width,
                  own.height,
                );
              },
            ],
          },
        },
        [
          [min, max],
          [low ?? 0, null],
        ] as uPlot.AlignedData,
        into,
      );
    };
    const show = () => {
      plot.setScale("x", { min: start, max: end });
      plotted.current = plot;
      plot.over.addEventListener("mousedown", pan, { capture: true });
    };
    // With Shift the plot moves under the pointer; what it stands at in the end is asked for.
    let stop: () => void = () => undefined;
    const pan = (event: MouseEvent) => {
      if (!event.shiftKey || event.button !== 0 || !zoomed.current) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      held.current = latest.current;
      plot.setCursor({ left: -10, top: -10 });
      plot.over.style.pointerEvents = "none";
      stop = follow(plot, event, strip, (limits) => {
        plot.over.style.pointerEvents = "";
        held.current = null;
        if (limits) zoomed.current?.(...limits);
        released((n) => n + 1);
      });
    };
    show();
    const remake = () => {
      plot.destroy();
      plot = make();
      show();
    };
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", remake);
    const resize = new ResizeObserver(() => {
      if (element.clientWidth !== plot.width) plot.setSize({ width: element.clientWidth, height });
    });
    resize.observe(element);
    return () => {
      scheme.removeEventListener("change", remake);
      resize.disconnect();
      stop();
      held.current = null;
      plot.destroy();
    };
  }, [built, start, end, zone, height, sync, JSON.stringify(marks), points, deploys, fromZero]);

  const keys = (e: KeyboardEvent) => {
    const plot = plotted.current;
    if (!plot || !zoomed.current || e.ctrlKey || e.metaKey || e.altKey) return;
    const min = plot.scales.x!.min!,
      max = plot.scales.x!.max!,
      d = max - min;
    const to =
      e.key === "ArrowLeft"
        ? [min - d / 4, max - d / 4]
        : e.key === "ArrowRight"
          ? [min + d / 4, max + d / 4]
          : e.key === "+" || e.key === "="
            ? [min + d / 4, max - d / 4]
            : e.key === "-"
              ? [min - d / 2, max + d / 2]
              : null;
    if (!to) return;
    e.preventDefault();
    e.stopPropagation();
    zoomed.current(to[0]!, Math.min(to[1]!, Date.now() / 1000));
  };
  return (
    <div
      class="chart"
      ref={box}
      role="img"
      aria-label={label}
      tabIndex={onZoom ? 0 : undefined}
      onKeyDown={keys}
      style={{ minHeight: `${height}px` }}
    >
      <div class="tip" hidden />
    </div>
  );
}

export function Legend({ lines }: { lines: { name: string; color: number; dashed?: boolean }[] }) {
  return (
    <ul class="legend">
      {lines.map((l) => (
        <li key={l.name}>
          <i class={`swatch k${l.color % COLORS} ${l.dashed ? "dashed" : ""}`} />
          <Breaks text={l.name} />
        </li>
      ))}
    </ul>
  );
}
