/** Bad history: each kind is said, in the terminal and in the report, and none looks like calm. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runCommand } from '../test-shell.ts'

const START_S = 1_767_225_600
let dir = ''
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-doubts-test-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const EDGE = `threshold({ above: 10 }), { name: 'd' }`

/** Rows are seconds from the start, and values; what is said, and whether the report says all of it. */
async function said(
  detector: string,
  rows: readonly (readonly [number, number | string])[],
  labels?: { readonly file: string; readonly text: string },
): Promise<string> {
  const text = `import { ewma, holtWinters, mean, pipeline, threshold, topic, tumbling } from '${process.cwd()}/index.ts'
    export default pipeline('p').from(topic('metrics')).groupBy('host')
      .window(tumbling('1s'), { v: mean() }).detect('v', ${detector})`
  writeFileSync(join(dir, 'p.ts'), text)
  const lines = rows.map(([s, value]) => `${START_S + s},${value},a`)
  writeFileSync(join(dir, 'h.csv'), `time,value,host\n${lines.join('\n')}\n`)
  const words = ['backtest', 'p.ts', '--data', 'h.csv', '--time', 'time', '--labels', 'host']
  if (labels !== undefined) {
    writeFileSync(join(dir, labels.file), labels.text)
    words.push('--truth', labels.file)
  }
  const { code, err } = await runCommand(words, { cwd: dir })
  expect(code).toBe(0)
  const html = readFileSync(join(dir, 'backtest.html'), 'utf8')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
  for (const [, warning] of err.matchAll(/^warning: (.*)$/gm)) expect(html).toContain(`<li>${warning}</li>`)
  if (err.includes('nothing was judged')) expect(html).toContain('<dt>Windows judged</dt><dd>0 %</dd>')
  return err
}

const steady = (count: number, of: (i: number) => [number, number | string] = (i) => [i, 5]) =>
  Array.from({ length: count }, (_, i) => of(i))

test('history without a fault is not doubted', async () => {
  expect(await said(EDGE, steady(300))).not.toContain('warning')
})

test('labels for other files, other series and times before the first judgement are each said', async () => {
  const other = { file: 'w.json', text: '{"x/other.csv":[["2026-01-01 00:00:00","2026-01-01 00:01:00"]]}' }
  expect(await said(EDGE, steady(300), other)).toContain(
    'w.json has no label for this data, so there is neither',
  )
  const series = { file: 'l.csv', text: 'from,to,rack\n2026-01-01T00:01:00Z,2026-01-01T00:02:00Z,r\n' }
  expect(await said(EDGE, steady(300), series)).toContain(
    '1 of 1 labels match no series, first {"rack":"r"}: they count nowhere. Their columns are to be labels that the pipeline groups by (host).',
  )
  const early = { file: 'l.csv', text: 'from,to,host\n2026-01-01T00:00:02Z,2026-01-01T00:00:04Z,a\n' }
  expect(await said('ewma()', steady(300), early)).toContain(
    '1 of 1 labels end before a detector judged their series (first from 2026-01-01 00:00:02Z)',
  )
  expect(await said(EDGE, steady(300), early)).not.toContain('warning')
})

test('history shorter than the warm-up is no calm', async () => {
  const told = await said(`ewma(), { name: 'd' }`, steady(10))
  expect(told).toContain('1 of 1 series were never judged (first {"host":"a"}, 10 windows)')
  expect(told).toMatch(/^d: 0 alarms in 1 series, 0 a series-day; nothing was judged$/m)
})

test.each(['NaN', ''])('a run of values %j is a hole, and said', async (none) => {
  const told = await said(
    EDGE,
    steady(300, (i) => [i, i >= 100 && i < 200 ? none : 5]),
  )
  expect(told).toContain('1 of 1 series have holes: the longest is 1.68 min from 2026-01-01 00:01:40Z on')
})

test('values that come seldom are no holes', async () => {
  expect(
    await said(
      EDGE,
      steady(50, (i) => [60 * i, 5]),
    ),
  ).not.toContain('warning')
})

test('times that are there twice are said; each sample counts', async () => {
  const told = await said(
    EDGE,
    steady(300, (i) => [Math.floor(i / 2), 5]),
  )
  expect(told).toContain('150 of 300 samples have the time of the one before them in their series')
})

test('times out of order are said: those too late, and those in time', async () => {
  const told = await said(
    EDGE,
    steady(300, (i) => [i % 100 === 99 ? i - 50 : i, 5]),
  )
  expect(told).toContain('3 samples came too late for their windows')
  const near = await said(
    EDGE,
    steady(300, (i) => [i % 2 === 0 ? i + 1.5 : i, 5]),
  )
  expect(near).toMatch(/older than one before them of their series|too late for their windows/)
})

test('a season longer than the history, or than its slots can hold, is said', async () => {
  const told = await said(`holtWinters({ season: '60d' }), { name: 'd' }`, steady(300))
  expect(told).toContain('The season of d is 60 d, of which the data holds 0.0000577')
  expect(told).toContain('d remembers its season of 60 d in 96 slots of 15 h')
  expect(told).toContain('nothing was judged')
  expect(await said(`holtWinters({ season: '1m' })`, steady(600))).not.toContain('warning')
})
