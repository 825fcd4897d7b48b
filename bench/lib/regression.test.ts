/** What the comparison of two results calls a regression, and what it does not. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compareResults, hasRegressed, type ResultLine, readResults } from './regression.ts'

const MACHINE = {
  cpu: 'x',
  cores: 2,
  memoryGiB: 8,
  node: 'v20',
  platform: 'linux',
  memcpyBytesPerSecond: 8e9,
  fsyncPerSecond: 2_000,
}

function line(value: number, changes: Partial<ResultLine> = {}): ResultLine {
  const params = { series: 1_000, rounds: 3 }
  return {
    bench: 'b',
    figure: 'samplesPerSecond',
    value,
    unit: 'samples/s',
    params,
    machine: MACHINE,
    ...changes,
  }
}

function verdict(before: ResultLine, after: ResultLine, tolerance = 0.1) {
  const comparisons = compareResults([before], [after], tolerance)
  return { verdict: comparisons[0]!.verdict, regressed: hasRegressed(comparisons), comparisons }
}

test('a rate that fell by more than the tolerance has regressed; by as much, or risen, it has not', () => {
  expect(verdict(line(100), line(89))).toMatchObject({ verdict: 'worse', regressed: true })
  expect(verdict(line(100), line(90))).toMatchObject({ verdict: 'same', regressed: false })
  expect(verdict(line(100), line(110))).toMatchObject({ verdict: 'same', regressed: false })
  expect(verdict(line(100), line(112))).toMatchObject({ verdict: 'better', regressed: false })
  expect(verdict(line(100), line(89), 0.2)).toMatchObject({ verdict: 'same', regressed: false })
})

test('a time or a size has regressed when it has grown', () => {
  for (const unit of ['ms', 'bytes']) {
    expect(verdict(line(10, { unit }), line(12, { unit }))).toMatchObject({
      verdict: 'worse',
      regressed: true,
    })
    expect(verdict(line(10, { unit }), line(8, { unit }))).toMatchObject({
      verdict: 'better',
      regressed: false,
    })
  }
})

test('a figure that is no number any more has regressed', () => {
  expect(verdict(line(10), line(Number.NaN))).toMatchObject({ verdict: 'worse', regressed: true })
  expect(verdict(line(10), line(0))).toMatchObject({ verdict: 'worse', regressed: true })
})

test('between two machines there is a ratio and no verdict', () => {
  const other = { ...MACHINE, cores: 64 }
  const { verdict: told, regressed, comparisons } = verdict(line(100), line(10, { machine: other }))
  expect({ told, regressed, ratio: comparisons[0]!.ratio }).toEqual({
    told: 'other machine',
    regressed: false,
    ratio: 0.1,
  })
})

test('a slow day of the same machine is told beside the figure, and excuses nothing', () => {
  const slow = { ...MACHINE, memcpyBytesPerSecond: 4e9, fsyncPerSecond: 500 }
  const { regressed, comparisons } = verdict(line(100), line(50, { machine: slow }))
  expect(regressed).toBe(true)
  expect(comparisons[0]).toMatchObject({ memcpyRatio: 0.5, fsyncRatio: 0.25 })
})

test('figures belong together by bench, figure and params, in whatever order; what a run measured is no param', () => {
  const before = [line(100), line(200, { params: { series: 5 } }), line(7, { figure: 'gone' })]
  const after = [
    line(9, { figure: 'new' }),
    line(100, { params: { series: 5, samplesPerSecond: 17 } }),
    line(100, { params: { rounds: 3, series: 1_000 } }),
  ]
  const told = compareResults(before, after, 0.1).map(({ figure, verdict, ratio }) => [
    figure,
    verdict,
    ratio,
  ])
  expect(told).toEqual([
    ['samplesPerSecond', 'same', 1],
    ['samplesPerSecond', 'worse', 0.5],
    ['gone', 'gone', Number.NaN],
    ['new', 'new', Number.NaN],
  ])
  expect(hasRegressed(compareResults([line(7, { figure: 'gone' })], [], 0.1))).toBe(false)
})

test('a file of bench/results and the lines that --json prints are read alike; anything else is refused by place', () => {
  const lines = [line(1), line(2)]
  expect(readResults(JSON.stringify({ commit: 'c', figures: lines }))).toEqual(lines)
  expect(readResults(`${lines.map((each) => JSON.stringify(each)).join('\n')}\n`)).toEqual(lines)
  expect(readResults(JSON.stringify(line(1)))).toEqual([line(1)])
  expect(readResults('{"figures": [{"bench": "b"}]}')).toContain('figure 1')
  expect(readResults(`${JSON.stringify(line(1))}\nnonsense`)).toContain('line 2')
  expect(readResults(JSON.stringify(line(Number.NaN)))).toEqual([line(Number.NaN)])
  expect(readResults('')).toBe('it holds no figure')
})

test('the stored results can be compared', () => {
  const text = readFileSync(new URL('../results/2026-11-26.json', import.meta.url), 'utf8')
  const figures = readResults(text)
  expect(figures).not.toBeTypeOf('string')
  const comparisons = compareResults(figures as readonly ResultLine[], figures as readonly ResultLine[], 0)
  expect(comparisons.length).toBeGreaterThan(20)
  expect(comparisons.every(({ verdict }) => verdict === 'same')).toBe(true)
})
