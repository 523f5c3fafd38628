// Plotly draws the picture itself: its camera button is pressed with the format that is wanted.
const FORMATS = { PNG: { format: "png", scale: 3 }, SVG: { format: "svg", scale: 1 } };

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".save");
  const save = (options) => {
    const chart = document.querySelector(`.st-key-${CSS.escape(data.chart)} .js-plotly-plot`);
    const camera = chart?.querySelector('.modebar-btn[data-title^="Download plot"]');
    if (!camera) return;
    chart._context.toImageButtonOptions = { ...options, filename: data.filename };
    camera.click();
  };
  root.replaceChildren(...Object.entries(FORMATS).map(([name, options]) =>
    Object.assign(document.createElement("button"), {
      type: "button", textContent: name, title: `Save this figure as ${name}`, onclick: () => save(options),
    })));
}
