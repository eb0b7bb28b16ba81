// Times: relative ones kept fresh, exact ones in the viewer's zone on hover.
const PARTS = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const zone = new Intl.DateTimeFormat("en-GB", PARTS); // the pages' language and order, the viewer's zone
const utc = new Intl.DateTimeFormat("en-GB", { ...PARTS, timeZone: "UTC" });
const STEPS = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [30 * 86400, "d", 86400]];

export function ago(then, now = Date.now()) {
  const seconds = Math.floor((now - then) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  for (const [limit, unit, length] of STEPS) {
    if (size < limit) {
      const words = `${Math.floor(size / length)}\u202f${unit}`;
      return seconds > 0 ? `${words} ago` : `in ${words}`;
    }
  }
  return "";
}

function refresh(root) {
  for (const element of root.querySelectorAll("time[data-ago], time[data-exact]")) {
    const then = Date.parse(element.dateTime);
    if (Number.isNaN(then)) continue;
    element.title = `${zone.format(then)} (UTC ${utc.format(then)})`;
    if (element.hasAttribute("data-exact")) element.textContent = zone.format(then);
    else element.textContent = ago(then) || element.textContent;
  }
}

refresh(document);
setInterval(() => refresh(document), 30_000);
document.addEventListener("htmx:load", (event) => refresh(event.target.parentElement ?? document));
