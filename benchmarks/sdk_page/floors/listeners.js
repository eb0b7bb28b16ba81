// The least that could watch a page.
(() => {
  for (const name of ["error", "unhandledrejection", "click"]) window.addEventListener(name, () => {}, true);
})();
