import { Component, type ComponentChildren } from "preact";

/** What is shown in place of a page that could not be drawn, so that the others stay reachable. */
export class Boundary extends Component<{ children: ComponentChildren }, { problem: string }> {
  state = { problem: "" };

  static getDerivedStateFromError(error: Error) {
    return { problem: `${error.name}: ${error.message}` };
  }

  render() {
    if (!this.state.problem) return <>{this.props.children}</>;
    return (
      <div class="state failed" role="alert">
        <h1>This page cannot be shown</h1>
        <p>The console met something it does not expect. {this.state.problem}</p>
        <button type="button" onClick={() => this.setState({ problem: "" })}>
          Try again
        </button>
      </div>
    );
  }
}
