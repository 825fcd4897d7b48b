import { describe, expect, test } from 'vitest'
import type { SilenceDetector } from '../../engine/contract/plugins.ts'
import { describeDetector } from '../testing/describe-detector.ts'
import { newVerdict, parsed } from '../testing/judge-series.ts'
import { silencePlugin } from './silence.ts'

describeDetector({
  plugin: silencePlugin,
  options: [{}, { after: '30s' }, { intervals: 5, atLeast: 0, history: '10m', warmUp: 0 }],
})

function watch(written: unknown) {
  const detector = silencePlugin.create(parsed(silencePlugin, written)) as SilenceDetector
  const cells = new Float64Array(detector.width)
  return {
    detector,
    arrive: (gapMs: number, times = 1): void => {
      for (let i = 0; i < times; i++) detector.arrived(cells, 0, gapMs)
    },
    silentAfterMs: () => detector.silentAfterMs(cells, 0),
    judge: (silentMs: number) => {
      const verdict = newVerdict()
      detector.score(cells, 0, 0, silentMs, verdict)
      return verdict
    },
  }
}

describe('silence', () => {
  test('fixed: after exactly that long, from the first sample on', () => {
    const { silentAfterMs, judge } = watch({ after: '30s' })
    expect(silentAfterMs()).toBe(30_001)
    expect(judge(30_000)).toMatchObject({ score: 1, cleared: true, upper: 30_000 })
    expect(judge(60_000)).toMatchObject({ score: 2, cleared: false })
  })

  test('learned: a multiple of the longest usual interval, after the warm-up', () => {
    const { arrive, silentAfterMs } = watch({ intervals: 3, history: '1000d' })
    arrive(20_000, 5)
    expect(silentAfterMs()).toBe(Infinity)
    arrive(20_000, 1)
    expect(silentAfterMs()).toBeGreaterThan(59_900)
    expect(silentAfterMs()).toBeLessThanOrEqual(60_001)
  })

  test('learned: never before the least', () => {
    const { arrive, silentAfterMs } = watch({ atLeast: '10s' })
    arrive(1_000, 200)
    expect(silentAfterMs()).toBe(10_001)
  })

  test('samples that come together do not make the interval look short', () => {
    const { arrive, silentAfterMs } = watch({ history: '1000d' })
    for (let i = 0; i < 20; i++) {
      arrive(0, 50)
      arrive(1, 5)
      arrive(30_000)
    }
    expect(silentAfterMs()).toBeGreaterThan(89_000)
  })

  test('one outage at most doubles the longest interval, and fades', () => {
    const { arrive, silentAfterMs } = watch({ history: '1h' })
    arrive(10_000, 60)
    const before = silentAfterMs()
    arrive(86_400_000)
    expect(silentAfterMs()).toBeLessThanOrEqual(2 * before)
    arrive(10_000, 360 * 3)
    expect(silentAfterMs()).toBeLessThan(1.3 * before)
  })

  test('a slower pace is learned', () => {
    const { arrive, silentAfterMs } = watch({})
    arrive(10_000, 60)
    arrive(60_000, 10)
    expect(silentAfterMs()).toBeGreaterThan(170_000)
  })

  test('says how long, and than what it is longer', () => {
    const { detector, judge } = watch({ after: '30s' })
    expect(detector.reason('samples', 45_000, judge(45_000))).toBe('no sample for 45s, longer than 30s')
    expect(detector.reason('samples', 45_000, judge(0))).toBe('a sample came after 45s')
  })
})
