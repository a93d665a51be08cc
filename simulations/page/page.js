"use strict";
// Reads the data element, then: Graph (who is up and linked at a time) → Stage (its drawing) and Strip (the curve),
// both moved by one clock. Names from the run are only ever set as text.
(() => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  window.addEventListener("error", (e) => { root.dataset.rendered = `error: ${e.message}`; });
  const data = JSON.parse($("data").textContent);
  const count = data.routers.length, end = data.length_ms;
  const DOWN = 0, UNSETTLED = 1, SETTLED = 2;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const make = (tag, text, cls) => {
    const e = document.createElement(tag);
    if (text !== undefined) e.textContent = text;
    if (cls) e.className = cls;
    return e;
  };
  const shortMs = (ms) => ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${Math.round(ms * 10) / 10} ms`;
  const bytes = (n) => n >= 1e6 ? `${(n / 1e6).toFixed(2)} MB` : n >= 1e3 ? `${(n / 1e3).toFixed(1)} kB` : `${Math.round(n)} B`;
  const colours = () => {
    const style = getComputedStyle(root), found = {};
    for (const name of ["card", "ink", "soft", "line", "settled", "unsettled", "down", "link", "came", "gone", "accent", "wash", "bad"]) found[name] = style.getPropertyValue(`--${name}`).trim();
    found.parts = [1, 2, 3, 4, 5].map((n) => style.getPropertyValue(`--part${n}`).trim());
    return found;
  };

  // ---- What holds at a time -------------------------------------------------------------------------------------
  const graph = (() => {
    const moments = new Set([0]);
    for (const life of data.states) for (let i = 0; i < life.length; i += 2) moments.add(life[i]);
    for (const link of data.links) for (let i = 2; i < link.length; i++) moments.add(link[i]);
    const times = Float64Array.from(moments).sort();
    const state = new Uint8Array(count), part = new Int32Array(count), degree = new Uint16Array(count);
    const stands = new Uint8Array(data.links.length), turned = new Float64Array(data.links.length);
    const parent = new Int32Array(count);
    const head = (n) => { while (parent[n] !== n) n = parent[n] = parent[parent[n]]; return n; };
    const self = { state, part, degree, stands, turned, up: 0, sizes: [], totals: [0, 0, 0] };
    let at = -1;
    const index = (t) => { let lo = 0, hi = times.length; while (lo < hi) { const mid = (lo + hi) >> 1; if (times[mid] <= t) lo = mid + 1; else hi = mid; } return lo; };
    // Returns true if anything is other than before.
    self.seek = (t) => {
      const now = index(t);
      if (now === at) return false;
      at = now;
      self.totals = [0, 0, 0];
      for (let n = 0; n < count; n++) {
        const life = data.states[n] || [];
        let s = DOWN;
        for (let i = 0; i < life.length && life[i] <= t; i += 2) s = life[i + 1];
        state[n] = s; self.totals[s]++; parent[n] = n; degree[n] = 0;
      }
      self.up = 0;
      data.links.forEach((link, l) => {
        let turns = 0;
        while (turns + 2 < link.length && link[turns + 2] <= t) turns++;
        stands[l] = turns & 1;
        turned[l] = turns ? link[turns + 1] : -Infinity;
        if (!stands[l]) return;
        self.up++;
        degree[link[0]]++; degree[link[1]]++;
        const a = head(link[0]), b = head(link[1]);
        if (a !== b) parent[Math.max(a, b)] = Math.min(a, b);
      });
      const sizes = new Map();
      for (let n = 0; n < count; n++) if (state[n] !== DOWN) { const h = head(n); sizes.set(h, (sizes.get(h) || 0) + 1); }
      const ranked = [...sizes].filter(([, size]) => size > 1).sort((x, y) => y[1] - x[1] || x[0] - y[0]);
      const rank = new Map(ranked.map(([h], r) => [h, r]));
      self.sizes = ranked.map(([, size]) => size);
      self.alone = sizes.size - ranked.length;
      for (let n = 0; n < count; n++) part[n] = state[n] === DOWN ? -2 : rank.has(head(n)) ? rank.get(head(n)) : -1;
      return true;
    };
    return self;
  })();

  // ---- The drawing ----------------------------------------------------------------------------------------------
  const stage = (() => {
    const canvas = $("graph"), pen = canvas.getContext("2d"), hint = $("hint");
    let width = 0, height = 0, zoom = 1, panX = 0, panY = 0, hover = -1, pinned = -1;
    const mode = $("colour");
    const base = () => Math.min(width - 70, height - 80) / 10000;
    // Wide windows use their width: a drawing is stretched by up to half.
    const stretch = () => Math.min(1.5, Math.max(1, (width - 70) / Math.max(1, height - 80)));
    const x = (n) => width / 2 + panX + (data.places[2 * n] - 5000) * base() * stretch() * zoom;
    const y = (n) => height / 2 - 6 + panY + (data.places[2 * n + 1] - 5000) * base() * zoom;
    const radius = () => Math.min(12, Math.max(1.5, 0.16 * Math.sqrt(width * height / Math.max(1, count)) * Math.sqrt(zoom) * 0.8));
    const resize = () => {
      const ratio = window.devicePixelRatio || 1;
      width = canvas.clientWidth; height = canvas.clientHeight;
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    };
    const stroke = (chosen, colour, thickness, alpha, dash) => {
      if (!chosen.length) return;
      pen.strokeStyle = colour; pen.lineWidth = thickness; pen.globalAlpha = alpha; pen.setLineDash(dash || []);
      pen.beginPath();
      for (const l of chosen) { const link = data.links[l]; pen.moveTo(x(link[0]), y(link[0])); pen.lineTo(x(link[1]), y(link[1])); }
      pen.stroke();
      pen.globalAlpha = 1; pen.setLineDash([]);
    };
    const fillOf = (c, n) => mode.value === "state" ? [c.down, c.unsettled, c.settled][graph.state[n]] : graph.part[n] === -2 ? c.down : graph.part[n] === -1 ? c.gone : c.parts[Math.min(graph.part[n], 4)];
    const draw = (t, fresh) => {
      const c = colours(), r = radius(), many = count > 150, focus = pinned >= 0 ? pinned : hover;
      pen.clearRect(0, 0, width, height);
      const steady = [], came = [], gone = [], mine = [];
      data.links.forEach((link, l) => {
        const young = t - graph.turned[l] < fresh && graph.turned[l] > 0;
        if (focus >= 0 && graph.stands[l] && (link[0] === focus || link[1] === focus)) mine.push(l);
        else if (graph.stands[l]) (young ? came : steady).push(l);
        else if (young) gone.push(l);
      });
      const dense = Math.max(1, steady.length / 400);
      stroke(steady, c.link, many ? 0.7 : 1.2, focus >= 0 ? 0.12 : Math.max(0.22, 0.65 / Math.sqrt(dense)));
      stroke(came, c.came, many ? 1 : 2.2, focus >= 0 ? 0.25 : Math.max(0.3, 0.95 / Math.sqrt(Math.max(1, came.length / 400))));
      stroke(gone, c.gone, many ? 1 : 1.8, Math.max(0.3, 0.9 / Math.sqrt(Math.max(1, gone.length / 400))), many ? [3, 3] : [6, 5]);
      stroke(mine, c.accent, 2, 1);
      const groups = new Map();
      for (let n = 0; n < count; n++) {
        const key = `${fillOf(c, n)}|${graph.state[n] === DOWN ? 1 : 0}`;
        if (!groups.has(key)) groups.set(key, []);
        groups.get(key).push(n);
      }
      for (const [key, members] of groups) {
        const [colour, hollow] = key.split("|");
        pen.beginPath();
        for (const n of members) { const px = x(n), py = y(n); if (px < -20 || py < -20 || px > width + 20 || py > height + 20) continue; pen.moveTo(px + r, py); pen.arc(px, py, r, 0, 7); }
        if (hollow === "1") { pen.fillStyle = c.card; pen.fill(); pen.strokeStyle = colour; pen.lineWidth = Math.max(0.8, r / 4); pen.stroke(); }
        else { pen.fillStyle = colour; pen.fill(); if (r > 4) { pen.strokeStyle = c.card; pen.lineWidth = 1.5; pen.stroke(); } }
      }
      if (focus >= 0) { pen.beginPath(); pen.arc(x(focus), y(focus), r + 4, 0, 7); pen.strokeStyle = c.accent; pen.lineWidth = 2; pen.stroke(); }
      if (count <= 40 || r >= 7) {
        pen.font = "12px system-ui, sans-serif"; pen.textAlign = "center"; pen.fillStyle = c.ink;
        for (let n = 0; n < count; n++) {
          const px = x(n), py = y(n) + r + 14;
          if (px < 0 || py < 0 || px > width || py > height + 14) continue;
          const name = data.routers[n].length > 22 ? `${data.routers[n].slice(0, 21)}…` : data.routers[n];
          pen.lineWidth = 3; pen.strokeStyle = c.card; pen.strokeText(name, px, py); pen.fillText(name, px, py);
        }
      }
      describe(focus);
    };
    const describe = (n) => {
      hint.hidden = n < 0;
      if (n < 0) return;
      const part = graph.part[n] >= 0 ? `reaches ${graph.sizes[graph.part[n]] - 1} others` : graph.state[n] === DOWN ? "" : "reaches nobody";
      const doing = ["not running", "catching up", "settled"][graph.state[n]];
      hint.textContent = [data.routers[n], doing, graph.state[n] === DOWN ? "" : `${graph.degree[n]} links, ${part}`].filter(Boolean).join("\n");
      const left = x(n) + 14, top = y(n) + 14;
      hint.style.left = `${Math.max(4, Math.min(width - hint.offsetWidth - 4, left))}px`;
      hint.style.top = `${Math.max(4, Math.min(height - hint.offsetHeight - 4, top))}px`;
    };
    const nearest = (event) => {
      const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      let best = -1, least = Math.max(14, radius() + 6) ** 2;
      for (let n = 0; n < count; n++) { const d = (x(n) - px) ** 2 + (y(n) - py) ** 2; if (d < least) { least = d; best = n; } }
      return best;
    };
    const scale = (factor, px, py) => {
      const next = Math.min(40, Math.max(0.5, zoom * factor)), f = next / zoom;
      panX = (panX + width / 2 - px) * f + px - width / 2; panY = (panY + height / 2 - py) * f + py - height / 2;
      zoom = next; refresh();
    };
    let drag = null;
    canvas.addEventListener("pointerdown", (e) => { drag = { x: e.clientX, y: e.clientY, moved: false }; canvas.setPointerCapture(e.pointerId); });
    canvas.addEventListener("pointermove", (e) => {
      if (!drag) { const n = nearest(e); if (n !== hover) { hover = n; refresh(); } return; }
      if (!drag.moved && Math.abs(e.clientX - drag.x) + Math.abs(e.clientY - drag.y) < 4) return;
      panX += e.clientX - drag.x; panY += e.clientY - drag.y;
      drag = { x: e.clientX, y: e.clientY, moved: true }; refresh();
    });
    canvas.addEventListener("pointerup", (e) => { if (drag && !drag.moved) { const n = nearest(e); pinned = n === pinned ? -1 : n; refresh(); } drag = null; });
    canvas.addEventListener("pointercancel", () => { drag = null; });
    canvas.addEventListener("pointerleave", () => { if (hover >= 0) { hover = -1; refresh(); } });
    canvas.addEventListener("wheel", (e) => { e.preventDefault(); const box = canvas.getBoundingClientRect(); scale(Math.exp(-e.deltaY * 0.0015), e.clientX - box.left, e.clientY - box.top); }, { passive: false });
    $("closer").onclick = () => scale(1.5, width / 2, height / 2);
    $("farther").onclick = () => scale(1 / 1.5, width / 2, height / 2);
    $("fit").onclick = () => { zoom = 1; panX = panY = 0; refresh(); };
    mode.onchange = () => { legend(); refresh(); };
    const legend = () => {
      const keys = $("keys"), row = (name, variable, cls, number) => {
        const li = make("li"), swatch = make("i", undefined, cls);
        swatch.style.setProperty("--swatch", `var(--${variable})`);
        li.append(swatch, name);
        if (number !== undefined) li.append(make("b", String(number)));
        return li;
      };
      const [down, unsettled, settled] = graph.totals;
      const rows = mode.value === "state"
        ? [row("settled", "settled", "", settled), row("catching up", "unsettled", "", unsettled)]
        : graph.sizes.slice(0, 4).map((size, part) => row(part ? `part ${part + 1}` : graph.sizes.length > 1 ? "largest part" : "all reach each other", `part${part + 1}`, "", size))
          .concat(graph.sizes.length > 4 ? [row(`${graph.sizes.length - 4} more parts`, "part5", "", graph.sizes.slice(4).reduce((a, b) => a + b, 0))] : [], graph.alone ? [row("alone", "gone", "", graph.alone)] : []);
      keys.replaceChildren(...rows, row("not running", "down", "hollow", down), row("links", "link", "line", graph.up), row("new link", "came", "line"), row("lost link", "gone", "line dashed"));
    };
    return { draw, resize, legend };
  })();

  // ---- The curve ------------------------------------------------------------------------------------------------
  const strip = (() => {
    const canvas = $("curve"), pen = canvas.getContext("2d"), pad = 8, top = 20, bottom = 18;
    let width = 0, height = 0;
    const x = (t) => pad + (t / end) * (width - 2 * pad);
    const y = (share) => top + (1 - share / 1000) * (height - top - bottom);
    const resize = () => {
      const ratio = window.devicePixelRatio || 1;
      width = canvas.clientWidth; height = canvas.clientHeight;
      canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    };
    const tick = () => { const rough = end / Math.max(2, width / 110), power = 10 ** Math.floor(Math.log10(rough)); return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough) || rough; };
    const draw = (t) => {
      const c = colours();
      pen.clearRect(0, 0, width, height);
      pen.font = "11px system-ui, sans-serif"; pen.lineWidth = 1; pen.textAlign = "center";
      pen.strokeStyle = c.line; pen.fillStyle = c.soft;
      for (let at = 0, step = tick(); at <= end; at += step) {
        pen.beginPath(); pen.moveTo(x(at), top); pen.lineTo(x(at), height - bottom); pen.stroke();
        pen.textAlign = at === 0 ? "left" : x(at) > width - 30 ? "right" : "center";
        pen.fillText(at === 0 ? "0" : shortMs(at).replace(/\.?0+ /, " "), x(at), height - 4);
      }
      pen.beginPath(); pen.moveTo(x(0), y(0));
      let last = 0;
      for (let i = 0; i < data.curve.length; i += 2) { pen.lineTo(x(data.curve[i]), y(last)); last = data.curve[i + 1]; pen.lineTo(x(data.curve[i]), y(last)); }
      pen.lineTo(x(end), y(last));
      pen.strokeStyle = c.settled; pen.lineWidth = 1.6; pen.stroke();
      pen.lineTo(x(end), y(0)); pen.closePath(); pen.fillStyle = c.wash; pen.fill();
      let before = -Infinity;
      data.events.forEach((event, number) => {
        const at = x(event.at_ms);
        pen.strokeStyle = c.accent; pen.globalAlpha = 0.55; pen.lineWidth = 1;
        pen.beginPath(); pen.moveTo(at, top - 4); pen.lineTo(at, height - bottom); pen.stroke(); pen.globalAlpha = 1;
        if (at - before > 18) { pen.fillStyle = c.accent; pen.textAlign = "center"; pen.fillText(String(number + 1), Math.max(8, Math.min(width - 8, at)), top - 7); before = at; }
      });
      for (const failure of data.failures) { pen.fillStyle = c.bad; pen.textAlign = "center"; pen.fillText("✕", x(failure.at_ms), height - bottom - 2); }
      pen.strokeStyle = c.ink; pen.lineWidth = 1.5; pen.beginPath(); pen.moveTo(x(t), top - 4); pen.lineTo(x(t), height - bottom + 3); pen.stroke();
    };
    const timeAt = (e) => { const box = canvas.getBoundingClientRect(); return Math.min(end, Math.max(0, (e.clientX - box.left - pad) / (width - 2 * pad) * end)); };
    let held = false;
    canvas.addEventListener("pointerdown", (e) => { held = true; canvas.setPointerCapture(e.pointerId); clock.seek(timeAt(e)); });
    canvas.addEventListener("pointermove", (e) => { if (held) clock.seek(timeAt(e)); });
    for (const over of ["pointerup", "pointercancel"]) canvas.addEventListener(over, () => { held = false; });
    return { draw, resize };
  })();

  // ---- The clock ------------------------------------------------------------------------------------------------
  const clock = (() => {
    const slider = $("slider"), play = $("play"), speed = $("speed"), slow = $("slow");
    const self = { now: 0, playing: false };
    slider.max = String(Math.ceil(end)); slider.step = String(Math.max(1, Math.round(end / 5000)));
    const speeds = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250];
    const usual = speeds.reduce((best, s) => Math.abs(Math.log(s * 20000 / end)) < Math.abs(Math.log(best * 20000 / end)) ? s : best);
    for (const s of speeds) { const option = make("option", `${s}×`); option.value = String(s); option.selected = s === usual; speed.append(option); }
    // How fast virtual time runs: after an event, so slowly that its settling takes about two seconds to watch.
    self.rate = () => {
      const chosen = Number(speed.value);
      if (!slow.checked) return chosen;
      for (const event of data.events) {
        if (!event.converged_ms) continue;
        const span = Math.max(150, 1.2 * event.converged_ms[2]);
        if (self.now >= event.at_ms && self.now < event.at_ms + span) return Math.min(chosen, span / 2000);
      }
      return chosen;
    };
    self.seek = (t) => { self.now = Math.min(end, Math.max(0, t)); refresh(); };
    self.toggle = (on) => {
      self.playing = on;
      play.textContent = on ? "⏸" : "▶";
      if (!on) return;
      if (self.now >= end) self.now = 0;
      let before = performance.now();
      const step = (wall) => {
        if (!self.playing) return;
        self.now = Math.min(end, self.now + Math.min(100, Math.max(0, wall - before)) * self.rate());
        before = wall;
        if (self.now >= end) self.toggle(false);
        refresh();
        requestAnimationFrame(step);
      };
      requestAnimationFrame(step);
    };
    self.jump = (forward) => {
      const times = data.events.map((event) => event.at_ms);
      const to = forward ? times.find((t) => t > self.now + 0.5) ?? end : times.filter((t) => t < self.now - 0.5).pop() ?? 0;
      self.seek(to);
    };
    slider.oninput = () => self.seek(Number(slider.value));
    play.onclick = () => self.toggle(!self.playing);
    $("back").onclick = () => self.jump(false);
    $("next").onclick = () => self.jump(true);
    document.addEventListener("keydown", (e) => {
      if (e.target.closest("select, button, input[type=checkbox]")) return;
      if (e.key === " ") { e.preventDefault(); self.toggle(!self.playing); }
      if (e.shiftKey && (e.key === "ArrowRight" || e.key === "ArrowLeft")) { e.preventDefault(); self.jump(e.key === "ArrowRight"); }
    });
    return self;
  })();

  // ---- Everything else ------------------------------------------------------------------------------------------
  const rows = [];
  const fillIn = () => {
    $("name").textContent = data.name;
    $("about").textContent = data.about;
    const verdict = $("verdict");
    verdict.textContent = data.ok ? "all held" : `${data.failures.length} failed`;
    if (!data.ok) verdict.classList.add("bad");
    const figure = (what, much) => { const box = make("div"); box.append(make("dt", what), make("dd", much)); return box; };
    $("figures").append(figure("routers", String(count)), ...(data.figures.some(([what]) => what === "virtual time") ? [] : [figure("virtual time", shortMs(end))]), figure("seed", data.seed), ...data.figures.map(([what, much]) => figure(what, much)));
    data.events.forEach((event, number) => {
      const tr = make("tr"), what = make("td"), go = make("button", event.what);
      what.append(go);
      const settled = event.converged_ms || [null, null, null];
      tr.append(make("td", String(number + 1), "number"), make("td", shortMs(event.at_ms), "number"), what,
        ...settled.map((ms) => make("td", ms === null ? "–" : shortMs(ms), "number")),
        make("td", event.bytes_per_router === null ? "–" : bytes(event.bytes_per_router), "number"));
      tr.onclick = () => clock.seek(event.at_ms);
      rows.push(tr);
    });
    $("events").append(...rows);
    $("failed").hidden = data.ok;
    $("failures").append(...data.failures.map((failure) => {
      const tr = make("tr"), replay = make("td");
      replay.append(make("code", failure.replay));
      tr.append(make("td", shortMs(failure.at_ms), "number"), make("td", failure.expected), make("td", failure.seen), replay);
      return tr;
    }));
    const stopped = data.stopped_ms === null ? "" : ` Too much changed to keep: nothing is drawn after ${shortMs(data.stopped_ms)}.`;
    $("footer").textContent = `Trace ${data.trace_hash}. The same seed and the same version of weft give the same run.${stopped}`;
    $("theme").onclick = () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      refresh();
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh());
  };

  let asked = false, first = true;
  function refresh() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; paint(); });
  }
  function paint() {
    const t = clock.now;
    if (graph.seek(t) || first) stage.legend();
    // What came or went within the last half second of watching is shown as news.
    stage.draw(t, Math.max(40, 500 * clock.rate()));
    strip.draw(t);
    $("slider").value = String(t);
    $("clock").textContent = `${(t / 1000).toFixed(end < 60000 ? 2 : 1)} s`;
    let current = -1;
    data.events.forEach((event, number) => { if (event.at_ms <= t) current = number; });
    $("happening").textContent = current < 0 ? "" : data.events[current].what;
    rows.forEach((row, number) => row.classList.toggle("now", number === current));
    first = false;
  }
  fillIn();
  const resize = () => { stage.resize(); strip.resize(); paint(); };
  new ResizeObserver(resize).observe($("stage"));
  // #at=MS opens the page at that time; otherwise it plays, unless the system asks for stillness.
  const at = /^#at=(\d+)$/.exec(location.hash);
  if (at) clock.now = Math.min(end, Number(at[1]));
  resize();
  root.dataset.rendered = "yes";
  if (!at && !still) clock.toggle(true);
})();
