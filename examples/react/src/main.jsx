// Set the SDK up before React renders, and give its handlers to the root.
import { init } from "@condev-monitor/browser";
import { reactRootOptions } from "@condev-monitor/browser/react";
import { createRoot } from "react-dom/client";
import { App } from "./App.jsx";

const query = new URLSearchParams(location.search);

init({
  dsn: query.get("dsn") ?? import.meta.env.VITE_CONDEV_DSN ?? "",
  release: "react-example@1.0.0",
  environment: "production",
});

createRoot(document.getElementById("root"), reactRootOptions()).render(<App />);
