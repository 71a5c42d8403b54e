// What every page does: the theme, and parts that are asked for again while the page is seen.
import { ask, tell, whileSeen } from "./live.js";

const root = document.documentElement;

document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("theme"));
});

// <section data-live="/address" data-every="2000">: its content is that of the address, again and again.
for (const part of document.querySelectorAll("[data-live]")) {
  let tag = "";
  whileSeen(async () => {
    const response = await ask(part.dataset.live, tag);
    if (!response) return;
    const text = await response.text();
    tag = response.headers.get("ETag") || "";
    replace(part, text);
  }, Number(part.dataset.every || 2000));
}

// The new content of a part; what had the focus keeps it, what was scrolled or open stays so, and the new state is told.
function replace(part, text) {
  const held = document.activeElement && part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...part.querySelectorAll("details[id][open]")].map((each) => each.id);
  const before = part.querySelector("[data-tell]")?.dataset.tell;
  part.innerHTML = text; // made by our own templates, which escape every value
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (held) document.getElementById(held)?.focus();
  const after = part.querySelector("[data-tell]")?.dataset.tell;
  if (after && before && after !== before) tell(after);
  part.dispatchEvent(new Event("replaced"));
}

// Choices that take effect at once.
for (const box of document.querySelectorAll("select[data-submit], input[data-submit]")) {
  box.addEventListener("change", () => box.form.requestSubmit());
}

// Forms that ask first.
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});
