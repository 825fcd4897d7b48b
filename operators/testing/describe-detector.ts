/**
 * The contract suite of detectors: every plug-in of the kind runs it over several sets of options. What it holds: state
 * is in the cells and nowhere else, scoring changes nothing, broken values never reach the cells, and a verdict keeps to
 * the convention (0 at the expected value, 1 at the band's edge, above 1 anomalous, NaN while it cannot judge).
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Fault } from '../../engine/contract/errors.ts'
import {
  DETECTOR_HEALTHS,
  type Detector,
  type DetectorPlugin,
  type PeersDetector,
  type SilenceDetector,
  type VectorDetector,
  type Verdict,
} from '../../engine/contract/plugins.ts'
import { newVerdict, parsed } from './judge-series.ts'

export interface DetectorSuite<O> {
  readonly plugin: DetectorPlugin<O>
  /** As people write them; each goes through the whole suite. Choose short warm-ups, so that series get judged. */
  readonly options: readonly unknown[]
  /** For a detector that judges only after so many values: ordinary ones before every series. */
  readonly lead?: number
  /** Of a vector detector: what it judges. Each column is made of the series' value, with a noise of its own. */
  readonly columns?: readonly string[]
}

interface Point {
  readonly timeMs: number
  readonly value: number
}

const SENTINEL = 12_345.678
/** Row starts, so that nothing depends on where a row lies. */
const AT = 3

export function describeDetector<O>({ plugin, options, lead = 0, columns }: DetectorSuite<O>): void {
  describe(`${plugin.kind} keeps the contract of detectors`, () => {
    test('says what it is, where it comes from and what it costs', () => {
      expect(plugin.kind).toMatch(/^[a-z]+(-[a-z]+)*$/)
      expect(plugin.summary.length).toBeGreaterThan(10)
      expect(plugin.source).toMatch(/cells? a group/)
    })

    test('refuses an option it does not know', () => {
      const faults: Fault[] = []
      expect(plugin.options.parse({ noSuchOption: 1 }, 'place', faults)).toBeUndefined()
      expect(faults.map((fault) => fault.place)).toContain('place.noSuchOption')
    })

    test('has a line of help for every option', () => {
      for (const { name, type, meaning } of plugin.options.help) {
        expect(name).toMatch(/^[a-z][A-Za-z]*$/)
        expect(type).not.toBe('')
        expect(meaning).not.toBe('')
      }
    })

    describe.each(options.map((written) => ({ written, name: JSON.stringify(written) })))(
      'with $name',
      ({ written }) => {
        const make = (): Detector => plugin.create(parsed(plugin, written), columns)

        test('is of the subject it declares, and says how many cells it has', () => {
          const detector = make()
          expect(detector.subject).toBe(plugin.subject)
          expect(Number.isInteger(detector.width)).toBe(true)
          // Cells of a vector detector are a matter of its columns: its own test knows how many.
          const most = /at most (\d+) cells a group/.exec(plugin.source)?.[1]
          if (most !== undefined) expect(detector.width).toBeLessThanOrEqual(Number(most))
          else if (plugin.subject !== 'vector')
            expect(plugin.source).toMatch(new RegExp(`\\b${detector.width} cells? a group`))
        })

        test('a copy of the cells, at any cut and in any row, goes on with the same verdicts', () => {
          fc.assert(fc.property(series(lead), (points) => holdsStateInCells(make, points)))
        })

        test("scoring changes no cell, and learning only the row's own", () => {
          fc.assert(fc.property(series(lead), (points) => touchesOnlyItsRow(make(), points)))
        })

        test('extreme values leave no NaN or infinity in the cells, and every verdict keeps the convention', () => {
          fc.assert(fc.property(extremeSeries(lead), (points) => staysFinite(make(), points)))
        })

        test('gives a reason that a person can read', () => {
          fc.assert(fc.property(series(lead), (points) => givesReasons(make(), points)))
        })

        test('its health changes no cell, is one of those there are, and is warming only while it judges nothing', () => {
          fc.assert(fc.property(series(lead), (points) => tellsItsHealth(make(), points)))
        })

        test('what it explains of itself changes no cell, and a person can read it', () => {
          fc.assert(fc.property(series(lead), (points) => explainsItself(make(), points)))
        })

        if (plugin.subject === 'silence') {
          test('the score passes 1 exactly when the group counts as silent', () => {
            fc.assert(
              fc.property(series(lead), (points) => agreesOnSilence(make() as SilenceDetector, points)),
            )
          })
        }
      },
    )
  })
}

/** Level, noise and now and then a spike or a new level; times irregular, sometimes equal. */
function series(lead: number): fc.Arbitrary<Point[]> {
  const step = fc.record({
    afterMs: fc.oneof(
      { weight: 8, arbitrary: fc.integer({ min: 900, max: 1_100 }) },
      { weight: 1, arbitrary: fc.nat(600_000) },
    ),
    noise: fc.double({ min: -1, max: 1, noNaN: true }),
    jump: fc.oneof(
      { weight: 20, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.integer({ min: -500, max: 500 }) },
    ),
  })
  return fc
    .record({
      level: fc.constantFrom(0, 1, -20, 1e9),
      spread: fc.constantFrom(0, 1e-3, 1),
      steps: fc.array(step, { minLength: 40, maxLength: 120 }),
    })
    .map(({ level, spread, steps }) => {
      let timeMs = 1_700_000_000_000
      const before = ordinary(lead, timeMs, level, spread)
      return before.concat(
        steps.map(({ afterMs, noise, jump }) => {
          timeMs += afterMs
          return { timeMs, value: level + noise * spread + jump }
        }),
      )
    })
}

/** A value a second until `untilMs`, spread evenly about the level. */
function ordinary(values: number, untilMs: number, level: number, spread: number): Point[] {
  return Array.from({ length: values }, (_, i) => ({
    timeMs: untilMs - (values - i) * 1_000,
    value: level + spread * (((i * 7_919) % 997) / 498.5 - 1),
  }))
}

/** Any double at all, and runs of the largest. Infinities too: a window's sum may overflow. */
function extremeSeries(lead: number): fc.Arbitrary<Point[]> {
  const largest = fc.constantFrom(
    Number.MAX_VALUE,
    -Number.MAX_VALUE,
    Number.MIN_VALUE,
    0,
    Infinity,
    -Infinity,
    1e-300,
  )
  const value = fc.oneof(fc.double({ noNaN: true }), largest)
  return fc.array(fc.tuple(fc.nat(100_000), value), { minLength: 30, maxLength: 80 }).map((steps) => {
    let timeMs = lead * 1_000
    return ordinary(lead, timeMs, 0, 1).concat(
      steps.map(([afterMs, value]) => {
        timeMs += afterMs
        return { timeMs, value }
      }),
    )
  })
}

/** One step as the engine makes it; for silence, the value is how long ago the last sample was. */
function step(detector: Detector, cells: Float64Array, at: number, point: Point, verdict: Verdict): void {
  if (detector.subject === 'silence') {
    const gapMs = Math.abs(point.value) * 1_000
    detector.score(cells, at, point.timeMs, gapMs, verdict)
    ;(detector as SilenceDetector).arrived(cells, at, gapMs)
    return
  }
  const value = present(detector, cells, at, point)
  detector.score(cells, at, point.timeMs, value, verdict)
  detector.learn(cells, at, point.timeMs, value, verdict)
}

/** Hands the point over as the engine would, with columns or peers around it; returns the value judged. */
function present(detector: Detector, cells: Float64Array, at: number, { timeMs, value }: Point): number {
  const noise = (i: number): number => ((timeMs * (i + 1) * 7_919) % 997) / 997
  if (isVector(detector)) {
    // One column apart from the others in every tenth value.
    const apart = timeMs % 10 === 0 ? 50 : 0
    detector.values.forEach((_, j) => {
      detector.values[j] = value * (j % 2 === 0 ? 1 : -2) + noise(j) + (j === 0 ? apart : 0)
    })
    return detector.statistic(cells, at, timeMs)
  }
  if (isPeers(detector)) {
    const others = Array.from({ length: 5 + (timeMs % 2) }, (_, i) => value + 3 * noise(i) - (i % 3))
    if (timeMs % 5 === 0) others.fill(timeMs % 1_000)
    detector.peers = new Float64Array([value, ...others].filter(Number.isFinite)).sort()
  }
  return value
}

function isVector(detector: Detector): detector is VectorDetector {
  return detector.subject === 'vector'
}

function isPeers(detector: Detector): detector is PeersDetector {
  return detector.subject === 'peers'
}

function holdsStateInCells(make: () => Detector, points: readonly Point[]): void {
  const lasting = make()
  const cells = new Float64Array(AT + lasting.width)
  let copy = new Float64Array(lasting.width)
  for (const point of points) {
    const verdict = newVerdict()
    // What is left over from another row's verdict must not show.
    const other: Verdict = { score: 7, expected: 7, lower: 7, upper: 7, cleared: true, direction: -1 }
    step(lasting, cells, AT, point, verdict)
    step(make(), copy, 0, point, other)
    if (!sameVerdict(other, verdict)) expect(other).toEqual(verdict)
    copy = copy.slice()
    if (!sameCells(copy, cells.subarray(AT))) expect(copy).toEqual(cells.slice(AT))
  }
}

function touchesOnlyItsRow(detector: Detector, points: readonly Point[]): void {
  const cells = new Float64Array(2 * AT + detector.width).fill(SENTINEL)
  cells.fill(0, AT, AT + detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    const before = cells.slice()
    detector.score(cells, AT, point.timeMs, present(detector, cells, AT, point), newVerdict())
    if (!sameCells(cells, before)) expect(cells).toEqual(before)
    step(detector, cells, AT, point, verdict)
    const untouched = cells.every((cell, i) => (i >= AT && i < AT + detector.width) || cell === SENTINEL)
    if (!untouched) expect(untouched).toBe(true)
  }
}

function staysFinite(detector: Detector, points: readonly Point[]): void {
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    step(detector, cells, 0, point, verdict)
    if (!cells.every(Number.isFinite)) expect([...cells]).toEqual([])
    if (!keepsConvention(verdict)) expect(verdict).toBe('a verdict that keeps the convention')
  }
}

function keepsConvention({ score, expected, lower, upper, cleared, direction }: Verdict): boolean {
  if (direction !== 1 && direction !== -1) return false
  if (Number.isNaN(score)) return !cleared
  if (!(score >= 0 && score < Infinity && lower <= upper)) return false
  if (!Number.isNaN(expected) && !(expected >= lower && expected <= upper)) return false
  return !(score > 1 && cleared)
}

// Millions of comparisons: `expect` is only for what failed.
function sameVerdict(a: Verdict, b: Verdict): boolean {
  return (
    Object.is(a.score, b.score) &&
    Object.is(a.expected, b.expected) &&
    Object.is(a.lower, b.lower) &&
    Object.is(a.upper, b.upper) &&
    a.cleared === b.cleared &&
    a.direction === b.direction
  )
}

function sameCells(a: Float64Array, b: Float64Array): boolean {
  return a.length === b.length && a.every((cell, i) => Object.is(cell, b[i]))
}

function givesReasons(detector: Detector, points: readonly Point[]): void {
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    step(detector, cells, 0, point, verdict)
    if (Number.isNaN(verdict.score)) continue
    const value =
      detector.subject === 'silence' ? Math.abs(point.value) * 1_000 : present(detector, cells, 0, point)
    const reason = detector.reason('latency', value, verdict)
    if (reason.length <= 10 || /NaN|undefined|Infinity|null/.test(reason)) expect(reason).toBe('readable')
  }
}

function tellsItsHealth(detector: Detector, points: readonly Point[]): void {
  if (detector.health === undefined) return
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    const before = cells.slice()
    const health = detector.health(cells, 0, point.timeMs)
    if (!DETECTOR_HEALTHS.includes(health)) expect(health).toBe('a health that there is')
    if (!sameCells(cells, before)) expect(cells).toEqual(before)
    step(detector, cells, 0, point, verdict)
    if (health === 'warming' && !Number.isNaN(verdict.score)) expect(verdict.score).toBeNaN()
  }
}

function explainsItself(detector: Detector, points: readonly Point[]): void {
  if (detector.explain === undefined) return
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    const before = cells.slice()
    for (const { name, value, meaning } of detector.explain(cells, 0).facts) {
      const isReadable = name !== '' && meaning.length > 10 && value !== ''
      if (!isReadable || /NaN|undefined|Infinity|null/.test(value))
        expect({ name, value, meaning }).toBe('readable')
    }
    if (!sameCells(cells, before)) expect(cells).toEqual(before)
    step(detector, cells, 0, point, verdict)
  }
}

function agreesOnSilence(detector: SilenceDetector, points: readonly Point[]): void {
  const cells = new Float64Array(detector.width)
  const verdict = newVerdict()
  for (const point of points) {
    step(detector, cells, 0, point, verdict)
    const silentMs = detector.silentAfterMs(cells, 0)
    const scoreAt = (ms: number): number => {
      detector.score(cells, 0, point.timeMs, ms, verdict)
      return verdict.score
    }
    if (silentMs === Infinity) {
      if (!Number.isNaN(scoreAt(1e15))) expect(verdict.score).toBeNaN()
      continue
    }
    const agrees = silentMs > 0 && scoreAt(silentMs) > 1 && scoreAt(silentMs - 1) <= 1
    if (!agrees) expect({ silentMs, verdict }).toBe('a score that passes 1 there')
    if (!(scoreAt(0) === 0 && verdict.cleared)) expect(verdict).toMatchObject({ score: 0, cleared: true })
  }
}
