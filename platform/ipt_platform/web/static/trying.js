// A picture of one's own: sent, restored, compared with what it was, downloaded.
import "./comparer/comparer.js";

const LOOK_EVERY = 400; // milliseconds
const parts = Object.fromEntries([...document.querySelectorAll("main [id]")].map((part) => [part.id, part]));
const csrf = document.querySelector("meta[name=csrf]").content;
let order = null; // of the picture that is looked at
let file = null;
let turn = 0;

if (parts.try) {
  parts.file.addEventListener("change", () => choose(parts.file.files[0]));
  parts.run.addEventListener("change", loadTasks);
  parts.say.addEventListener("focus", () => pick("say"));
  parts.task.addEventListener("focus", () => pick("task"));
  parts.try.addEventListener("submit", (event) => {
    event.preventDefault();
    restore();
  });
  parts.forget.addEventListener("click", () => forget());
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      parts.drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      parts.drop.classList.remove("over");
      if (event.dataTransfer?.files.length) choose(event.dataTransfer.files[0]);
    });
  }
  addEventListener("pagehide", () => order && send("DELETE", `/try/${order}`, {}, undefined, true));
  loadTasks();
}

function choose(chosen) {
  if (!chosen) return;
  file = chosen;
  parts.file.required = false; // one that was dropped counts
  parts.chosen.textContent = `${file.name} · ${(file.size / 1e6).toFixed(1)} MB`;
  forget();
  show([{ name: "input", label: "input", key: `input ${++turn}`, source: file }]);
}

async function loadTasks() {
  const { run, task, go } = parts;
  task.disabled = true;
  task.replaceChildren(new Option("looking for tasks …", ""));
  const asked = run.value;
  try {
    const { tasks } = await send("POST", "/try/offer", { run: asked });
    if (asked !== run.value) return;
    task.replaceChildren(...tasks.map((name) => new Option(name, name)));
    if (!tasks.length) task.replaceChildren(new Option("there are none", ""));
    task.disabled = !tasks.length;
  } catch (error) {
    task.replaceChildren(new Option("not known", ""));
    tell(error.message, true);
  }
  go.disabled = false;
}

async function restore() {
  if (!file) return tell("Choose a picture first.", true);
  const how = new FormData(parts.try).get("how");
  const wish = { task: parts.task.value, say: parts.say.value, auto: "yes" }[how];
  if (!wish) return tell(how === "say" ? "Say what you want." : "Choose a task.", true);
  await forget();
  const mine = ++turn;
  parts.go.disabled = true;
  tell("Sending the picture.");
  try {
    const { id } = await send("POST", "/try", { run: parts.run.value, [how]: wish }, file);
    order = id;
    parts.forget.hidden = false;
    const state = await ended(id, mine);
    if (state?.state === "done") arrived(id, state);
    else if (state) tell(state.refused, true);
  } catch (error) {
    tell(error.message, true);
  }
  parts.progress.hidden = true;
  parts.go.disabled = false;
}

// What an order became, when it has ended; null where nobody waits for it any more.
async function ended(id, mine) {
  for (;;) {
    const state = await send("GET", `/try/${id}`);
    if (mine !== turn) return null;
    if (state.state === "done" || state.state === "failed") return state;
    tell(state.state === "waiting" ? "Another picture is at work; yours comes next." : `Working: ${state.note ?? "loading the models"}.`);
    parts.progress.hidden = false;
    if (state.progress) parts.progress.value = state.progress;
    else parts.progress.removeAttribute("value");
    await new Promise((done) => setTimeout(done, LOOK_EVERY));
  }
}

function arrived(id, state) {
  if (state.left) return tell(`Nothing was done. ${state.left}.`);
  tell(`Restored by ${state.by}.`);
  const source = `/try/${id}/restored.png`;
  parts.download.href = source;
  parts.download.download = `${file.name.replace(/\.[^.]*$/, "")}-restored.png`;
  parts.download.hidden = false;
  show([
    { name: "input", label: "input", key: `input ${turn}`, source: file },
    { name: "restored", label: "restored", key: `restored ${id}`, source },
  ]);
}

function show(panes) {
  parts.comparer.hidden = false;
  parts.comparer.show({ pictures: [{ id: "yours", label: file.name }], steps: () => [], panes: () => panes, reference: null, pin: false });
}

async function forget() {
  turn += 1;
  const id = order;
  order = null;
  parts.forget.hidden = parts.download.hidden = parts.progress.hidden = true;
  tell("");
  if (id) await send("DELETE", `/try/${id}`).catch((error) => tell(error.message, true));
}

async function send(method, path, query = {}, body = undefined, keepalive = false) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf };
  if (body) headers["Content-Type"] = "application/octet-stream";
  const search = new URLSearchParams(query).toString();
  const response = await fetch(search ? `${path}?${search}` : path, { method, headers, body, keepalive });
  if (response.status === 204) return null;
  const value = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(value.error || `The page answered ${response.status}.`);
  return value;
}

function pick(how) {
  parts.try.elements.how.value = how;
}

function tell(text, problem = false) {
  parts.told.textContent = text;
  parts.told.hidden = !text;
  parts.told.className = problem ? "problem" : "note";
}
