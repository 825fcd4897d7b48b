/** Markup of the live page; browser/main.ts fills the elements that have an id. */
export const PAGE_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>millrace</title>
<link rel="icon" href="/live.svg" type="image/svg+xml">
<link rel="stylesheet" href="/live/uplot.css">
<link rel="stylesheet" href="/live.css">
<script src="/live/main.js" type="module"></script>
</head>
<body>
<a class="skip" href="#series">Skip to the series</a>
<header class="bar">
  <h1><img src="/live.svg" alt="" width="22" height="22">millrace</h1>
  <span id="state" class="pill" role="status">connecting</span>
  <span id="about" class="quiet about"></span>
  <div class="tools">
    <button id="disturb" type="button" class="button" hidden>Disturb</button>
    <button id="theme" type="button" class="button icon" aria-label="Switch colours"><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M8 1.5a6.5 6.5 0 1 0 0 13z"/><circle cx="8" cy="8" r="6.5"/></svg></button>
    <button id="keys" type="button" class="button icon" aria-label="Keyboard help">?</button>
  </div>
</header>
<main>
  <p id="lost" class="problem" role="alert" hidden></p>
  <p id="problem" class="problem" role="alert" hidden></p>
  <section aria-label="At a glance">
    <dl id="tiles" class="tiles"></dl>
  </section>
  <div class="columns">
    <section class="main" aria-labelledby="series-title">
      <div class="section-head">
        <h2 id="series-title">Series</h2>
        <label class="search"><span class="hidden">Find series</span><input id="search" type="search" placeholder="Find series" autocomplete="off" spellcheck="false"><kbd aria-hidden="true">/</kbd></label>
        <button id="only" type="button" class="chip" aria-pressed="false">Only alerts</button>
      </div>
      <div id="series"></div>
    </section>
    <aside aria-label="Alerts and incidents">
      <section id="incidents" aria-labelledby="incidents-title" hidden>
        <div class="section-head">
          <h2 id="incidents-title">Incidents</h2>
          <span id="incidents-summary" class="quiet"></span>
        </div>
        <ul id="incidents-list" class="alerts"></ul>
      </section>
      <div class="section-head">
        <h2 id="alerts-title">Alerts</h2>
        <span id="alerts-summary" class="quiet"></span>
      </div>
      <ul id="alerts-now" class="alerts"></ul>
      <section id="silences" aria-labelledby="silences-title" hidden>
        <h3 id="silences-title">Silences</h3>
        <ul id="silences-list" class="alerts"></ul>
      </section>
      <h3>Lately</h3>
      <ul id="alerts-recent" class="alerts"></ul>
    </aside>
  </div>
  <section aria-labelledby="plans-title">
    <div class="section-head"><h2 id="plans-title">Pipelines</h2></div>
    <div id="plans"></div>
  </section>
  <section aria-labelledby="node-title">
    <div class="section-head"><h2 id="node-title">Node</h2></div>
    <div class="node">
      <div id="topics"></div>
      <div id="threads"></div>
    </div>
  </section>
</main>
<footer class="quiet">
  <a href="/metrics">metrics</a>
  <a href="/readyz">readiness</a>
  <a href="/api/v1/status">status</a>
  <a href="/api/v1/pipelines">pipelines</a>
  <a href="/api/v1/alerts">alerts</a>
  <a href="/api/v1/silences">silences</a>
  <a href="/api/v1/incidents">incidents</a>
</footer>
<p id="voice" class="hidden" role="status"></p>
<dialog id="detail" aria-labelledby="detail-title">
  <div class="sheet">
    <header class="detail-head">
      <div>
        <h2 id="detail-title"></h2>
        <p id="detail-about" class="quiet"></p>
      </div>
      <button id="detail-close" type="button" class="button">Close</button>
    </header>
    <div class="detail-tools">
      <div id="detail-lenses" class="chips" role="group" aria-label="What is shown"></div>
      <div id="detail-ranges" class="chips" role="group" aria-label="Range"></div>
      <span id="detail-state" class="quiet" role="status"></span>
    </div>
    <div id="detail-chart"></div>
    <dl id="detail-numbers" class="facts"></dl>
    <div id="detail-missed" class="say" role="group" aria-label="An alert is missing" hidden>
      <label>Window that ended at <input id="detail-missed-at" type="datetime-local" step="1"></label>
      <button id="detail-missed-say" type="button" class="button small" title="Ask for less before alerting on this series">Should have alerted</button>
      <button id="detail-missed-undo" type="button" class="button small" hidden>Undo</button>
      <span id="detail-missed-said" class="quiet" role="status"></span>
    </div>
    <h3>Alerts of this series</h3>
    <ul id="detail-alerts" class="alerts"></ul>
  </div>
</dialog>
<dialog id="help" aria-labelledby="help-title">
  <div class="sheet">
    <header class="detail-head"><h2 id="help-title">Keyboard</h2><button id="help-close" type="button" class="button">Close</button></header>
    <dl class="keys">
      <div><dt><kbd>/</kbd></dt><dd>find series</dd></div>
      <div><dt><kbd>g</kbd></dt><dd>to the first series; arrows go on</dd></div>
      <div><dt><kbd>Enter</kbd></dt><dd>its history</dd></div>
      <div><dt><kbd>a</kbd></dt><dd>only series with alerts</dd></div>
      <div><dt><kbd>t</kbd></dt><dd>light or dark</dd></div>
      <div><dt><kbd>Esc</kbd></dt><dd>close, or clear the search</dd></div>
      <div><dt>In a chart</dt><dd>drag to zoom, double click to see all</dd></div>
    </dl>
  </div>
</dialog>
</body>
</html>
`
