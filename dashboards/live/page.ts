/** Markup of the status page; script.ts fills the elements that have an id. */
export const PAGE_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>millrace</title>
<link rel="icon" href="/live.svg" type="image/svg+xml">
<link rel="stylesheet" href="/live.css">
<script src="/live.js" defer></script>
</head>
<body>
<header>
  <h1>millrace</h1>
  <p id="state" class="badge" role="status">connecting</p>
  <p id="about" class="quiet"></p>
</header>
<main>
  <p id="problem" class="problem" role="alert" hidden></p>
  <section aria-label="At a glance">
    <dl id="tiles" class="tiles"></dl>
  </section>
  <section aria-labelledby="alerts-title">
    <h2 id="alerts-title">Alerts</h2>
    <div id="alerts"></div>
  </section>
  <section aria-labelledby="pipelines-title">
    <h2 id="pipelines-title">Pipelines</h2>
    <div id="pipelines"></div>
  </section>
  <section aria-labelledby="topics-title">
    <h2 id="topics-title">Topics</h2>
    <div id="topics"></div>
  </section>
  <section aria-labelledby="threads-title">
    <h2 id="threads-title">Threads</h2>
    <div id="threads"></div>
  </section>
</main>
<footer class="quiet">
  <a href="/metrics">metrics</a>
  <a href="/readyz">readiness</a>
  <a href="/api/v1/status">status</a>
  <a href="/api/v1/pipelines">pipelines</a>
  <a href="/api/v1/alerts">alerts</a>
</footer>
</body>
</html>
`
