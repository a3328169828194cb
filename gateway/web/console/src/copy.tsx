import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

/** Browsers give the clipboard to pages of https and loopback alone; elsewhere a selection is copied. */
async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard)
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
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
    <button
      type="button"
      onClick={() => {
        copied(text).then((done) => {
          set(done ? "Copied" : "Copying was refused");
          setTimeout(set, 1500, "");
        });
      }}
    >
      <span aria-live="polite">{said || children}</span>
    </button>
  );
}
