// The pictures of one run, or of two, as a model of the comparer.
import "./comparer/comparer.js";
import { ask, whileSeen } from "./live.js";

// Milliseconds after which a run is asked for new pictures; one that has ended may be resumed.
const OFTEN = 5_000, SELDOM = 60_000;

const comparer = document.getElementById("comparer");
if (comparer) {
  const runs = JSON.parse(comparer.dataset.runs);
  const lists = runs.map(() => null);
  const tags = runs.map(() => "");
  const asked = runs.map(() => 0);
  let showing = "";

  const look = async () => {
    await Promise.all(runs.map(async (run, place) => {
      if (lists[place] && !lists[place].live && Date.now() - asked[place] < SELDOM) return;
      const response = await ask(`/runs/${encodeURIComponent(run)}/pictures/list`, tags[place]);
      asked[place] = Date.now();
      if (!response) return;
      tags[place] = response.headers.get("ETag") || "";
      lists[place] = await response.json();
    }));
    const now = tags.join();
    if (now !== showing) {
      showing = now;
      if (!hasSome()) return;
      comparer.show(runs.length > 1 ? modelOfTwo(...lists) : modelOfOne(lists[0]));
    }
  };
  let shown = null;
  comparer.addEventListener("shown", ({ detail }) => {
    shown = detail;
    const isShown = () => shown === detail; // an answer about what is no longer shown is passed over
    const step = runs.length > 1 ? newest(stepsOf(lists[0], detail.picture), detail.step) : detail.step;
    tellParams(runs[0], step, detail.picture, isShown);
    if (runs.length > 1) tellWhetherOneScene(detail.picture, isShown);
  });
  whileSeen(look, OFTEN);

  // Whether there is anything to compare; a run that has no pictures yet says so instead, two runs have their note.
  function hasSome() {
    if (runs.length > 1) return true;
    const some = lists[0].pictures.length > 0;
    document.getElementById("some").hidden = !some;
    document.getElementById("none").hidden = some;
    return some;
  }

  function modelOfOne(list) {
    return {
      pictures: list.pictures.map(({ name }) => ({ id: name, label: name })),
      steps: (picture) => stepsOf(list, picture),
      reference: "clean",
      difference: ["restored", "clean"],
      pin: true,
      panes: (picture, step, pin) => {
        const panes = ["degraded", "restored", "clean"].map((panel) => paneOf(list, picture, step, panel, panel, panel));
        const steps = stepsOf(list, picture);
        if (steps.includes(pin)) panes.push(paneOf(list, picture, pin, "restored", "pinned", `restored, step ${pin}`));
        return panes;
      },
    };
  }

  function modelOfTwo(left, right) {
    const names = new Set(right.pictures.map(({ name }) => name));
    const shared = left.pictures.filter(({ name }) => names.has(name));
    tell(shared.length ? "" : "The two runs have no pictures of the same scenes: they were measured on other sets, or for other tasks.");
    return {
      pictures: shared.map(({ name }) => ({ id: name, label: name })),
      steps: (picture) => [...new Set([left, right].flatMap((list) => stepsOf(list, picture)))].sort((a, b) => a - b),
      reference: "clean",
      pin: false,
      panes: (picture, step) => {
        const panes = [["left", left], ["right", right]].map(([name, list]) => {
          const own = newest(stepsOf(list, picture), step);
          return paneOf(list, picture, own, "restored", name, `${list.run}, step ${own}`);
        });
        const own = newest(stepsOf(left, picture), step);
        return [...panes, ...["degraded", "clean"].map((panel) => paneOf(left, picture, own, panel, panel, panel))];
      },
    };
  }

  function paneOf(list, picture, step, panel, name, label) {
    const tag = list.pictures.find((each) => each.name === picture).steps.find(([at]) => at === step)[1];
    const place = [list.run, "pictures", step, picture, panel].map(encodeURIComponent).join("/");
    return { name, label, key: `${place} ${tag}`, source: `/runs/${place}.png?v=${tag}` };
  }

  function stepsOf(list, picture) {
    return (list.pictures.find(({ name }) => name === picture)?.steps ?? []).map(([step]) => step);
  }

  // The newest step that is not after this one, or the first.
  function newest(steps, step) {
    return steps.findLast((each) => each <= step) ?? steps[0];
  }

  // Two runs may have pictures of one name that are not of one scene.
  async function tellWhetherOneScene(picture, isShown) {
    const panes = lists.map((list) => paneOf(list, picture, stepsOf(list, picture).at(-1), "clean", "clean", "clean"));
    await Promise.all(panes.map(({ key, source }) => comparer.store.open(key, source)));
    const { same } = await comparer.store.ask("same", { one: panes[0].key, other: panes[1].key });
    if (isShown()) tell(same ? "" : "The clean pictures of this name differ between the two runs, so their numbers do not compare.");
  }

  function tell(text) {
    const note = document.getElementById("note");
    note.textContent = text;
    note.hidden = !text;
  }
}

async function tellParams(run, step, picture, isShown) {
  const place = document.getElementById("params");
  place.classList.add("cmp-old"); // until the new ones are there
  const from = `/runs/${encodeURIComponent(run)}/pictures/${step}/${encodeURIComponent(picture)}/params`;
  const response = await fetch(from).catch(() => null);
  const { params } = response?.ok ? await response.json() : { params: null };
  if (!isShown()) return;
  const facts = Object.entries(params ?? {}).map(([name, value]) => {
    const fact = document.createElement("div");
    fact.append(document.createElement("dt"), document.createElement("dd"));
    fact.firstChild.textContent = name;
    fact.lastChild.textContent = inWords(value);
    return fact;
  });
  place.replaceChildren(...(facts.length ? facts : ["Nothing is known of it."]));
  place.classList.remove("cmp-old");
}

function inWords(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, (_, each) => (typeof each === "number" && !Number.isInteger(each) ? Number(each.toPrecision(5)) : each));
}
