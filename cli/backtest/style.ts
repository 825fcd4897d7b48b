/** Of the report: the live page's colours, dense and calm. Works down to 320 px. */
const LIGHT = `
  color-scheme: light;
  --back: #f4f6f8; --card: #ffffff; --raised: #f7f9fb; --line: #dfe4ea; --text: #17202a; --quiet: #586472;
  --accent: #1a5fcc; --band: rgb(26 95 204 / .13); --good: #18794e; --bad: #c62828; --bad-wash: rgb(198 40 40 / .14);
  --label: rgb(24 121 78 / .13);`
const DARK = `
  color-scheme: dark;
  --back: #0e1217; --card: #151b22; --raised: #1b222b; --line: #28313c; --text: #e4e9ef; --quiet: #97a4b3;
  --accent: #5aa9ff; --band: rgb(90 169 255 / .16); --good: #4cc38a; --bad: #ff7b72; --bad-wash: rgb(255 107 107 / .2);
  --label: rgb(76 195 138 / .16);`

export const REPORT_STYLE = `:root {${LIGHT}
}
@media (prefers-color-scheme: dark) { :root {${DARK}
} }
:root[data-theme="light"] {${LIGHT}
}
:root[data-theme="dark"] {${DARK}
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--text); background: var(--back); }
h1, h2, h3, p, ul, dl, dd { margin: 0; padding: 0; }
button, input { font: inherit; color: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.quiet { color: var(--quiet); }
.bar { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem .75rem; padding: .6rem 1.25rem; background: var(--card); border-bottom: 1px solid var(--line); }
h1 { font-size: 1.1rem; font-weight: 650; letter-spacing: -.01em; }
.bar button { margin-left: auto; min-height: 32px; padding: 0 .75rem; border: 1px solid var(--line); border-radius: 7px; background: var(--raised); cursor: pointer; }
main { max-width: 1280px; margin: 0 auto; padding: 1rem 1.25rem 2rem; }
h2 { margin: 1.5rem 0 .6rem; font-size: 1rem; font-weight: 650; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(125px, 1fr)); gap: 1px; overflow: hidden; border: 1px solid var(--line); border-radius: 10px; background: var(--line); }
.tile { padding: .55rem .85rem .6rem; background: var(--card); }
dt { color: var(--quiet); font-size: .78rem; }
.tile dd { font-size: 1.35rem; font-weight: 600; letter-spacing: -.01em; white-space: nowrap; font-variant-numeric: tabular-nums; }
.warnings { margin-top: .8rem; padding: .6rem .85rem .6rem 1.9rem; border: 1px solid var(--bad); border-radius: 8px; background: var(--bad-wash); }
.card { margin-bottom: .9rem; padding: .75rem .9rem .85rem; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
.card header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .15rem .75rem; margin-bottom: .5rem; }
.card h3 { font-size: .95rem; font-weight: 600; overflow-wrap: anywhere; }
.card header .count { margin-left: auto; font-weight: 600; font-variant-numeric: tabular-nums; }
.card header .count.some { color: var(--bad); }
.chart { position: relative; }
.plot { position: relative; cursor: crosshair; user-select: none; touch-action: pan-y; }
.plot > svg { display: block; width: 100%; height: 210px; overflow: visible; }
.plot > svg.zoomed { overflow: hidden; }
.cursor { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--quiet); pointer-events: none; }
.selection { position: absolute; top: 0; bottom: 0; border: solid var(--accent); border-width: 0 1px; background: var(--band); pointer-events: none; }
.back { position: absolute; top: .3rem; right: .3rem; min-height: 28px; padding: 0 .6rem; border: 1px solid var(--line); border-radius: 7px; background: var(--raised); font-size: .83rem; cursor: pointer; }
.read { min-height: 1.45em; margin-top: .15rem; font-size: .83rem; font-variant-numeric: tabular-nums; }
svg path { fill: none; vector-effect: non-scaling-stroke; }
svg .value { stroke: var(--accent); stroke-width: 1.3; stroke-linejoin: round; }
svg .band { fill: var(--band); }
svg .score { stroke: var(--quiet); stroke-width: 1; }
svg .edge { stroke: var(--bad); stroke-width: 1; stroke-dasharray: 3 4; }
svg .label { fill: var(--label); }
svg .alarm { fill: var(--bad-wash); }
svg .mark { fill: var(--bad); }
.axis { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 .9rem; margin-top: .2rem; font-size: .78rem; color: var(--quiet); font-variant-numeric: tabular-nums; }
.scroll { max-height: 26rem; overflow: auto; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 500; font-size: .8rem; white-space: nowrap; }
tbody tr:last-child td { border-bottom: 0; }
td:not(:last-child) { white-space: nowrap; }
td:last-child { min-width: 22rem; }
thead th { position: sticky; top: 0; background: var(--card); }
.quiet + .scroll { margin-top: .4rem; }
details { margin-top: .55rem; }
summary { cursor: pointer; color: var(--quiet); }
details .scroll { margin-top: .45rem; }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: 0 0 .7rem; color: var(--quiet); font-size: .83rem; }
.key span::before { content: ""; display: inline-block; width: 1em; height: .7em; margin-right: .4em; border-radius: 2px; background: var(--swatch); }
.key .k-value { --swatch: var(--accent); } .key .k-band { --swatch: var(--band); } .key .k-alarm { --swatch: var(--bad); }
.key .k-label { --swatch: var(--good); } .key .k-score { --swatch: var(--quiet); }
.find { width: min(320px, 100%); height: 34px; margin-bottom: .7rem; padding: 0 .7rem; border: 1px solid var(--line); border-radius: 7px; background: var(--card); }
.find::placeholder { color: var(--quiet); opacity: 1; }
.good { color: var(--good); } .bad { color: var(--bad); }
@media (max-width: 640px) {
  main { padding: .75rem .75rem 2rem; }
  .bar { padding: .5rem .75rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tile:last-child:nth-child(odd) { grid-column: span 2; }
  .plot > svg { height: 170px; }
  .read { min-height: 2.9em; }
  .axis span:nth-child(2) { order: 3; flex-basis: 100%; text-align: center; }
}
`
