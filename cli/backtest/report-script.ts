/**
 * What runs in the report: colours, the search for series, and each chart's cursor and zoom. The charts are whole without it; it
 * reads their numbers from the data block beside them, asks nothing of anyone, and writes text as text only.
 */
import { CHART_HEIGHT, CHART_TOP, CHART_WIDTH, MARGIN, VALUES_HEIGHT } from './chart.ts'

/** A pointer that moved less was a click. */
const DRAG_PX_MIN = 5

export const REPORT_SCRIPT: string = `
const root = document.documentElement
document.getElementById('theme').addEventListener('click', () => {
  const isDark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  root.dataset.theme = isDark ? 'light' : 'dark'
})
const find = document.getElementById('find')
const cards = [...document.querySelectorAll('[data-series]')]
find?.addEventListener('input', () => {
  const wanted = find.value.toLowerCase()
  let shown = 0
  for (const card of cards) {
    card.hidden = !card.dataset.series.toLowerCase().includes(wanted)
    if (!card.hidden) shown++
  }
  document.getElementById('found').textContent = wanted === '' ? '' : shown + ' of ' + cards.length + ' series'
})
document.addEventListener('keydown', (event) => {
  if (event.key === '/' && document.activeElement !== find && find) {
    event.preventDefault()
    find.focus()
  }
})

const timeText = (ms) => new Date(ms).toISOString().replace('T', ' ').replace(/(:\\d\\d)?\\.000Z$/, '$1Z')
const shortText = (value) => String(Number(value.toPrecision(3)))
function add(parent, kind, name) {
  const made = document.createElement(kind)
  made.className = name
  made.hidden = true
  parent.append(made)
  return made
}

/** What a step holds: one window, or several neighbours of a long history. */
function stepText({ each, times, min, max, expected, lower, upper, score }, i) {
  const parts = [timeText(times[i]) + (each > 1 ? ', ' + each + ' windows' : '')]
  parts.push('value ' + (max[i] === min[i] ? min[i] : min[i] + ' to ' + max[i]))
  if (expected[i] !== null) parts.push('expected ' + expected[i])
  const [low, high] = [lower[i], upper[i]]
  if (low !== null && high !== null) parts.push('band ' + low + ' to ' + high)
  else if (high !== null) parts.push('band up to ' + high)
  else if (low !== null) parts.push('band from ' + low)
  parts.push(score[i] === null ? 'not judged' : 'score ' + score[i])
  return parts.join(' \\u00b7 ')
}

function interact(chart) {
  const plot = chart.querySelector('.plot')
  const svg = plot.querySelector('svg')
  const data = JSON.parse(chart.querySelector('script').textContent)
  const { times, min, max, low, high } = data
  const [from, range, to] = chart.querySelectorAll('.axis span')
  const rangeAtRest = range.textContent
  const last = times.length - 1
  const x = (i) => ((times[i] - times[0]) / (times[last] - times[0] || 1)) * ${CHART_WIDTH}
  const line = add(plot, 'div', 'cursor')
  const selection = add(plot, 'div', 'selection')
  const backButton = add(chart, 'button', 'back')
  backButton.type = 'button'
  backButton.textContent = 'Zoom back'
  const read = chart.querySelector('.read')
  /** Ranges of steps; the newest is shown. */
  const views = [[0, last]]
  let cursor = last
  let anchor = null
  let pressedAt = null

  function drawView() {
    const [first, end] = views.at(-1)
    const isWhole = views.length === 1
    const [left, width] = [x(first), x(end) - x(first) || ${CHART_WIDTH}]
    svg.setAttribute('viewBox', left + ' ${CHART_TOP} ' + width + ' ${CHART_HEIGHT - CHART_TOP}')
    svg.classList.toggle('zoomed', !isWhole)
    for (const mark of svg.querySelectorAll('.mark')) {
      mark.setAttribute('transform', 'translate(' + mark.dataset.x + ' 0) scale(' + width / ${CHART_WIDTH} + ' 1)')
    }
    let [bottom, top] = [low, high]
    if (!isWhole) {
      const lowest = Math.min(...min.slice(first, end + 1))
      const highest = Math.max(...max.slice(first, end + 1))
      const margin = (highest - lowest) * ${MARGIN} || (high - low) * ${MARGIN}
      bottom = Math.max(low, lowest - margin)
      top = Math.min(high, highest + margin)
      range.textContent = shortText(lowest) + ' to ' + shortText(highest)
    } else range.textContent = rangeAtRest
    const scale = ${VALUES_HEIGHT} / (high - low)
    svg.querySelector('.pane').setAttribute('viewBox', '0 ' + (high - top) * scale + ' ${CHART_WIDTH} ' + (top - bottom) * scale)
    from.textContent = timeText(times[first])
    to.textContent = timeText(times[end])
    backButton.hidden = isWhole
  }

  const share = (i) => {
    const [first, end] = views.at(-1)
    return (times[i] - times[first]) / (times[end] - times[first] || 1)
  }
  function drawCursor() {
    line.hidden = false
    line.style.left = share(cursor) * 100 + '%'
    const text = stepText(data, cursor)
    read.textContent = text
    plot.setAttribute('aria-valuenow', cursor)
    plot.setAttribute('aria-valuetext', text)
    selection.hidden = anchor === null || anchor === cursor
    if (selection.hidden) return
    const [left, right] = [share(Math.min(anchor, cursor)), share(Math.max(anchor, cursor))]
    selection.style.left = left * 100 + '%'
    selection.style.width = (right - left) * 100 + '%'
  }
  function rest() {
    anchor = null
    line.hidden = true
    selection.hidden = true
    read.textContent = ''
  }
  function moveTo(i) {
    const [first, end] = views.at(-1)
    cursor = Math.min(end, Math.max(first, i))
    drawCursor()
  }
  function zoom(a, b) {
    anchor = null
    if (a !== b) views.push([Math.min(a, b), Math.max(a, b)])
    drawView()
    moveTo(cursor)
  }
  function back() {
    anchor = null
    if (views.length > 1) views.pop()
    drawView()
    moveTo(cursor)
  }
  /** The step nearest to a place on the screen. */
  function stepAt(clientX) {
    const [first, end] = views.at(-1)
    const { left, width } = plot.getBoundingClientRect()
    const ms = times[first] + ((clientX - left) / width) * (times[end] - times[first])
    let [below, above] = [first, end]
    while (above - below > 1) {
      const middle = (below + above) >> 1
      if (times[middle] <= ms) below = middle
      else above = middle
    }
    return ms - times[below] <= times[above] - ms ? below : above
  }

  plot.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return
    plot.setPointerCapture(event.pointerId)
    pressedAt = event.clientX
    cursor = stepAt(event.clientX)
    anchor = cursor
    drawCursor()
  })
  plot.addEventListener('pointermove', (event) => moveTo(stepAt(event.clientX)))
  plot.addEventListener('pointerup', (event) => {
    const isDrag = pressedAt !== null && Math.abs(event.clientX - pressedAt) >= ${DRAG_PX_MIN}
    pressedAt = null
    if (isDrag && anchor !== null) zoom(anchor, cursor)
    anchor = null
    drawCursor()
  })
  plot.addEventListener('pointercancel', () => {
    pressedAt = null
    rest()
  })
  plot.addEventListener('pointerleave', () => {
    if (pressedAt === null && document.activeElement !== plot) rest()
  })
  plot.addEventListener('dblclick', back)
  plot.addEventListener('focus', () => moveTo(cursor))
  plot.addEventListener('blur', rest)
  backButton.addEventListener('click', () => {
    back()
    if (views.length === 1) plot.focus()
  })
  plot.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const [first, end] = views.at(-1)
    const page = Math.max(1, Math.round((end - first) / 10))
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -page, PageUp: page, Home: first - cursor, End: end - cursor }
    const quarter = Math.max(1, Math.round((end - first) / 4))
    if (Object.hasOwn(steps, event.key)) {
      if (!event.shiftKey) anchor = null
      else anchor ??= cursor
      moveTo(cursor + steps[event.key])
    } else if (event.key === 'Enter') zoom(anchor ?? cursor, cursor)
    else if (event.key === '+' || event.key === '=') {
      const [a, b] = [Math.max(first, cursor - quarter), Math.min(end, cursor + quarter)]
      if (b - a < end - first) zoom(a, b)
    } else if (event.key === 'Escape' && anchor !== null) {
      anchor = null
      drawCursor()
    } else if (event.key === 'Escape' || event.key === '-') back()
    else return
    event.preventDefault()
  })

  // A chart that can be read step by step is a slider over its steps.
  plot.tabIndex = 0
  plot.setAttribute('role', 'slider')
  plot.setAttribute('aria-label', svg.getAttribute('aria-label'))
  plot.setAttribute('aria-valuemin', 0)
  plot.setAttribute('aria-valuemax', last)
  plot.setAttribute('aria-valuenow', cursor)
  plot.setAttribute('aria-valuetext', stepText(data, cursor))
  svg.removeAttribute('role')
  svg.setAttribute('aria-hidden', 'true')
}
for (const chart of document.querySelectorAll('.chart')) interact(chart)
`
