/**
 * How surprising a deviation is, learned from the series itself: minus the decimal logarithm of the probability to see
 * one as large. Above a streaming 98 % quantile, excesses are taken to fall off exponentially (peaks over threshold;
 * Siffer et al., "Anomaly detection in streams with extreme value theory", KDD 2017, with shape 0). Two corrections keep
 * repeated events from alarming for ever, whatever the tail's shape:
 * what was reached in k earlier episodes among n values has a probability of about k / n, and what is below the largest
 * earlier episode is less of a surprise than a new record.
 *
 * Pure over cells. `stat` is the deviation in scales, `size` the same in units of the value: series whose scale shrinks
 * must not take an old size for news. O(peaks) a value.
 */

/** Share of values above the quantile. */
const TAIL = 0.02
const TAIL_SURPRISE = -Math.log10(TAIL)
/** Values before the first judgement. */
const COUNT_MIN = 20
/** Values that scale and quantile look back over, and excesses that the mean excess does. */
const HISTORY = 2_000
const EXCESSES = 100
const STEP_MIN = 0.02
/** Values and excesses beyond so many scales or mean excesses are learned as if they were there. */
const CLIP = 6
const EXCESS_CLIP = 8
const SURPRISE_MAX = 30
/** Peaks lose half in 20,000 values, some at a time. */
const FADE_EVERY = 16
const FADED = fadedOf(20_000)
const TINY = 1e-300

const COUNT = 0
const SCALE = 1
const QUANTILE = 2
const EXCESS = 3
const EXCESS_COUNT = 4
/** Of the episode that goes on. */
const PEAK = 5
const PEAK_AGE = 6
/** Largest first; a record that has a cell of its own follows. */
const PEAKS = 7

/** How much what was before lessens a surprise. */
export interface Habits {
  /** Largest peaks of episodes that are remembered: one cell each. */
  readonly peaks: number
  /** An episode is over when its peak lies this many values back. */
  readonly episode: number
  /** An earlier peak counts as the same from this share on. */
  readonly near: number
  /** k episodes among n values are so many times k / n often, and n no more than `values`, so that habits may change. */
  readonly margin: number
  readonly values: number
  /** Below the record, a surprise counts by this power of its share of it. */
  readonly power: number
  /** Values in which the record loses half, in a cell of its own; null: it is the largest peak, and fades as that does. */
  readonly recordHalved: number | null
}

/** Of deviations that lie close together: shares, and logarithms of densities. */
export const CLOSE: Habits = {
  peaks: 16,
  episode: 20,
  near: 0.8,
  margin: 6,
  values: 4_000,
  power: 2,
  recordHalved: null,
}

export function tailWidth({ peaks, recordHalved }: Habits): number {
  return PEAKS + peaks + (recordHalved === null ? 0 : 1)
}

// hot: some ten calls a value.
export function surpriseOf(
  cells: Float64Array,
  at: number,
  habits: Habits,
  stat: number,
  size: number,
): number {
  const count = cells[at + COUNT]!
  const quantile = cells[at + QUANTILE]!
  if (count < COUNT_MIN || stat <= quantile) return 0
  let surprise = TAIL_SURPRISE + ((stat - quantile) / excessScale(cells, at)) * Math.LOG10E
  if (!(surprise < SURPRISE_MAX)) surprise = SURPRISE_MAX
  const first = at + PEAKS
  const record = habits.recordHalved === null ? cells[first]! : cells[first + habits.peaks]!
  if (record <= 0) return surprise
  const near = habits.near * size
  let reached = 0
  while (reached < habits.peaks && cells[first + reached]! >= near) reached++
  if (reached > 0) {
    const values = Math.min(count, habits.values)
    const most = Math.log10(values / (habits.margin * reached))
    if (surprise > most) surprise = Math.max(most, 0)
  }
  return size < record ? surprise * (size / record) ** habits.power : surprise
}

/** The statistic at which the surprise, without its corrections, is `surprise`. */
export function statAt(cells: Float64Array, at: number, surprise: number): number {
  return cells[at + QUANTILE]! + ((surprise - TAIL_SURPRISE) / Math.LOG10E) * excessScale(cells, at)
}

function excessScale(cells: Float64Array, at: number): number {
  const excess = cells[at + EXCESS]!
  return excess > 0 ? excess : cells[at + SCALE]! * 0.3 + 1e-12
}

// hot: some ten calls a value.
export function learnTail(cells: Float64Array, at: number, habits: Habits, stat: number, size: number): void {
  const count = cells[at + COUNT]! + 1
  cells[at + COUNT] = count
  if (count % FADE_EVERY === 0) fadePeaks(cells, at, habits)
  learnPeaks(cells, at, habits, size)
  let quantile = cells[at + QUANTILE]!
  const scale = cells[at + SCALE]!
  const excess = cells[at + EXCESS]!
  let clipped = stat
  if (count > COUNT_MIN) {
    const most = quantile + CLIP * (excess > 0 ? excess : scale + 1e-12)
    if (clipped > most) clipped = most
  }
  const gain = count < HISTORY ? 1 / count : 1 / HISTORY
  const nextScale = scale + (clipped - scale) * gain
  cells[at + SCALE] = nextScale
  if (count < COUNT_MIN) {
    if (stat > quantile) quantile = stat
  } else {
    const step = 2 / Math.sqrt(count)
    quantile += nextScale * Math.max(step, STEP_MIN) * (stat > quantile ? 1 - TAIL : -TAIL)
    if (quantile < 0) quantile = 0
  }
  cells[at + QUANTILE] = quantile
  if (stat > quantile) {
    const excesses = cells[at + EXCESS_COUNT]! + 1
    cells[at + EXCESS_COUNT] = excesses
    let beyond = stat - quantile
    if (excess > 0 && beyond > EXCESS_CLIP * excess) beyond = EXCESS_CLIP * excess
    cells[at + EXCESS] = excess + (beyond - excess) * (excesses < EXCESSES ? 1 / excesses : 1 / EXCESSES)
  }
}

function fadePeaks(cells: Float64Array, at: number, { peaks, recordHalved }: Habits): void {
  const first = at + PEAKS
  for (let i = first; i < first + peaks; i++) fade(cells, i, FADED)
  if (recordHalved !== null) fade(cells, first + peaks, fadedOf(recordHalved))
}

function fade(cells: Float64Array, i: number, share: number): void {
  const kept = cells[i]! * share
  cells[i] = kept > TINY ? kept : 0
}

/** What is left of a peak after FADE_EVERY values, if it loses half in `values`. */
function fadedOf(values: number): number {
  return 0.5 ** (FADE_EVERY / values)
}

function learnPeaks(cells: Float64Array, at: number, habits: Habits, size: number): void {
  const { peaks, episode } = habits
  const first = at + PEAKS
  let peak = cells[at + PEAK]!
  const age = cells[at + PEAK_AGE]! + 1
  if (age > episode && peak > 0) {
    let i = first + peaks - 1
    if (peak > cells[i]!) {
      while (i > first && cells[i - 1]! < peak) {
        cells[i] = cells[i - 1]!
        i--
      }
      cells[i] = peak
    }
    const own = first + peaks
    if (habits.recordHalved !== null && peak > cells[own]!) cells[own] = peak
    peak = 0
  }
  if (size > peak) {
    cells[at + PEAK] = size
    cells[at + PEAK_AGE] = 0
  } else {
    cells[at + PEAK] = peak
    cells[at + PEAK_AGE] = age
  }
}
