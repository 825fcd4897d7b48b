/**
 * The report: one HTML file that asks nothing of anyone. Its policy allows its own style and script and no request. All that
 * comes from data is escaped. Pure.
 */
import { createHash } from 'node:crypto'
import { countText } from '../progress.ts'
import { chartData, chartSvg } from './chart.ts'
import {
  type Alarm,
  type Backtested,
  type Difference,
  type JudgedSeries,
  type Suggestion,
  seriesText,
  type Tally,
} from './evaluate.ts'
import { REPORT_SCRIPT } from './report-script.ts'
import { REPORT_STYLE } from './style.ts'

/** Series drawn; the others are counted. About 90 KB each. */
export const SERIES_DRAWN_MAX = 100
/** Rows of a table of alarms; the rest is in --json. */
export const ROWS_MAX = 500

/** Where a smaller share of windows was judged, a count of alarms is not said without it. */
const JUDGED_SHARE_SAID = 0.5

export interface ReportInput {
  readonly tested: Backtested
  readonly source: string
  readonly span: readonly [number, number] | null
  readonly samples: number
  readonly warnings: readonly string[]
  readonly suggestions: readonly { readonly suggestion: Suggestion; readonly text: string }[]
  readonly budget: string | null
  /** Null: no other version was run. */
  readonly against: { readonly name: string; readonly differences: readonly Difference[] } | null
}

export function reportHtml(input: ReportInput): string {
  const { tested, source, span, samples, warnings, against } = input
  const ranked = tested.ranked()
  const drawn = ranked.filter(({ trace }) => trace !== null).slice(0, SERIES_DRAWN_MAX)
  const title = `Backtest of ${tested.plan.name}`
  const policy = `default-src 'none'; style-src '${digest(REPORT_STYLE)}'; script-src '${digest(REPORT_SCRIPT)}'; base-uri 'none'; form-action 'none'`
  const about = `${source} · ${span === null ? 'no sample' : `${timeText(span[0])} to ${timeText(span[1])}`} · ${countText(samples)} samples`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<header class="bar"><h1>${escapeHtml(title)}</h1><span class="quiet">${escapeHtml(about)}</span><button id="theme" type="button">Light or dark</button></header>
<main>
${tiles(tested)}
${warnings.length === 0 ? '' : `<ul class="warnings">${warnings.map((text) => `<li>${escapeHtml(text)}</li>`).join('')}</ul>`}
${detectorTable(tested)}
${suggestionPart(input)}
${against === null ? '' : differencePart(against)}
<h2>Series</h2>
<p class="key"><span class="k-value">value</span><span class="k-band">normal band</span><span class="k-alarm">alarm</span><span class="k-label">labelled</span><span class="k-score">score; dashed: 1, the edge of the band</span></p>
<p class="key quiet">Point at a chart to read it; drag over a range to see it closer, double click to go back. Keys: arrows read, with Shift they select, Enter or + goes closer, Escape or - goes back.</p>
<input id="find" class="find" type="search" placeholder="Find series ( / )" aria-label="Find series"> <span id="found" class="quiet" role="status"></span>
${ranked.length > drawn.length ? `<p class="quiet">The ${drawn.length} with the most alarms, of ${countText(ranked.length)}.</p>` : ''}
${drawn.map(card).join('\n')}
</main>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`
}

function digest(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

function tiles(tested: Backtested): string {
  const tally = tested.tally()
  const facts: [string, string][] = [
    ['Alarms', countText(tally.alarms)],
    ['Alarms a series-day', numberText(tally.alarmsPerSeriesDay)],
    ['Series', countText(tally.series)],
  ]
  if (tally.windows > 0) facts.push(['Windows judged', shareText(tally.judged / tally.windows)])
  if (tally.labelled > 0) {
    facts.push(
      ['Precision', shareText(tally.precision)],
      ['Recall', shareText(tally.recall)],
      ['Found', `${tally.found} of ${tally.labelled}`],
      ['Median delay', tally.delayMsMedian === null ? 'none' : spanText(tally.delayMsMedian)],
    )
  }
  return `<dl class="tiles">${facts.map(([name, value]) => `<div class="tile"><dt>${name}</dt><dd>${value}</dd></div>`).join('')}</dl>`
}

function detectorTable(tested: Backtested): string {
  if (tested.plan.detectors.length < 2) return ''
  const rows = tested.plan.detectors.map(({ name, kind }) => {
    const tally = tested.tally(name)
    return [
      escapeHtml(name),
      escapeHtml(kind),
      countText(tally.series),
      countText(tally.alarms),
      numberText(tally.alarmsPerSeriesDay),
      shareText(tally.precision),
      shareText(tally.recall),
    ]
  })
  const head = ['Detector', 'Kind', 'Series', 'Alarms', 'A series-day', 'Precision', 'Recall']
  return `<h2>Detectors</h2>${table('Detectors', head, rows)}`
}

function suggestionPart({ suggestions, budget }: ReportInput): string {
  if (budget === null) return ''
  const items = suggestions.map(({ suggestion: s, text }) => [
    escapeHtml(s.detector),
    countText(s.alarmsNow),
    s.isEnough ? numberText(s.threshold) : 'none is enough',
    countText(s.alarms),
    numberText(s.alarmsPerSeries),
    escapeHtml(text),
  ])
  const head = ['Detector', 'Alarms at 1', 'Score threshold', 'Alarms then', 'A series', 'What to write']
  return `<h2>For at most ${escapeHtml(budget)}</h2>${table('Suggested thresholds', head, items)}`
}

function differencePart({ name, differences }: NonNullable<ReportInput['against']>): string {
  const count = (change: Difference['change']): number =>
    differences.filter((difference) => difference.change === change).length
  const rows = differences
    .slice(0, ROWS_MAX)
    .map(({ series, change, a, b, shiftMs }) => [
      escapeHtml(change),
      escapeHtml(series),
      a === null ? '' : timeText(a.atMs),
      b === null ? '' : timeText(b.atMs),
      shiftMs === null ? '' : shiftText(shiftMs),
      escapeHtml((b ?? a)!.reason),
    ])
  const more =
    differences.length > ROWS_MAX ? ` The first ${ROWS_MAX} of ${differences.length} are shown.` : ''
  const sum = `A is this pipeline, B ${escapeHtml(name)}: ${count('only in A')} alarms only in A, ${count('only in B')} only in B, ${count('in both')} in both.${more}`
  const head = ['Change', 'Series', 'A fired', 'B fired', 'B after A', 'Reason']
  return `<h2>What changed</h2><p class="quiet">${sum}</p>${table('Alarms that changed', head, rows)}`
}

function card(series: JudgedSeries): string {
  const { group, detector, column, alarms, trace, windows, judged } = series
  const name = seriesText(group)
  const label = escapeHtml(`${column ?? 'silence'} of ${name}, ${alarms.length} alarms`)
  const buckets = trace?.buckets() ?? []
  const chart =
    buckets.length === 0
      ? ''
      : `<div class="chart"><div class="plot">${chartSvg(series, label)}</div>
<div class="axis"><span>${timeText(buckets[0]!.timeMs)}</span><span>${rangeText(series)}</span><span>${timeText(buckets.at(-1)!.timeMs)}</span></div>
<p class="read"></p><script type="application/json">${chartData(series)}</script></div>`
  const about = [
    detector,
    column ?? 'silence',
    `${countText(judged)} of ${countText(windows)} windows judged`,
  ]
  return `<article class="card" data-series="${escapeHtml(`${name} ${detector}`)}">
<header><h3>${escapeHtml(name)}</h3><span class="quiet">${escapeHtml(about.join(' · '))}</span><span class="count${alarms.length > 0 ? ' some' : ''}">${countText(alarms.length)} alarm${alarms.length === 1 ? '' : 's'}</span></header>
${chart}
${alarms.length === 0 ? '' : `<details><summary>${alarms.length > ROWS_MAX ? `The first ${ROWS_MAX} alarms` : 'Alarms'}</summary>${alarmTable(alarms)}</details>`}
</article>`
}

function rangeText({ trace }: JudgedSeries): string {
  const buckets = trace!.buckets()
  const low = Math.min(...buckets.map(({ min }) => min))
  const high = Math.max(...buckets.map(({ max }) => max))
  return `${numberText(low)} to ${numberText(high)}`
}

function alarmTable(alarms: readonly Alarm[]): string {
  const rows = alarms
    .slice(0, ROWS_MAX)
    .map(({ atMs, untilMs, score, isTrue, reason }) => [
      timeText(atMs),
      untilMs === Infinity ? 'to the end' : spanText(untilMs - atMs),
      score === null ? '' : numberText(score),
      isTrue === null ? '' : isTrue ? '<span class="good">yes</span>' : '<span class="bad">no</span>',
      escapeHtml(reason),
    ])
  return table('Alarms', ['Fired', 'For', 'Score', 'Labelled', 'Reason'], rows)
}

/** Cells are HTML. */
function table(name: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  const body = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('')
  const heads = head.map((text) => `<th scope="col">${text}</th>`).join('')
  return `<div class="scroll" tabindex="0" role="region" aria-label="${name}"><table><thead><tr>${heads}</tr></thead><tbody>${body}</tbody></table></div>`
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}

export function timeText(timeMs: number): string {
  return new Date(timeMs)
    .toISOString()
    .replace('T', ' ')
    .replace(/(:\d\d)?\.000Z$/, '$1Z')
}

export function numberText(value: number): string {
  return String(Number(value.toPrecision(3)))
}

export function shareText(share: number | null): string {
  return share === null ? 'none' : `${(share * 100).toFixed(0)} %`
}

export function spanText(ms: number): string {
  const units: [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ]
  for (const [unit, size] of units) if (ms >= size) return `${numberText(ms / size)} ${unit}`
  return `${Math.round(ms)} ms`
}

/** Without a judgement there is no alarm, and no calm either; null: half of the windows or more were judged. */
export function judgedText({ windows, judged }: Tally): string | null {
  if (judged >= windows * JUDGED_SHARE_SAID) return null
  if (judged === 0) return 'nothing was judged'
  return `judged ${countText(judged)} of ${countText(windows)} windows`
}

function shiftText(ms: number): string {
  if (ms === 0) return 'at once'
  return ms > 0 ? `${spanText(ms)} later` : `${spanText(-ms)} earlier`
}
