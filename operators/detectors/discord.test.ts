import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { Prng } from '../../engine/util/prng.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, parsed } from '../testing/judge-series.ts'
import { discordPlugin } from './discord.ts'

const SMALL = { length: 6, history: 64, minDeviation: 0, minRelativeDeviation: 0 }

describeDetector({
  plugin: discordPlugin,
  lead: 172,
  options: [SMALL, { ...SMALL, length: 4, minDeviation: 1e-9, minRelativeDeviation: 0.05, odds: 0.1 }],
})

const alarms = (verdicts: readonly Verdict[]): number => verdicts.filter(({ score }) => score > 1).length

/** The left matrix profile by its definition: every stretch standardised and compared value by value. */
function profileAt(series: readonly number[], end: number, length: number, history: number): number {
  const stretch = (last: number): number[] => {
    const values = series.slice(last - length + 1, last + 1)
    const mean = values.reduce((sum, x) => sum + x, 0) / length
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / length)
    return values.map((x) => (x - mean) / deviation)
  }
  const own = stretch(end)
  const distances = Array.from({ length: history - length + 1 }, (_, i) => {
    const other = stretch(end - length - i)
    return Math.hypot(...own.map((x, k) => x - other[k]!))
  })
  return Math.min(...distances)
}

const wave = (i: number): number => Math.sin((2 * Math.PI * i) / 40)

describe('discords', () => {
  test.each([1e9, 1e13, 1e100])(
    'a spike of %d in noise of one takes no digits along when it leaves',
    (spike) => {
      const prng = new Prng(41)
      const { length, history } = SMALL
      const series = Array.from({ length: 700 }, (_, i) => (i % 150 === 75 ? spike : prng.normal()))
      let compared = 0
      judgeSeries(discordPlugin, SMALL)
        .run(series.length, (i) => series[i]!)
        .forEach(({ memo, score }, end) => {
          const looked = series.slice(end - history - length + 1, end + 1)
          // By its definition a stretch with a spike has no digits for anything else either.
          if (Number.isNaN(score) || looked.slice(-length).includes(spike)) return
          compared++
          expect(Math.abs(memo! - profileAt(series, end, length, history))).toBeLessThan(1e-6)
        })
      expect(compared).toBeGreaterThan(300)
    },
  )

  test.each([
    ['about nothing', 0, 1],
    ['about a level a thousand million times their size', 1e9, 1],
    ['tiny', 1e-6, 1e-9],
    ['huge', 0, 1e120],
  ])(
    'the distance is that of the left matrix profile by its definition, for values %s',
    (_name, level, scale) => {
      const noise = fc.array(fc.integer({ min: -1_000, max: 1_000 }), { minLength: 260, maxLength: 260 })
      let compared = 0
      fc.assert(
        fc.property(noise, (steps) => {
          // A jump of level half-way, so that what products are taken about is far from both.
          const series = steps.map((step, i) => level + scale * (wave(i) + step / 500 + (i > 200 ? 40 : 0)))
          const judge = judgeSeries(discordPlugin, SMALL)
          const exact = series.map((x) => x - level)
          judge
            .run(series.length, (i) => series[i]!)
            .forEach(({ memo, score }, end) => {
              if (Number.isNaN(score)) return
              compared++
              // Values about a level have fewer digits left for their shape.
              const expected = profileAt(
                level === 1e9 ? series.map((x) => x - level) : exact,
                end,
                SMALL.length,
                SMALL.history,
              )
              expect(memo).toBeCloseTo(expected, 4)
            })
        }),
        { numRuns: 20 },
      )
      expect(compared).toBeGreaterThan(1_000)
    },
  )

  test('rounding does not add up: after 50,000 values the distance is still that of the definition', () => {
    const prng = new Prng(81)
    const judge = judgeSeries(discordPlugin, SMALL)
    const series = Array.from({ length: 50_000 }, (_, i) => 1e7 + 100 * wave(i) + prng.normal())
    const { memo } = judge.run(series.length, (i) => series[i]!).at(-1)!
    expect(memo).toBeCloseTo(profileAt(series, series.length - 1, SMALL.length, SMALL.history), 6)
  })

  test('values that dwarf all others pass without a trace: the distance is that of the definition from then on', () => {
    const prng = new Prng(82)
    const judge = judgeSeries(discordPlugin, SMALL)
    const far = new Map([
      [300, 1e9],
      [309, 1e9],
      [340, -1e12],
    ])
    const series = Array.from({ length: 460 }, (_, i) => far.get(i) ?? wave(i) + prng.normal() / 5)
    const verdicts = judge.run(series.length, (i) => series[i]!)
    let compared = 0
    for (let end = 290; end < series.length; end++) {
      const { memo } = verdicts[end]!
      // With such a value in the stretch itself, the others are its rounding.
      if ([...far.keys()].some((at) => at <= end && at > end - SMALL.length)) continue
      compared++
      expect(memo, `at ${end}`).toBeCloseTo(profileAt(series, end, SMALL.length, SMALL.history), 3)
    }
    expect(compared).toBeGreaterThan(140)
  })

  test('finds a beat of another shape, and none that grows to three times its size', () => {
    const prng = new Prng(82)
    const judge = judgeSeries(discordPlugin, {})
    const beat = (i: number): number => 100 + 40 * wave(i) ** 3 + prng.normal()
    expect(alarms(judge.run(3_000, beat))).toBeLessThanOrEqual(3)
    expect(alarms(judge.run(800, (i) => 100 + (40 + i / 10) * wave(i) ** 3 + prng.normal()))).toBe(0)
    const verdicts = judge.run(40, (i) => 100 + 120 * Math.sign(wave(i)) + prng.normal())
    expect(alarms(verdicts)).toBeGreaterThan(0)
    const found = verdicts.find(({ score }) => score > 1)!
    expect(judge.reason('pressure', 140, found)).toMatch(
      /24 values of a shape that the 512 before do not have/,
    )
  })

  test.each([
    ['normal', (prng: Prng) => prng.normal()],
    ['exponential', (prng: Prng) => -Math.log(1 - prng.float())],
  ])('alarms seldom on %s noise', (_name, noise) => {
    const prng = new Prng(83)
    const judge = judgeSeries(discordPlugin, {})
    expect(alarms(judge.run(8_000, () => 100 + 10 * noise(prng))) / 8_000).toBeLessThan(1e-2)
  })

  test('a flat series has no shape; one that is not flat any more has a new one', () => {
    const judge = judgeSeries(discordPlugin, {})
    expect(alarms(judge.run(1_500, () => 50))).toBe(0)
    expect(alarms(judge.run(200, (i) => 50 + (i % 2) * 0.2))).toBe(0)
    expect(alarms(judge.run(30, (i) => 50 + 20 * wave(i)))).toBeGreaterThan(0)
  })

  test('explains how far warm-up is, and what is flat', () => {
    const detector = discordPlugin.create(parsed(discordPlugin, { length: 8, history: 64 }))
    const cells = new Float64Array(detector.width)
    const facts = (): Map<string, string> =>
      new Map(detector.explain!(cells, 0).facts.map(({ name, value }) => [name, value]))
    const judging = { score: NaN } as Verdict
    for (let i = 0; i < 10; i++) detector.learn(cells, 0, i, 100, judging)
    expect([...facts()]).toEqual([['values', '10']])
    for (let i = 0; i < 100; i++) detector.learn(cells, 0, i, 100, judging)
    expect(facts().get('flat below')).toBe('1')
  })
})
