/** What a backtest says in words: the suggestion as the option to write, the lines for the terminal. Pure. */
import { readDurationMs } from '../../engine/config/units.ts'
import { countText } from '../progress.ts'
import { type Backtested, DAY_MS, type Difference, type Suggestion } from './evaluate.ts'
import type { Order } from './order.ts'
import { judgedText, numberText, shareText, spanText } from './report.ts'

/** Of the detectors' own options. */
const SENSITIVITY_MIN = 0.1
const EWMA_THRESHOLD_MAX = 1_000

export interface Ran {
  readonly span: readonly [number, number] | null
  readonly samples: number
  readonly late: number
  readonly windowed: number
  readonly badLines: number
  readonly order: Order
}

export interface Budget {
  readonly text: string
  readonly alarms: number
  readonly perMs: number
}

const PERIODS: Readonly<Record<string, number>> = {
  hour: 3_600_000,
  day: DAY_MS,
  week: 7 * DAY_MS,
  month: 30 * DAY_MS,
}

/** `2/week`: alarms of a detector in all its series together. */
export function readBudget(text: string): Budget | null {
  const [, count, period] = /^(\d+(?:\.\d+)?)\/(\w+)$/.exec(text) ?? []
  if (count === undefined || period === undefined) return null
  const read = readDurationMs(period)
  const perMs = PERIODS[period] ?? ('value' in read ? read.value : 0)
  return perMs > 0 ? { text, alarms: Number(count), perMs } : null
}

export interface Suggested {
  readonly suggestion: Suggestion
  readonly text: string
}

export function suggest(tested: Backtested, budget: Budget): Suggested[] {
  const alarmsMax = (budget.alarms * tested.days * DAY_MS) / budget.perMs
  return tested.plan.detectors
    .filter(({ column }) => column !== null)
    .map(({ name, kind, options }) => {
      const suggestion = tested.suggest(name, alarmsMax)
      return { suggestion, text: optionText(suggestion, kind, options) }
    })
}

/** Scores count in edges of the band, so the option that sets the band's width grows by the threshold. */
function optionText({ threshold, isEnough }: Suggestion, kind: string, options: unknown): string {
  if (!isEnough) return 'no score is high enough: judge a calmer column, or add hold'
  if (threshold === 1) return 'nothing: it keeps the budget as it is'
  const { threshold: edge, sensitivity } = options as Readonly<Record<string, unknown>>
  if (kind === 'auto' && typeof sensitivity === 'number') {
    return `sensitivity: ${numberText(Math.max(SENSITIVITY_MIN, sensitivity / threshold))} in place of ${sensitivity}`
  }
  if (kind === 'ewma' && typeof edge === 'number') {
    return `threshold: ${numberText(Math.min(EWMA_THRESHOLD_MAX, edge * threshold))} in place of ${edge}`
  }
  return `alarm only where the score is above ${numberText(threshold)}: widen its bounds`
}

export function jsonOf(tested: Backtested): object {
  return {
    pipeline: tested.plan.name,
    total: tested.tally(),
    detectors: Object.fromEntries(tested.plan.detectors.map(({ name }) => [name, tested.tally(name)])),
    series: tested.ranked().map(({ group, detector, column, windows, judged, alarms, labels }) => ({
      group,
      detector,
      column,
      windows,
      judged,
      alarms,
      labels,
    })),
  }
}

export function summaryText(
  tested: Backtested,
  suggestions: readonly Suggested[],
  differences: readonly Difference[] | null,
): string {
  const lines = tested.plan.detectors.map(({ name }) => {
    const tally = tested.tally(name)
    const judged = judgedText(tally)
    const parts = [
      `${alarmsText(tally.alarms)} in ${countText(tally.series)} series, ${numberText(tally.alarmsPerSeriesDay)} a series-day`,
    ]
    if (judged !== null) parts.push(judged)
    if (tally.labelled > 0) {
      const delay = tally.delayMsMedian === null ? '' : `, median delay ${spanText(tally.delayMsMedian)}`
      parts.push(
        `precision ${shareText(tally.precision)}, recall ${shareText(tally.recall)} (${tally.found} of ${tally.labelled})${delay}`,
      )
    }
    return `${name}: ${parts.join('; ')}`
  })
  for (const { suggestion, text } of suggestions) {
    const { detector, alarms, alarmsPerSeries } = suggestion
    lines.push(
      `${detector}, for the budget: ${text} (at most ${alarmsText(alarms)}, ${numberText(alarmsPerSeries)} a series)`,
    )
  }
  if (differences !== null) {
    const count = (change: Difference['change']): number =>
      differences.filter((one) => one.change === change).length
    lines.push(
      `against: ${alarmsText(count('only in A'))} only here, ${count('only in B')} only there, ${count('in both')} in both`,
    )
  }
  return `${lines.join('\n')}\n`
}

function alarmsText(count: number): string {
  return `${countText(count)} ${count === 1 ? 'alarm' : 'alarms'}`
}
