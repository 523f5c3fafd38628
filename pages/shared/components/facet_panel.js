// Facets with counts: boxes to tick, the rest unfolds; ticking sends what is ticked in every facet.
const FIRST = 7;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".facets");
  const { facets } = data;
  const local = (root.local ??= { open: {}, query: {} });
  const make = (tag, props = {}, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };
  const send = () => {
    const chosen = {};
    for (const box of root.querySelectorAll("input[type=checkbox]:checked")) {
      (chosen[box.dataset.facet] ??= []).push(box.dataset.word);
    }
    // A ticked word that the fold or the search hides stays ticked.
    for (const facet of facets) {
      for (const word of facet.chosen) {
        const box = root.querySelector(`input[data-id="${CSS.escape(`${facet.name}|${word}`)}"]`);
        if (!box) (chosen[facet.name] ??= []).push(word);
      }
    }
    setTriggerValue("chosen", chosen);
  };

  const draw = (facet) => {
    const { name, label, options } = facet;
    const chosen = new Set(facet.chosen);
    const many = options.length > 12;
    const query = (local.query[name] ?? "").toLowerCase();
    const most = Math.max(1, ...options.map(([, count]) => count));
    let shown = options.filter(([word, count]) => chosen.has(word) ||
      (word.toLowerCase().includes(query) && (count || !many)));
    const total = shown.length;
    if (!local.open[name] && total > FIRST + 1) {
      shown = shown.filter(([word], i) => chosen.has(word) || i < FIRST);
    }
    const set = make("fieldset", {}, make("legend", { textContent: label }));
    if (many) {
      const search = make("input", { type: "search", placeholder: "search", value: local.query[name] ?? "" });
      search.setAttribute("aria-label", `Search ${label}`);
      search.dataset.id = `${name}|`;
      search.oninput = () => { local.query[name] = search.value; redraw(); };
      set.append(search);
    }
    for (const [word, count] of shown) {
      const box = make("input", { type: "checkbox", checked: chosen.has(word) });
      Object.assign(box.dataset, { facet: name, word, id: `${name}|${word}` });
      box.onchange = () => {
        facet.chosen = box.checked ? [...facet.chosen, word] : facet.chosen.filter((other) => other !== word);
        send();
      };
      const row = make("label", { title: `${word}: ${count.toLocaleString("en")} slices` }, box,
        make("span", { className: "word", textContent: word }),
        make("span", { className: "count", textContent: count.toLocaleString("en") }));
      row.style.setProperty("--share", `${(100 * count) / most}%`);
      row.classList.toggle("none", !count);
      set.append(row);
    }
    if (total > FIRST + 1) {
      const more = make("button", { type: "button", textContent: local.open[name] ? "fewer" : `all ${total}` });
      more.dataset.id = `${name}|more`;
      more.setAttribute("aria-expanded", String(Boolean(local.open[name])));
      more.onclick = () => { local.open[name] = !local.open[name]; redraw(); };
      set.append(more);
    }
    return set;
  };

  const redraw = () => {
    const focused = root.getRootNode().activeElement;
    const [id, at] = [focused?.dataset?.id, focused?.selectionStart];
    root.replaceChildren(...facets.map(draw));
    const again = id && root.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (again) {
      again.focus({ preventScroll: true });
      if (again.type === "search") again.setSelectionRange(at, at);
    }
  };
  redraw();
}
