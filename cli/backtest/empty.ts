/**
 * History in which nothing can be judged: the error says what was looked at, and what there is instead. An empty report would
 * look as if all had been well.
 */
import { type Fault, MillraceError } from '../../engine/contract/errors.ts'
import { countText } from '../progress.ts'
import type { Backtested } from './evaluate.ts'
import { timeText } from './report.ts'
import type { Ran } from './words.ts'

/** Metric names that an error lists. */
const NAMES_MAX = 10

export interface LookedAt {
  readonly main: Backtested
  readonly ran: Ran
  /** `h.csv`, or `topic metrics of ./millrace-data`. */
  readonly place: string
  readonly isTopic: boolean
  readonly range: { readonly fromMs: number; readonly toMs: number }
  /** Of the metrics in it; asked only when no sample passes. */
  names(): Promise<Iterable<string>>
}

export async function refuseEmpty(looked: LookedAt): Promise<void> {
  const { main, ran } = looked
  if (ran.samples === 0) throw refusal(withoutSample(looked))
  if (ran.windowed === 0) throw refusal(await withoutMatch(looked))
  if (main.series.size === 0) throw refusal(withoutWindow(looked))
}

function refusal(fault: Fault): MillraceError {
  return MillraceError.ofFaults('INPUT_INVALID', 'there is no history', [fault])
}

function withoutSample({ ran: { badLines }, place, isTopic }: LookedAt): Fault {
  return {
    place,
    value: badLines === 0 ? '0 samples' : `${countText(badLines)} lines that cannot be read`,
    problem: 'holds no sample',
    remedy: isTopic
      ? 'Send samples to it first, name another store with --store, or files with --data.'
      : 'Name a file with rows, and its columns with --time, --value and --labels.',
  }
}

async function withoutMatch(looked: LookedAt): Promise<Fault> {
  const { main, ran, place } = looked
  const names = [...new Set(await looked.names())].sort()
  const more = names.length > NAMES_MAX ? ` and ${countText(names.length - NAMES_MAX)} more` : ''
  return {
    place,
    value: `${countText(ran.samples)} samples`,
    problem: `none of them is taken by pipeline ${main.plan.name}`,
    remedy: `It holds ${names.slice(0, NAMES_MAX).join(', ')}${more}: look at the names and labels in where(…), and at --name.`,
  }
}

function withoutWindow({ main, ran, place, range }: LookedAt): Fault {
  const { fromMs, toMs } = range
  const span = main.windowSpan
  const samples = `${countText(ran.samples)} samples`
  if (span === null) {
    const remedy = 'Wait until newer samples have closed its windows, or name files with --data.'
    return { place, value: samples, problem: 'no window of it is complete', remedy }
  }
  const from = fromMs === -Infinity ? 'the beginning' : timeText(fromMs)
  const to = toMs === Infinity ? 'the end' : timeText(toMs)
  return {
    place: fromMs === -Infinity ? '--to' : toMs === Infinity ? '--from' : '--from, --to',
    value: `${from} to ${to}`,
    problem: `no window of ${place} ends there`,
    remedy: `Its ${samples} lie in windows from ${timeText(span[0])} to ${timeText(span[1])}: choose a range inside.`,
  }
}
