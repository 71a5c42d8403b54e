// <pre id data-tail>: the last lines of a log that grows. Its end is followed while it is in sight; what is read stays in place.

const tails = (part) => [...part.querySelectorAll("[data-tail]")];

// Whether somebody has marked text in such lines, which new ones would take away.
export function isBeingRead(part) {
  const selection = getSelection();
  return !selection.isCollapsed && tails(part).some((each) => selection.containsNode(each, true));
}

// How far the logs of a part are to be scrolled when the fresh content stands there, by id; none whose end is in sight.
export function scrolls(part, fresh) {
  const read = tails(part).filter((each) => each.scrollHeight - each.scrollTop - each.clientHeight > 8);
  return new Map(read.map((each) => {
    const after = fresh.querySelector(`#${CSS.escape(each.id)}`);
    return [each.id, each.scrollTop - heightBefore(each.firstChild, gone(each.textContent, after?.textContent ?? ""))];
  }));
}

// Scrolls the logs of a part to where they were read, or to their end.
export function scroll(part, to) {
  for (const each of tails(part)) each.scrollTop = to.get(each.id) ?? each.scrollHeight;
}

// How many characters at the beginning of a log are no longer there, as newer lines came; 0 where it is another log.
function gone(before, after) {
  for (let at = 0; ; ) {
    if (after.startsWith(before.slice(at))) return at;
    const line = before.indexOf("\n", at);
    if (line < 0) return 0;
    at = line + 1;
  }
}

// Pixels from the beginning of a text to the line that begins at this character.
function heightBefore(text, at) {
  const [first, line] = [0, at].map((from) => {
    const range = document.createRange();
    range.setStart(text, from);
    range.setEnd(text, Math.min(from + 1, text.length));
    return range.getBoundingClientRect().top;
  });
  return line - first;
}
