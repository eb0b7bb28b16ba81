// ctrl-k: go anywhere by typing. A combobox over links that the page already has; Enter on free text searches issues.
const dialog = document.getElementById("palette");

if (dialog) {
  const input = dialog.querySelector("input");
  const options = [...dialog.querySelectorAll('[role="option"]')];
  options.forEach((option, index) => { option.id = `palette-${index}`; });
  let at = 0;

  const shown = () => options.filter((option) => !option.hidden);
  const select = (index) => {
    const visible = shown();
    at = visible.length ? (index + visible.length) % visible.length : 0;
    options.forEach((option) => option.setAttribute("aria-selected", "false"));
    const chosen = visible[at];
    chosen?.setAttribute("aria-selected", "true");
    chosen?.scrollIntoView({ block: "nearest" });
    if (chosen) input.setAttribute("aria-activedescendant", chosen.id);
    else input.removeAttribute("aria-activedescendant");
  };
  const go = (href) => { dialog.close(); location.assign(href); };

  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const option of options) option.hidden = !words.every((word) => option.textContent.toLowerCase().includes(word));
    select(0);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") { event.preventDefault(); select(at + 1); }
    else if (event.key === "ArrowUp") { event.preventDefault(); select(at - 1); }
    else if (event.key === "Enter") {
      event.preventDefault();
      const chosen = shown()[at];
      if (chosen) go(chosen.dataset.href);
      else if (input.value.trim()) go(`/issues?q=${encodeURIComponent(input.value.trim())}`);
    }
  });
  dialog.addEventListener("click", (event) => {
    const option = event.target.closest('[role="option"]');
    if (option) go(option.dataset.href);
    else if (event.target === dialog) dialog.close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog.open) return dialog.close();
    input.value = "";
    for (const option of options) option.hidden = false;
    dialog.showModal();
    select(0);
  });
}
