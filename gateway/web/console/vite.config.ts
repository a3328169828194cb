import { defineConfig } from "vite";

// JSX goes to Preact through esbuild; nothing is inlined, so that the Content-Security-Policy needs no exception.
export default defineConfig({
  root: "src",
  base: "/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: { outDir: "../dist", emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022" },
  server: { proxy: { "/api": "http://127.0.0.1:4319", "/-": "http://127.0.0.1:4319" } },
});
