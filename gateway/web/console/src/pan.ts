// A plot that is dragged along: nothing is drawn anew under the pointer. One strip, a range wider to either side, is drawn
// when the drag begins; each frame then only moves it, which the browser's compositor does without the page's thread.

import uPlot from "uplot";

/** Pixels before a press counts as a drag. */
const SLACK = 3;

/**
 * Follows the pointer until the button is released. `draw` makes the strip for x limits within a width; `done` gets the
 * limits where the plot was left, or null when it was not moved. Gives a function that ends it at once.
 */
export function follow(
  plot: uPlot,
  event: MouseEvent,
  draw: (width: number, min: number, max: number, into: HTMLElement) => uPlot,
  done: (limits: [number, number] | null) => void,
): () => void {
  const from = event.clientX,
    min = plot.scales.x!.min!,
    max = plot.scales.x!.max!,
    span = max - min;
  const width = plot.over.clientWidth;
  const window = document.createElement("div");
  let strip: uPlot | null = null,
    by = 0,
    asked = 0;
  const begin = () => {
    window.className = "window";
    Object.assign(window.style, { left: `${plot.over.offsetLeft}px`, width: `${width}px`, height: `${plot.height}px` });
    strip = draw(3 * width, min - span, max + span, window);
    plot.root.append(window);
  };
  const place = () => {
    asked = 0;
    if (!strip) begin();
    strip!.root.style.transform = `translateX(${by - width}px)`;
  };
  const move = (e: MouseEvent) => {
    by = Math.max(-width, Math.min(width, e.clientX - from));
    if (strip || Math.abs(by) >= SLACK) asked ||= requestAnimationFrame(place);
  };
  const end = () => {
    removeEventListener("mousemove", move);
    removeEventListener("mouseup", up);
    cancelAnimationFrame(asked);
    strip?.destroy();
    window.remove();
  };
  const up = () => {
    end();
    const shift = strip ? (-by / width) * span : 0;
    done(shift ? [min + shift, max + shift] : null);
  };
  addEventListener("mousemove", move);
  addEventListener("mouseup", up);
  return end;
}
