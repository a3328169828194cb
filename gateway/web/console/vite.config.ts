import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** Each file compressed once, here, instead of for each visitor. */
const compressed = (directory: string): Plugin => ({
  name: "compressed",
  closeBundle: () => {
    for (const name of readdirSync(directory, { recursive: true, encoding: "utf-8" })) {
      if (!/\.(js|css|html|svg)$/.test(name)) continue;
      const path = join(directory, name), body = readFileSync(path);
      writeFileSync(`${path}.gz`, gzipSync(body, { level: 9 }));
      writeFileSync(`${path}.br`, brotliCompressSync(body));
    }
  },
});

// JSX goes to Preact through esbuild; nothing is inlined, so that the Content-Security-Policy needs no exception.
export default defineConfig({
  root: "src",
  base: "/",
  plugins: [compressed(join(import.meta.dirname, "dist"))],
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: { outDir: "../dist", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022" },
  server: { proxy: { "/api": "http://127.0.0.1:4319", "/-": "http://127.0.0.1:4319" } },
});
