/**
 * What is doubtful about a backtest's history, labels and warm-up, each in a sentence that says how much and what to do. The
 * terminal and the report say the same. A calm report is calm only where values were there and were judged. Pure.
 */
import { countText } from '../progress.ts'
import { type Backtested, type JudgedSeries, TRACES_MAX } from './evaluate.ts'
import type { LabelWindow } from './labels.ts'
import { numberText, spanText, timeText } from './report.ts'
import type { Ran } from './words.ts'

/** A hole is at least so many of the series' own steps from value to value long, and this share of its time. */
const GAP_STEPS_MIN = 10
const GAP_SHARE_MIN = 0.02
/** A season's slot of more than this is a mean over parts of a day that are unlike. */
const SLOT_MS_MAX = 3_600_000
/** Seasons that history holds at the least, for the second to be held against the first. */
const SEASONS_MIN = 2

export interface Seen {
  readonly main: Backtested
  readonly ran: Ran
  readonly truth: readonly LabelWindow[]
  readonly unmatched: readonly LabelWindow[]
  readonly range: { readonly fromMs: number; readonly toMs: number }
  /** Null: labels were not asked for. */
  readonly truthFile: string | null
}

export function warningsOf(seen: Seen): string[] {
  const { main } = seen
  const all = [...main.series.values()].filter(({ column }) => column !== null)
  const warnings = [
    ...labelDoubts(seen, all),
    ...warmUpDoubts(all),
    ...seasonDoubts(seen),
    ...gapDoubts(all),
    ...orderDoubts(seen.ran),
  ]
  if (main.series.size > TRACES_MAX)
    warnings.push(
      `The course of the first ${countText(TRACES_MAX)} of ${countText(main.series.size)} series was kept for drawing; the numbers are of all.`,
    )
  return warnings
}

function labelDoubts(seen: Seen, all: readonly JudgedSeries[]): string[] {
  const { main, truth, unmatched, range, truthFile } = seen
  const { span } = seen.ran
  const warnings: string[] = []
  if (truthFile !== null && truth.length === 0) {
    warnings.push(
      `${truthFile} has no label for this data, so there is neither precision nor recall. If it lists windows by file, a name in it is to be the end of a data file's path.`,
    )
  }
  if (unmatched.length > 0) {
    const wanted = JSON.stringify(unmatched[0]!.labels)
    warnings.push(
      `${unmatched.length} of ${truth.length} labels match no series, first ${wanted}: they count nowhere. Their columns are to be labels that the pipeline groups by${groupsText(main)}.`,
    )
  }
  const outside = truth.filter(
    ({ fromMs, toMs }) =>
      span !== null && (toMs < Math.max(span[0], range.fromMs) || fromMs > Math.min(span[1], range.toMs)),
  )
  if (outside.length > 0) {
    warnings.push(
      `${outside.length} of ${truth.length} labels lie outside the data (first from ${timeText(outside[0]!.fromMs)}): they count as missed. Is their time zone UTC?`,
    )
  }
  const early = new Set(
    all.flatMap(({ labels, firstMs, judgedFromMs }) =>
      labels.filter(({ toMs }) => toMs >= firstMs && toMs < judgedFromMs),
    ),
  )
  if (early.size > 0) {
    const [first] = early
    warnings.push(
      `${early.size} of ${truth.length} labels end before a detector judged their series (first from ${timeText(first!.fromMs)}): they count as missed, though nothing could find them. Give history from before them.`,
    )
  }
  return warnings
}

function groupsText(main: Backtested): string {
  const [first] = main.series.values()
  const names = Object.keys(first?.group ?? {})
  return names.length === 0 ? ' (it groups by none)' : ` (${names.join(', ')})`
}

function warmUpDoubts(all: readonly JudgedSeries[]): string[] {
  const blind = all.filter(({ judged }) => judged === 0)
  if (blind.length === 0) return []
  return [
    `${countText(blind.length)} of ${countText(all.length)} series were never judged (first ${JSON.stringify(blind[0]!.group)}, ${countText(blind[0]!.windows)} windows): history is shorter than the warm-up of ${blind[0]!.detector}. That they have no alarm says nothing about them. Give more history, or a shorter warm-up.`,
  ]
}

/** A season that history is too short for, or whose slots are too few to hold its shape. */
function seasonDoubts({ main, ran }: Seen): string[] {
  const warnings: string[] = []
  for (const { name, options } of main.plan.detectors) {
    const { seasonMs, slots } = options as Readonly<Record<string, unknown>>
    if (typeof seasonMs !== 'number' || typeof slots !== 'number') continue
    const spanMs = ran.span === null ? 0 : ran.span[1] - ran.span[0]
    if (spanMs < SEASONS_MIN * seasonMs) {
      warnings.push(
        `The season of ${name} is ${spanText(seasonMs)}, of which the data holds ${numberText(spanMs / seasonMs)}: its pattern is not known before a whole one has passed. Give ${SEASONS_MIN} seasons or more, or write a shorter season.`,
      )
    }
    const slotMs = seasonMs / slots
    if (slotMs > SLOT_MS_MAX && slotMs > main.plan.window.everyMs) {
      warnings.push(
        `${name} remembers its season of ${spanText(seasonMs)} in ${slots} slots of ${spanText(slotMs)}: what changes faster is no part of the pattern. Write more slots, a shorter season, or wider windows.`,
      )
    }
  }
  return warnings
}

/** Values that were missing, or were no numbers: nothing was judged there, and a chart's line goes straight across. */
function gapDoubts(all: readonly JudgedSeries[]): string[] {
  const holed = all.filter(({ gapMs, firstMs, lastMs, windows }) => {
    const spanMs = lastMs - firstMs
    const stepMs = (spanMs - gapMs) / Math.max(1, windows - 1)
    return gapMs >= GAP_STEPS_MIN * stepMs && gapMs >= GAP_SHARE_MIN * spanMs
  })
  if (holed.length === 0) return []
  const longest = holed.reduce((a, b) => (b.gapMs > a.gapMs ? b : a))
  return [
    `${countText(holed.length)} of ${countText(all.length)} series have holes: the longest is ${spanText(longest.gapMs)} from ${timeText(longest.gapFromMs)} on, of ${JSON.stringify(longest.group)}. Missing values and NaN are not judged; add silence(…) to be told of them.`,
  ]
}

function orderDoubts({ samples, late, order: { repeated, unordered }, badLines }: Ran): string[] {
  const warnings: string[] = []
  if (late > 0)
    warnings.push(
      `${countText(late)} samples came too late for their windows: raise disorder(…), or sort a file by time.`,
    )
  if (unordered > late)
    warnings.push(
      `${countText(unordered)} of ${countText(samples)} samples are older than one before them of their series; ${late === 0 ? 'all' : 'the others'} were in time for their windows.`,
    )
  if (repeated > 0)
    warnings.push(
      `${countText(repeated)} of ${countText(samples)} samples have the time of the one before them in their series: each counts, in means and counts as well. Remove copies; if they are different things, a label is to tell them apart (of a CSV file: --labels).`,
    )
  if (badLines > 0) warnings.push(`${countText(badLines)} lines could not be read; millrace run lists them.`)
  return warnings
}
