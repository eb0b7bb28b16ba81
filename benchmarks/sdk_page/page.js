// What a busy page does by itself: every second a click, a key, a request; now and then a route, a console line, an error.
const list = document.getElementById("list");
const ROWS = 60;
let beat = 0;

document.getElementById("more").addEventListener("click", () => {
  const row = document.createElement("li");
  row.textContent = `Order ${beat}: ${"kettle, cup, tea ".repeat(3)}`;
  list.prepend(row);
  if (list.children.length > ROWS) list.lastElementChild.remove();
});

async function use() {
  beat += 1;
  document.getElementById("more").dispatchEvent(new MouseEvent("click", { bubbles: true }));
  document.getElementById("search").value = `order ${beat}`;
  document.getElementById("search").dispatchEvent(new InputEvent("input", { bubbles: true }));
  const answer = await fetch(`/api/orders?page=${beat}`);
  await answer.json();
  if (beat % 10 === 0) history.pushState({}, "", `/orders/${beat}`);
  if (beat % 7 === 0) console.log(`beat ${beat}`);
  // As if it were thrown: a clock that is driven from outside does not outlive errors in timers.
  if (beat % 30 === 0) reportError(new Error(`Order ${beat} is gone`));
}

setInterval(use, 1000);
