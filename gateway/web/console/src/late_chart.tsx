import { Chart, Legend, type ChartShown } from "./chart";
import type { Loaded } from "./load";
import { Empty, State } from "./parts";
import { zoom } from "./time";

/** One of many plots on a page: nothing is asked for before it comes near the screen. */
export function LateChart<T>({ seen, of, ...chart }: { seen: boolean; of: Loaded<T> } & Omit<ChartShown, "onZoom">) {
  if (!seen) return <div class="later" />;
  return (
    <State of={of} what="samples">
      {() =>
        chart.lines.length === 0 ? (
          <Empty>
            <p>No samples in this time range.</p>
          </Empty>
        ) : (
          <>
            <Chart height={150} onZoom={zoom} {...chart} />
            {chart.lines.length > 1 && <Legend lines={chart.lines} />}
          </>
        )
      }
    </State>
  );
}
