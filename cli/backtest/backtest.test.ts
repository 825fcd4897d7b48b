/** The report's numbers against a naive oracle; labels, budget and comparison by cases worked out by hand; bad input. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Alert, AlertState } from '../../engine/contract/alert.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { ResultBody } from '../../engine/contract/plugins.ts'
import { compilePlan } from '../../engine/pipeline/plan.ts'
import { mean, pipeline, sliding, threshold, topic, tumbling } from '../../index.ts'
import { registry } from '../../operators/registry.ts'
import { drive } from '../../testing/driver.ts'
import { runCommand } from '../test-shell.ts'
import { Backtested, compare } from './evaluate.ts'
import { readLabels } from './labels.ts'
import { BUCKETS_MAX, Trace } from './trace.ts'
import { readBudget } from './words.ts'

const DEFINITION = pipeline('p')
  .from(topic('metrics'))
  .groupBy('host')
  .window(tumbling('1s'), { v: mean() })
  .detect('v', threshold({ above: 10 }), { name: 'd' })
const PLAN: PipelinePlan = compilePlan(DEFINITION, registry, '', { partitions: 4 }).plan!
const ALL = { fromMs: -Infinity, toMs: Infinity }

function result(endMs: number, score: number | null, host = 'a'): ResultBody {
  const body = { score, expected: 0, lower: -1, upper: 1 }
  const window = { windowStartMs: endMs - 1_000, windowEndMs: endMs }
  return {
    kind: 'result',
    pipeline: 'p',
    group: { host },
    ...window,
    values: { v: score },
    scores: { d: body },
  }
}

function alert(state: AlertState, sinceMs: number, atMs: number, host = 'a'): Alert {
  const numbers = { value: 1, score: 2, expected: 0, lower: -1, upper: 1 }
  const names = {
    kind: 'alert',
    id: `p/d/0/0/${sinceMs}`,
    pipeline: 'p',
    detector: 'd',
    column: 'v',
  } as const
  return {
    ...names,
    group: { host },
    state,
    sinceMs,
    atMs,
    ...numbers,
    direction: 'up',
    severity: 'warning',
    reason: 'why',
  }
}

describe('labels', () => {
  test('precision, recall, delay and alarms a series-day are those of an oracle', () => {
    const seconds = fc.integer({ min: 0, max: 500 })
    const windows = fc.array(fc.tuple(seconds, fc.integer({ min: 0, max: 40 })), {
      minLength: 1,
      maxLength: 8,
    })
    const times = fc.uniqueArray(seconds, { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(windows, times, (labels, fired) => {
        const tested = new Backtested(PLAN, ALL)
        for (let s = 1; s <= 600; s++) tested.result(result(s * 1_000, 0.5))
        for (const s of fired.sort((a, b) => a - b)) {
          tested.alert(alert('firing', s * 1_000, s * 1_000))
          tested.alert(alert('resolved', s * 1_000, s * 1_000 + 1))
        }
        tested.label(
          labels.map(([s, length]) => ({
            fromMs: s * 1_000,
            toMs: (s + length) * 1_000,
            labels: { host: 'a' },
          })),
        )
        const inside = (s: number, [from, length]: readonly [number, number]): boolean =>
          from <= s && s <= from + length
        const hits = fired.filter((s) => labels.some((label) => inside(s, label)))
        const found = labels.filter((label) => fired.some((s) => inside(s, label)))
        const delays = found
          .map((label) => Math.min(...fired.filter((s) => inside(s, label))) - label[0])
          .sort((a, b) => a - b)
        const n = delays.length
        const median = n === 0 ? null : (delays[Math.floor((n - 1) / 2)]! + delays[Math.floor(n / 2)]!) / 2
        const tally = tested.tally()
        expect(tally.alarms).toBe(fired.length)
        expect(tally.precision).toBeCloseTo(hits.length / fired.length, 12)
        expect(tally.recall).toBeCloseTo(found.length / labels.length, 12)
        expect(tally.delayMsMedian).toBe(median === null ? null : median * 1_000)
        expect(tally.alarmsPerSeriesDay).toBeCloseTo(fired.length / (600 / 86_400), 6)
      }),
    )
  })

  test('CSV, JSON and the shape of NAB say the same', () => {
    const fromMs = Date.UTC(2026, 0, 1)
    const wanted = [{ fromMs, toMs: fromMs + 60_000, labels: { host: 'a' } }]
    expect(readLabels('from,to,host\n2026-01-01T00:00:00Z,2026-01-01 00:01:00,a\n', 'l.csv', [])).toEqual(
      wanted,
    )
    const rows = [{ from: fromMs, to: '2026-01-01T01:01:00+01:00', labels: { host: 'a' } }]
    expect(readLabels(JSON.stringify(rows), 'l.json', [])).toEqual(wanted)
    const nab = {
      'x/cpu.csv': [['2026-01-01 00:00:00.000000', '2026-01-01 00:01:00.000000']],
      'x/other.csv': [['x', 'y']],
    }
    expect(readLabels(JSON.stringify(nab), 'w.json', ['/data/x/cpu.csv'])).toEqual([
      { ...wanted[0], labels: {} },
    ])
  })

  test('what cannot be read is named with its line', () => {
    expect(() => readLabels('from,to\nyesterday,2026-01-01\n', 'l.csv', [])).toThrow('l.csv:2: is no time')
    expect(() => readLabels('from,to\n2026-01-02,2026-01-01\n', 'l.csv', [])).toThrow('ends before it begins')
    expect(() => readLabels('start,end\n', 'l.csv', [])).toThrow('names no columns from and to')
    expect(() => readLabels('{', 'l.json', [])).toThrow('is no JSON')
  })
})

describe('a budget', () => {
  test('each threshold has as many alarms as the score rises above it', () => {
    const scores = fc.array(fc.oneof(fc.constant(null), fc.double({ min: 0, max: 50, noNaN: true })), {
      minLength: 1,
      maxLength: 60,
    })
    fc.assert(
      fc.property(scores, fc.integer({ min: 0, max: 20 }), (given, alarmsMax) => {
        const tested = new Backtested(PLAN, ALL)
        given.forEach((score, i) => {
          // A value is there in every window; only the score may be missing.
          tested.result({ ...result((i + 1) * 1_000, score), values: { v: 1 } })
        })
        const rises = (edge: number): number =>
          given.filter((score, i) => (score ?? 0) > edge && (i === 0 ? 0 : (given[i - 1] ?? 0)) <= edge)
            .length
        const { threshold: edge, alarms, alarmsNow, isEnough } = tested.suggest('d', alarmsMax)
        expect(alarmsNow).toBe(rises(1))
        expect(alarms).toBe(rises(edge))
        expect(isEnough).toBe(true)
        expect(alarms).toBeLessThanOrEqual(alarmsMax)
        if (edge > 1) expect(rises(edge / 1.02)).toBeGreaterThan(alarmsMax)
      }),
    )
  })

  test('is for the time in which windows end: each for the time since the one before, in the range alone', () => {
    const shapes = [
      { shape: tumbling('1m'), sizeMs: 60_000, everyMs: 60_000 },
      { shape: sliding({ size: '1m', every: '10s' }), sizeMs: 60_000, everyMs: 10_000 },
    ]
    for (const { shape, sizeMs, everyMs } of shapes) {
      const definition = pipeline('p')
        .from(topic('metrics'))
        .groupBy('host')
        .window(shape, { v: mean() })
        .detect('v', threshold({ above: 10 }), { name: 'd' })
      const plan = compilePlan(definition, registry, '', { partitions: 4 }).plan!
      const windows = fc.integer({ min: 1, max: 50 })
      const bound = fc.option(fc.integer({ min: 0, max: 60 }), { nil: null })
      fc.assert(
        fc.property(windows, bound, bound, (n, from, to) => {
          const fromMs = from === null ? -Infinity : from * everyMs
          const toMs = to === null ? Infinity : to * everyMs
          const tested = new Backtested(plan, { fromMs, toMs })
          let counted = 0
          for (let i = 1; i <= n; i++) {
            const endMs = i * everyMs
            // Of two hosts each: time passes once for both.
            for (const host of ['a', 'b'])
              tested.result({ ...result(endMs, 0, host), windowStartMs: endMs - sizeMs })
            if (endMs >= fromMs && endMs < toMs) counted++
          }
          expect(tested.days).toBeCloseTo((counted * everyMs) / 86_400_000, 12)
          expect(tested.windowSpan).toEqual([everyMs - sizeMs, n * everyMs])
        }),
      )
    }
  })

  test('is read as people write it', () => {
    expect(readBudget('2/week')).toMatchObject({ alarms: 2, perMs: 7 * 86_400_000 })
    expect(readBudget('5/30d')).toMatchObject({ alarms: 5, perMs: 30 * 86_400_000 })
    for (const bad of ['2', 'two/week', '2/fortnight', '/week']) expect(readBudget(bad)).toBeNull()
  })
})

test('two versions: only here, only there, and in both with what lies between', () => {
  const [a, b] = [new Backtested(PLAN, ALL), new Backtested(PLAN, ALL)]
  for (const [tested, times] of [
    [a, [10, 100, 200]],
    [b, [13, 150, 200, 300]],
  ] as const) {
    for (const s of times) {
      tested.alert(alert('firing', s * 1_000, s * 1_000))
      tested.alert(alert('resolved', s * 1_000, s * 1_000 + 2_000))
    }
  }
  const told = compare(a, b, 5_000).map(({ change, shiftMs, a: x, b: y }) => [
    change,
    (x ?? y)!.atMs,
    shiftMs,
  ])
  expect(told).toEqual([
    ['in both', 10_000, 3_000],
    ['only in A', 100_000, null],
    ['only in B', 150_000, null],
    ['in both', 200_000, 0],
    ['only in B', 300_000, null],
  ])
})

test('a drawn course keeps every spike and the widest band, however long it is', () => {
  const values = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), {
    minLength: 1,
    maxLength: 5_000,
    size: 'max',
  })
  fc.assert(
    fc.property(values, (given) => {
      const trace = new Trace()
      given.forEach((value, i) => {
        trace.push(i, value, { score: value, expected: 2 * value, lower: -value, upper: value })
      })
      const buckets = trace.buckets()
      expect(buckets.length).toBeLessThanOrEqual(BUCKETS_MAX)
      const low = given.reduce((x, y) => Math.min(x, y))
      const high = given.reduce((x, y) => Math.max(x, y))
      expect(Math.min(...buckets.map(({ min }) => min))).toBe(low)
      expect(Math.max(...buckets.map(({ max }) => max))).toBe(high)
      expect(Math.max(...buckets.map(({ score }) => score))).toBe(high)
      expect(buckets.every(({ score, expected }) => expected === 2 * score)).toBe(true)
      expect(Math.ceil(given.length / trace.windowsEach)).toBe(buckets.length)
      expect(buckets.every(({ timeMs }, i) => i === 0 || timeMs > buckets[i - 1]!.timeMs)).toBe(true)
    }),
    { numRuns: 20 },
  )
})

describe('the command', () => {
  let dir = ''
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'millrace-backtest-test-'))
    writeFileSync(join(dir, 'p.ts'), module(`threshold({ above: 10 }), { name: 'd' }`))
    writeFileSync(join(dir, 'q.ts'), module(`threshold({ above: 30 }), { name: 'd' }`))
    const rows = Array.from({ length: 300 }, (_, s) => `${1_767_225_600 + s},${valueAt(s)},a`)
    writeFileSync(join(dir, 'h.csv'), `time,value,host\n${rows.join('\n')}\n`)
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  const module = (detector: string, options = ''): string =>
    `import { mean, pipeline, silence, threshold, topic, tumbling } from '${process.cwd()}/index.ts'
     export default pipeline('p').from(topic('metrics', { partitions: 4 })).groupBy('host')
       .window(tumbling('1s'), { v: mean() })${detector === '' ? '' : `.detect('v', ${detector})`}${options}`
  const valueAt = (s: number): number => (s >= 100 && s < 110 ? 20 : s >= 200 && s < 210 ? 40 : 5)
  const backtest = (...words: string[]): ReturnType<typeof runCommand> =>
    runCommand(['backtest', 'p.ts', '--time', 'time', '--labels', 'host', ...words], { cwd: dir })

  test('says what a driven pipeline says, alarm for alarm', async () => {
    const { code, out, err } = await backtest('--data', 'h.csv', '--json')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const driver = drive(DEFINITION)
    for (let s = 0; s < 300; s++) {
      driver.send({ name: 'h', labels: { host: 'a' }, value: valueAt(s), at: (1_767_225_600 + s) * 1_000 })
    }
    driver.end()
    const fired = driver.alerts().filter(({ state }) => state === 'firing')
    const told = JSON.parse(out) as { series: { alarms: { atMs: number; reason: string }[] }[] }
    const told0 = told.series[0]!.alarms.map(({ atMs, reason }) => ({ atMs, reason }))
    expect(told0).toEqual(fired.map(({ atMs, reason }) => ({ atMs, reason })))
    expect(fired.length).toBe(2)
  })

  test('labels, budget, another version and a range go into summary and report', async () => {
    writeFileSync(join(dir, 'l.csv'), 'from,to,host\n2026-01-01T00:03:00Z,2026-01-01T00:04:00Z,a\n')
    const { code, err } = await backtest(
      '--data',
      'h.csv',
      '--truth',
      'l.csv',
      '--budget',
      '1/5m',
      '--against',
      'q.ts',
    )
    expect(code).toBe(0)
    expect(err).toContain('d: 2 alarms in 1 series')
    expect(err).toContain('precision 50 %, recall 100 % (1 of 1), median delay 21 s')
    expect(err).toContain('against: 1 alarm only here, 0 only there, 1 in both')
    const html = readFileSync(join(dir, 'backtest.html'), 'utf8')
    expect(html).toContain("default-src 'none'")
    expect(html).not.toMatch(/https?:|url\(/)
    const late = await backtest('--data', 'h.csv', '--from', '2026-01-01T00:02:30Z')
    expect(late.err).toContain('d: 1 alarm in 1 series')
  })

  test('packed CSV and line protocol of the same samples say the same, alarm for alarm', async () => {
    writeFileSync(join(dir, 'h.csv.gz'), gzipSync(readFileSync(join(dir, 'h.csv'))))
    const lines = Array.from(
      { length: 300 },
      (_, s) => `h,host=a value=${valueAt(s)} ${1_767_225_600 + s}000000000`,
    )
    writeFileSync(join(dir, 'h.lp'), `${lines.join('\n')}\n`)
    writeFileSync(join(dir, 'h.txt.gz'), gzipSync(`${lines.join('\n')}\n`))
    const said = async (file: string): Promise<unknown> => {
      const { code, out } = await backtest('--data', file, '--json')
      expect(code).toBe(0)
      return (JSON.parse(out) as { series: unknown }).series
    }
    const plain = await said('h.csv')
    for (const file of ['h.csv.gz', 'h.lp', 'h.txt.gz']) expect(await said(file)).toEqual(plain)
  })

  test('the budget is for the windows of the data, and not for one more', async () => {
    writeFileSync(join(dir, 'p.ts'), module(`threshold({ above: 6 }), { name: 'd' }`).replace("'1s'", "'1m'"))
    const alarms = async (budget: string): Promise<number> => {
      const { out } = await backtest('--data', 'h.csv', '--json', '--budget', budget)
      return (JSON.parse(out) as { suggestions: { suggestion: { alarms: number } }[] }).suggestions[0]!
        .suggestion.alarms
    }
    // Five minutes with two alarms.
    expect(await alarms('2/300s')).toBe(2)
    expect(await alarms('2/301s')).toBe(1)
  })

  test('without a sample that counts there is no report, but what was looked at and what there is', async () => {
    const refused = async (...words: string[]): Promise<string> => {
      const { code, out, err } = await backtest(...words)
      expect({ code, out, report: existsSync(join(dir, 'backtest.html')) }).toEqual({
        code: 1,
        out: '',
        report: false,
      })
      return err
    }
    const span =
      'Its 300 samples lie in windows from 2026-01-01 00:00:00Z to 2026-01-01 00:05:00Z: choose a range inside.'
    const after = await refused('--data', 'h.csv', '--from', '2026-02-01T00:00:00Z')
    expect(after).toContain(
      `--from: no window of h.csv ends there (got "2026-02-01 00:00:00Z to the end"). ${span}`,
    )
    const before = await refused('--data', 'h.csv', '--to', '2025-02-01T00:00:00Z', '--json')
    expect(before).toContain(
      `--to: no window of h.csv ends there (got "the beginning to 2025-02-01 00:00:00Z"). ${span}`,
    )
    const between = ['--from', '2025-01-01T00:00:00Z', '--to', '2025-02-01T00:00:00Z']
    expect(await refused('--data', 'h.csv', ...between)).toContain(
      `--from, --to: no window of h.csv ends there (got "2025-01-01 00:00:00Z to 2025-02-01 00:00:00Z"). ${span}`,
    )
    writeFileSync(
      join(dir, 'p.ts'),
      module(`threshold({ above: 6 })`).replace('.groupBy', `.where({ host: 'b' }).groupBy`),
    )
    expect(await refused('--data', 'h.csv')).toContain(
      'h.csv: none of them is taken by pipeline p (got "300 samples"). It holds h: look at',
    )
    writeFileSync(join(dir, 'bad.csv'), 'time,value,host\nsoon,1,a\nlater,2,a\n')
    expect(await refused('--data', 'bad.csv')).toContain(
      'bad.csv: holds no sample (got "2 lines that cannot be read"). Name a file',
    )
  })

  test('no sample of a sorted file is late, however many there are and however far apart', async () => {
    const far = module(`threshold({ above: 10 }), { name: 'd' }`)
    const modules = [far, far.replace('.detect', `.detect(silence({ after: '30d' })).detect`)]
    for (const text of modules) {
      writeFileSync(join(dir, 'p.ts'), text)
      // More than one record of the log holds, with pauses that are longer than a source may be idle.
      const rows = Array.from({ length: 10_000 }, (_, i) => `${1_767_225_600 + 60 * i},${valueAt(i % 300)},a`)
      writeFileSync(join(dir, 'h.csv'), `time,value,host\n${rows.join('\n')}\n`)
      const { err, out } = await backtest('--data', 'h.csv', '--json')
      const told = JSON.parse(out) as {
        late: number
        total: { alarms: number }
        series: { windows: number }[]
      }
      expect({ err, late: told.late, alarms: told.total.alarms }).toEqual({
        err: '',
        late: 0,
        alarms: 2 * 33,
      })
      expect(Math.max(...told.series.map(({ windows }) => windows))).toBe(10_000)
    }
  })

  test('silence is told by the time of the data', async () => {
    writeFileSync(join(dir, 'p.ts'), module('', `.detect(silence({ after: '10s' }))`))
    const rows = Array.from({ length: 300 }, (_, s) => s)
      .filter((s) => s < 100 || s > 130)
      .map((s) => `${1_767_225_600 + s},1,a`)
    writeFileSync(join(dir, 'h.csv'), `time,value,host\n${rows.join('\n')}\n`)
    const { out } = await backtest('--data', 'h.csv', '--json')
    const { series } = JSON.parse(out) as { series: { alarms: { atMs: number }[] }[] }
    expect(series[0]!.alarms.map(({ atMs }) => Math.floor(atMs / 1_000) - 1_767_225_600)).toEqual([109])
  })

  test('what is wrong is named, and what is doubtful is said', async () => {
    writeFileSync(join(dir, 'empty.csv'), 'time,value,host\n')
    expect(await backtest('--data', 'empty.csv')).toMatchObject({ code: 1 })
    expect((await backtest('--data', 'empty.csv')).err).toContain('empty.csv: holds no sample')
    expect((await backtest('--data', 'metrisc')).err).toContain('Did you mean "metrics"?')
    expect((await backtest('--data', 'h.csv', '--budget', 'few')).err).toContain('is no budget of alarms')
    expect((await backtest('--data', 'h.csv', '--truth', 'none.csv')).err).toContain('cannot be read')
    writeFileSync(join(dir, 'l.csv'), 'from,to,host\n2030-01-01T00:00:00Z,2030-01-02T00:00:00Z,b\n')
    const doubtful = await backtest('--data', 'h.csv', '--truth', 'l.csv')
    expect(doubtful.err).toContain('1 of 1 labels match no series, first {"host":"b"}')
    expect(doubtful.err).toContain('1 of 1 labels lie outside the data')
    writeFileSync(join(dir, 'p.ts'), module(''))
    expect((await backtest('--data', 'h.csv')).err).toContain('has no detector, so it raises no alarm')
    expect(await runCommand(['backtest'], { cwd: dir })).toMatchObject({ code: 2 })
  })

  const NAB = resolve(process.env.MILLRACE_SHARED ?? '../shared', 'nab')
  test.skipIf(!existsSync(join(NAB, 'labels')))(
    'a real series with its labels: NAB ec2_cpu_utilization_5f5533',
    async () => {
      const imports = `import { auto, mean, pipeline, topic, tumbling } from '${process.cwd()}/index.ts'`
      const text = `${imports}\nexport default pipeline('p').from(topic('metrics')).window(tumbling('5m'), { v: mean() }).detect('v', auto())`
      writeFileSync(join(dir, 'p.ts'), text)
      const file = join(NAB, 'data/realAWSCloudwatch/ec2_cpu_utilization_5f5533.csv')
      const labels = join(NAB, 'labels/combined_windows.json')
      const words = ['backtest', 'p.ts', '--data', file, '--truth', labels, '--json']
      const { code, out } = await runCommand(words, { cwd: dir })
      expect(code).toBe(0)
      const { total, samples } = JSON.parse(out) as { total: { labelled: number }; samples: number }
      expect(samples).toBe(readFileSync(file, 'utf8').trim().split('\n').length - 1)
      expect(total.labelled).toBe(2)
    },
  )
})
