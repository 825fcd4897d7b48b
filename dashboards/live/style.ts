/** Dense and calm: colour is for what matters. One column below 1,000 px; light or dark. Works down to 320 px. */
const LIGHT = `
  color-scheme: light;
  --back: #f4f6f8; --card: #ffffff; --raised: #f7f9fb; --line: #dfe4ea; --text: #17202a; --quiet: #586472;
  --accent: #1a5fcc; --expected: #8592a3; --band: rgb(26 95 204 / .10); --band-edge: rgb(26 95 204 / .28);
  --good: #18794e; --warn: #8f5b00; --bad: #c62828; --bad-wash: rgb(198 40 40 / .09); --warn-wash: rgb(143 91 0 / .09);
  --shadow: 0 1px 2px rgb(20 30 40 / .06);`
const DARK = `
  color-scheme: dark;
  --back: #0e1217; --card: #151b22; --raised: #1b222b; --line: #28313c; --text: #e4e9ef; --quiet: #97a4b3;
  --accent: #5aa9ff; --expected: #7f8ea1; --band: rgb(90 169 255 / .13); --band-edge: rgb(90 169 255 / .32);
  --good: #4cc38a; --warn: #f0b429; --bad: #ff7b72; --bad-wash: rgb(255 107 107 / .13); --warn-wash: rgb(240 180 41 / .10);
  --shadow: none;`

export const PAGE_STYLE = `:root {${LIGHT}
}
@media (prefers-color-scheme: dark) {
  :root {${DARK}
  }
}
:root[data-theme="light"] {${LIGHT}
}
:root[data-theme="dark"] {${DARK}
}
* { box-sizing: border-box; }
html { scroll-padding-top: 60px; }
[hidden] { display: none !important; }
body {
  margin: 0; font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  color: var(--text); background: var(--back); -webkit-text-size-adjust: 100%;
}
h1, h2, h3, p, ul, ol, dl, dd { margin: 0; padding: 0; }
ul, ol { list-style: none; }
a { color: var(--accent); }
button, input { font: inherit; color: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip { position: absolute; left: -999px; top: 0; z-index: 5; padding: .5rem .75rem; background: var(--card); }
.skip:focus { left: .5rem; top: .5rem; }
.quiet { color: var(--quiet); }
kbd {
  padding: 0 .4em; border: 1px solid var(--line); border-radius: 4px; background: var(--raised); color: var(--quiet);
  font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, monospace;
}

.bar {
  position: sticky; top: 0; z-index: 3; display: flex; align-items: center; gap: .75rem; padding: .5rem 1.25rem;
  background: var(--card); border-bottom: 1px solid var(--line);
}
h1 { display: flex; align-items: center; gap: .5rem; font-size: 1.05rem; font-weight: 650; letter-spacing: -.01em; }
.bar .about { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: .85rem; }
.tools { display: flex; gap: .4rem; margin-left: auto; }
.button {
  min-height: 32px; padding: 0 .75rem; border: 1px solid var(--line); border-radius: 7px; background: var(--raised);
  cursor: pointer; font-weight: 500; white-space: nowrap; font-variant-numeric: tabular-nums;
}
.button:hover, .chip:hover { border-color: var(--quiet); }
.button[aria-disabled="true"] { color: var(--warn); border-color: var(--warn); background: var(--warn-wash); cursor: default; }
.icon { display: inline-grid; place-items: center; min-width: 32px; padding: 0; }
.icon svg { fill: currentColor; }
.icon circle { fill: none; stroke: currentColor; stroke-width: 1.5; }
.pill {
  display: inline-flex; align-items: center; gap: .4em; color: var(--quiet); font-size: .8rem; font-weight: 600; white-space: nowrap;
}
.pill::before { content: ""; width: .55em; height: .55em; border-radius: 50%; background: currentColor; }
.pill.good { color: var(--good); }
.mark { border: 1px solid currentColor; border-radius: 4px; padding: 0 .4em; font-size: .75rem; color: var(--quiet); }
.mark.critical { color: var(--bad); font-weight: 600; }
.pill.pending { color: var(--warn); }
.pill.firing { color: var(--bad); }
.pill.resolved { color: var(--good); }
.pill.resolved::before { background: none; box-shadow: inset 0 0 0 2px currentColor; }

main { max-width: 1720px; margin: 0 auto; padding: 1rem 1.25rem 0; }
.problem { margin-bottom: .75rem; padding: .5rem .75rem; border: 1px solid var(--bad); border-radius: 7px; color: var(--bad); background: var(--bad-wash); }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(104px, 1fr)); gap: 1px; overflow: hidden;
  border: 1px solid var(--line); border-radius: 10px; background: var(--line); box-shadow: var(--shadow);
}
.tile { padding: .5rem .8rem .55rem; background: var(--card); }
dt { color: var(--quiet); font-size: .78rem; }
.tile dd { font-size: 1.25rem; font-weight: 600; letter-spacing: -.01em; line-height: 1.25; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tile.firing { background: linear-gradient(var(--bad-wash), var(--bad-wash)), var(--card); }
.tile.firing dd { color: var(--bad); }

.columns { display: grid; grid-template-columns: minmax(0, 1fr) 350px; gap: 1.25rem; align-items: start; }
.section-head { display: flex; align-items: center; gap: .75rem; min-height: 34px; margin: 1.1rem 0 .5rem; }
h2 { font-size: 1rem; font-weight: 650; }
h3 { font-size: .85rem; font-weight: 600; }
.search { position: relative; flex: 0 1 260px; margin-left: auto; }
.search input {
  width: 100%; height: 32px; padding: 0 2rem 0 .7rem; border: 1px solid var(--line); border-radius: 7px; background: var(--card);
}
.search input::placeholder { color: var(--quiet); opacity: 1; }
.search kbd { position: absolute; right: .5rem; top: 6px; pointer-events: none; }
.search input:focus + kbd { display: none; }
.chips { display: flex; flex-wrap: wrap; gap: .3rem; }
.chip {
  min-height: 30px; padding: 0 .65rem; border: 1px solid var(--line); border-radius: 7px; background: var(--card); color: var(--quiet);
  cursor: pointer; white-space: nowrap; font-size: .85rem;
}
.chip[aria-pressed="true"] { color: var(--text); border-color: var(--accent); background: linear-gradient(var(--band), var(--band)), var(--card); }

#series { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(236px, 100%), 1fr)); grid-auto-flow: row dense; gap: .9rem 10px; align-items: start; }
.pipeline-cards { display: grid; grid-template-columns: subgrid; min-width: 0; }
.pipeline-cards > header { display: flex; align-items: baseline; gap: .5rem; grid-column: 1 / -1; min-width: 0; white-space: nowrap; }
.pipeline-cards > header .quiet { overflow: hidden; text-overflow: ellipsis; font-size: .82rem; font-variant-numeric: tabular-nums; }
.toggle { padding: .15rem 0; border: 0; background: none; cursor: pointer; font-weight: 600; }
.toggle::before { content: ""; display: inline-block; margin-right: .5em; border: 4px solid transparent; border-left: 5px solid var(--quiet); border-right: 0; vertical-align: 1px; }
.toggle[aria-expanded="true"]::before { transform: rotate(90deg); }
.cards { display: grid; grid-template-columns: subgrid; grid-column: 1 / -1; gap: 10px; margin-top: .35rem; }
.card {
  position: relative; height: 132px; overflow: hidden; border: 1px solid var(--line); border-radius: 9px;
  background: var(--card); box-shadow: var(--shadow);
}
.card:hover { border-color: var(--quiet); }
.card:focus-within { border-color: var(--accent); }
.card-head { display: flex; align-items: baseline; justify-content: space-between; gap: .6rem; height: 24px; padding: 0 .7rem; }
.card-open {
  display: block; width: 100%; padding: .4rem .7rem 0; border: 0; background: none; text-align: left; cursor: pointer; font-size: .84rem;
}
.card-open:focus-visible { outline: none; }
.card-open::after { content: ""; position: absolute; inset: 0; z-index: 1; border-radius: 8px; }
.card-open:focus-visible::after { outline: 2px solid var(--accent); outline-offset: -2px; }
.name { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 550; }
.labels { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--quiet); font-size: .8rem; }
.value { font-size: 1.05rem; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
.canvas { height: 72px; margin: .1rem 0 0; }
.state { position: absolute; left: .4rem; bottom: .3rem; padding: 0 .3rem; border-radius: 5px; background: var(--card); font-size: .78rem; font-weight: 650; }
.state:empty { display: none; }
.card.firing { border-color: var(--bad); background: linear-gradient(var(--bad-wash), var(--bad-wash)), var(--card); }
.card.firing .value, .card.firing .state { color: var(--bad); }
.card.pending { border-color: var(--warn); }
.card.pending .state { color: var(--warn); }
.card.stale .value, .card.stale .canvas { opacity: .75; }
.card.stale .state { color: var(--quiet); }
.none { grid-column: 1 / -1; padding: 2rem 0; color: var(--quiet); text-align: center; }

aside h3 { margin: 1rem 0 .4rem; color: var(--quiet); }
.alerts { display: grid; gap: .4rem; }
.alert { padding: .55rem .75rem; border: 1px solid var(--line); border-left: 3px solid var(--warn); border-radius: 8px; background: var(--card); box-shadow: var(--shadow); }
.alert.firing { border-left-color: var(--bad); background: linear-gradient(var(--bad-wash), var(--bad-wash)), var(--card); }
.alert.firing .quiet { color: var(--text); opacity: .85; }
.calm { padding: .7rem .75rem; border: 1px dashed var(--line); border-radius: 8px; color: var(--quiet); }
.event { padding: .4rem 0; border-top: 1px solid var(--line); }
.event:first-child { border-top: 0; }
.alert.silence { border-left-color: var(--line); }
.alert-head { display: flex; align-items: baseline; gap: .6rem; }
.age { margin-left: auto; color: var(--quiet); font-size: .8rem; white-space: nowrap; font-variant-numeric: tabular-nums; }
.alert.firing .age { color: var(--text); opacity: .85; }
.link { min-width: 0; padding: 0; border: 0; background: none; cursor: pointer; text-align: left; font-weight: 600; overflow-wrap: anywhere; }
.link:hover { text-decoration: underline; }
.reason { overflow-wrap: anywhere; }
.alert .quiet, .event .reason { font-size: .84rem; }
.event .reason { color: var(--quiet); }
#incidents-list { max-height: 60vh; overflow-y: auto; }
.alert.incident.resolved { border-left-color: var(--good); }
.shared { font-weight: 600; overflow-wrap: anywhere; }
.parts { display: grid; gap: .3rem; margin: .4rem 0 .2rem; padding-left: .65rem; border-left: 1px solid var(--line); font-size: .84rem; }
.parts .age + .age { margin-left: 0; }
.incident.resolved .reason { color: var(--quiet); }
.say { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .6rem; margin-top: .3rem; font-size: .84rem; }
#detail-missed { margin-bottom: 1rem; }
.say[hidden] { display: none; }
.say input { padding: .2rem .4rem; border: 1px solid var(--line); border-radius: 6px; background: var(--raised); }
.button.small { min-height: 26px; padding: 0 .55rem; font-size: .8rem; }

.plan { margin-bottom: .75rem; overflow: hidden; border: 1px solid var(--line); border-radius: 10px; background: var(--card); box-shadow: var(--shadow); }
.plan-head { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .9rem; padding: .6rem .9rem; border-bottom: 1px solid var(--line); }
.plan-head:last-child, .plan-head:has(+ [hidden] + [hidden]) { border-bottom: 0; }
.plan-head h3 { font-size: .95rem; }
.plan .problem { margin: .6rem .9rem 0; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; font-variant-numeric: tabular-nums; }
.plan-head .facts { margin-left: auto; }
.facts div { display: flex; align-items: baseline; gap: .4rem; }
.facts dd { font-weight: 600; white-space: nowrap; }
.plan-head h3 .toggle::before { margin-right: .55em; }
.graph { padding: .9rem; overflow-x: auto; }
.graph:focus-visible { outline-offset: -3px; }
.graph svg { display: block; }
.box rect { fill: var(--raised); stroke: var(--line); }
.box.detect rect { stroke: var(--band-edge); }
.box.unfit rect { stroke: var(--warn); }
.box.unfit .rate { fill: var(--warn); }
.box.firing rect { fill: var(--bad-wash); stroke: var(--bad); }
.box text { fill: var(--text); font-size: 12px; }
.box .title { font-weight: 650; }
.box .about { fill: var(--quiet); font-size: 11px; }
.box .rate { font-weight: 600; font-variant-numeric: tabular-nums; }
.box.firing .rate { fill: var(--bad); }
.flow { fill: none; stroke: var(--line); stroke-width: 1.5; }
.flow.moving { stroke: var(--accent); stroke-dasharray: 4 6; }
.flow.alerts.moving { stroke: var(--bad); }
@media (prefers-reduced-motion: no-preference) {
  .flow.moving { animation: flow 1s linear infinite; }
  @keyframes flow { to { stroke-dashoffset: -10; } }
}

.node { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: .75rem; align-items: start; }
.node > div { overflow: hidden; border: 1px solid var(--line); border-radius: 10px; background: var(--card); box-shadow: var(--shadow); }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .9rem; text-align: left; border-bottom: 1px solid var(--line); }
tbody tr:last-child td { border-bottom: 0; }
th { color: var(--quiet); font-weight: 500; font-size: .8rem; }
.number { text-align: right; }
footer { display: flex; flex-wrap: wrap; gap: .3rem 1rem; max-width: 1720px; margin: 0 auto; padding: 1.5rem 1.25rem 2rem; font-size: .85rem; }

dialog { width: min(1040px, calc(100vw - 2rem)); max-height: calc(100dvh - 2rem); padding: 0; border: 1px solid var(--line); border-radius: 12px; background: var(--card); color: var(--text); }
dialog::backdrop { background: rgb(5 10 15 / .55); }
#help { width: min(420px, calc(100vw - 2rem)); }
.sheet { padding: 1rem 1.25rem 1.25rem; }
.detail-head { display: flex; align-items: start; justify-content: space-between; gap: 1rem; }
.detail-head h2 { font-size: 1.1rem; overflow-wrap: anywhere; }
.detail-tools { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin: .8rem 0 .4rem; }
#detail-state { margin-left: auto; font-size: .85rem; font-variant-numeric: tabular-nums; }
#detail-chart { height: 300px; }
#detail-numbers { margin: .5rem 0 1rem; padding: .5rem .75rem; border-radius: 8px; background: var(--raised); }
.sheet h3 { margin-bottom: .3rem; }
.keys { display: grid; gap: .45rem; margin-top: .8rem; }
.keys div { display: grid; grid-template-columns: 6.5rem 1fr; align-items: baseline; }
.u-select { background: var(--band); }
.u-cursor-x { border-right: 1px solid var(--quiet) !important; }

@media (max-width: 1000px) {
  .columns { grid-template-columns: minmax(0, 1fr); gap: 0; }
  aside { order: -1; }
  #alerts-recent { max-height: 13rem; overflow-y: auto; }
}
@media (max-width: 640px) {
  .bar { gap: .6rem; padding: .5rem .75rem; }
  .bar .about { display: none; }
  main { padding: .75rem .75rem 0; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .tile { padding: .4rem .6rem; }
  .tile dd { font-size: 1.1rem; }
  .tile:last-child { grid-column: span 3; }
  .section-head { flex-wrap: wrap; }
  .search { flex: 1 1 150px; }
  .search kbd { display: none; }
  .plan-head .facts { margin-left: 0; gap: .2rem 1rem; }
  .graph { display: grid; justify-content: center; }
  .sheet { padding: .8rem .85rem 1rem; }
  dialog { width: calc(100vw - 1rem); max-height: calc(100dvh - 1rem); }
  footer { padding-inline: .75rem; }
}
`
