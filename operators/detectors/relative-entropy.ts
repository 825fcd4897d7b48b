/**
 * Whole windows instead of single values: how the last values spread over bins, against the distributions that were usual so
 * far (hypotheses). Twice the relative entropy times the number of values is chi-squared where nothing changed; a value
 * alarms when the window that ends with it would be rarer than `odds` under every hypothesis that is known. Finds a
 * change of spread or shape, or values missing in between, where no single value is far out.
 *
 * Wang et al., "Statistical techniques for online anomaly detection in data centers", IM 2011. As there, a window that
 * no hypothesis explains becomes one itself, with a count of windows, and counts as normal from `times` windows on. Windows
 * are judged as they slide and counted end to end. A hypothesis pools its windows, and the statistic is scaled by what
 * is known of it, W N / (W + N) for W values against N.
 *
 * Bins are of one width, found from the first window; the outermost are open. When most of a window lies beyond them, the
 * range doubles to that side: neighbours merge, with their counts, exactly. When eight windows in a row are far narrower
 * than a bin, bins are found anew and hypotheses forgotten, for counts cannot be divided; it then warms up again.
 *
 * O(hypotheses · bins) a value; 6 cells, one for each value of the window, 11 for each bin and 20: at most 714 cells a group.
 */
import {
  integer,
  number,
  type OptionInputOf,
  type OptionsOf,
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
import { chiSquaredSurprise } from './chi-squared.ts'
import { abstain, bandText, bounded, clearAt, numberText, ROUNDING, SCORE_MAX } from './verdicts.ts'

const VALUES_MAX = 512
const VALUES_MIN = 16
const BINS_MAX = 16

const options = optionSpec(
  {
    values: {
      type: integer({ min: VALUES_MIN, max: VALUES_MAX }),
      default: 64,
      meaning: 'how many of the last values make a window; it judges once four windows are there',
    },
    bins: {
      type: integer({ min: 4, max: BINS_MAX }),
      default: 8,
      meaning: 'how many ranges of values are told apart; an even number',
    },
    odds: {
      type: number({ above: 0, max: 0.1 }),
      default: 1e-4,
      meaning: 'anomalous is a window rarer than this under every distribution that is known',
    },
    times: {
      type: integer({ min: 1, max: 1_000 }),
      default: 2,
      meaning: 'a new distribution is normal once it filled so many windows',
    },
    minDeviation: {
      type: number({ min: 0, max: 1e100 }),
      default: 1e-9,
      meaning: 'a bin is no narrower than this, in units of the value',
    },
    minRelativeDeviation: {
      type: number({ min: 0, max: 1_000 }),
      default: 0.01,
      meaning: 'a bin is no narrower than this share of the median',
    },
    clear: clearAt(0.6),
  },
  ({ bins }, place, faults) => {
    if (bins % 2 === 0) return
    faults.push({
      place: `${place}.bins`,
      value: bins,
      problem: 'is odd; bins merge in pairs when the range grows',
      remedy: `Write ${bins - 1} or ${bins + 1}.`,
    })
  },
)

type Options = OptionsOf<typeof options>

/** Windows of values that spread as they never did.
 *
 *     .detect('latency', relativeEntropy({ values: 120, odds: 1e-5 }))
 */
export function relativeEntropy(written: OptionInputOf<typeof options> = {}): ValueDetector {
  return { [DEFINITION]: { what: 'detector', kind: 'relative-entropy', subject: 'value', options: written } }
}

export const relativeEntropyPlugin: DetectorPlugin<Options> = {
  kind: 'relative-entropy',
  summary:
    'how the last values spread over bins, against the distributions known (multinomial relative entropy)',
  source: 'Wang et al. 2011; O(hypotheses · bins) a value, at most 714 cells a group',
  subject: 'value',
  options,
  create: (parsed) => new RelativeEntropy(parsed),
}

const HYPOTHESES_MAX = 10
/** What the first windows hold is normal, whatever it is. */
const WARM_UP_WINDOWS = 4
/** A hypothesis with more windows than this is halved, so that habits may change. */
const POOLED_WINDOWS_MAX = 64
/** Windows in a row that are far narrower than a bin, and how much narrower. */
const NARROW_WINDOWS = 8
const NARROW = 0.25
/** Doublings after which the old range lies in one bin, whatever the number of bins is. */
const DOUBLINGS_MAX = 4
/** Krichevsky and Trofimov: half a value in every bin, so that what was never met is rare and not impossible. */
const PRIOR = 0.5

/** Values so far. */
const COUNT = 0
/** Windows since bins were found: 0 before. */
const WINDOWS = 1
const LOW = 2
/** Of a bin. */
const BIN_WIDTH = 3
/** Windows in a row that were narrow. */
const NARROW_COUNT = 4
const HYPOTHESES = 5
/** Counts of the window, by bin; then values; then hypotheses. */
const WINDOW_BINS = 6

/** Of a hypothesis: windows it explained, the number of the last of them, and values by bin. */
const H_TIMES = 0
const H_LAST = 1
const H_BINS = 2

class RelativeEntropy implements Detector {
  readonly subject = 'value'
  readonly width: number
  readonly #options: Options
  /** Minus the decimal logarithm of the odds. */
  readonly #wanted: number
  readonly #ring: number
  readonly #hypotheses: number
  readonly #hypothesisWidth: number
  // Scratch of one call, never state.
  readonly #window: Float64Array
  readonly #sorted: Float64Array

  constructor(parsed: Options) {
    this.#options = parsed
    this.#wanted = -Math.log10(parsed.odds)
    this.#ring = WINDOW_BINS + parsed.bins
    this.#hypotheses = this.#ring + parsed.values
    this.#hypothesisWidth = H_BINS + parsed.bins
    this.width = this.#hypotheses + HYPOTHESES_MAX * this.#hypothesisWidth
    this.#window = new Float64Array(parsed.bins)
    this.#sorted = new Float64Array(parsed.values)
  }

  // hot: a call a (group, window).
  score(cells: Float64Array, at: number, _timeMs: number, value: number, verdict: Verdict): void {
    if (cells[at + WINDOWS]! < WARM_UP_WINDOWS) {
      abstain(verdict)
      return
    }
    const { values, bins, clear } = this.#options
    const window = this.#window
    for (let bin = 0; bin < bins; bin++) window[bin] = cells[at + WINDOW_BINS + bin]!
    const oldest = cells[at + this.#ring + (cells[at + COUNT]! % values)]!
    const leaves = this.#binOf(cells, at, oldest)
    const comes = this.#binOf(cells, at, bounded(value))
    window[leaves] = window[leaves]! - 1
    window[comes] = window[comes]! + 1
    const nearest = this.#nearest(cells, at, true)
    const surprise = chiSquaredSurprise(this.#statistic(cells, nearest), bins - 1)
    this.#describe(cells, at, nearest, verdict)
    verdict.surprise = surprise
    verdict.score = Math.min(SCORE_MAX, surprise / this.#wanted)
    verdict.cleared = verdict.score <= clear
  }

  // hot: a call a (group, window).
  learn(cells: Float64Array, at: number, _timeMs: number, value: number): void {
    const { values } = this.#options
    const count = cells[at + COUNT]!
    const place = at + this.#ring + (count % values)
    const x = bounded(value)
    if (cells[at + WINDOWS]! > 0) {
      const leaves = at + WINDOW_BINS + this.#binOf(cells, at, cells[place]!)
      const comes = at + WINDOW_BINS + this.#binOf(cells, at, x)
      cells[leaves] = cells[leaves]! - 1
      cells[comes] = cells[comes]! + 1
    }
    cells[place] = x
    cells[at + COUNT] = count + 1
    if ((count + 1) % values === 0) this.#endWindow(cells, at)
  }

  reason(subject: string, value: number, verdict: Verdict): string {
    const usual = `usual is ${numberText(verdict.expected)} on average (most within ${bandText(verdict)})`
    const shown = `${subject} ${numberText(value)}`
    if (!(verdict.score > 1)) return `${shown} ends a window that spreads as usual again, ${usual}`
    const side = verdict.direction < 0 ? 'lower' : 'higher'
    const rare = numberText(Math.max(verdict.surprise ?? 0, 0))
    return `${shown} ends a window of ${this.#options.values} values that spread as they never did, ${side} on average: odds of 1 in 10^${rare}; ${usual}`
  }

  health(cells: Float64Array, at: number): DetectorHealth {
    return cells[at + WINDOWS]! < WARM_UP_WINDOWS ? 'warming' : 'ok'
  }

  explain(cells: Float64Array, at: number): Explanation {
    const { bins, times } = this.#options
    const windows = cells[at + WINDOWS]!
    const facts = [
      {
        name: 'windows',
        value: String(windows),
        meaning: `since its bins were found; it judges from ${WARM_UP_WINDOWS} on`,
      },
    ]
    if (windows > 0) {
      const low = cells[at + LOW]!
      const size = cells[at + BIN_WIDTH]!
      const hypotheses = cells[at + HYPOTHESES]!
      let known = 0
      for (let i = 0; i < hypotheses; i++) {
        if (cells[this.#hypothesisAt(at, i) + H_TIMES]! >= times) known++
      }
      facts.push(
        {
          name: 'bins',
          value: `${bins} of ${numberText(size)}, from ${numberText(low)} to ${numberText(low + bins * size)}`,
          meaning: 'ranges of values that are told apart; the outermost are open',
        },
        {
          name: 'distributions',
          value: `${known} known of ${hypotheses} met`,
          meaning: `a distribution is known once it filled ${times} windows`,
        },
      )
    }
    return { facts }
  }

  #binOf(cells: Float64Array, at: number, x: number): number {
    const bin = Math.floor((x - cells[at + LOW]!) / cells[at + BIN_WIDTH]!)
    const last = this.#options.bins - 1
    return bin > 0 ? Math.min(bin, last) : 0
  }

  #hypothesisAt(at: number, index: number): number {
    return at + this.#hypotheses + index * this.#hypothesisWidth
  }

  /**
   * Of the window in scratch against the hypothesis at `h`: chi-squared with bins - 1 degrees where nothing changed. The
   * degrees are those of the method (as in its implementation in NAB: bins - 1), whatever bins are empty: a bin that no value
   * has met yet is a possible outcome, and leaving it out would make the first value in it change the law that it is judged by.
   * Where bins are never met the odds are on the careful side.
   */
  #statistic(cells: Float64Array, h: number): number {
    const { bins, values } = this.#options
    const window = this.#window
    let pooled = 0
    for (let bin = 0; bin < bins; bin++) pooled += cells[h + H_BINS + bin]!
    const total = pooled + PRIOR * bins
    let sum = 0
    for (let bin = 0; bin < bins; bin++) {
      const seen = window[bin]!
      if (seen > 0) sum += seen * Math.log((seen * total) / (values * (cells[h + H_BINS + bin]! + PRIOR)))
    }
    return (2 * sum * pooled) / (pooled + values)
  }

  /** Cells of the hypothesis that explains the window in scratch best; of those known, where there are. */
  #nearest(cells: Float64Array, at: number, onlyKnown: boolean): number {
    const { times } = this.#options
    const hypotheses = cells[at + HYPOTHESES]!
    let nearest = this.#hypothesisAt(at, 0)
    let smallest = Infinity
    for (let i = 0; i < hypotheses; i++) {
      const h = this.#hypothesisAt(at, i)
      if (onlyKnown && cells[h + H_TIMES]! < times) continue
      const statistic = this.#statistic(cells, h)
      if (statistic >= smallest) continue
      smallest = statistic
      nearest = h
    }
    return nearest
  }

  /** Mean and usual range by the hypothesis at `h`, and on which side of it the window in scratch lies. */
  #describe(cells: Float64Array, at: number, h: number, verdict: Verdict): void {
    const { bins, values } = this.#options
    let pooled = 0
    let sum = 0
    let windowSum = 0
    for (let bin = 0; bin < bins; bin++) {
      pooled += cells[h + H_BINS + bin]!
      sum += cells[h + H_BINS + bin]! * (bin + 0.5)
      windowSum += this.#window[bin]! * (bin + 0.5)
    }
    const few = pooled * EDGE_SHARE
    let first = 0
    let last = bins - 1
    while (first < last && cells[h + H_BINS + first]! <= few) first++
    while (last > first && cells[h + H_BINS + last]! <= few) last--
    const mean = pooled > 0 ? sum / pooled : bins / 2
    const low = cells[at + LOW]!
    const size = cells[at + BIN_WIDTH]!
    verdict.expected = low + mean * size
    // Few values may lie outside, and the mean with them.
    verdict.lower = Math.min(low + first * size, verdict.expected)
    verdict.upper = Math.max(low + (last + 1) * size, verdict.expected)
    verdict.direction = windowSum / values < mean ? -1 : 1
  }

  /** Takes a whole window in: bins where they do not fit, then a hypothesis for it. */
  #endWindow(cells: Float64Array, at: number): void {
    const { values, bins } = this.#options
    const sorted = this.#sorted
    for (let i = 0; i < values; i++) sorted[i] = cells[at + this.#ring + i]!
    sorted.sort()
    const median = sorted[values >> 1]!
    const size = this.#binWidth(median)
    const narrow = size < NARROW * cells[at + BIN_WIDTH]! ? cells[at + NARROW_COUNT]! + 1 : 0
    cells[at + NARROW_COUNT] = narrow
    if (cells[at + WINDOWS]! === 0 || narrow === NARROW_WINDOWS) {
      cells[at + NARROW_COUNT] = 0
      cells[at + WINDOWS] = 0
      cells[at + HYPOTHESES] = 0
      cells[at + BIN_WIDTH] = size
      // The median in the middle of a bin: a flat series must not lie on an edge.
      cells[at + LOW] = median - (bins / 2 + 0.5) * size
    } else {
      this.#widen(cells, at, median)
    }
    for (let bin = 0; bin < bins; bin++) cells[at + WINDOW_BINS + bin] = 0
    for (let i = 0; i < values; i++) {
      const bin = at + WINDOW_BINS + this.#binOf(cells, at, sorted[i]!)
      cells[bin] = cells[bin]! + 1
    }
    cells[at + WINDOWS] = cells[at + WINDOWS]! + 1
    this.#count(cells, at)
  }

  /** Nine tenths of the window in half of the bins: there is room to move on either side. */
  #binWidth(median: number): number {
    const { values, bins, minDeviation, minRelativeDeviation } = this.#options
    const tail = Math.floor(values * 0.05)
    const spread = this.#sorted[values - 1 - tail]! - this.#sorted[tail]!
    const floor = Math.max(minRelativeDeviation, ROUNDING) * Math.abs(median)
    return Math.max(spread / (bins / 2), minDeviation, floor, WIDTH_MIN)
  }

  /** Until the median is inside. Counts of what lay beyond the range stay with the outermost bin. */
  #widen(cells: Float64Array, at: number, median: number): void {
    const { bins } = this.#options
    for (let doublings = 0; doublings <= DOUBLINGS_MAX; doublings++) {
      const low = cells[at + LOW]!
      const size = cells[at + BIN_WIDTH]!
      const high = low + bins * size
      const up = median >= high
      if (!up && median >= low) return
      // All of the old range is in one bin: what is still missing comes at once.
      const factor =
        doublings < DOUBLINGS_MAX ? 2 : Math.max(2, (2 * (up ? median - low : high - median)) / (high - low))
      cells[at + BIN_WIDTH] = size * factor
      if (!up) cells[at + LOW] = high - bins * size * factor
      for (let i = 0; i < cells[at + HYPOTHESES]!; i++)
        merge(cells, this.#hypothesisAt(at, i) + H_BINS, bins, up)
    }
  }

  /** The window that ended belongs to the hypothesis that explains it, or is one. */
  #count(cells: Float64Array, at: number): void {
    const { values, bins, times } = this.#options
    const windows = cells[at + WINDOWS]!
    for (let bin = 0; bin < bins; bin++) this.#window[bin] = cells[at + WINDOW_BINS + bin]!
    let h = this.#nearest(cells, at, false)
    const hypotheses = cells[at + HYPOTHESES]!
    const explained = hypotheses > 0 && chiSquaredSurprise(this.#statistic(cells, h), bins - 1) < this.#wanted
    if (!explained) {
      h = hypotheses < HYPOTHESES_MAX ? this.#hypothesisAt(at, hypotheses) : this.#leastUseful(cells, at)
      cells[at + HYPOTHESES] = Math.min(hypotheses + 1, HYPOTHESES_MAX)
      for (let i = 0; i < this.#hypothesisWidth; i++) cells[h + i] = 0
    }
    let pooled = 0
    for (let bin = 0; bin < bins; bin++) {
      cells[h + H_BINS + bin] = cells[h + H_BINS + bin]! + this.#window[bin]!
      pooled += cells[h + H_BINS + bin]!
    }
    if (pooled > POOLED_WINDOWS_MAX * values) {
      for (let bin = 0; bin < bins; bin++) cells[h + H_BINS + bin] = cells[h + H_BINS + bin]! / 2
    }
    const least = windows <= WARM_UP_WINDOWS ? times : 0
    cells[h + H_TIMES] = Math.max(cells[h + H_TIMES]! + 1, least)
    cells[h + H_LAST] = windows
  }

  /** The one that was met longest ago, of those not known if there are any. */
  #leastUseful(cells: Float64Array, at: number): number {
    const { times } = this.#options
    let least = this.#hypothesisAt(at, 0)
    for (let i = 1; i < HYPOTHESES_MAX; i++) {
      const h = this.#hypothesisAt(at, i)
      const known = cells[h + H_TIMES]! >= times
      const leastKnown = cells[least + H_TIMES]! >= times
      if (known === leastKnown ? cells[h + H_LAST]! < cells[least + H_LAST]! : leastKnown) least = h
    }
    return least
  }
}

/** A bin with no more of a hypothesis than this is no part of its usual range. */
const EDGE_SHARE = 0.005
const WIDTH_MIN = 1e-150

/** Neighbours into one, towards the end that stays: the lower one when the range grows `up`. */
function merge(cells: Float64Array, from: number, bins: number, up: boolean): void {
  const half = bins / 2
  if (up) {
    for (let i = 0; i < half; i++) cells[from + i] = cells[from + 2 * i]! + cells[from + 2 * i + 1]!
    for (let i = half; i < bins; i++) cells[from + i] = 0
  } else {
    for (let i = bins - 1; i >= half; i--) {
      const pair = 2 * (i - half)
      cells[from + i] = cells[from + pair]! + cells[from + pair + 1]!
    }
    for (let i = 0; i < half; i++) cells[from + i] = 0
  }
}
