/**
 * Matchers over a driver, as one plain object for `expect.extend`: vitest's and jest's alike. Each says in its failure what
 * was there instead. They read; they never move a clock.
 *
 *     expect.extend(millraceMatchers)
 *     expect(driver).toBeFiring({ detector: 'latency-ewma', group: { instance: 'a' } })
 */
import type { Alert } from '../engine/contract/alert.ts'
import type { ResultBody } from '../engine/contract/plugins.ts'
import type { Labels } from '../engine/contract/samples.ts'
import { seriesText } from '../engine/series/series-key.ts'
import type { PipelineDriver } from './driver.ts'

/** All that is given must be so; a group may have further labels. */
export interface AlertPattern {
  readonly detector?: string
  readonly group?: Labels
  readonly direction?: Alert['direction']
}

export interface ResultPattern {
  readonly group?: Labels
  readonly windowStartMs?: number
  readonly windowEndMs?: number
  /** Aggregates by name. Numbers are equal when they differ by less than a billionth of the larger one. */
  readonly values?: Readonly<Record<string, number | null>>
}

export interface MatcherResult {
  readonly pass: boolean
  readonly message: () => string
}

/** What `expect(driver)` has with them; for the matchers' types of the test runner. */
export interface MillraceMatchers<R = unknown> {
  /** An alert like this fires now. */
  toBeFiring(pattern?: AlertPattern): R
  /** An alert like this has fired, whether or not it still does. */
  toHaveFired(pattern?: AlertPattern): R
  /** An alert like this has fired and been resolved. */
  toHaveFiredAndResolved(pattern?: AlertPattern): R
  /** There is a result like this. */
  toHaveResult(pattern: ResultPattern): R
  /** No sample came too late to count. */
  toHaveNoLateSamples(): R
  /** Every sample sent is accounted for: in = windowed + filtered + late + nonFinite + dead. */
  toBalance(): R
}

const SHOWN_MAX = 10
const RELATIVE_ERROR_MAX = 1e-9

export const millraceMatchers = {
  toBeFiring(driver: PipelineDriver, pattern: AlertPattern = {}): MatcherResult {
    const firing = driver.firing()
    return alertResult('is firing', firing, firing, pattern)
  },

  toHaveFired(driver: PipelineDriver, pattern: AlertPattern = {}): MatcherResult {
    const alerts = driver.alerts()
    const fired = alerts.filter(({ state }) => state === 'firing')
    return alertResult('has fired', fired, alerts, pattern)
  },

  toHaveFiredAndResolved(driver: PipelineDriver, pattern: AlertPattern = {}): MatcherResult {
    const alerts = driver.alerts()
    const fired = new Set(alerts.filter(({ state }) => state === 'firing').map(({ id }) => id))
    const resolved = alerts.filter(({ state, id }) => state === 'resolved' && fired.has(id))
    return alertResult('has fired and been resolved', resolved, alerts, pattern)
  },

  toHaveResult(driver: PipelineDriver, pattern: ResultPattern): MatcherResult {
    const results = driver.results()
    const found = results.filter((result) => resultFits(result, pattern))
    return {
      pass: found.length > 0,
      message: () =>
        found.length > 0
          ? `no result should be like ${JSON.stringify(pattern)}, but there is:\n${listed(found, resultText)}`
          : `a result should be like ${JSON.stringify(pattern)}. There are:\n${listed(results, resultText)}`,
    }
  },

  toHaveNoLateSamples(driver: PipelineDriver): MatcherResult {
    const late = driver.late()
    const text = listed(late, ({ series, timestampMs, value }) => {
      return `${seriesText(series)} ${value} at ${timeText(timestampMs)}`
    })
    return {
      pass: late.length === 0,
      message: () =>
        late.length === 0
          ? 'a sample should be late, but none is'
          : `no sample should be late, but:\n${text}`,
    }
  },

  toBalance(driver: PipelineDriver): MatcherResult {
    const { ledger } = driver.state()
    const { in: taken, windowed, filtered, late, nonFinite, dead } = ledger
    const pass = taken === windowed + filtered + late + nonFinite + dead
    const sum = `${taken} in, ${windowed} windowed + ${filtered} filtered + ${late} late + ${nonFinite} not finite + ${dead} dead`
    return { pass, message: () => `the ledger should ${pass ? 'not ' : ''}balance: ${sum}` }
  },
}

function alertResult(
  what: string,
  candidates: readonly Alert[],
  shown: readonly Alert[],
  pattern: AlertPattern,
): MatcherResult {
  const found = candidates.filter((alert) => alertFits(alert, pattern))
  const wanted = Object.keys(pattern).length === 0 ? 'alert' : `alert like ${JSON.stringify(pattern)}`
  return {
    pass: found.length > 0,
    message: () =>
      found.length > 0
        ? `expected that no ${wanted} ${what}, but:\n${listed(found, alertText)}`
        : `expected that an ${wanted} ${what}. There are:\n${listed(shown, alertText)}`,
  }
}

function alertFits(alert: Alert, { detector, group, direction }: AlertPattern): boolean {
  if (detector !== undefined && alert.detector !== detector) return false
  if (direction !== undefined && alert.direction !== direction) return false
  return group === undefined || has(alert.group, group)
}

function resultFits(
  result: ResultBody,
  { group, windowStartMs, windowEndMs, values }: ResultPattern,
): boolean {
  if (windowStartMs !== undefined && result.windowStartMs !== windowStartMs) return false
  if (windowEndMs !== undefined && result.windowEndMs !== windowEndMs) return false
  if (group !== undefined && !has(result.group, group)) return false
  return Object.entries(values ?? {}).every(([name, wanted]) => {
    const value = result.values[name]
    if (value === undefined || value === null || wanted === null) return value === wanted
    return Math.abs(value - wanted) <= RELATIVE_ERROR_MAX * Math.max(Math.abs(value), Math.abs(wanted))
  })
}

function has(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value)
}

function listed<T>(items: readonly T[], text: (item: T) => string): string {
  if (items.length === 0) return '  none'
  // The newest say most about where things stand.
  const lines = items.slice(-SHOWN_MAX).map((item) => `  ${text(item)}`)
  const before = items.length - lines.length
  return before === 0 ? lines.join('\n') : `  … ${before} before\n${lines.join('\n')}`
}

function alertText({ detector, group, state, atMs, reason }: Alert): string {
  return `${state} ${detector} ${seriesText(group)} at ${timeText(atMs)}: ${reason}`
}

function resultText({ group, windowStartMs, windowEndMs, values }: ResultBody): string {
  return `${seriesText(group)} [${timeText(windowStartMs)}, ${timeText(windowEndMs)}) ${JSON.stringify(values)}`
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
