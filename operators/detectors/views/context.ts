/**
 * A bounded memory of which values occurred together: the value as a symbol, alone and with symbols of some values before
 * it. A combination never met before is new; the view's deviation is the share of new ones lately. Finds changes of shape
 * and order that no distance shows, and is calm about spikes that it has met, however tall.
 *
 * Symbols come from a code: the value (or an average of it, or its distance from one) in robust scales of the first 150
 * values, on a logarithmic axis (asinh) or in eighths of their range. Combinations are hashed into one table that all codes
 * share, of 2-bit counters, sixteen a cell; one cell is halved every 64th value, so that what is not met again is
 * forgotten. A collision makes something new look known: it can hide, never alarm.
 */
import { gain } from './view.ts'

/** Values before symbols exist. They wait where the table will be. */
export const LEARNING = 150
export const TABLE_CELLS = 1_024
const COUNTERS_A_CELL = 16
const TABLE_MASK = TABLE_CELLS * COUNTERS_A_CELL - 1
const AGE_EVERY = 64
/** Symbols kept a code: the longest look back. */
const KEPT = 16
const KEPT_MASK = KEPT - 1
/** New combinations are averaged over so many values. */
const NEW_VALUES = 6

/** What a code reads. */
const VALUE = 0
const AVERAGE = 1
const DETRENDED = 2
const SIGNALS = 3

export interface Code {
  readonly signal: number
  /** Symbols a robust scale; for `linear`, a range. */
  readonly fineness: number
  readonly linear: boolean
  /** Combined with the hour of the day. */
  readonly hourly: boolean
  /** Combinations, each of the symbols so many values back, nearest first. One is of the symbol alone. */
  readonly combinations: readonly (readonly number[])[]
}

const PAIRS = [[0], [0, 1], [0, 2], [0, 3], [0, 1, 2], [0, 2, 4]]
export const CODES: readonly Code[] = [
  {
    signal: VALUE,
    fineness: 2,
    linear: false,
    hourly: false,
    combinations: [...PAIRS, [0, 5], [0, 10], [0, 5, 10]],
  },
  { signal: VALUE, fineness: 3, linear: false, hourly: false, combinations: PAIRS },
  { signal: VALUE, fineness: 8, linear: true, hourly: false, combinations: PAIRS },
  {
    signal: AVERAGE,
    fineness: 2,
    linear: false,
    hourly: false,
    combinations: [[0], [0, 4], [0, 8], [0, 4, 8]],
  },
  {
    signal: DETRENDED,
    fineness: 2,
    linear: false,
    hourly: false,
    combinations: [[0], [0, 1], [0, 2], [0, 5]],
  },
  { signal: VALUE, fineness: 2, linear: false, hourly: true, combinations: [[0], [0, 1]] },
]
/** The average is over this many values, detrended is the distance from an average over that many. */
const AVERAGE_VALUES = 4
const TREND_VALUES = 20

const COUNT = 0
const TREND = 1
/** Count of values before the last gap, which combinations do not reach across. */
const GAP_AT = 2
/** The last values, for the average. */
const VALUES = 3
/** Of each signal: middle and scale, lowest and span. */
const SCALES = VALUES + AVERAGE_VALUES
const SCALE_CELLS = 4
/** Of each code: share of new combinations lately, then its last symbols. */
const STATES = SCALES + SIGNALS * SCALE_CELLS
const STATE_CELLS = 1 + KEPT
const TABLE = STATES + CODES.length * STATE_CELLS
export const CONTEXT_WIDTH = TABLE + TABLE_CELLS

/** The average of late. */
export function contextTrend(cells: Float64Array, at: number): number {
  return cells[at + TREND]!
}

/** Around what symbols of the value lie, and in steps from what; once symbols exist. */
export function contextScale(cells: Float64Array, at: number): { middle: number; scale: number } {
  const scales = at + SCALES + VALUE * SCALE_CELLS
  return { middle: cells[scales]!, scale: cells[scales + 1]! }
}

/** Share of the memory's counters that are in use, once symbols exist. O(counters). */
export function contextFilled(cells: Float64Array, at: number): number {
  let used = 0
  for (let i = at + TABLE; i < at + TABLE + TABLE_CELLS; i++) {
    for (let word = cells[i]! | 0; word !== 0; word >>>= 2) if ((word & 3) !== 0) used++
  }
  return used / (TABLE_CELLS * COUNTERS_A_CELL)
}

const HOUR_MS = 3_600_000
const SYMBOL_MAX = 60

/** Signals of the value at hand, by signal; scratch, never state. */
const signals = new Float64Array(SIGNALS)

/**
 * The share of new combinations lately, with this value, of each code, once symbols exist. Changes no cell. `isGap`: it comes
 * so long after the value before that they are no combination.
 */
// hot: a call a value.
export function measureContext(
  cells: Float64Array,
  at: number,
  x: number,
  timeMs: number,
  isGap: boolean,
  shares: Float64Array,
): void {
  readSignals(cells, at, x)
  const reach = isGap ? 0 : cells[at + COUNT]! - cells[at + GAP_AT]!
  for (let i = 0; i < CODES.length; i++) shares[i] = shareOf(cells, at, i, timeMs, reach, false)
}

/** Takes the value in; leaves the shares with it, once symbols exist. */
// hot: a call a value.
export function learnContext(
  cells: Float64Array,
  at: number,
  x: number,
  timeMs: number,
  isGap: boolean,
  shares: Float64Array,
): void {
  readSignals(cells, at, x)
  const count = cells[at + COUNT]!
  if (isGap) cells[at + GAP_AT] = count
  if (count < LEARNING) {
    for (let i = 0; i < SIGNALS; i++) cells[at + TABLE + i * LEARNING + count] = signals[i]!
    if (count === LEARNING - 1) settle(cells, at)
  } else {
    const reach = count - cells[at + GAP_AT]!
    for (let i = 0; i < CODES.length; i++) shares[i] = shareOf(cells, at, i, timeMs, reach, true)
    if (count % AGE_EVERY === 0) {
      const aged = at + TABLE + ((count / AGE_EVERY) & (TABLE_CELLS - 1))
      cells[aged] = (cells[aged]! >>> 1) & 0x55555555
    }
  }
  cells[at + VALUES + (count % AVERAGE_VALUES)] = x
  cells[at + TREND] = cells[at + TREND]! + (x - cells[at + TREND]!) * gain(count + 1, TREND_VALUES)
  cells[at + COUNT] = count + 1
}

function readSignals(cells: Float64Array, at: number, x: number): void {
  const count = cells[at + COUNT]!
  const oldest = count % AVERAGE_VALUES
  let sum = x
  let values = 1
  for (let i = 0; i < AVERAGE_VALUES; i++) {
    if (i === oldest || (count < AVERAGE_VALUES && i >= count)) continue
    sum += cells[at + VALUES + i]!
    values++
  }
  signals[VALUE] = x
  signals[AVERAGE] = sum / values
  signals[DETRENDED] = count === 0 ? 0 : x - cells[at + TREND]!
}

/** `reach`: values before this one that may be combined with it. */
function shareOf(
  cells: Float64Array,
  at: number,
  index: number,
  timeMs: number,
  reach: number,
  learns: boolean,
): number {
  const code = CODES[index]!
  const state = at + STATES + index * STATE_CELLS
  const symbol = symbolOf(cells, at, code)
  const count = cells[at + COUNT]!
  const hour = code.hourly ? Math.floor(timeMs / HOUR_MS) % 24 : 31
  const { combinations } = code
  let fresh = 0
  let combined = 0
  for (let c = 0; c < combinations.length; c++) {
    const lags = combinations[c]!
    if (lags[lags.length - 1]! > reach) continue
    combined++
    let hash = Math.imul(index * 16 + c + 1, 0x9e3779b1) ^ hour
    for (let l = 0; l < lags.length; l++) {
      const lag = lags[l]!
      const then = lag === 0 ? symbol : cells[state + 1 + ((count - lag) & KEPT_MASK)]!
      hash = Math.imul(hash ^ (then + 1_000), 0x85ebca6b)
      hash ^= hash >>> 13
    }
    hash = Math.imul(hash, 0xc2b2ae35)
    const slot = ((hash ^ (hash >>> 16)) & TABLE_MASK) >>> 0
    const cell = at + TABLE + (slot >>> 4)
    const shift = (slot & 15) << 1
    const word = cells[cell]! | 0
    const met = (word >>> shift) & 3
    fresh += 1 / (1 + 2 * met)
    if (learns && met < 3) cells[cell] = (word & ~(3 << shift)) | ((met + 1) << shift)
  }
  const share = cells[state]! + (fresh / combined - cells[state]!) / NEW_VALUES
  if (learns) {
    cells[state] = share
    cells[state + 1 + (count & KEPT_MASK)] = symbol
  }
  return share
}

function symbolOf(cells: Float64Array, at: number, code: Code): number {
  const signal = code.signal
  const scales = at + SCALES + signal * SCALE_CELLS
  const x = signals[signal]!
  const symbol = code.linear
    ? Math.floor(((x - cells[scales + 2]!) / cells[scales + 3]!) * code.fineness)
    : Math.round(Math.asinh((x - cells[scales]!) / cells[scales + 1]!) * code.fineness)
  return symbol > SYMBOL_MAX ? SYMBOL_MAX : symbol < -SYMBOL_MAX ? -SYMBOL_MAX : symbol + 0
}

/** Scales from the values that wait in the table, which is empty from here on. Once a series. */
function settle(cells: Float64Array, at: number): void {
  for (let i = 0; i < SIGNALS; i++) {
    const from = at + TABLE + i * LEARNING
    const sorted = cells.slice(from, from + LEARNING).sort()
    const middle = sorted[LEARNING >> 1]!
    const span = sorted[LEARNING - 1]! - sorted[0]!
    const distances = sorted.map((x) => Math.abs(x - middle)).sort()
    const scales = at + SCALES + i * SCALE_CELLS
    cells[scales] = middle
    const usual = distances[Math.floor(LEARNING * 0.75)]!
    cells[scales + 1] = Math.max(usual, SCALE_SHARE_MIN * Math.abs(middle) + 1e-9, span * 0.02)
    cells[scales + 2] = sorted[0]!
    cells[scales + 3] = Math.max(span, SCALE_SHARE_MIN * Math.abs(middle)) + 1e-9
  }
  cells.fill(0, at + TABLE, at + TABLE + SIGNALS * LEARNING)
}

/** A scale is no less than this share of the middle, or every digit of a flat series would be a symbol of its own. */
const SCALE_SHARE_MIN = 1e-3
