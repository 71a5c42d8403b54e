// What scripts of pages share: asking the server, again and again while the page is seen, and telling people.

// Tells people who do not see the page what has changed on it.
export function tell(text) {
  document.getElementById("news").textContent = text;
}

// Shows at the foot of the page whether it still hears from its server; "": it does.
function tellLink(text) {
  const link = document.getElementById("link");
  if (link.textContent !== text) tell(text);
  link.textContent = text;
  link.hidden = !text;
}

// Asks for an address, and gives the response; null where nothing has changed since the response with this tag.
export async function ask(url, tag = "") {
  const headers = { Accept: "application/json" };
  if (tag) headers["If-None-Match"] = tag;
  const response = await fetch(url, { headers, credentials: "same-origin" });
  if (response.status === 304) return null;
  if (response.status === 401) throw new Error("Your login has ended; load the page to log in again.");
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error || `the page answered ${response.status}`);
  return response;
}

// Calls `look` now and every so many milliseconds while the page is seen; one that failed is tried again later and later.
export function whileSeen(look, every) {
  let timer = 0, failures = 0, busy = false;
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden || busy) return;
    busy = true;
    try {
      await look();
      failures = 0;
      tellLink("");
    } catch (error) {
      failures += 1;
      tellLink(error instanceof TypeError ? "The page's server does not answer; it is asked again." : error.message);
    }
    busy = false;
    timer = setTimeout(turn, every * Math.min(2 ** failures, 16));
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}
