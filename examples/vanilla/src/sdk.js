// How a page takes the SDK: one script, then `init`. With a DSN in the tag (`data-dsn`) it would start by itself.

const query = new URLSearchParams(location.search);

/** Where to report to: from the address, else from the server that shows this page. */
export async function loadConfig() {
  const given = { dsn: query.get("dsn"), script: query.get("script") };
  const answer = given.dsn ? undefined : await fetch("config.json");
  const served = answer?.ok ? await answer.json() : {};
  return {
    dsn: given.dsn ?? served.dsn ?? "",
    script: given.script ?? served.script ?? scriptOf(given.dsn),
    release: query.get("release") ?? served.release ?? "example-shop@1.0.0",
    environment: query.get("environment") ?? served.environment ?? "production",
    project: served.project ?? "",
    dashboard: served.dashboard ?? (given.dsn ? new URL(given.dsn).origin : "/"),
  };
}

function scriptOf(dsn) {
  return dsn ? new URL("/sdk.js", dsn).href : "/sdk.js";
}

/** The SDK's functions, started with the options of this page. */
export async function loadSdk({ dsn, script, release, environment }) {
  await new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = script;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${script} could not be loaded`));
    document.head.append(element);
  });
  const { condev } = window;
  if (dsn) {
    condev.init({
      dsn,
      release,
      environment,
      tags: { shop: "example" },
      consoleErrors: true,
      performance: { marks: [/^checkout/], slowResource: 1500 },
      requests: { slow: 2000 },
      sampleRates: { span: 1, replay: 0, replay_on_error: 0 },
      replay: { maskText: false, maskInputs: true },
    });
  }
  return condev;
}
