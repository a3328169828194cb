import { render, type ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useAddress } from "./address";
import { useLive } from "./live";
import { Empty, Link } from "./parts";
import { AlertPage } from "./pages/alert";
import { Alerts } from "./pages/alerts";
import { Anomalies, AnomalyPage } from "./pages/anomalies";
import { Explore } from "./pages/explore";
import { Overview } from "./pages/overview";
import { ServicePage, Services } from "./pages/services";
import { StatusPage } from "./pages/status";
import "./style.css";

const PAGES: [string, string][] = [
  ["", "Overview"], ["services", "Services"], ["explore", "Explore"], ["anomalies", "Anomalies"], ["alerts", "Alerts"], ["status", "Status"],
];

function page(path: string[]): ComponentChildren {
  const [name = "", argument] = path;
  switch (name) {
    case "": return <Overview />;
    case "services": return argument ? <ServicePage key={argument} name={argument} /> : <Services />;
    case "explore": return <Explore />;
    case "anomalies": return argument ? <AnomalyPage key={argument} id={argument} /> : <Anomalies />;
    case "alerts": return argument ? <AlertPage key={argument} fingerprint={argument} /> : <Alerts />;
    case "status": return <StatusPage />;
    default: return <><h1>No such page</h1><Empty><p>The address names a page that this console does not have. <Link to={[]}>Go to the overview.</Link></p></Empty></>;
  }
}

function Console() {
  const { path } = useAddress();
  const live = useLive();
  const main = useRef<HTMLElement>(null);
  const where = path.join("/");
  const first = useRef(true);
  useEffect(() => {
    const name = PAGES.find(([p]) => p === (path[0] ?? ""))?.[1] ?? "Gateway";
    document.title = `${path[1] ? `${path[1]} – ` : ""}${name} – Gateway`;
    // A new page begins at its top, and a screen reader is told; the first one leaves the focus alone.
    if (!first.current) { scrollTo(0, 0); main.current?.focus({ preventScroll: true }); }
    first.current = false;
  }, [where]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header class="top">
        <Link to={[]} class="brand">Gateway</Link>
        <nav aria-label="Pages"><ul>{PAGES.map(([p, name]) => (
          <li key={p}><Link to={p ? [p] : []} class={(path[0] ?? "") === p ? "here" : ""}>
            {name}{p === "anomalies" && live.anomalies.open > 0 && <span class="bubble" aria-label={`${live.anomalies.open} open`}>{live.anomalies.open}</span>}
            {p === "alerts" && live.alerts.alerts > 0 && <span class="bubble" aria-label={`${live.alerts.alerts} active`}>{live.alerts.alerts}</span>}
          </Link></li>))}</ul></nav>
        <span class={`live ${live.connected ? "on" : ""}`} role="status">{live.connected ? "live" : "connecting…"}</span>
      </header>
      <main ref={main} id="main" tabIndex={-1}>{page(path)}</main>
    </>
  );
}

render(<Console />, document.getElementById("root")!);
