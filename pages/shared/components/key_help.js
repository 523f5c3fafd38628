// A card of keys that `?` opens, wherever on the page it is pressed; Escape or a click closes it.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".keys");
  const dialog = root.querySelector("dialog");
  const list = root.querySelector("dl");
  list.replaceChildren(...data.keys.flatMap(([keys, meaning]) => {
    const dt = document.createElement("dt");
    keys.forEach((key) => dt.append(Object.assign(document.createElement("kbd"), { textContent: key })));
    return [dt, Object.assign(document.createElement("dd"), { textContent: meaning })];
  }));
  const toggle = () => (dialog.open ? dialog.close() : dialog.showModal());
  root.querySelector("button").onclick = toggle;
  dialog.onclick = () => dialog.close();
  const typed = (event) => {
    // Where somebody writes, a question mark is a question mark.
    const writes = event.composedPath().some((e) => e.matches?.("input:not([type=checkbox]), textarea, [contenteditable=true]"));
    // The viewer has a list of its own, and takes the key while it has the focus.
    if (event.defaultPrevented || event.key !== "?" || writes) return;
    event.preventDefault();
    toggle();
  };
  document.addEventListener("keydown", typed);
  return () => document.removeEventListener("keydown", typed);
}
