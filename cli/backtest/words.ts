/** What a backtest says in words: warnings, the suggestion as the option to write, the lines for the terminal. Pure. */
import { readDurationMs } from '../../engine/config/units.ts'
import { countText } from '../progress.ts'
import { type Backtested, DAY_MS, type Difference, type Suggestion, TRACES_MAX } from './evaluate.ts'
import type { LabelWindow } from './labels.ts'
import { numberText, shareText, spanText, timeText } from './report.ts'

/** Of the detectors' own options. */
const SENSITIVITY_MIN = 0.1
const EWMA_THRESHOLD_MAX = 1_000

export interface Ran {
  readonly span: readonly [number, number] | null
  readonly samples: number
  readonly late: number
  readonly windowed: number
  readonly badLines: number
  /** Values that were empty, null or NaN: no sample. */
  readonly emptyValues: number
  /** Samples with the time of one before them in their series, and the first of them; with an earlier time. Of files. */
  readonly repeated: number
  readonly firstRepeated: string | null
  readonly backwards: number
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

interface Seen {
  readonly main: Backtested
  readonly ran: Ran
  readonly truth: readonly LabelWindow[]
  readonly unmatched: readonly LabelWindow[]
  readonly range: { readonly fromMs: number; readonly toMs: number }
}

export function warningsOf({ main, ran, truth, unmatched, range }: Seen): string[] {
  const warnings: string[] = []
  const { span } = ran
  const outside = truth.filter(
    ({ fromMs, toMs }) =>
      span !== null && (toMs < Math.max(span[0], range.fromMs) || fromMs > Math.min(span[1], range.toMs)),
  )
  if (unmatched.length > 0) {
    const wanted = JSON.stringify(unmatched[0]!.labels)
    warnings.push(
      `${unmatched.length} of ${truth.length} labels match no series, first ${wanted}: their columns are to be labels that the pipeline groups by.`,
    )
  }
  if (outside.length > 0) {
    warnings.push(
      `${outside.length} of ${truth.length} labels lie outside the data (first from ${timeText(outside[0]!.fromMs)}): they count as missed. Is their time zone UTC?`,
    )
  }
  const all = [...main.series.values()].filter(({ column }) => column !== null)
  const blind = all.filter(({ judged }) => judged === 0)
  if (blind.length > 0) {
    warnings.push(
      `${countText(blind.length)} of ${countText(all.length)} series were never judged (first ${JSON.stringify(blind[0]!.group)}, ${countText(blind[0]!.windows)} windows): history is shorter than the warm-up of ${blind[0]!.detector}. Give more history, or a shorter warm-up.`,
    )
  }
  if (ran.late > 0)
    warnings.push(
      `${counted(ran.late, 'sample')} came too late for ${ran.late === 1 ? 'its window' : 'their windows'}: sort the file by time, or raise disorder(…).`,
    )
  else if (ran.backwards > 0)
    warnings.push(
      `${counted(ran.backwards, 'sample')} stood behind later ones of their series: all of them were put in their windows.`,
    )
  if (ran.repeated > 0)
    warnings.push(
      `${counted(ran.repeated, 'sample')} ${ran.repeated === 1 ? 'has' : 'have'} the time of one before them in their series (first ${ran.firstRepeated}): all count in their windows. If the data repeats itself, remove what is there twice.`,
    )
  if (ran.emptyValues > 0)
    warnings.push(
      `${counted(ran.emptyValues, 'value')} ${ran.emptyValues === 1 ? 'is' : 'are'} empty, null or NaN: no samples, so that a window with nothing else has no result and is not judged. Add .detect(silence()) to be told of gaps.`,
    )
  if (ran.badLines > 0)
    warnings.push(`${counted(ran.badLines, 'line')} could not be read; millrace run lists them.`)
  if (main.series.size > TRACES_MAX)
    warnings.push(
      `The course of the first ${countText(TRACES_MAX)} of ${countText(main.series.size)} series was kept for drawing; the numbers are of all.`,
    )
  return warnings
}

function counted(count: number, what: string): string {
  return `${countText(count)} ${what}${count === 1 ? '' : 's'}`
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
    const parts = [
      `${countText(tally.alarms)} alarms in ${countText(tally.series)} series, ${numberText(tally.alarmsPerSeriesDay)} a series-day`,
    ]
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
      `${detector}, for the budget: ${text} (at most ${countText(alarms)} alarms, ${numberText(alarmsPerSeries)} a series)`,
    )
  }
  if (differences !== null) {
    const count = (change: Difference['change']): number =>
      differences.filter((one) => one.change === change).length
    lines.push(
      `against: ${count('only in A')} alarms only here, ${count('only in B')} only there, ${count('in both')} in both`,
    )
  }
  return `${lines.join('\n')}\n`
}
