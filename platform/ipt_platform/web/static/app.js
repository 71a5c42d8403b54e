// What every page does: the theme, and parts that are asked for again while the page is seen.
import { ask, tell, whileSeen } from "./live.js";
import { isBeingRead, scroll, scrolls } from "./tail.js";

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
    if (isBeingRead(part)) return; // what is marked there would be lost; it is asked for again
    tag = response.headers.get("ETag") || "";
    replace(part, text);
  }, Number(part.dataset.every || 2000));
}

// The new content of a part. What had the focus keeps it, what was scrolled stays so, a new state is told.
function replace(part, text) {
  const spot = place(part, document.activeElement);
  const scrolled = [...part.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  const fresh = document.createElement("template");
  fresh.innerHTML = text; // made by our own templates, which escape every value
  const tails = scrolls(part, fresh.content);
  const before = part.querySelector("[data-tell]")?.dataset.tell;
  part.replaceChildren(fresh.content);
  part.dispatchEvent(new Event("replaced", { bubbles: true }));
  part.querySelectorAll(".scroll").forEach((each, index) => {
    if (scrolled[index]) [each.scrollLeft, each.scrollTop] = scrolled[index];
  });
  scroll(part, tails);
  if (spot) part.querySelector(spot)?.focus({ preventScroll: true });
  const after = part.querySelector("[data-tell]")?.dataset.tell;
  if (after && before && after !== before) tell(after);
}

// How to find again what has the focus: by its id, its address, or its value; "": it is none of this part.
function place(part, element) {
  if (!element || !part.contains(element)) return "";
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.matches("a[href]")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  if (element.matches("input[value]")) return `input[value="${CSS.escape(element.value)}"]`;
  return element.getAttribute("aria-label") ? `[aria-label="${CSS.escape(element.getAttribute("aria-label"))}"]` : "";
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

// Keys: / to the first field that asks for it, j and k through the rows of a list, Enter opens, x marks.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  const rows = [...document.querySelectorAll("table[data-keys] tbody tr")];
  const now = rows.findIndex((row) => row.contains(document.activeElement));
  const link = (row) => row?.querySelector("th a");
  if (event.key === "/") document.querySelector("[data-key='/']")?.focus();
  else if (event.key === "j") link(rows[Math.min(now + 1, rows.length - 1)])?.focus();
  else if (event.key === "k") link(rows[Math.max(now - 1, 0)])?.focus();
  else if (event.key === "x" && now >= 0) rows[now].querySelector("input[type=checkbox]")?.click();
  else return;
  event.preventDefault();
});

scroll(document, new Map());
