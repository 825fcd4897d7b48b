import { describe, expect, test } from 'vitest'
import { testPlan } from '../../engine/pipeline/memory-state.ts'
import { BOX_HEIGHT, BOX_WIDTH, type Box, layoutPlan } from './browser/plan-layout.ts'

const plan = testPlan({
  where: [
    { label: '__name__', op: 'in', value: ['cpu', 'load'] },
    { label: 'job', op: '!=', value: 'test' },
  ],
  sinks: [
    { name: 'hook', kind: 'webhook', options: {}, feed: 'alerts' },
    { name: 'file', kind: 'ndjson-file', options: {}, feed: 'results' },
  ],
})

function overlap(a: Box, b: Box): boolean {
  return Math.abs(a.x - b.x) < BOX_WIDTH && Math.abs(a.y - b.y) < BOX_HEIGHT
}

describe('the graph of a plan', () => {
  test.each([null, 300, 1_400])('has every part once, none over another, all within it: room %j', (room) => {
    const { boxes, width, height } = layoutPlan(plan, room)
    const ids = [
      'topic',
      'route',
      'window',
      'detect mean-ewma',
      'detect silence',
      'results',
      'alerts',
      'sink hook',
      'sink file',
    ]
    expect(boxes.map(({ id }) => id)).toEqual(ids)
    for (const [i, a] of boxes.entries()) {
      for (const b of boxes.slice(i + 1)) expect(overlap(a, b), `${a.id} ${b.id}`).toBe(false)
      expect(a.x).toBeGreaterThanOrEqual(0)
      expect(a.x + BOX_WIDTH).toBeLessThanOrEqual(width)
      expect(a.y + BOX_HEIGHT).toBeLessThanOrEqual(height)
    }
  })

  test('from top to bottom it is as wide as a phone', () => {
    expect(layoutPlan(plan, null).width).toBeLessThan(390 - 2 * 12)
  })

  test('says what flows from where to where', () => {
    const flows = layoutPlan(plan, null).arrows.map(({ from, to, carries }) => `${from} > ${to}: ${carries}`)
    expect(flows).toEqual([
      'topic > route: samples',
      'route > window: kept',
      'window > detect mean-ewma: results',
      'detect mean-ewma > alerts: alerts',
      'window > detect silence: results',
      'detect silence > alerts: alerts',
      'detect mean-ewma > results: results',
      'alerts > sink hook: alerts',
      'results > sink file: results',
    ])
  })

  test('a plan without detectors or sinks ends in its results', () => {
    const { boxes, arrows } = layoutPlan(testPlan({ detectors: [] }), 1_000)
    expect(boxes.map(({ id }) => id)).toEqual(['topic', 'route', 'window', 'results'])
    expect(arrows.at(-1)).toMatchObject({ from: 'window', to: 'results' })
  })

  test('texts fit their boxes', () => {
    const long = testPlan({
      where: [{ label: '__name__', op: '=~', value: 'a_very_long_name_of_a_metric_.*' }],
    })
    for (const { about } of layoutPlan(long, null).boxes) expect(about.length).toBeLessThanOrEqual(27)
  })
})
