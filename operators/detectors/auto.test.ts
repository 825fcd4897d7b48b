import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../engine/contract/plugins.ts'
import { pipeline, topic } from '../../engine/pipeline/builder.ts'
import { DetectionStage } from '../../engine/pipeline/detection.ts'
import { compilePipelines } from '../../engine/pipeline/plan.ts'
import { planDifference, planHash } from '../../engine/pipeline/plan-difference.ts'
import { Cells, PAGE_CELLS } from '../../engine/state/cells.ts'
import { weekClock } from '../../engine/time/week-clock.ts'
import { Prng } from '../../engine/util/prng.ts'
import { mean } from '../aggregates/mean.ts'
import { registry } from '../registry.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { judgeSeries, newVerdict, parsed } from '../testing/judge-series.ts'
import { tumbling } from '../windows/tumbling.ts'
import { auto, autoPlugin } from './auto.ts'

describeDetector({
  plugin: autoPlugin,
  lead: 202,
  options: [{}, { direction: 'down', minDeviation: 0, minRelativeDeviation: 0, sensitivity: 5, rest: 3 }],
})

const FIVE_MINUTES = 300_000
const DAY = 288

const alarms = (verdicts: readonly Verdict[]): number =>
  verdicts.filter((verdict) => verdict.score > 1).length

function noisy(level: number, spread: number, seed = 1): () => number {
  const prng = new Prng(seed)
  return () => level + spread * prng.normal()
}

describe('auto', () => {
  test('does not judge before it has seen more than 200 values', () => {
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    expect(judge.run(201, () => 5).every((verdict) => Number.isNaN(verdict.score))).toBe(true)
    expect(judge.next(5).score).toBe(0)
  })

  test('a constant series does not alarm on a tiny change, and does on a large one', () => {
    for (const level of [1e-3, 1, 1e9, -40]) {
      const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
      judge.run(2 * DAY, () => level)
      expect(judge.next(level * 1.005).score).toBeLessThanOrEqual(1)
      expect(judge.next(level * 1.5).score).toBeGreaterThan(1)
    }
  })

  test('a job every night is hardly flagged any more once it has been seen for a few nights', () => {
    // An alert rests for 120 values.
    const begun = (verdicts: readonly Verdict[]): number => {
      const rows = verdicts.flatMap(({ score }, i) => (score > 1 ? [i] : []))
      let [count, restUntil] = [0, 0]
      for (const row of rows) {
        if (row < restUntil) continue
        count++
        restUntil = row + 120
      }
      return count
    }
    const nights = (seed: number): [first: number, later: number] => {
      const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
      const noise = noisy(0, 1, seed)
      const value = (i: number): number => 10 + noise() + (i % DAY >= 24 && i % DAY < 36 ? 60 : 0)
      return [begun(judge.run(5 * DAY, value)), begun(judge.run(9 * DAY, value))]
    }
    const runs = Array.from({ length: 60 }, (_, i) => nights(i + 1))
    expect(runs.filter(([first]) => first > 0).length).toBeGreaterThanOrEqual(57)
    // Of 540 nights less than one in twenty.
    expect(runs.reduce((sum, [, later]) => sum + later, 0)).toBeLessThan(27)
  })

  test.each([
    ['spring', Date.UTC(2026, 1, 16)],
    ['autumn', Date.UTC(2026, 8, 14)],
  ])('business hours in a time zone are no news when its clocks change in %s', (_, startMs) => {
    // Six weeks before the change, and the fortnight after.
    const judge = judgeSeries(autoPlugin, { timeZone: 'Europe/Berlin' }, FIVE_MINUTES, startMs)
    const noise = noisy(0, 3, 2)
    const clock = weekClock('Europe/Berlin')
    const value = (): number => {
      const hour = clock(judge.nowMs + FIVE_MINUTES).minute / 60
      return 20 + 80 * Math.max(0, Math.min(1, (hour - 7) / 2, (19 - hour) / 2)) + noise()
    }
    const run = (days: number): number => {
      let found = 0
      for (let i = 0; i < days * DAY; i++) if (judge.next(value()).score > 1) found++
      return found
    }
    run(35)
    expect(run(21)).toBe(0)
  })

  test('a drop to nothing is found at its first value', () => {
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(3 * DAY, noisy(100, 5))
    const verdict = judge.next(0)
    expect(verdict.score).toBeGreaterThan(1)
    expect(verdict).toMatchObject({ direction: -1, cleared: false })
  })

  test('a second anomaly soon after the first is found as well', () => {
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(3 * DAY, noisy(100, 5))
    expect(alarms(judge.run(3, () => 200))).toBeGreaterThan(0)
    judge.run(10, noisy(100, 5, 9))
    expect(judge.next(250).score).toBeGreaterThan(1)
  })

  test('a new level is normal after a while', () => {
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(3 * DAY, noisy(100, 5))
    expect(alarms(judge.run(12, noisy(160, 5, 2)))).toBeGreaterThan(0)
    judge.run(4 * DAY, noisy(160, 5, 3))
    expect(alarms(judge.run(DAY, noisy(160, 5, 4)))).toBe(0)
  })

  test('an anomaly that flickers is one alert, which ends after its rest', () => {
    let [began, resolved] = [0, 0]
    const stage = new DetectionStage({
      plan: { name: 'auto', kind: 'auto', column: 'x', options: null, holdMs: 0 },
      detector: autoPlugin.create(parsed(autoPlugin, {})),
      cells: new Cells('auto'),
      emit: (_, { state }) => {
        if (state === 'firing') began++
        if (state === 'resolved') resolved++
      },
    })
    stage.ensureRows(1)
    const noise = noisy(100, 5)
    for (let i = 0; i < 3 * DAY; i++) stage.judge(0, i * FIVE_MINUTES, noise())
    const before = began
    for (let i = 0; i < 60; i++) stage.judge(0, (3 * DAY + i) * FIVE_MINUTES, i % 15 === 0 ? 400 : noise())
    expect(began - before).toBe(1)
    for (let i = 0; i < DAY; i++) stage.judge(0, (4 * DAY + i) * FIVE_MINUTES, noise())
    expect(resolved).toBe(began)
  })

  test('a restart in the middle of the warm-up, or at any other page-wise checkpoint, changes nothing', () => {
    const make = (cells: Cells): DetectionStage => {
      const detector = autoPlugin.create(parsed(autoPlugin, {}))
      const plan = { name: 'auto', kind: 'auto', column: 'x', options: null, holdMs: 0 }
      const stage = new DetectionStage({ plan, detector, cells, emit: () => undefined })
      stage.ensureRows(3)
      return stage
    }
    const lasting = make(new Cells('lasting'))
    let cells = new Cells('restored')
    let restored = make(cells)
    const pages = new Map<number, Float64Array>()
    const noise = noisy(100, 5, 8)
    for (let i = 0; i < 2 * DAY; i++) {
      const value = noise() + (i === 400 ? 100 : 0)
      for (let row = 0; row < 3; row++) {
        const expected = { ...lasting.judge(row, i * FIVE_MINUTES, value + row) }
        expect({ ...restored.judge(row, i * FIVE_MINUTES, value + row) }).toEqual(expected)
      }
      if (![75, 200, 201, 400, 450].includes(i)) continue
      cells.takeDirty((index, page) => pages.set(index, page.slice()))
      cells = new Cells('restored')
      for (const [index, page] of pages) cells.restorePage(index, page)
      expect(cells.data.length % PAGE_CELLS).toBe(0)
      restored = make(cells)
    }
  })

  test.each([
    ['up', true, false],
    ['down', false, true],
  ])('direction %s', (direction, above, below) => {
    const settled = () => {
      const judge = judgeSeries(autoPlugin, { direction }, FIVE_MINUTES)
      judge.run(3 * DAY, noisy(100, 5))
      return judge
    }
    expect(settled().next(300).score > 1).toBe(above)
    expect(settled().next(-100).score > 1).toBe(below)
  })

  test('the reason names the views that fired, the odds, the expected value and the band', () => {
    const detector = autoPlugin.create(parsed(autoPlugin, {}))
    const cells = new Float64Array(detector.width)
    const noise = noisy(100, 5)
    const verdict = newVerdict()
    for (let i = 0; i < 3 * DAY; i++) {
      detector.score(cells, 0, i * FIVE_MINUTES, noise(), verdict)
      detector.learn(cells, 0, i * FIVE_MINUTES, noise(), verdict)
    }
    detector.score(cells, 0, 3 * DAY * FIVE_MINUTES, 400, verdict)
    expect(detector.reason('latency', 400, verdict)).toMatch(
      /^latency 400 is a surprise of one in \S+: .*far from its level.*outside everything seen.*; expected \S+ \(band \S+ … \S+\)$/,
    )
  })

  test('values out of order, at one time or after a long gap are judged all the same', () => {
    const detector = autoPlugin.create(parsed(autoPlugin, {}))
    const cells = new Float64Array(detector.width)
    const verdict = newVerdict()
    const noise = noisy(100, 5)
    const prng = new Prng(4)
    let timeMs = 0
    for (let i = 0; i < 3 * DAY; i++) {
      timeMs += [0, -FIVE_MINUTES, FIVE_MINUTES, 3 * FIVE_MINUTES, 40 * DAY * FIVE_MINUTES][prng.below(5)]!
      detector.score(cells, 0, timeMs, noise(), verdict)
      detector.learn(cells, 0, timeMs, noise(), verdict)
      if (i > 200) expect(verdict.score).toBeGreaterThanOrEqual(0)
    }
    detector.score(cells, 0, timeMs, 500, verdict)
    expect(verdict.score).toBeGreaterThan(1)
  })

  describe('explains', () => {
    const told = (values: number, of: (i: number) => number, everyMs = FIVE_MINUTES, gapMs = 0) => {
      const timeOf = (i: number): number => i * everyMs + (i >= values - 5 ? gapMs : 0)
      const detector = autoPlugin.create(parsed(autoPlugin, {}))
      const cells = new Float64Array(detector.width)
      const verdict = newVerdict()
      for (let i = 0; i < values; i++) {
        detector.score(cells, 0, timeOf(i), of(i), verdict)
        detector.learn(cells, 0, timeOf(i), of(i), verdict)
      }
      const { facts } = detector.explain!(cells, 0)
      return {
        facts: Object.fromEntries(facts.map(({ name, value }) => [name, value])),
        scoreOf: (value: number): number => {
          detector.score(cells, 0, timeOf(values), value, verdict)
          return verdict.score
        },
      }
    }

    test('how far its warm-up is, and what it saw in it', () => {
      expect(told(0, () => 1).facts).toEqual({ 'warm-up': '0 of 201 values' })
      expect(told(100, (i) => 7 + (i % 2), 10_000).facts).toMatchObject({
        'warm-up': '100 of 201 values',
        interval: '10s',
        range: '7 … 8',
      })
    })

    test('level, interval, and whether the week says more than they do', () => {
      const flat = told(3 * 7 * DAY, noisy(100, 5)).facts
      expect(flat.interval).toBe('5m')
      expect(flat.level).toMatch(/^(99|100|101)(\.\d+)? ± (3|4)\.\d+$/)
      expect(flat.season).toBe('none to speak of; 168 of 168 hours of the week known')
      const noise = noisy(0, 1)
      const daily = told(3 * 7 * DAY, (i) => 100 + 50 * Math.sin((2 * Math.PI * i) / DAY) + noise()).facts
      expect(daily.season).toMatch(/^in use, ± \d/)
      expect(told(200, () => 5).facts.season).toMatch(/16 of 168 hours/)
    })

    test('false alarms are counted by the day: values half an hour apart need less than those of five minutes, and no further', () => {
      const oddsAt = (everyMs: number): number => {
        const { alarm } = told(2 * DAY, noisy(100, 5), everyMs).facts
        return Number(
          /one in ([\d.]+)$/.exec(alarm!.replace(/[, ]/g, (mark) => (mark === ' ' ? ' ' : '')))![1],
        )
      }
      const believed = 1 - (200 / (2 * DAY)) ** 3
      const ratio = (Math.log10(oddsAt(FIVE_MINUTES)) - Math.log10(oddsAt(6 * FIVE_MINUTES))) * believed
      expect(ratio).toBeCloseTo(Math.log10(6), 1)
      expect(oddsAt(24 * 12 * FIVE_MINUTES)).toBeCloseTo(oddsAt(6 * FIVE_MINUTES), 5)
    })

    test('an outage is no interval', () => {
      expect(told(2 * DAY, noisy(100, 5), FIVE_MINUTES, 48 * 12 * FIVE_MINUTES).facts.interval).toMatch(/^5m/)
    })

    test('what makes an alarm: a new deviation as large as the level takes is one, half the least of all is none', () => {
      const { facts, scoreOf } = told(8 * DAY, noisy(100, 5))
      const sizes = Object.entries(facts)
        .filter(([name, value]) => name.startsWith('view ') && value.startsWith('from '))
        .map(([name, value]) => ({ name, size: Number(/[\d.]+/.exec(value)![0]) }))
      expect(sizes.map(({ name }) => name)).toEqual([
        'view level',
        'view step',
        'view shift',
        'view season',
        'view activity',
        'view stuck',
      ])
      expect(facts['view stuck']).toBe('from 12 values on')
      const level = sizes.find(({ name }) => name === 'view level')!.size
      expect(scoreOf(100 + 1.1 * level)).toBeGreaterThan(1)
      const deviations = sizes.filter(({ name }) => name !== 'view stuck').map(({ size }) => size)
      expect(scoreOf(100 + 0.5 * Math.min(...deviations))).toBeLessThan(1)
    })

    test('that an alert rests', () => {
      const noise = noisy(100, 5)
      const { facts } = told(3 * DAY + 10, (i) => (i === 3 * DAY ? 400 : noise()))
      expect(facts.rest).toBe(`${120 - 10 + 0} values`)
    })
  })

  test('a value after a gap is not held against what was there before it, in hours not met before either', () => {
    const noise = noisy(0, 1)
    const wave = (i: number): number => 100 + 50 * Math.sin((2 * Math.PI * i) / DAY) + noise()
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(4 * DAY + DAY / 4, wave)
    // From the top of the wave to its bottom, half a day later.
    judge.pause((DAY / 2 - 1) * FIVE_MINUTES)
    const after = judge.run(DAY, (i) => wave(i + (3 * DAY) / 4))
    // The order of values is a new one, which is little by itself.
    expect(Math.max(...after.map(({ score }) => score))).toBeLessThan(1.5)
    const there = judge.run(12, () => 150)
    expect(Math.max(...there.map(({ score }) => score))).toBeGreaterThan(3)
  })

  test('a jump at an hour at which it always jumps is no news from the third week on', () => {
    const monday = Date.UTC(2023, 10, 13)
    let told = 0
    for (let seed = 1; seed <= 20; seed++) {
      const noise = noisy(0, 2, seed)
      const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES, monday - FIVE_MINUTES)
      const week = (i: number): number => (i % (7 * DAY) >= 5 * DAY ? 40 : 100) + noise()
      judge.run(14 * DAY, week)
      if (alarms(judge.run(7 * DAY, week)) > 0) told++
      judge.run(5 * DAY - 12, week)
      // The same jump an hour early.
      expect(alarms(judge.run(6, () => 40 + noise()))).toBeGreaterThan(0)
    }
    // Of forty jumps.
    expect(told).toBeLessThanOrEqual(2)
  })

  test('what is hardly ever above nothing is said to be expected at 0', () => {
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(20 * DAY, (i) => (i === 40 ? 1 : 0))
    const verdict = judge.next(9)
    expect(verdict.expected).not.toBe(0)
    expect(judge.reason('errors', 9, verdict)).toMatch(/; expected 0 \(band -?[\d.e-]+ … [\d.e-]+\)$/)
  })

  test.each([
    ['steadily', (i: number) => 10 * i],
    ['faster and faster', (i: number) => i ** 1.6],
    ['from far below nothing', (i: number) => 5 * i - 40_000],
  ])('a counter that climbs %s is no news when its second week begins', (_name, climb) => {
    const noise = noisy(0, 10)
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    judge.run(6 * DAY, (i) => climb(i) + noise())
    expect(alarms(judge.run(3 * DAY, (i) => climb(6 * DAY + i) + noise()))).toBe(0)
  })

  test('combinations do not reach across a gap', () => {
    // A wave whose values come for two days at a time, at another hour after each gap.
    const noise = noisy(0, 1)
    const wave = (i: number): number => 100 + 50 * Math.sin((2 * Math.PI * i) / DAY) + noise()
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    let at = 0
    const run = (values: number) => {
      const from = at
      at += values
      return judge.run(values, (i) => wave(from + i))
    }
    const worst: number[] = []
    run(4 * DAY)
    for (let gap = 0; gap < 10; gap++) {
      const skipped = 100 + 17 * gap
      at += skipped
      judge.pause(skipped * FIVE_MINUTES)
      worst.push(Math.max(...run(2 * DAY).map(({ score }) => score)))
    }
    expect(Math.max(...worst.slice(3))).toBeLessThan(1)
  })

  test.each([100, 1e6, 0.01, -4_000])(
    'a series that hardly ever repeats a value and is stuck at a usual one is found after an hour: level %d',
    (level) => {
      const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
      judge.run(3 * DAY, noisy(level, 0.05 * Math.abs(level)))
      const stuck = judge.run(24, () => 1.015 * level)
      expect(stuck.findIndex(({ score }) => score > 1)).toBe(11)
      expect(judge.reason('power', 1.015 * level, stuck[11]!)).toMatch(/stuck at one value/)
    },
  )

  test.each([
    ['rounded', (prng: Prng) => Math.round(2 * prng.normal())],
    ['counted', (prng: Prng) => (prng.float() < 0.02 ? 1 : 0)],
    ['a state', (prng: Prng, last: number) => (prng.float() < 0.05 ? 1 - last : last)],
  ])('what repeats its values anyway is not stuck: %s', (_name, of) => {
    const prng = new Prng(7)
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    let last = 0
    for (let i = 0; i < 10 * DAY; i++) {
      last = of(prng, last)
      const verdict = judge.next(last)
      if (verdict.score > 1) expect(judge.reason('x', last, verdict)).not.toMatch(/stuck/)
    }
  })

  test('what is the same every night is stuck in the first of them at most', () => {
    const noise = noisy(100, 5)
    const judge = judgeSeries(autoPlugin, {}, FIVE_MINUTES)
    const solar = (i: number): number => (i % DAY < DAY / 2 ? noise() : 0)
    judge.run(7 * DAY, solar)
    expect(alarms(judge.run(14 * DAY, solar))).toBe(0)
  })

  test('other options do not share the state of the old ones, and the change is named', () => {
    const plan = (detector: ReturnType<typeof auto>) =>
      compilePipelines(
        pipeline('p').from(topic('t')).window(tumbling('1m'), { x: mean() }).detect('x', detector),
        registry,
        '',
      ).plans[0]!
    const [before, after] = [plan(auto()), plan(auto({ sensitivity: 2 }))]
    expect(planHash(plan(auto({ sensitivity: 1 })))).toBe(planHash(before))
    expect(planHash(after)).not.toBe(planHash(before))
    expect(planDifference(before, after)).toMatchObject([
      { path: 'detectors.x-auto.options.sensitivity', before: 1, after: 2, affectsState: true },
    ])
    // Nor do other cells: a store says with which version of them it was written.
    expect(before.detectors[0]!.cellsVersion).toBe(autoPlugin.cellsVersion)
    const { cellsVersion: _, ...first } = before.detectors[0]!
    expect(planHash({ ...before, detectors: [first] })).not.toBe(planHash(before))
  })
})
