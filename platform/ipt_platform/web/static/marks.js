// The runs that are marked to be compared: kept for this tab, over pages of the list, filters, and rows that move.

const MOST = 8; // of what the page compares at once
const form = document.getElementById("compare");
const [told, chips] = ["told", "chips"].map((name) => document.getElementById(`marks-${name}`));
const key = `marks of ${form.dataset.storage}`;

const read = () => new Set(JSON.parse(sessionStorage.getItem(key) ?? "[]"));

function mark(run, on) {
  const marks = read();
  if (on) marks.add(run);
  else marks.delete(run);
  sessionStorage.setItem(key, JSON.stringify([...marks].sort()));
  show();
}

// Rows as they are marked, and a button for each mark, which takes it off.
function show() {
  const marks = read();
  for (const box of form.querySelectorAll("[name=run]")) box.checked = marks.has(box.value);
  told.textContent = marks.size > MOST ? `${marks.size} marked, at most ${MOST} are compared` : marks.size ? `${marks.size} marked` : "";
  chips.replaceChildren(...[...marks].map((run) => {
    const chip = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: `${run} ×` });
    chip.setAttribute("aria-label", `Unmark ${run}`);
    chip.addEventListener("click", () => {
      const place = [...chips.children].indexOf(chip);
      mark(run, false);
      (chips.children[Math.min(place, chips.children.length - 1)] ?? form.querySelector("button")).focus();
    });
    return chip;
  }));
}

form.addEventListener("change", ({ target }) => target.name === "run" && mark(target.value, target.checked));
form.addEventListener("replaced", show);
form.addEventListener("formdata", ({ formData }) => {
  formData.delete("run");
  for (const run of read()) formData.append("run", run);
});
addEventListener("pageshow", show); // also of a page that somebody goes back to
