'use strict';
// Follows the scaler's decisions: asks for what is new every two seconds and draws it.

const every = 2000, most = 1000, rowsShown = 100;
const source = location.pathname.endsWith('/debug/decisions') ? location.pathname : location.pathname + 'debug/decisions';
const $ = id => document.getElementById(id);
let entries = []; // oldest first
let config = {}, started = '', minutes = 10, pointed = null, answered = 0;

// element makes an HTML element; its children are nodes or text, never markup.
function element(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}
function shape(name, attributes, ...children) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

const clock = t => new Date(t).toLocaleTimeString([], {hour12: false});
const short = x => x === null ? '–' : String(+x.toFixed(x >= 100 ? 0 : x >= 10 ? 1 : 2));
const words = s => s.replaceAll('_', ' ');
const signal = (e, name) => e.snapshot.signals[name].state === 'ok' ? e.snapshot.signals[name].value : null;
const starting = e => (e.snapshot.starting || []).reduce((n, c) => n + c.count, 0);

// known is a rate, null for the 0 that stands for one that nobody knows.
const known = (e, rate) => rate > 0 || signal(e, 'arrival_short') !== null ? rate : null;

// modelled is the model's latency in ms, null where there is none to speak of.
function modelled(e) {
  const {rate, latencyModel} = e.decision.terms;
  return rate > 0 && latencyModel > 0 ? latencyModel * 1000 : null;
}

const charts = [
  {title: 'Replicas', unit: '', whole: true, marks: true, lines: [
    {name: 'ready', colour: 'green', step: true, area: true, value: e => e.snapshot.ready},
    {name: 'told to have', colour: 'grey', style: 'dash', step: true, value: e => e.snapshot.spec},
    {name: 'desired', colour: 'blue', step: true, value: e => e.decision.replicas},
  ]},
  {title: 'Arrivals', unit: 'requests/s', lines: [
    {name: 'last seconds', colour: 'grey', style: 'thin', value: e => signal(e, 'arrival_short')},
    {name: 'measured', colour: 'green', value: e => known(e, e.decision.terms.level)},
    {name: 'planned for', colour: 'blue', value: e => known(e, e.decision.terms.rate)},
  ]},
  {title: 'Latency', unit: 'ms', lines: [
    {name: 'promised', colour: 'red', style: 'dash', value: () => config.slo / 1e6},
    {name: 'by the model', colour: 'orange', style: 'thin', value: modelled},
    {name: 'measured', colour: 'blue', value: e => { const s = signal(e, 'latency_quantile'); return s === null ? null : s * 1000; }},
  ]},
  {title: 'Requests inside', unit: '', whole: true, lines: [
    {name: 'being served', colour: 'green', style: 'thin', value: e => signal(e, 'in_flight')},
    {name: 'backlog', colour: 'orange', value: e => signal(e, 'backlog')},
  ]},
];

function build() {
  for (const c of charts) {
    const caption = element('figcaption', {}, c.name = element('b', {}));
    for (const l of c.lines) {
      l.out = element('output');
      caption.append(element('span', {class: 'key'}, element('i', {class: l.colour + ' ' + (l.style || '')}), l.name + ' ', l.out));
    }
    if (c.marks) {
      caption.append(element('span', {class: 'key'}, element('span', {class: 'blue'}, '▲▼'), ' scaled'),
        element('span', {class: 'key'}, element('i', {class: 'box'}), 'more CPU while replicas start'));
    }
    c.svg = shape('svg', {role: 'img', 'aria-label': c.title});
    c.svg.addEventListener('pointermove', point);
    c.svg.addEventListener('pointerleave', () => { pointed = null; draw(); });
    $('charts').append(element('figure', {}, caption, c.svg));
  }
  for (const b of document.querySelectorAll('nav button')) {
    b.addEventListener('click', () => { minutes = +b.dataset.minutes; draw(); });
  }
  $('every').addEventListener('change', list);
  $('json').href = source + '?limit=' + most;
  addEventListener('resize', draw);
}

const margin = {left: 44, right: 26, top: 8, bottom: 20};
let span = {from: 0, to: 1, width: 1};
const x = t => margin.left + (t - span.from) / (span.to - span.from) * (span.width - margin.left - margin.right);

function point(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const t = span.from + (event.clientX - box.left - margin.left) / (span.width - margin.left - margin.right) * (span.to - span.from);
  pointed = shown().reduce((best, e) => !best || Math.abs(e.t - t) < Math.abs(best.t - t) ? e : best, null);
  draw();
}

function shown() {
  const last = entries.length ? entries[entries.length - 1].t : 0;
  return minutes ? entries.filter(e => e.t >= last - minutes * 60000) : entries;
}

// steps are round numbers from 0 to most, at most five of them.
function steps(most, whole) {
  let step = Math.pow(10, Math.floor(Math.log10(most / 4)));
  for (const f of [1, 2, 5, 10]) if (most / (step * f) <= 4) { step *= f; break; }
  if (whole) step = Math.max(1, Math.round(step));
  const out = [];
  for (let v = 0; v < most + step * 0.999; v += step) out.push(v);
  return out;
}

// times are round times between two, at most n of them.
function times(from, to, n) {
  const step = [5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400].find(s => (to - from) / (s * 1000) <= n) || 86400;
  const out = [];
  for (let t = Math.ceil(from / (step * 1000)) * step * 1000; t <= to; t += step * 1000) out.push(t);
  return out;
}

function draw() {
  for (const b of document.querySelectorAll('nav button')) b.setAttribute('aria-pressed', +b.dataset.minutes === minutes);
  const seen = shown();
  if (!seen.length) return;
  span = {from: seen[0].t, to: Math.max(seen[seen.length - 1].t, seen[0].t + 30000), width: charts[0].svg.clientWidth || 900};
  charts[2].title = 'Latency at the ' + short(config.quantile * 100) + 'th percentile';
  for (const c of charts) drawChart(c, seen);
}

function drawChart(c, seen) {
  const height = c.svg.clientHeight || 132, bottom = height - margin.bottom;
  c.name.textContent = c.title + (c.unit ? ', ' + c.unit : '');
  c.svg.setAttribute('viewBox', `0 0 ${span.width} ${height}`);
  let top = c.whole ? 2 : 1;
  for (const l of c.lines) for (const e of seen) top = Math.max(top, l.value(e) || 0);
  const levels = steps(top, c.whole), highest = levels[levels.length - 1];
  const y = v => bottom - v / highest * (bottom - margin.top);
  const parts = [];
  for (const v of levels) {
    parts.push(shape('line', {class: 'grid', x1: margin.left, x2: span.width - margin.right, y1: y(v), y2: y(v)}));
    parts.push(shape('text', {x: margin.left - 6, y: y(v) + 4, 'text-anchor': 'end'}, short(v)));
  }
  for (const t of times(span.from, span.to, Math.max(2, Math.min(8, span.width / 130)))) {
    parts.push(shape('line', {class: 'grid', x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4}));
    parts.push(shape('text', {x: x(t), y: height - 3, 'text-anchor': 'middle'}, clock(t)));
  }
  if (c.marks) parts.push(...raised(seen, bottom));
  for (const l of c.lines) {
    if (l.area) parts.push(shape('path', {class: 'area', d: path(l, seen, y, bottom)}));
    parts.push(shape('path', {class: l.colour + ' ' + (l.style || ''), d: path(l, seen, y)}));
    l.out.textContent = short(l.value(pointed || seen[seen.length - 1]));
  }
  if (c.marks) {
    for (const e of seen) {
      if (!e.wrote && !e.error) continue;
      const up = e.decision.replicas > e.snapshot.spec ? 1 : -1, at = y(e.decision.replicas);
      parts.push(shape('path', {class: e.error ? 'mark bad' : 'mark', d: `M${x(e.t) - 5} ${at + up * 4}h10l-5 ${-up * 9}z`},
        shape('title', {}, `${clock(e.t)} ${e.snapshot.spec} → ${e.decision.replicas}: ${e.error || e.decision.sentence}`)));
    }
  }
  if (pointed) parts.push(shape('line', {class: 'cross', x1: x(pointed.t), x2: x(pointed.t), y1: margin.top, y2: bottom}));
  c.svg.replaceChildren(...parts);
}

// path draws a line, with a gap where there is no value or nobody has looked.
function path(line, seen, y, floor) {
  const gap = Math.max(5 * config.tick / 1e6, 5000);
  let d = '', before = null;
  const close = () => { if (floor && before) d += `V${floor}`; };
  for (const e of seen) {
    const v = line.value(e);
    if (v === null || before && e.t - before > gap) { close(); before = null; }
    if (v === null) continue;
    const px = x(e.t).toFixed(1), py = y(v).toFixed(1);
    if (!before) d += floor ? `M${px} ${floor}V${py}` : `M${px} ${py}`;
    else d += line.step ? `H${px}V${py}` : `L${px} ${py}`;
    before = e.t;
  }
  close();
  return d;
}

// raised shades when the bridge gave replicas more CPU.
function raised(seen, bottom) {
  const out = [];
  let from = null;
  seen.forEach((e, i) => {
    const is = e.decision.cpuFactor > 1, last = i === seen.length - 1;
    if (is && from === null) from = e;
    if (from !== null && (!is || last)) {
      out.push(shape('rect', {class: 'shade', x: x(from.t), y: margin.top, width: Math.max(2, x(e.t) - x(from.t)), height: bottom - margin.top},
        shape('title', {}, `more CPU while replicas start, ${clock(from.t)} to ${clock(e.t)}`)));
      from = null;
    }
  });
  return out;
}

const kinds = {
  demand: 'act', forecast: 'act', backlog: 'act', latency: 'act', woken: 'act', scale_in: 'act', to_zero: 'act', below_min: 'act', above_max: 'act',
  slo_infeasible: 'bad', hold_untrusted: 'bad', fallback: 'bad', disabled: 'bad',
  at_max: 'warn', paused: 'warn', floor: 'warn', ceiling: 'warn', steady: 'good', idle: 'good',
};
const pill = (text, kind) => element('span', {class: 'pill ' + (kind || '')}, text);

function status(rec) {
  const e = entries[entries.length - 1];
  if (!e) return;
  $('target').textContent = rec.target;
  $('pills').replaceChildren(
    e.leader ? pill('leader', 'good') : pill('follower'),
    e.mode === 'active' ? '' : pill(e.mode, 'warn'),
    e.decision.cpuFactor > 1 ? pill(`CPU × ${short(e.decision.cpuFactor)}`, 'act') : '',
    element('span', {class: 'age'}, `${rec.scaler} ${rec.version}`));
  const {spec, ready} = e.snapshot, to = e.decision.replicas;
  const counts = [`${ready} ready`];
  if (starting(e)) counts.push(`${starting(e)} starting`);
  counts.push(`${config.min} to ${config.max} allowed`);
  $('count').replaceChildren(to === spec ? `${spec} replica${spec === 1 ? '' : 's'}` : `${spec} → ${to} replicas`,
    pill(words(e.decision.reason), kinds[e.decision.reason]), element('small', {}, counts.join(', ')));
  $('why').textContent = e.decision.sentence + '.';
}

function done(e) {
  if (e.error) return pill('failed', 'bad');
  if (e.wrote) return pill('scaled', 'good');
  if (e.decision.replicas === e.snapshot.spec) return '';
  return pill(e.leader ? e.mode : 'follower');
}

// list fills the table, newest first. Decisions that say the same again share a row.
function list() {
  const single = $('every').checked, groups = [];
  const same = e => [e.snapshot.spec, e.decision.replicas, e.decision.reason, e.decision.limiter, e.leader, e.mode, e.wrote, e.error].join();
  for (let i = entries.length - 1; i >= 0 && groups.length <= rowsShown; i--) {
    const last = groups[groups.length - 1], e = entries[i];
    if (!single && last && same(last.newest) === same(e)) {
      last.oldest = e;
      last.notes.unshift(...(e.notes || []));
      last.n++;
    } else groups.push({newest: e, oldest: e, n: 1, notes: e.notes || []});
  }
  $('rows').replaceChildren(...groups.slice(0, rowsShown).map(({newest: e, oldest, n, notes}) => {
    const d = e.decision;
    const why = element('td', {class: 'why'}, d.sentence, ...notes.map(s => element('div', {}, s)), e.error ? element('div', {}, e.error) : '');
    return element('tr', {},
      element('td', {}, clock(oldest.t), n > 1 ? element('span', {class: 'age'}, ` – ${clock(e.t)} (${n})`) : ''),
      element('td', {}, element('b', {}, e.snapshot.spec === d.replicas ? String(d.replicas) : `${e.snapshot.spec} → ${d.replicas}`)),
      element('td', {}, String(e.snapshot.ready)),
      element('td', {}, `${short(d.terms.rate)}/s`),
      element('td', {}, pill(words(d.reason), kinds[d.reason])),
      element('td', {}, d.limiter === 'none' ? '' : words(d.limiter)),
      why, element('td', {}, done(e)));
  }));
}

async function ask() {
  const last = entries.length ? entries[entries.length - 1].seq : 0;
  try {
    const answer = await fetch(source + (last ? '?after=' + last : '?limit=' + most), {headers: {Accept: 'application/json'}});
    if (!answer.ok) throw new Error(await answer.text());
    take(await answer.json());
    answered = Date.now();
    $('ask').className = '';
    $('ask').textContent = 'as of ' + clock(answered);
  } catch (problem) {
    $('ask').className = 'bad';
    $('ask').textContent = answered ? `no answer since ${clock(answered)}` : `no answer: ${problem.message}`;
  }
  setTimeout(ask, every);
}

function take(rec) {
  if (rec.started !== started) { // another process, or the first answer
    const fresh = started !== '';
    started = rec.started;
    entries = [];
    if (fresh) return;
  }
  config = rec.config;
  const news = rec.decisions.toReversed();
  for (const e of news) {
    e.t = Date.parse(e.at);
    if (e.config) config = e.config;
  }
  entries = entries.concat(news).slice(-most);
  if (!news.length) return;
  status(rec);
  draw();
  list();
}

build();
draw();
ask();
