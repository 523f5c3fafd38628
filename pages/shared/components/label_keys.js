// Buttons with keys. What is pressed is held back until the page has answered the press before it, and dropped when
// the page has meanwhile gone on to another item: nobody labels what they have not seen.
const states = new WeakMap();

const element = (tag, props = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
};

// Where a key already means something: writing, choosing, stepping through slices.
const writes = (target) => target.isContentEditable || target.matches?.("input:not([type=checkbox]), textarea, select");
const chooses = (target) => target.closest?.("[role=radiogroup], [role=tablist], [role=listbox], [role=slider], [role=grid], canvas");
const acts = (target) => target.closest?.("button, a, summary, input, [role=button]");

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".keys");
  const help = root.querySelector("dialog");
  const state = states.get(parentElement) ?? { waiting: [], busy: false };
  states.set(parentElement, state);
  root.dataset.item = data.item;

  const send = (press) => {
    state.busy = true;
    setTriggerValue("pressed", press);
  };
  const press = (name, word = "") => {
    const one = [data.item, name, word];
    if (state.busy) state.waiting.push(one);
    else send(one);
  };

  const buttons = new Map();
  const button = (key, cap, text, props, act) => {
    const made = element("button", { type: "button", ...props, onclick: act },
      element("kbd", { textContent: cap }), element("span", { textContent: text }));
    made.setAttribute("aria-keyshortcuts", key);
    buttons.set(key, made);
    return made;
  };
  // Buttons are drawn anew, so the focus is put back on the one that had it.
  const focused = root.getRootNode().activeElement?.getAttribute("aria-keyshortcuts");
  root.querySelector(".heads").replaceChildren(...data.heads.map((head) => {
    const box = element("div", { className: head.asked ? "head asked" : "head" },
      element("h4", { textContent: head.name[0].toUpperCase() + head.name.slice(1) }));
    head.words.forEach(({ word, key }) => {
      const made = button(key, key, word, { disabled: !data.enabled }, () => press(head.name, word));
      made.setAttribute("aria-pressed", String(head.said === word));
      box.append(made);
    });
    return box;
  }));
  const show = () => (help.open ? help.close() : help.showModal());
  root.querySelector(".moves").replaceChildren(
    ...data.moves.map(({ name, key, cap, text, can }) => button(key, cap, text, { disabled: !can }, () => press(name))),
    button("?", "?", "Help", {}, show));
  buttons.get(focused)?.focus({ preventScroll: true });

  const rows = [...data.heads.flatMap((head) => head.words.map(({ key, word }) => [key, word])),
    ...data.moves.map(({ cap, text }) => [cap, text]), ["?", "This help"]];
  help.replaceChildren(element("h3", { textContent: "Keys" }),
    element("dl", {}, ...rows.flatMap(([cap, text]) =>
      [element("dt", {}, element("kbd", { textContent: cap })), element("dd", { textContent: text })])),
    element("p", { textContent: "They work unless a field for text has the focus. In the picture, arrow keys step "
      + "through its slices; Tab leaves it." }),
    element("button", { type: "button", textContent: "Close", onclick: () => help.close() }));

  const listen = (event) => {
    const target = event.composedPath()[0];
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || writes(target)) return;
    if (document.querySelector("[role=dialog]") || (help.open && event.key !== "?")) return;
    if (event.key.startsWith("Arrow") && chooses(target)) return;
    if (event.key === "Enter" && acts(target)) return;
    const found = buttons.get(event.key.length === 1 ? event.key.toLowerCase() : event.key);
    if (!found) return;
    event.preventDefault();
    // Streamlit has keys of its own: r runs the page again, c clears caches.
    event.stopPropagation();
    if (!found.disabled && !event.repeat) found.click();
  };
  document.body.removeEventListener("keydown", state.listen);
  document.body.addEventListener("keydown", listen);
  state.listen = listen;

  if (state.turn !== data.turn) {
    state.turn = data.turn;
    state.busy = false;
    const next = state.waiting.shift();
    if (next && next[0] === data.item) send(next);
    else state.waiting = [];
  }
  return () => document.body.removeEventListener("keydown", state.listen);
}
