/** What auto() tells of itself for a series: the words only; auto.ts reads the cells. */
import { durationText } from '../../engine/config/options.ts'
import type { Explanation, ExplanationFact } from '../../engine/contract/plugins.ts'
import { numberText } from './verdicts.ts'
import { HOURS } from './views/season.ts'

/** Read from the cells of one group. */
export interface AutoFacts {
  /** Values seen, and of those how many it takes before the first verdict. */
  readonly count: number
  readonly learning: number
  /** Values at which surprises count half. */
  readonly doubt: number
  /** Usual time between values; 0: not known. */
  readonly intervalMs: number
  readonly level: { readonly mean: number; readonly scale: number }
  readonly season: { readonly hoursKnown: number; readonly scale: number; readonly counts: boolean }
  readonly low: number
  readonly high: number
  /** Decades that an alarm takes now, all corrections made. */
  readonly alarm: number
  /** What each view takes as its own alarm, in units of the value or in `unit`; NaN: it has nothing to compare with. */
  readonly views: readonly {
    readonly name: string
    readonly says: string
    readonly size: number
    readonly unit: string | null
  }[]
  /** Values until an alert that is open may end. */
  readonly rest: number
}

export function autoExplanation(of: AutoFacts): Explanation {
  const facts: ExplanationFact[] = []
  const tell = (name: string, value: string, meaning: string): void => {
    facts.push({ name, value, meaning })
  }
  const isWarm = of.count >= of.learning
  tell(
    'warm-up',
    isWarm ? `over: ${of.count} values seen` : `${of.count} of ${of.learning} values`,
    `values before the first verdict; surprises count half at ${of.doubt}, and nearly whole from twice as many on`,
  )
  if (of.count === 0) return { facts }
  if (of.intervalMs > 0) {
    tell('interval', durationText(Math.max(1, Math.round(of.intervalMs))), 'usual time between two values')
  }
  tell(
    'level',
    `${numberText(of.level.mean)} ± ${numberText(of.level.scale)}`,
    'average of some 200 values, and how far they usually lie from it',
  )
  tell('season', seasonText(of.season), 'whether the hour of the week says more than the level does')
  tell(
    'range',
    `${numberText(of.low)} … ${numberText(of.high)}`,
    'everything seen; what lies clearly outside is news',
  )
  if (!isWarm) return { facts }
  tell(
    'alarm',
    `a surprise of one in ${numberText(10 ** of.alarm)}`,
    'what an alarm takes, for values as close in time as these',
  )
  for (const { name, says, size, unit } of of.views) {
    const value = Number.isNaN(size)
      ? 'not in use'
      : `from ${numberText(size)}${unit === null ? '' : ` ${unit}`} on`
    tell(
      `view ${name}`,
      value,
      `${says}: the deviation that is an alarm on its own, if it was never reached before`,
    )
  }
  if (of.rest > 0) tell('rest', `${of.rest} values`, 'an alert that is open stays so for at least so long')
  return { facts }
}

function seasonText({ hoursKnown, scale, counts }: AutoFacts['season']): string {
  const known = `${hoursKnown} of ${HOURS} hours of the week known`
  if (counts) return `in use, ± ${numberText(scale)}; ${known}`
  return scale > 0 ? `none to speak of; ${known}` : `not known yet; ${known}`
}
