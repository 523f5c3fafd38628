// A confusion matrix of buttons: rows are the truth, columns the prediction.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".matrix");
  const { classes, counts, selected } = data;
  const n = classes.length;
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const element = (tag, props = {}, ...children) => {
    const e = Object.assign(document.createElement(tag), props);
    e.append(...children);
    return e;
  };

  const head = element("tr", {}, element("th"), element("th"));
  classes.forEach((c) => head.append(element("th", { scope: "col", textContent: c })));
  head.append(element("th", { className: "axis", textContent: "slices" }));
  const axis = element("tr", {}, element("th"), element("th"),
    element("th", { colSpan: n, className: "axis", textContent: "predicted" }));
  const body = element("tbody");
  // A class that no slice truly has would be a row of noughts.
  const shown = totals.flatMap((total, i) => (total ? [i] : []));
  shown.forEach((i, place) => {
    const row = counts[i];
    const tr = element("tr");
    if (place === 0) tr.append(element("th", { rowSpan: shown.length, className: "axis", textContent: "true" }));
    tr.append(element("th", { scope: "row", textContent: classes[i] }));
    row.forEach((count, j) => {
      const share = totals[i] ? count / totals[i] : 0;
      const percent = Math.round(share * 1000) / 10;
      const button = element("button", { type: "button", title:
        `${count} slices of ${classes[i]} predicted as ${classes[j]} (${percent} % of its row)` },
        element("b", { textContent: count.toLocaleString() }),
        element("small", { textContent: totals[i] ? `${percent} %` : "–" }));
      button.dataset.cell = `${i},${j}`;
      button.setAttribute("aria-label", button.title);
      button.setAttribute("aria-pressed", String(selected && selected[0] === i && selected[1] === j));
      button.classList.toggle("empty", count === 0);
      button.classList.toggle("wrong", i !== j);
      if (count) {
        // Square root, so that a few mistakes among many right ones can be seen from the last row of a room.
        const strength = 10 + 80 * Math.sqrt(share);
        const hue = i === j ? "--st-primary-color" : "--st-orange-color";
        button.style.setProperty("--fill", `color-mix(in srgb, var(${hue}) ${strength}%, var(--st-background-color))`);
        button.classList.toggle("strong", strength > 62);
      }
      button.onclick = () => count && setTriggerValue("clicked", [i, j]);
      tr.append(element("td", {}, button));
    });
    tr.append(element("td", { className: "total", textContent: totals[i].toLocaleString() }));
    body.append(tr);
  });
  root.classList.toggle("many", n > 8);
  root.replaceChildren(element("table", {}, element("thead", {}, axis, head), body));

  root.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const cell = event.target.dataset?.cell;
    if (!step || !cell) return;
    let [i, j] = cell.split(",").map(Number);
    let next = null;
    // Some rows are left out: go on until there is a cell, or the end.
    while (!next && i >= 0 && i < n && j >= 0 && j < n) {
      [i, j] = [i + step[0], j + step[1]];
      next = root.querySelector(`[data-cell="${i},${j}"]`);
    }
    next?.focus();
    event.preventDefault();
  };
}
