// Draws what a node of this pack reports below its fields, in ComfyUI's classic front end and in
// the new one. Texts are set as text, never as HTML: they hold names of other people's files.
import { app } from "../../scripts/app.js";

const NAME = "siren_result";
// nodes that report although they save nothing
const ALSO = new Set(["SirenLoadCoater", "SirenCoatImage", "SirenScoreCoating"]);
const COLOURS = { good: "#3f9d63", plain: "#6b7fa3", warn: "#d08a1d" };

function line(parent, kind, text, style) {
  const element = document.createElement(kind);
  element.textContent = text;
  Object.assign(element.style, style);
  parent.append(element);
  return element;
}

function draw(box, cards) {
  box.replaceChildren();
  for (const card of cards) {
    const colour = COLOURS[card.tone] ?? COLOURS.plain;
    const part = line(box, "div", "", {
      borderLeft: `4px solid ${colour}`,
      padding: "4px 8px",
      margin: "2px 0",
      background: "rgba(128, 128, 128, 0.12)",
    });
    line(part, "div", card.title, { fontWeight: "bold" });
    for (const text of card.lines ?? []) {
      line(part, "div", text, { marginTop: "3px", whiteSpace: "pre-line" });
    }
    if (card.link) {
      const link = line(part, "a", "Download the report page", {
        display: "inline-block",
        marginTop: "5px",
        textDecoration: "underline",
        color: "inherit",
      });
      link.href = `./view?${new URLSearchParams(card.link)}`;
      link.target = "_blank";
      link.rel = "noopener";
      link.download = card.link.filename;
    }
  }
}

function resultOf(node) {
  const known = node.widgets?.find((widget) => widget.name === NAME);
  if (known) return known;
  const box = document.createElement("div");
  Object.assign(box.style, {
    overflowY: "auto",
    overflowWrap: "anywhere", // paths and fingerprints have no spaces
    boxSizing: "border-box",
    font: "12px/1.4 system-ui, sans-serif",
    color: "var(--input-text, inherit)",
    userSelect: "text",
  });
  const widget = node.addDOMWidget(NAME, "siren", box, {
    serialize: false,
    hideOnZoom: false,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => box.sirenHeight ?? 0,
  });
  widget.serialize = false;
  return widget;
}

function show(node, cards) {
  const widget = resultOf(node);
  const box = widget.element;
  draw(box, cards);
  const wide = Math.max(node.size[0], 260);
  const length = cards.reduce(
    (sum, card) =>
      sum + 2 + [card.title, ...(card.lines ?? [])].reduce(
        (rows, text) => rows + Math.ceil((text.length * 6.4) / (wide - 50)), 0
      ) + (card.link ? 2 : 0),
    0
  );
  const wanted = Math.min(260, Math.max(50, length * 17));
  const more = wanted - (box.sirenHeight ?? 0);
  box.sirenHeight = wanted;
  // a node that has room already, because its author drew it larger, keeps its size
  const least = node.computeSize();
  const high = Math.max(least[1], node.size[1] + (box.sirenSeen ? more : 0));
  box.sirenSeen = true;
  node.setSize([Math.max(wide, least[0]), high]);
  node.setDirtyCanvas?.(true, true);
}

app.registerExtension({
  name: "siren.results",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("Siren")) return;
    if (!nodeData.output_node && !ALSO.has(nodeData.name)) return;
    // made with the node, because the new front end may not see a field that is added later
    const created = nodeType.prototype.onNodeCreated;
    nodeType.prototype.onNodeCreated = function () {
      const answer = created?.apply(this, arguments);
      resultOf(this);
      return answer;
    };
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      if (output?.siren?.length) show(this, output.siren);
    };
  },
});
