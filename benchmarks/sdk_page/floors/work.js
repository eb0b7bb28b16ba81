// Arithmetic that takes about as long as the SDK's start and asks nothing of the browser: how much longer it takes with
// the main thread slowed down says what the slowing down really does to a piece of work of this length.
(() => {
  let sum = 0;
  for (let at = 0; at < 200_000; at += 1) sum = (sum * 31 + at) % 65_521;
  document.documentElement.dataset.sum = sum;
})();
