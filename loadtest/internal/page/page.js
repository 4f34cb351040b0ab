'use strict';
// Draws the charts from the data in the page. They share a time axis: the cursor
// and the part that is shown are the same in all of them.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = id => document.getElementById(id);
  const root = document.documentElement;
  const times = Float64Array.from({length: data.points}, (_, i) => i * data.step);
  const end = Math.max(data.seconds, 1);
  const charts = [];
  const hidden = new Set();

  // element makes an HTML element; its children are nodes or text, never markup.
  function element(name, attributes, ...children) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    e.append(...children);
    return e;
  }

  let theme = {};
  const colour = name => theme[name] ??= getComputedStyle(root).getPropertyValue('--' + name).trim();
  const faded = (name, alpha) => colour(name) + alpha; // alpha is two hexadecimal digits

  function clock(t) {
    const s = Math.round(t), two = n => String(n).padStart(2, '0');
    return s >= 3600 ? Math.floor(s / 3600) + ':' + two(Math.floor(s / 60) % 60) + ':' + two(s % 60) : Math.floor(s / 60) + ':' + two(s % 60);
  }
  const short = x => x == null ? '–' : Math.abs(x) >= 1000 ? String(Math.round(x)) : String(+x.toPrecision(3));

  // Lone seconds between two gaps would not be seen as a line.
  function lone(u, index) {
    const values = u.data[index];
    const found = [];
    for (let i = 0; i < values.length; i++) {
      if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
    }
    return found.length ? found : null;
  }

  function series(l) {
    const name = 'c' + l.colour;
    return {
      label: l.name, scale: 'y', show: !hidden.has(l.group), spanGaps: false,
      width: l.thin ? 1 : 2, alpha: l.thin ? 0.55 : 1,
      dash: l.dashed ? [7, 5] : undefined,
      stroke: () => colour(name),
      fill: l.area ? () => faded(name, '30') : undefined,
      paths: l.steps ? uPlot.paths.stepped({align: 1}) : undefined,
      points: {show: false, filter: lone, size: 4, fill: () => colour(name)},
    };
  }

  function stretch(u, from, to, style) {
    const {left, width, top, height} = u.bbox;
    const a = Math.max(u.valToPos(from, 'x', true), left), b = Math.min(u.valToPos(to, 'x', true), left + width);
    if (b <= a) return;
    u.ctx.fillStyle = style;
    u.ctx.fillRect(a, top, Math.max(b - a, 1), height);
  }

  function under(u, c) {
    u.ctx.save();
    for (const s of data.spans) stretch(u, s.from, s.to, colour('shade'));
    if (c.alarm && !hidden.has(c.alarm.group)) {
      c.alarm.values.forEach((n, i) => { if (n > 0) stretch(u, times[i], times[i] + data.step, faded('bad', '2a')); });
    }
    u.ctx.restore();
  }

  function over(u, c) {
    const {ctx} = u, {left, width, top, height} = u.bbox, dot = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top - 9 * dot, width, height + 10 * dot);
    ctx.clip();
    if (c.alarm && !hidden.has(c.alarm.group)) {
      ctx.fillStyle = colour('bad');
      c.alarm.values.forEach((n, i) => {
        if (!(n > 0)) return;
        const a = u.valToPos(times[i], 'x', true), b = u.valToPos(times[i] + data.step, 'x', true);
        ctx.fillRect(a, top + height - 4 * dot, Math.max(b - a, dot), 4 * dot);
      });
    }
    ctx.strokeStyle = colour('bad');
    ctx.lineWidth = 1.5 * dot;
    ctx.setLineDash([6 * dot, 4 * dot]);
    for (const l of c.levels) {
      const y = Math.round(u.valToPos(l.value, 'y', true));
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + width, y);
      ctx.stroke();
    }
    ctx.setLineDash([2 * dot, 3 * dot]);
    ctx.strokeStyle = faded('ink', '55');
    ctx.fillStyle = colour('ink');
    ctx.lineWidth = dot;
    for (const m of data.marks) {
      const x = Math.round(u.valToPos(m.at, 'x', true)), r = 4.5 * dot;
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x, m.up ? top - 2 * r : top);
      ctx.lineTo(x - r, m.up ? top : top - 2 * r);
      ctx.lineTo(x + r, m.up ? top : top - 2 * r);
      ctx.fill();
    }
    ctx.restore();
  }

  const height = c => c.wide ? 230 : 160;

  function build(c) {
    c.lines ??= [];
    c.levels ??= [];
    const caption = element('figcaption', {}, element('b', {}, c.title), element('span', {class: 'unit'}, c.unit));
    const keys = new Map(); // of each group, the last line is the one whose value is told
    for (const l of c.lines) {
      if (!l.values.some(x => x != null)) continue;
      keys.set(l.group, l);
    }
    for (const [group, l] of keys) caption.append(toggle(group, l, (l.area ? 'area ' : l.dashed ? 'dashed ' : '') + 'c' + l.colour));
    if (c.alarm) caption.append(toggle(c.alarm.group, c.alarm, 'alarm'));
    for (const l of c.levels) caption.append(element('span', {class: 'key'}, element('i', {class: 'level'}), l.name));
    if (c.wide && data.marks.some(m => m.up)) caption.append(element('span', {class: 'key'}, element('i', {class: 'mark'}, '▲'), 'scaled out'));
    if (c.wide && data.marks.some(m => !m.up)) caption.append(element('span', {class: 'key'}, element('i', {class: 'mark'}, '▼'), 'scaled in'));
    c.told = [...keys.values(), ...(c.alarm ? [c.alarm] : [])];
    c.body = element('div', {class: 'plot'});
    if (!keys.size) caption.append(element('span', {class: 'unit'}, 'not measured'));
    $('charts').append(element('figure', {id: c.id, class: c.wide || c.alone ? 'wide' : ''}, caption, c.body));
    const axis = {stroke: () => colour('soft'), grid: {stroke: () => colour('grid'), width: 1}, ticks: {show: false}, font: '12px system-ui, sans-serif'};
    const reach = Math.max(c.atLeast, ...c.levels.map(l => l.value));
    c.plot = new uPlot({
      width: c.body.clientWidth, height: height(c), padding: [12, 20, 0, 0], legend: {show: false},
      cursor: {
        y: false, drag: {x: true, y: false, dist: 4}, points: {size: 7, width: 0},
        sync: {key: 'time', setSeries: false, scales: ['x', null], filters: {pub: type => type === 'mousemove' || type === 'mouseleave'}},
      },
      scales: {
        x: {time: false, range: (u, min, max) => min == null || min === max ? [0, end] : [min, max]},
        y: c.log ? {distr: 3, range: (u, min, max) => { const r = uPlot.rangeLog(min ?? 1, Math.max(max ?? 1, reach), 10, true); return [r[0], r[1]]; }}
          : {range: (u, min, max) => [0, Math.max(max ?? 0, reach) * 1.06 || 1]},
      },
      axes: [
        {...axis, size: 26, space: 64, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400], values: (u, all) => all.map(clock)},
        {...axis, size: 54, space: c.wide ? 34 : 28, values: (u, all) => all.map(x => x == null ? '' : short(x))},
      ],
      series: [{}, ...c.lines.map(series)],
      hooks: {
        drawClear: [u => under(u, c)],
        draw: [u => over(u, c)],
        setCursor: [u => tell(c, u.cursor.idx)],
        setScale: [(u, key) => { if (key === 'x') follow(c); }],
      },
    }, [times, ...c.lines.map(l => l.values)], c.body);
    c.tip = element('div', {class: 'tip', role: 'status', hidden: ''});
    c.plot.over.append(c.tip);
    c.plot.over.addEventListener('mousemove', event => point(c, event));
    c.plot.over.addEventListener('mouseleave', () => { c.tip.hidden = true; });
    c.plot.over.addEventListener('dblclick', () => show(0, end));
    charts.push(c);
  }

  function toggle(group, l, swatch) {
    l.out = element('output', {});
    const key = element('button', {type: 'button', class: 'key', 'aria-pressed': 'true', 'data-group': group}, element('i', {class: swatch}), group + ' ', l.out);
    key.addEventListener('click', () => {
      hidden.has(group) ? hidden.delete(group) : hidden.add(group);
      for (const k of document.querySelectorAll('.key[data-group]')) k.setAttribute('aria-pressed', String(!hidden.has(k.dataset.group)));
      for (const c of charts) {
        c.plot.batch(() => c.lines.forEach((l, i) => c.plot.setSeries(i + 1, {show: !hidden.has(l.group)})));
        c.plot.redraw(false);
      }
    });
    return key;
  }

  // tell writes the values at the cursor beside their names.
  function tell(c, index) {
    for (const l of c.told) l.out.textContent = index == null ? '' : short(l.values[index]);
    $('at').textContent = index == null ? '–' : clock(times[index]);
  }

  // point shows what was decided near the pointer.
  function point(c, event) {
    const at = event.clientX - c.plot.over.getBoundingClientRect().left;
    const near = data.marks.filter(m => Math.abs(c.plot.valToPos(m.at, 'x') - at) <= 7);
    c.tip.hidden = !near.length;
    if (!near.length) return;
    c.tip.textContent = near.map(m => clock(m.at) + '  ' + m.text).join('\n');
    c.tip.style.left = Math.max(0, Math.min(at + 10, c.plot.over.clientWidth - c.tip.offsetWidth)) + 'px';
  }

  let following = false;
  // follow gives all charts the part that one of them shows.
  function follow(c) {
    if (following || charts.length < data.charts.length) return;
    const {min, max} = c.plot.scales.x;
    following = true;
    for (const other of charts) if (other !== c) other.plot.setScale('x', {min, max});
    following = false;
    $('shown').textContent = clock(min) + ' – ' + clock(max);
  }

  function show(min, max) {
    const length = Math.min(Math.max(max - min, 5), end);
    const from = Math.min(Math.max(min, 0), end - length);
    charts[0].plot.setScale('x', {min: from, max: from + length});
  }
  function move(by, zoom) {
    const {min, max} = charts[0].plot.scales.x, middle = (min + max) / 2 + by * (max - min), half = (max - min) / 2 * zoom;
    show(middle - half, middle + half);
  }

  function resize() {
    for (const c of charts) c.plot.setSize({width: c.body.clientWidth, height: height(c)});
  }
  function repaint() {
    theme = {};
    for (const c of charts) c.plot.redraw(false, true);
  }

  data.marks ??= [];
  data.spans ??= [];
  // The last of an odd number of narrow charts has the row for itself.
  const narrow = data.charts.filter(c => !c.wide);
  if (narrow.length % 2) narrow.at(-1).alone = true;
  for (const c of data.charts) build(c);
  show(0, end);
  $('whole').addEventListener('click', () => show(0, end));
  $('in').addEventListener('click', () => move(0, 0.5));
  $('out').addEventListener('click', () => move(0, 2));
  $('back').addEventListener('click', () => move(-0.5, 1));
  $('on').addEventListener('click', () => move(0.5, 1));
  new ResizeObserver(resize).observe($('charts'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  // On paper everything is light, and as wide as the paper.
  addEventListener('beforeprint', () => {
    root.classList.add('paper');
    repaint();
    for (const c of charts) c.plot.setSize({width: 680, height: height(c)});
  });
  addEventListener('afterprint', () => {
    root.classList.remove('paper');
    repaint();
    resize();
  });
})();
