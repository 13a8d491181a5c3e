"use strict";
// A hair line at the pointer's instant, in every chart that shows this instant.
(() => {
  const charts = [...document.querySelectorAll("svg.chart")].map((svg) => {
    const spec = (name) => Number(svg.dataset[name]);
    const make = (name) => document.createElementNS(svg.namespaceURI, name);
    const line = make("line"), label = make("text");
    line.setAttribute("class", "hair");
    label.setAttribute("class", "hair-label");
    line.setAttribute("y1", 0);
    line.setAttribute("y2", svg.viewBox.baseVal.height - 20);
    label.setAttribute("y", 11);
    for (const part of [line, label]) { part.style.display = "none"; svg.append(part); }
    return { svg, line, label, start: spec("start"), end: spec("end"), left: spec("left"), right: spec("right") };
  });
  const show = (seconds) => {
    for (const c of charts) {
      const seen = seconds >= c.start && seconds <= c.end;
      for (const part of [c.line, c.label]) part.style.display = seen ? "" : "none";
      if (!seen) continue;
      const x = c.left + (seconds - c.start) / (c.end - c.start) * (c.right - c.left);
      c.line.setAttribute("x1", x);
      c.line.setAttribute("x2", x);
      c.label.setAttribute("x", x + (x > c.right - 60 ? -6 : 6));
      c.label.setAttribute("text-anchor", x > c.right - 60 ? "end" : "start");
      c.label.textContent = seconds.toFixed(2) + " s";
    }
  };
  for (const c of charts) {
    c.svg.addEventListener("pointermove", (event) => {
      const box = c.svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * c.svg.viewBox.baseVal.width;
      show(c.start + (x - c.left) / (c.right - c.left) * (c.end - c.start));
    });
    c.svg.addEventListener("pointerleave", () => show(NaN));
  }
})();
