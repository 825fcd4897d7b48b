/**
 * What never occurred together: values as symbols, alone and with those before them, in a bounded memory of combinations.
 * The share of new ones lately is measured against how often this series brings new ones, as a surprise. Finds changes of
 * shape and order that no distance shows, and is calm about what it has met, however far out.
 *
 * The memory and its codes are the view that auto() uses as well (views/context.ts); how surprising a share is, is learned
 * as there (views/tail.ts: peaks over threshold, Siffer et al., KDD 2017). Combinations of recent symbols as context: M.
 * Smirnov, CAD-OSE, of the Numenta Anomaly Benchmark's 2016 competition. O(1) a value, 1171 cells a group.
 */
import { number, type OptionInputOf, type OptionsOf, optionSpec } from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import { abstain, bounded, clearAt, numberText, SCORE_MAX } from './verdicts.ts'
import {
  CODES,
  CONTEXT_WIDTH,
  contextFilled,
  contextScale,
  contextTrend,
  LEARNING,
  learnContext,
  measureContext,
} from './views/context.ts'
import { INTERVAL_WIDTH, isAfterGap, learnInterval } from './views/interval.ts'
import { CLOSE, learnTail, surpriseOf, tailWidth } from './views/tail.ts'

const options = optionSpec({
  odds: {
    type: number({ above: 0, max: 0.1 }),
    default: 0.01,
    meaning:
      'anomalous are so many new combinations at once as come less often than this, as a share of all values',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a value this near the average of late counts as the average, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.01,
    meaning: 'a value this near counts as the average of late, as a share of it',
  },
  clear: clearAt(0.6),
})

type Options = OptionsOf<typeof options>

/** Values that never followed each other like this.
 *
 *     .detect('state', contextMemory({ odds: 1e-3 }))
 */
export function contextMemory(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'context-memory', subject: 'value', options: written } }
}

/**
 * A share up to this is nothing new, however seldom: all that is known has 1/7, one unknown value adds as much again, and what
 * the memory forgets in between less.
 */
const SHARE_MIN = 0.2
/** Values before the tail learns: until then nearly everything is new. */
const TAIL_FROM = LEARNING + 150
/** Values before the first judgement. */
const WARM_UP = TAIL_FROM + 100

const COUNT = 0
const INTERVAL = 1
const TAIL = INTERVAL + INTERVAL_WIDTH
const CONTEXT = TAIL + tailWidth(CLOSE)
const WIDTH = CONTEXT + CONTEXT_WIDTH

export const contextMemoryPlugin: DetectorPlugin<Options> = {
  kind: 'context-memory',
  summary: 'combinations of values never met before (a bounded memory of contexts)',
  source: `contexts of symbols, tail by peaks over threshold (views/context.ts, views/tail.ts); O(1) a value, ${WIDTH} cells a group`,
  subject: 'value',
  cellsVersion: 2,
  options,
  create: (parsed) => new ContextMemory(parsed),
}

class ContextMemory implements Detector {
  readonly subject = 'value'
  readonly width = WIDTH
  /** Minus the decimal logarithm of the odds. */
  readonly #wanted: number
  readonly #clear: number
  readonly #minDeviation: number
  readonly #minRelativeDeviation: number
  /** Scratch of one call, never state. */
  readonly #shares = new Float64Array(CODES.length)

  constructor(parsed: Options) {
    this.#wanted = -Math.log10(parsed.odds)
    this.#clear = parsed.clear
    this.#minDeviation = parsed.minDeviation
    this.#minRelativeDeviation = parsed.minRelativeDeviation
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, timeMs: number, value: number, verdict: Verdict): void {
    if (cells[at + COUNT]! < WARM_UP) {
      abstain(verdict)
      return
    }
    const x = this.#taken(cells, at, value)
    const isGap = isAfterGap(cells, at + INTERVAL, timeMs)
    measureContext(cells, at + CONTEXT, x, timeMs, isGap, this.#shares)
    const share = this.#share()
    const surprise = share > SHARE_MIN ? surpriseOf(cells, at + TAIL, CLOSE, share, share) : 0
    const expected = contextTrend(cells, at + CONTEXT)
    verdict.surprise = surprise
    verdict.score = Math.min(SCORE_MAX, surprise / this.#wanted)
    verdict.expected = expected
    // Any value may be known or new: there is no band.
    verdict.lower = -Infinity
    verdict.upper = Infinity
    verdict.cleared = verdict.score <= this.#clear
    verdict.direction = x < expected ? -1 : 1
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, timeMs: number, value: number): void {
    const count = cells[at + COUNT]!
    const isGap = isAfterGap(cells, at + INTERVAL, timeMs)
    learnContext(cells, at + CONTEXT, this.#taken(cells, at, value), timeMs, isGap, this.#shares)
    learnInterval(cells, at + INTERVAL, count, timeMs)
    if (count >= TAIL_FROM) {
      const share = this.#share()
      learnTail(cells, at + TAIL, CLOSE, share, share)
    }
    cells[at + COUNT] = count + 1
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const shown = `${subject} ${numberText(value)}`
    const lately = `the average of late is ${numberText(verdict.expected)}`
    if (!(verdict.score > 1))
      return `${shown} and the values before it are a known combination again; ${lately}`
    return `${shown} and the values before it were never met together: odds of 1 in 10^${numberText(verdict.surprise ?? 0)}; ${lately}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + COUNT]! < WARM_UP ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    const facts = [
      { name: 'values', value: String(count), meaning: `seen so far; it judges once there are ${WARM_UP}` },
    ]
    if (count >= LEARNING) {
      const { middle, scale } = contextScale(cells, at + CONTEXT)
      facts.push(
        {
          name: 'symbols',
          value: `about ${numberText(middle)}, in steps from ${numberText(scale)}`,
          meaning: `of the value, by its first ${LEARNING}`,
        },
        {
          name: 'memory',
          value: `${numberText(100 * contextFilled(cells, at + CONTEXT))} % full`,
          meaning: 'what is not met again is forgotten; where it is full, what is new looks known',
        },
      )
    }
    return { facts }
  }

  /** Noise about a flat series is no news: the value, or the average of late where it is as good as that. */
  #taken(cells: Float64Array, at: number, value: number): number {
    const x = bounded(value)
    if (cells[at + COUNT] === 0) return x
    const trend = contextTrend(cells, at + CONTEXT)
    const near = Math.max(this.#minDeviation, this.#minRelativeDeviation * Math.abs(trend))
    return Math.abs(x - trend) <= near ? trend : x
  }

  /** New combinations lately, over all codes. */
  #share(): number {
    let sum = 0
    for (let i = 0; i < CODES.length; i++) sum += this.#shares[i]!
    return sum / CODES.length
  }
}
