import { defineConfig } from "vite";

// `npm run dev` shows the page as it is edited; the appliance of `make run` answers the rest.
const appliance = process.env.CONDEV_URL ?? "http://127.0.0.1:8000";
const under = (prefix) => ({ target: appliance, rewrite: (path) => prefix + path });

export default defineConfig({
  base: "./", // it is served at /example/ by the appliance, and anywhere by others
  build: {
    sourcemap: true, // the lines of an error's stack are read through it
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy takes files, and no data: addresses
    rollupOptions: { input: ["index.html", "blank.html"] },
  },
  server: {
    proxy: {
      "/config.json": under("/example"),
      "/api/": under("/example"),
      "/sdk": appliance,
      "/v2/": appliance,
      "/app-config": appliance,
    },
  },
});
