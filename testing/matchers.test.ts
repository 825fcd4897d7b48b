import { describe, expect, test } from 'vitest'
import { count, mean, pipeline, threshold, topic, tumbling } from '../index.ts'
import { drive, type PipelineDriver } from './index.ts'
import './vitest.ts'

const START = Date.UTC(2026, 0, 1)

const hot = pipeline('hot')
  .from(topic('metrics'))
  .groupBy('room')
  .disorder(0)
  .window(tumbling('10s'), { mean: mean(), n: count() })
  .detect('mean', threshold({ above: 30 }))

/** A room that is hot for a minute, then cools down; another that never is. */
function summer(): PipelineDriver {
  const driver = drive(hot)
  for (let second = 0; second < 120; second += 5) {
    driver.send([
      { name: 'temperature', labels: { room: 'attic' }, value: second < 60 ? 35 : 21 },
      { name: 'temperature', labels: { room: 'cellar' }, value: 12 },
    ])
    driver.advance('5s')
  }
  return driver
}

describe('matchers', () => {
  test('alerts by detector, group and direction', () => {
    const driver = summer()
    expect(driver).toHaveFired()
    expect(driver).toHaveFired({ detector: 'mean-threshold', group: { room: 'attic' }, direction: 'up' })
    expect(driver).toHaveFiredAndResolved({ group: { room: 'attic' } })
    expect(driver).not.toBeFiring()
    expect(driver).not.toHaveFired({ group: { room: 'cellar' } })
    expect(driver).not.toHaveFired({ direction: 'down' })
    expect(driver).not.toHaveFired({ detector: 'mean-ewma' })
  })

  test('results by group, window and values', () => {
    const driver = summer()
    expect(driver).toHaveResult({ group: { room: 'cellar' }, values: { mean: 12, n: 2 } })
    expect(driver).toHaveResult({ windowStartMs: START, windowEndMs: START + 10_000, values: { mean: 35 } })
    expect(driver).not.toHaveResult({ group: { room: 'cellar' }, values: { mean: 12.001 } })
    expect(driver).not.toHaveResult({ values: { median: 12 } })
    expect(driver).toHaveNoLateSamples()
    expect(driver).toBalance()
    driver.send({ name: 'temperature', labels: { room: 'attic' }, value: 1, at: START })
    expect(driver).not.toHaveNoLateSamples()
    expect(driver).toBalance()
  })

  test('a failure says what was there instead', () => {
    const driver = summer()
    expect(() => expect(driver).toBeFiring({ group: { room: 'attic' } })).toThrow(
      'expected that an alert like {"group":{"room":"attic"}} is firing. There are:\n  none',
    )
    expect(() => expect(driver).toHaveFired({ group: { room: 'cellar' } })).toThrow(
      /firing mean-threshold \{room="attic"\} at 2026-01-01T00:00:10.000Z: /,
    )
    expect(() => expect(driver).not.toHaveFired()).toThrow('expected that no alert has fired, but:')
    expect(() => expect(driver).toHaveResult({ values: { n: 3 } })).toThrow(
      /There are:\n {2}… \d+ before\n {2}\{room="\w+"\} \[2026-/,
    )
    driver.send({ name: 'temperature', labels: { room: 'attic' }, value: 1, at: START })
    expect(() => expect(driver).toHaveNoLateSamples()).toThrow(
      'temperature{room="attic"} 1 at 2026-01-01T00:00:00.000Z',
    )
  })
})
