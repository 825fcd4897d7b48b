/**
 * Distance from the median of the last values, in scaled median absolute deviations: the Hampel identifier. Up to half of
 * the values may be anything at all without moving either, so nothing has to be clipped, and a new level is normal once it
 * fills half of the window.
 *
 * F. R. Hampel, "The influence curve and its role in robust estimation", JASA 69, 1974; 1.4826 makes the MAD of a normal
 * distribution its standard deviation. The window lies in the cells twice, as it came and sorted: O(values) a value,
 * mostly a move of memory; at most 1,026 cells a group (2, and 2 for each value of the window).
 */
import {
  integer,
  number,
  type OptionInputOf,
  type OptionsOf,
  oneOf,
  optionSpec,
} from '../../engine/config/options.ts'
import { DEFINITION, type ValueDetector } from '../../engine/contract/definition.ts'
import type {
  Detector,
  DetectorHealth,
  DetectorPlugin,
  Explanation,
  Verdict,
} from '../../engine/contract/plugins.ts'
import { valuesFact } from './facts.ts'
import {
  abstain,
  bandReason,
  bounded,
  clearAt,
  DIRECTIONS,
  judgeBand,
  numberText,
  ROUNDING,
} from './verdicts.ts'

const VALUES_MAX = 512
const VALUES_MIN = 8

const options = optionSpec({
  values: {
    type: integer({ min: VALUES_MIN, max: VALUES_MAX }),
    default: 60,
    meaning: 'how many of the last values are looked at; it judges once half of them are there',
  },
  threshold: {
    type: number({ min: 1, max: 1_000 }),
    default: 6,
    meaning: 'where the band ends, in scaled median absolute deviations from the median',
  },
  minDeviation: {
    type: number({ min: 0, max: 1e100 }),
    default: 1e-9,
    meaning: 'a deviation up to this is normal, in units of the value',
  },
  minRelativeDeviation: {
    type: number({ min: 0, max: 1_000 }),
    default: 0.05,
    meaning: 'a deviation up to this share of the median is normal',
  },
  clear: clearAt(0.8),
  direction: { type: oneOf(...DIRECTIONS), default: 'both', meaning: 'which side is anomalous' },
})

type Options = OptionsOf<typeof options>

/** Far from the median of late, whatever outliers there were.
 *
 *     .detect('latency', mad({ values: 120, threshold: 8 }))
 */
export function mad(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'mad', subject: 'value', options: written } }
}

export const madPlugin: DetectorPlugin<Options> = {
  kind: 'mad',
  summary: 'distance from the median of the last values in median absolute deviations (Hampel)',
  source: 'Hampel 1974; O(values) a value, at most 1026 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new Mad(parsed),
}

const MAD_TO_DEVIATION = 1.4826

const COUNT = 0
/** Where the next value goes. */
const HEAD = 1
const RING = 2

class Mad implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  readonly #sorted: number

  constructor(parsed: Options) {
    this.#options = parsed
    this.#sorted = RING + parsed.values
    this.width = RING + 2 * parsed.values
  }

  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    const count = cells[at + COUNT]!
    const { values, threshold, minDeviation, minRelativeDeviation, direction, clear } = this.#options
    if (2 * count < values) {
      abstain(verdict)
      return
    }
    const from = at + this.#sorted
    const median = medianOf(cells, from, count)
    const floor = Math.max(minDeviation, Math.max(minRelativeDeviation, ROUNDING) * Math.abs(median))
    const half = Math.max(threshold * MAD_TO_DEVIATION * deviationOf(cells, from, count, median), floor)
    judgeBand(verdict, bounded(value), median, half || Number.MIN_VALUE, direction, clear)
  }

  learn(cells: Float64Array, at: number, _timeMs: number, value: number): void {
    const { values } = this.#options
    const count = cells[at + COUNT]!
    const head = cells[at + HEAD]!
    const x = bounded(value)
    const from = at + this.#sorted
    const full = count === values
    // The place of the oldest, or of the next one that is free, moves to where x belongs.
    let i = full ? placeOf(cells, from, count, cells[at + RING + head]!) : count
    while (i > 0 && cells[from + i - 1]! > x) {
      cells[from + i] = cells[from + i - 1]!
      i--
    }
    const last = full ? count - 1 : count
    while (i < last && cells[from + i + 1]! < x) {
      cells[from + i] = cells[from + i + 1]!
      i++
    }
    cells[from + i] = x
    cells[at + RING + head] = x
    cells[at + HEAD] = head + 1 === values ? 0 : head + 1
    if (!full) cells[at + COUNT] = count + 1
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    return bandReason(subject, value, verdict)
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return 2 * cells[at + COUNT]! < this.#options.values ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const count = cells[at + COUNT]!
    if (count === 0) return { facts: [] }
    const from = at + this.#sorted
    const median = medianOf(cells, from, count)
    return {
      facts: [
        { name: 'median', value: numberText(median), meaning: `of the last ${count} values` },
        {
          name: 'deviation',
          value: numberText(deviationOf(cells, from, count, median)),
          meaning: 'median distance from the median: half of the values are nearer',
        },
        valuesFact(count, Math.ceil(this.#options.values / 2)),
      ],
    }
  }
}

function medianOf(cells: Float64Array, from: number, count: number): number {
  const middle = from + (count >> 1)
  return count % 2 === 1 ? cells[middle]! : cells[middle - 1]! / 2 + cells[middle]! / 2
}

/** The median of the distances from the median: they grow from the middle outwards on either side. */
function deviationOf(cells: Float64Array, from: number, count: number, median: number): number {
  let below = (count >> 1) - 1
  let above = count >> 1
  let last = 0
  let before = 0
  for (let taken = 0; taken <= count >> 1; taken++) {
    before = last
    const down = below >= 0 ? median - cells[from + below]! : Infinity
    const up = above < count ? cells[from + above]! - median : Infinity
    if (down < up) {
      last = down
      below--
    } else {
      last = up
      above++
    }
  }
  return count % 2 === 1 ? last : before / 2 + last / 2
}

/** Of a value that is there. */
function placeOf(cells: Float64Array, from: number, count: number, value: number): number {
  let low = 0
  let high = count - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (cells[from + middle]! < value) low = middle + 1
    else high = middle
  }
  return low
}
