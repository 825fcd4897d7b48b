/**
 * Families of made-up series with known truth, each from a seed alone. Clean families have no event: every alarm in them
 * is false. Families with events are a clean base into which, once the series is known, events are put: each has rows
 * from its first deviation to its end. Pure.
 */
import { Prng } from '../../engine/util/prng.ts'

export interface Event {
  /** Rows, both inclusive. */
  readonly first: number
  readonly last: number
}

export interface MadeSeries {
  readonly timesMs: Float64Array
  readonly values: Float64Array
  readonly events: readonly Event[]
}

export interface Family {
  readonly name: string
  readonly clean: boolean
  make(seed: number): MadeSeries
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const START_MS = Date.UTC(2026, 0, 5)
const DAYS = 28
/** No event before this day: detectors may know a week by then. */
const EVENTS_FROM_DAY = 10
const EVENTS = 4
const TURN = 2 * Math.PI

/** A value of a base at a time; keeps what it needs in `memory`. */
type Base = (timeMs: number, prng: Prng, memory: number[]) => number

const day = (timeMs: number): number => (timeMs % DAY_MS) / DAY_MS
const weekend = (timeMs: number): boolean => Math.floor(timeMs / DAY_MS + 3) % 7 > 4

function poisson(mean: number, prng: Prng): number {
  const limit = Math.exp(-mean)
  let count = 0
  for (let product = prng.float(); product > limit; product *= prng.float()) count++
  return count
}

/** First-order autoregression with unit steps. */
const carried = (memory: number[], share: number, prng: Prng): number => {
  memory[0] = (memory[0] ?? 0) * share + prng.normal()
  return memory[0]
}

const BASES = {
  constant: () => 42,
  normal: (_, prng) => 100 + 5 * prng.normal(),
  uniform: (_, prng) => 20 + 10 * prng.float(),
  exponential: (_, prng) => -10 * Math.log(1 - prng.float()),
  lognormal: (_, prng) => Math.exp(3 + 0.4 * prng.normal()),
  carried: (_, prng, memory) => 50 + carried(memory, 0.9, prng),
  wandering: (_, prng, memory) => 50 + carried(memory, 0.99, prng),
  daily: (timeMs, prng) => 100 + 30 * Math.sin(TURN * day(timeMs)) + 3 * prng.normal(),
  weekly: (timeMs, prng) =>
    (weekend(timeMs) ? 40 : 100) * (1 + 0.3 * Math.sin(TURN * day(timeMs))) + 3 * prng.normal(),
  'nightly job': (timeMs, prng) => (Math.floor(day(timeMs) * 24) === 2 ? 70 : 10) + prng.normal(),
  'half-hourly spikes': (timeMs, prng) =>
    10 + prng.normal() + (Math.floor(timeMs / MINUTE_MS) % 30 < 5 ? 40 : 0),
  'on and off': (timeMs) => (day(timeMs) > 0.3 && day(timeMs) < 0.75 ? 1 : 0),
  counts: (_, prng) => poisson(4, prng),
  'rare counts': (_, prng) => poisson(0.05, prng),
  trend: (timeMs, prng) => 100 + ((timeMs - START_MS) / DAY_MS) * 2 + 2 * prng.normal(),
  'steep trend': (timeMs, prng) => ((timeMs - START_MS) / MINUTE_MS) * 5 + 10 * prng.normal(),
  sawtooth: (timeMs, prng) => ((timeMs / MINUTE_MS) % 700) / 7 + prng.normal(),
} satisfies Record<string, Base>

type BaseName = keyof typeof BASES

/** Changes the value of a row `into` an event by how many rows, of so many; `spread` is the base's usual deviation. */
type Change = (value: number, into: number, rows: number, spread: number, prng: Prng) => number

interface Kind {
  readonly rows: number
  readonly change: Change
  readonly bases: readonly BaseName[]
}

const STEADY: readonly BaseName[] = ['normal', 'carried', 'daily', 'weekly']
const KINDS: Readonly<Record<string, Kind>> = {
  spike: {
    rows: 3,
    change: (x, _, __, spread) => x + 12 * spread,
    bases: [...STEADY, 'lognormal', 'counts'],
  },
  dip: { rows: 6, change: (x, _, __, spread) => x - 10 * spread, bases: STEADY },
  step: { rows: 72, change: (x, _, __, spread) => x + 6 * spread, bases: ['normal', 'carried', 'daily'] },
  drift: {
    rows: 144,
    change: (x, into, rows, spread) => x + (12 * spread * into) / rows,
    bases: ['normal', 'carried', 'daily'],
  },
  'drop to nothing': { rows: 36, change: () => 0, bases: ['normal', 'daily', 'weekly', 'lognormal'] },
  louder: {
    rows: 72,
    change: (x, _, __, spread, prng) => x + 4 * spread * prng.normal(),
    bases: ['normal', 'carried', 'daily'],
  },
  flatline: { rows: 144, change: () => NaN, bases: ['normal', 'daily'] },
}

function spreadOf(base: BaseName): number {
  const usual: Partial<Record<BaseName, number>> = { normal: 5, carried: 2.3, lognormal: 10, counts: 2 }
  return usual[base] ?? 3
}

function baseSeries(base: Base, prng: Prng, everyMs: number, jitter: number): MadeSeries {
  const rows = Math.floor((DAYS * DAY_MS) / everyMs)
  const memory: number[] = []
  const timesMs = Float64Array.from(
    { length: rows },
    (_, i) => START_MS + i * everyMs + Math.round(everyMs * jitter * (prng.float() - 0.5)),
  )
  return { timesMs, values: timesMs.map((timeMs) => base(timeMs, prng, memory)), events: [] }
}

const FIVE_MINUTES = 5 * MINUTE_MS

function clean(name: string, base: Base, everyMs = FIVE_MINUTES, jitter = 0): Family {
  return { name, clean: true, make: (seed) => baseSeries(base, new Prng(seed), everyMs, jitter) }
}

function withEvents(kindName: string, kind: Kind, baseName: BaseName): Family {
  const make = (seed: number): MadeSeries => {
    const prng = new Prng(seed)
    const { timesMs, values } = baseSeries(BASES[baseName], prng, FIVE_MINUTES, 0)
    const rowsADay = DAY_MS / FIVE_MINUTES
    const from = EVENTS_FROM_DAY * rowsADay
    const stretch = Math.floor((values.length - from) / EVENTS)
    const events = Array.from({ length: EVENTS }, (_, i) => {
      const first = from + i * stretch + prng.below(stretch - kind.rows - rowsADay)
      const before = values[first - 1]!
      for (let into = 0; into < kind.rows; into++) {
        const row = first + into
        const changed = kind.change(values[row]!, into, kind.rows, spreadOf(baseName), prng)
        values[row] = kindName === 'flatline' ? before : changed
      }
      return { first, last: first + kind.rows - 1 }
    })
    return { timesMs, values, events }
  }
  return { name: `${kindName} in ${baseName}`, clean: false, make }
}

/** From a row on, the base of another time of day: late by six hours for a day and a half. */
function seasonShift(seed: number): MadeSeries {
  const prng = new Prng(seed)
  const { timesMs, values } = baseSeries(BASES.daily, prng, FIVE_MINUTES, 0)
  const first = 14 * 288 + prng.below(288)
  const last = first + 432
  for (let row = first; row <= last; row++) values[row] = BASES.daily(timesMs[row]! - DAY_MS / 4, prng)
  return { timesMs, values, events: [{ first, last }] }
}

/** A day whose wave is a square, as high as the wave. */
function shapeChange(seed: number): MadeSeries {
  const prng = new Prng(seed)
  const { timesMs, values } = baseSeries(BASES.daily, prng, FIVE_MINUTES, 0)
  const first = (14 + prng.below(7)) * 288
  const last = first + 287
  for (let row = first; row <= last; row++)
    values[row] = 100 + 30 * Math.sign(Math.sin(TURN * day(timesMs[row]!)) || 1) + 3 * prng.normal()
  return { timesMs, values, events: [{ first, last }] }
}

/** A counter's increments, with a reset seen as one large negative step. */
function counterReset(seed: number): MadeSeries {
  const prng = new Prng(seed)
  const { timesMs, values } = baseSeries((_, random) => 300 + 20 * random.normal(), prng, FIVE_MINUTES, 0)
  const first = 14 * 288 + prng.below(2_000)
  values[first] = -300 * first
  return { timesMs, values, events: [{ first, last: first + 2 }] }
}

/** Rows that are missing: nothing to judge, and nothing to alarm on when values come back. */
function missingData(seed: number): MadeSeries {
  const prng = new Prng(seed)
  const { timesMs, values } = baseSeries(BASES.daily, prng, FIVE_MINUTES, 0)
  const kept = [...values.keys()].filter((row) => row % 1_500 < 1_400)
  return {
    timesMs: Float64Array.from(kept, (row) => timesMs[row]!),
    values: Float64Array.from(kept, (row) => values[row]!),
    events: [],
  }
}

export const FAMILIES: readonly Family[] = [
  ...Object.entries(BASES).map(([name, base]) => clean(name, base)),
  clean('normal, a value a minute', BASES.normal, MINUTE_MS),
  clean('daily, a value a minute', BASES.daily, MINUTE_MS),
  clean('daily, a value an hour', BASES.daily, 60 * MINUTE_MS),
  clean('weekly, times that jitter', BASES.weekly, FIVE_MINUTES, 0.8),
  { name: 'daily, with gaps', clean: true, make: missingData },
  ...Object.entries(KINDS).flatMap(([name, kind]) => kind.bases.map((base) => withEvents(name, kind, base))),
  { name: 'season shift in daily', clean: false, make: seasonShift },
  { name: 'shape change in daily', clean: false, make: shapeChange },
  { name: 'counter reset', clean: false, make: counterReset },
]
