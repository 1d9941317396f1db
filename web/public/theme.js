// Runs before the first paint: the page never flashes in the other theme. The choice is kept by
// src/ui/theme-mode.ts.
(function () {
  var mode = "system";
  try {
    mode = localStorage.getItem("holdfast.theme") || "system";
  } catch (_) {}
  var dark = mode === "dark" || (mode === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  var root = document.documentElement;
  root.classList.toggle("dark", dark);
  root.style.colorScheme = dark ? "dark" : "light";
})();
