/** One column, light or dark as the reader has it; below 640 px a table row becomes a card. */
export const PAGE_STYLE = `:root {
  color-scheme: light dark;
  --back: #fbfbf9; --card: #ffffff; --text: #1c2024; --quiet: #5f6872; --line: #dfe2e5;
  --good: #17703c; --warn: #8a5700; --bad: #b3261e; --link: #1a5fb4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171a; --card: #1c2024; --text: #e6e9ec; --quiet: #9aa4ae; --line: #30363c;
    --good: #6fce8f; --warn: #e3b341; --bad: #ff8a80; --link: #8ab4f8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 72rem;
  font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--back);
}
header { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem; }
h1 { margin: 0; font-size: 1.35rem; }
h2 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; }
p { margin: 0; }
a { color: var(--link); }
.quiet { color: var(--quiet); overflow-wrap: anywhere; }
.badge {
  display: inline-block; padding: 0 .55em; border: 1px solid currentColor; border-radius: 1em;
  font-size: .85rem; white-space: nowrap;
}
.good { color: var(--good); }
.warn { color: var(--warn); }
.bad { color: var(--bad); }
.problem { margin-top: .75rem; padding: .5rem .75rem; border: 1px solid var(--bad); border-radius: 6px; color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem; margin: 1rem 0 0; }
.tiles div { padding: .5rem .75rem; border: 1px solid var(--line); border-radius: 6px; background: var(--card); }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
section > div { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line); }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { display: flex; flex-wrap: wrap; gap: 1rem; margin-top: 2rem; }
@media (max-width: 640px) {
  table, tbody, tr, td { display: block; }
  table { border: 0; background: none; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { margin-bottom: .5rem; padding: .35rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: var(--card); }
  td, td.number { display: grid; grid-template-columns: 7.5rem 1fr; padding: .1rem 0; border: 0; text-align: left; white-space: normal; }
  td::before { content: attr(data-label); color: var(--quiet); }
}
`
