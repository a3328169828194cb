import { type ComponentChildren, render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { href, useAddress } from "./address";
import { Boundary } from "./boundary";
import { shortened } from "./format";
import { useLive } from "./live";
import { AlertPage } from "./pages/alert";
import { Alerts } from "./pages/alerts";
import { AnalyticsPage } from "./pages/analytics";
import { Anomalies } from "./pages/anomalies";
import { AnomalyPage } from "./pages/anomaly";
import { ConfigurationPage } from "./pages/configuration";
import { Explore } from "./pages/explore";
import { HostPage } from "./pages/host";
import { HostsPage } from "./pages/hosts";
import { IncidentPage, IncidentsPage } from "./pages/incidents";
import { MaintenancePage } from "./pages/maintenance";
import { OnCallPage } from "./pages/oncall";
import { Overview } from "./pages/overview";
import { SendersPage } from "./pages/senders";
import { ServicePage } from "./pages/service";
import { Services } from "./pages/services";
import { StatusPage } from "./pages/status";
import { SuppressedPage } from "./pages/suppressed";
import { Empty, intoView, Link } from "./parts";
import { KEYS, now, shift, widen } from "./range";
import { carried, setZone, useZone } from "./time";
import "./style.css";

const PAGES: [string, string][] = [
  ["", "Overview"],
  ["services", "Services"],
  ["hosts", "Hosts"],
  ["explore", "Explore"],
  ["anomalies", "Anomalies"],
  ["alerts", "Alerts"],
  ["status", "Status"],
];

/** Pages that stand under another one's name. */
const UNDER: Record<string, string> = {
  incidents: "alerts",
  suppressed: "alerts",
  maintenance: "alerts",
  oncall: "alerts",
  analytics: "alerts",
  senders: "status",
  configuration: "status",
};
const NAMES: Record<string, string> = {
  incidents: "Incidents",
  suppressed: "Not told",
  maintenance: "Maintenance",
  oncall: "On call",
  analytics: "Analytics",
  senders: "Senders",
  configuration: "Configuration",
};
const GO: Record<string, string[]> = {
  o: [],
  s: ["services"],
  h: ["hosts"],
  e: ["explore"],
  a: ["anomalies"],
  l: ["alerts"],
  t: ["status"],
};

function page(path: string[]): ComponentChildren {
  const [name = "", argument, more] = path;
  switch (name) {
    case "":
      return <Overview />;
    case "services":
      return argument ? <ServicePage key={argument} name={argument} /> : <Services />;
    case "explore":
      return <Explore />;
    case "anomalies":
      return argument ? <AnomalyPage key={argument} id={argument} /> : <Anomalies />;
    case "alerts":
      return argument ? <AlertPage key={argument} fingerprint={argument} /> : <Alerts />;
    case "incidents":
      return argument ? <IncidentPage key={argument} id={argument} /> : <IncidentsPage />;
    case "suppressed":
      return <SuppressedPage />;
    case "maintenance":
      return <MaintenancePage />;
    case "oncall":
      return <OnCallPage />;
    case "analytics":
      return <AnalyticsPage />;
    case "hosts":
      return argument && more ? <HostPage key={more} kind={argument} name={more} /> : <HostsPage />;
    case "status":
      return <StatusPage />;
    case "senders":
      return <SendersPage />;
    case "configuration":
      return <ConfigurationPage />;
    default:
      return (
        <>
          <h1>No such page</h1>
          <Empty>
            <p>
              The address names a page that this console does not have. <Link to={[]}>Go to the overview.</Link>
            </p>
          </Empty>
        </>
      );
  }
}

function Console() {
  const { path } = useAddress();
  const live = useLive();
  const zone = useZone();
  const main = useRef<HTMLElement>(null);
  const nav = useRef<HTMLElement>(null);
  const where = path.join("/");
  const first = useRef(true);
  useEffect(() => {
    const name = NAMES[path[0] ?? ""] ?? PAGES.find(([p]) => p === (path[0] ?? ""))?.[1] ?? "No such page";
    // Of the others it is told by the page once it knows what it is about.
    const named = path.length > 1 && (path[0] === "services" || path[0] === "hosts");
    document.title = `${named ? `${shortened(path[path.length - 1]!)} – ` : ""}${name} – Gateway`;
    intoView(nav.current);
    // A new page begins at its top, and a screen reader is told; the first one leaves the focus alone.
    if (!first.current) {
      scrollTo(0, 0);
      main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [where]);
  const [help, showHelp] = useState(false);
  useEffect(() => {
    const listen = (e: KeyboardEvent) => {
      const on = e.target as HTMLElement;
      if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(on.tagName)) return;
      const act: Record<string, () => void> = {
        "[": () => shift(-0.5),
        "]": () => shift(0.5),
        "-": () => widen(2),
        "+": () => widen(0.5),
        "=": () => widen(0.5),
        n: now,
        z: () => setZone(carried().tz === "utc" ? "local" : "utc"),
        "?": () => showHelp((v) => !v),
        Escape: () => showHelp(false),
        "/": () => main.current?.querySelector<HTMLInputElement>('input[type="search"]')?.focus(),
      };
      const to = GO[e.key];
      if (to) {
        location.hash = href(to, carried());
        return;
      }
      if (act[e.key]) {
        if (e.key === "/") e.preventDefault();
        act[e.key]!();
      }
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  const section = UNDER[path[0] ?? ""] ?? path[0] ?? "";
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <Link to={[]} class="brand">
          Gateway
        </Link>
        <nav aria-label="Pages" ref={nav}>
          <ul>
            {PAGES.map(([p, name]) => (
              <li key={p}>
                <Link to={p ? [p] : []} class={section === p ? "here" : ""} current={section === p}>
                  {name}
                  {p === "anomalies" && live.anomalies.open > 0 && (
                    <span class="bubble" aria-label={`${live.anomalies.open} open`}>
                      {live.anomalies.open}
                    </span>
                  )}
                  {p === "alerts" && live.alerts.alerts > 0 && (
                    <span class="bubble" aria-label={`${live.alerts.alerts} active`}>
                      {live.alerts.alerts}
                    </span>
                  )}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <button
          type="button"
          class="quiet"
          onClick={() => setZone(zone === "utc" ? "local" : "utc")}
          title="Times in UTC or in this browser's time zone (z)"
        >
          {zone === "utc" ? "UTC" : "Local time"}
        </button>
        <button
          type="button"
          class="quiet"
          aria-label="Keys"
          aria-expanded={help}
          title="Keys (?)"
          onClick={() => showHelp(!help)}
        >
          ?
        </button>
        <span class={`live ${live.connected ? "on" : ""}`} role="status">
          {live.connected ? "live" : "connecting…"}
        </span>
      </header>
      {help && (
        <section class="keys card" aria-label="Keys">
          <h2>Keys</h2>
          <dl>
            {KEYS.map(([k, what]) => (
              <div key={k}>
                <dt>
                  <kbd>{k}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
          <button type="button" onClick={() => showHelp(false)}>
            Close
          </button>
        </section>
      )}
      <main ref={main} id="main" tabIndex={-1}>
        <Boundary key={where}>{page(path)}</Boundary>
      </main>
    </>
  );
}

render(<Console />, document.getElementById("root")!);
