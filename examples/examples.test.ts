/** The examples over the data that lies beside them: each tells what is in it, and nothing else. */
import { readFileSync } from 'node:fs'
import { describe, expect, test, vi } from 'vitest'
import { drive, type PipelineDriver, type TestSample } from '../testing/index.ts'
import '../testing/vitest.ts'

// They import the package by its name, as users do; here that means the source beside this folder.
vi.mock('millrace', () => import('../index.ts'))

type Driven = Parameters<typeof drive>[0]

async function pipelinesOf(file: string): Promise<readonly Driven[]> {
  const module = (await import(file)) as { default: Driven | readonly Driven[] }
  return Array.isArray(module.default) ? module.default : [module.default as Driven]
}

type Row = Readonly<Record<string, string>>

function csv(name: string): Row[] {
  const [head, ...lines] = readFileSync(`examples/data/${name}`, 'utf8').trim().split('\n')
  const columns = head!.split(',')
  return lines.map((line) => Object.fromEntries(line.split(',').map((field, i) => [columns[i]!, field])))
}

/** Samples arrive when they were measured; then the clock moves on to `untilMs`. */
function play(
  pipeline: Driven,
  samples: readonly (TestSample & { at: string })[],
  untilMs?: number,
): PipelineDriver {
  const driver = drive(pipeline, { start: samples[0]!.at })
  for (const sample of samples) {
    driver.advance(Date.parse(sample.at) - driver.nowMs)
    driver.send(sample)
  }
  return untilMs === undefined ? driver : driver.advance(untilMs - driver.nowMs)
}

/** Minutes since `startMs` at which alerts fired and were resolved. */
function told(driver: PipelineDriver, startMs: number): string[] {
  return driver
    .alerts()
    .filter(({ state }) => state !== 'pending')
    .map(({ detector, group, state, atMs }) => {
      const who = Object.entries(group).filter(([label]) => label !== '__name__')
      return `${detector} ${who.map(([, value]) => value).join()} ${state} ${Math.round((atMs - startMs) / 60_000)}`
    })
}

describe('request-rate', () => {
  const startMs = Date.UTC(2026, 2, 2, 8)
  const samples = csv('requests.csv').map(({ time, service, value }) => {
    return { name: 'http_requests_total', labels: { service: service! }, value: Number(value), at: time! }
  })

  test('a rise asks for machines, and takes it back', async () => {
    const [scaleOut] = await pipelinesOf('./request-rate.ts')
    const driver = play(scaleOut!, samples)
    // From minute 60 to 75 the shop has four times its traffic; it must last two minutes.
    expect(told(driver, startMs)).toEqual(['busy shop firing 63', 'busy shop resolved 76'])
    expect(driver.sentTo('webhook')).toEqual(driver.alerts())
    expect(driver).toBalance()
  })

  test('a sudden drop alerts; the end of a campaign and a restarted counter do not', async () => {
    const [, drop] = await pipelinesOf('./request-rate.ts')
    const driver = play(drop!, samples)
    const [first, ...more] = told(driver, startMs)
    expect(first).toMatch(/^drop search firing 10[12]$/)
    expect(more).toEqual([])
    expect(driver).toBeFiring({ group: { service: 'search' }, direction: 'down' })
  })
})

describe('sensors', () => {
  const startMs = Date.UTC(2026, 2, 2)
  const samples = readFileSync('examples/data/sensors.ndjson', 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { time: string; freezer: string; celsius: number })
    .map(({ time, freezer, celsius }) => ({ name: 'celsius', labels: { freezer }, value: celsius, at: time }))

  test('a freezer that warms up, and one whose sensor stops', async () => {
    const [freezers] = await pipelinesOf('./sensors.ts')
    const driver = play(freezers!, samples)
    const lines = told(driver, startMs)
    // The door is open from minute 90 to 110; the other's last sample is from minute 119.5.
    expect(lines.filter((line) => line.startsWith('too-warm'))).toEqual([
      expect.stringMatching(/^too-warm north firing (10[0-9])$/),
      expect.stringMatching(/^too-warm north resolved 11[0-9]$/),
    ])
    expect(lines.filter((line) => line.startsWith('no-signal'))).toEqual(['no-signal south firing 130'])
    expect(driver).toBeFiring({ detector: 'no-signal', group: { freezer: 'south' } })
  })
})

describe('batch-job', () => {
  const samples = csv('batch-job.csv').flatMap(({ time, job, seconds, rows }) => {
    const shared = { labels: { job: job! }, at: time! }
    return [
      { ...shared, name: 'job_seconds', value: Number(seconds) },
      { ...shared, name: 'job_rows', value: Number(rows) },
    ]
  })
  const days = (driver: PipelineDriver): string[] =>
    driver
      .alerts()
      .filter(({ state }) => state === 'firing')
      .map(({ detector, atMs }) => `${detector} ${new Date(atMs).toISOString().slice(0, 10)}`)

  test('a day without a run, a run that takes too long, one that does nothing: each on its day', async () => {
    const [missing, slow, empty] = await pipelinesOf('./batch-job.ts')
    const untilMs = Date.UTC(2026, 2, 15)
    expect(days(play(missing!, samples, untilMs))).toEqual(['has-not-run 2026-03-10'])
    expect(days(play(slow!, samples, untilMs))).toEqual(['too-long 2026-03-12'])
    expect(days(play(empty!, samples, untilMs))).toEqual(['nothing-done 2026-03-13'])
  })

  test('a job that never runs again is told for as long as it does not', async () => {
    const [missing] = await pipelinesOf('./batch-job.ts')
    const driver = play(missing!, samples, Date.UTC(2026, 2, 17))
    expect(driver).toBeFiring({ detector: 'has-not-run', group: { job: 'nightly-export' } })
  })
})
