/**
 * The page's script: asks the JSON API every two seconds while the page is seen, and shows what it says. Text only ever
 * goes in by textContent, so that labels from samples are never markup. Plain ES2020, run by browsers as it stands.
 */
export const PAGE_SCRIPT = `'use strict'

const POLL_MS = 2000
const TIMEOUT_MS = 10000
const ROWS_SHOWN_MAX = 200

const $ = (id) => document.getElementById(id)

async function ask(path) {
  const response = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) })
  const body = await response.json()
  if (!response.ok) throw new Error(body.error || path + ': ' + response.status)
  return body
}

let rateBefore = null
let asking = false

/** One question at a time: a slow answer delays the next, it does not pile up. */
async function refresh() {
  if (asking) return
  asking = true
  try {
    const [status, pipelines, alerts] = await Promise.all([
      ask('/api/v1/status'),
      ask('/api/v1/pipelines'),
      ask('/api/v1/alerts'),
    ])
    $('problem').hidden = true
    show(status, pipelines.rows, alerts.rows)
  } catch (error) {
    badge($('state'), 'no answer', 'bad')
    $('problem').textContent = 'What is below may be old: ' + error.message
    $('problem').hidden = false
  } finally {
    asking = false
  }
}

function show(status, pipelines, alerts) {
  const failed = pipelines.filter((each) => each.state === 'failed')
  const firing = alerts.filter((each) => each.state === 'firing').length
  badge($('state'), failed.length > 0 ? failed.length + ' failed' : 'running', failed.length > 0 ? 'bad' : 'good')
  document.title = (firing > 0 ? '(' + firing + ') ' : '') + 'millrace'
  $('about').textContent = status.version + ' · ' + status.dataDirectory
  const appended = sum(status.topics, (topic) => topic.appended)
  tiles([
    ['Firing', count(firing), firing > 0 ? 'bad' : ''],
    ['Pending', count(alerts.length - firing), ''],
    ['Samples a second', rate(appended, status.nowMs), ''],
    ['Series', count(sum(status.topics, (topic) => topic.series)), ''],
    ['Log', bytes(status.logBytes), ''],
    ['State', bytes(status.stateBytes), ''],
    ['Up', duration(status.uptimeSeconds * 1000), ''],
  ])
  table($('alerts'), 'No alerts.', alerts, [
    ['State', (alert) => badge(element('span'), alert.state, alert.state === 'firing' ? 'bad' : 'warn')],
    ['Pipeline', (alert) => alert.pipeline + ' / ' + alert.detector],
    ['Group', (alert) => labels(alert.group)],
    ['For', (alert) => duration(status.nowMs - alert.sinceMs), 'number'],
    ['Value', (alert) => number(alert.value), 'number'],
    ['Band', (alert) => (alert.lower === null && alert.upper === null ? '–' : number(alert.lower) + ' … ' + number(alert.upper)), 'number'],
    ['Why', (alert) => alert.reason],
  ])
  table($('pipelines'), 'No pipelines.', pipelines, [
    ['Name', (each) => each.name],
    ['State', (each) => badge(element('span'), each.state, tone(each.state))],
    ['Topic', (each) => each.topic],
    ['Firing', (each) => count(each.alertsFiring), 'number'],
    ['Lag', (each) => count(sum(each.partitions, (part) => part.lag)), 'number'],
    ['Behind', (each) => behind(each, status.nowMs), 'number'],
    ['In', (each) => count(each.ledger.in), 'number'],
    ['Windowed', (each) => count(each.ledger.windowed), 'number'],
    ['Filtered', (each) => count(each.ledger.filtered), 'number'],
    ['Late', (each) => count(each.ledger.late), 'number'],
    ['Not finite', (each) => count(each.ledger.nonFinite), 'number'],
    ['Dead', (each) => count(each.ledger.dead), 'number'],
    ['Problem', (each) => each.problem || '–'],
  ])
  table($('topics'), 'No topics.', status.topics, [
    ['Name', (topic) => topic.name],
    ['Partitions', (topic) => count(topic.partitions), 'number'],
    ['Series', (topic) => count(topic.series) + ' of ' + count(topic.seriesLimit), 'number'],
    ['Appended', (topic) => count(topic.appended), 'number'],
  ])
  table($('threads'), 'No threads.', status.threads, [
    ['Name', (thread) => thread.name],
    ['Last seen', (thread) => (thread.lastSeenMs === null ? 'not yet' : duration(status.nowMs - thread.lastSeenMs) + ' ago'), 'number'],
    ['Restarts', (thread) => count(thread.restarts), 'number'],
  ])
}

function tone(state) {
  return state === 'running' ? 'good' : state === 'failed' ? 'bad' : 'warn'
}

/** How far the slowest partition that has seen samples is behind the clock. */
function behind(pipeline, nowMs) {
  const seen = pipeline.partitions.filter((part) => part.watermarkMs !== null)
  if (seen.length === 0) return '–'
  return duration(Math.max(0, nowMs - Math.min(...seen.map((part) => part.watermarkMs))))
}

function rate(appended, nowMs) {
  const before = rateBefore
  rateBefore = { appended, nowMs }
  if (before === null || nowMs <= before.nowMs || appended < before.appended) return '–'
  return count(Math.round(((appended - before.appended) * 1000) / (nowMs - before.nowMs)))
}

function tiles(rows) {
  $('tiles').replaceChildren(
    ...rows.map(([name, value, className]) => {
      const tile = element('div')
      const shown = element('dd', value)
      if (className !== '') shown.className = className
      tile.append(element('dt', name), shown)
      return tile
    }),
  )
}

function table(into, none, rows, columns) {
  if (rows.length === 0) {
    const text = element('p', none)
    text.className = 'quiet'
    into.replaceChildren(text)
    return
  }
  const head = element('tr')
  for (const [name, , className] of columns) {
    const cell = element('th', name)
    cell.scope = 'col'
    if (className) cell.className = className
    head.append(cell)
  }
  const body = element('tbody')
  for (const row of rows.slice(0, ROWS_SHOWN_MAX)) {
    const line = element('tr')
    for (const [name, read, className] of columns) {
      const cell = element('td')
      const value = read(row)
      const shown = typeof value === 'string' ? element('span', value) : value
      cell.dataset.label = name
      if (className) cell.className = className
      cell.append(shown)
      line.append(cell)
    }
    body.append(line)
  }
  const whole = element('table')
  const top = element('thead')
  top.append(head)
  whole.append(top, body)
  const more = rows.length - ROWS_SHOWN_MAX
  into.replaceChildren(whole, ...(more > 0 ? [element('p', 'and ' + count(more) + ' more')] : []))
}

function element(name, text) {
  const made = document.createElement(name)
  if (text !== undefined) made.textContent = text
  return made
}

function badge(into, text, className) {
  into.textContent = text
  into.className = 'badge ' + className
  return into
}

function labels(group) {
  return Object.entries(group).map(([name, value]) => (name === '__name__' ? value : name + '=' + value)).join(' ') || 'all'
}

function sum(rows, read) {
  return rows.reduce((total, row) => total + read(row), 0)
}

function count(value) {
  return value.toLocaleString('en')
}

function number(value) {
  return value === null ? '–' : String(Number(value.toPrecision(5)))
}

function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let unit = 0
  let shown = value
  while (shown >= 1000 && unit < units.length - 1) {
    shown /= 1000
    unit++
  }
  return (unit === 0 ? String(shown) : shown.toPrecision(3)) + ' ' + units[unit]
}

function duration(ms) {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 10) return seconds.toFixed(1) + ' s'
  if (seconds < 120) return Math.round(seconds) + ' s'
  if (seconds < 7200) return Math.round(seconds / 60) + ' min'
  if (seconds < 172800) return Math.round(seconds / 3600) + ' h'
  return Math.round(seconds / 86400) + ' d'
}

async function poll() {
  if (!document.hidden) await refresh()
  setTimeout(poll, POLL_MS)
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) refresh()
})
poll()
`
