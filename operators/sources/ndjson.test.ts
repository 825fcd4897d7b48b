import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import { NAME_LABEL } from '../../engine/contract/samples.ts'
import { seriesText } from '../../engine/series/series-key.ts'
import { SeriesTable } from '../../engine/series/series-table.ts'
import { type ColumnOptions, type ColumnReport, ROW_BYTES_MAX } from './columns.ts'
import { ndjsonDecoder } from './ndjson.ts'

type Sample = readonly [series: string, timeMs: number, value: number]

const COLUMNS: ColumnOptions = { time: 't', value: 'value', labels: ['host'], name: 'm' }

function decode(
  text: string,
  columns: Partial<ColumnOptions> = {},
  cuts: readonly number[] = [],
): { samples: Sample[]; report: ColumnReport } {
  const bytes = new TextEncoder().encode(text)
  const table = new SeriesTable({ limit: 10_000 })
  const builder = new SampleBuilder(16)
  const decoder = ndjsonDecoder({ columns: { ...COLUMNS, ...columns }, place: 'data.ndjson', table, builder })
  let from = 0
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    const chunk = bytes.slice(from, Math.min(cut, bytes.length))
    decoder.write(chunk)
    chunk.fill(0xff)
    from = Math.min(cut, bytes.length)
  }
  decoder.write(bytes.subarray(from))
  const report = decoder.end()
  const samples = Array.from({ length: builder.count }, (_, i): Sample => {
    const labels = table.labelsOf(builder.seriesIds[i]!)
    return [seriesText(labels), builder.timestampsMs[i]!, builder.values[i]!]
  })
  return { samples, report }
}

const line = (object: unknown): string => `${JSON.stringify(object)}\n`

describe('columns', () => {
  test('numbers, booleans and numbers in quotes are values; null and missing ones are counted', () => {
    const { samples, report } = decode(
      [1.5, true, false, '7', null, undefined]
        .map((value, i) => line({ t: 1_400_000_000 + i, value }))
        .join(''),
    )
    expect(samples.map(([, , value]) => value)).toEqual([1.5, 1, 0, 7])
    expect(report).toMatchObject({ lines: 6, samples: 4, emptyValues: 2, faultCount: 0 })
  })

  test('paths with dots reach nested values; a key that is the whole path wins', () => {
    const columns = { time: 'meta.at', value: ['stats.cpu', 'stats.mem'], labels: ['meta.host'] }
    const { samples, report } = decode(
      line({ meta: { at: '2014-04-01 00:00:00', host: 'ä' }, stats: { cpu: 1, mem: 2 } }) +
        line({ 'meta.at': '2014-04-01 00:00:01', meta: { at: 'x' }, 'stats.cpu': 3 }),
      columns,
    )
    expect(report.faults).toEqual([])
    expect(samples).toEqual([
      ['m_stats.cpu{meta.host="ä"}', Date.parse('2014-04-01T00:00:00Z'), 1],
      ['m_stats.mem{meta.host="ä"}', Date.parse('2014-04-01T00:00:00Z'), 2],
      ['m_stats.cpu', Date.parse('2014-04-01T00:00:01Z'), 3],
    ])
  })

  test('nanoseconds keep the digits that a JSON number would lose', () => {
    const { samples } = decode('{"t":1400000000123456789,"value":1}\n')
    expect(samples[0]![1]).toBe(1_400_000_000_123 + 456_789 / 1e6)
  })

  test('of a repeated key the last counts, as in JSON.parse', () => {
    expect(decode('{"t":1400000000,"value":1,"value":2}\n').samples[0]![2]).toBe(2)
  })

  test('an input without the time or any value is ONE error that lists the columns seen', () => {
    const wrong = line({ time: 1_400_000_000, stats: { cpu: 1 }, host: 'a' })
    expect(() => decode(wrong, { time: 'tme', value: 'stats.cp' })).toThrow(
      'data.ndjson: 2 faults\n' +
        '  data.ndjson: there is no such column (got "tme"). Did you mean "time"? Columns seen: time, stats.cpu, host.\n' +
        '  data.ndjson: there is no such column (got "stats.cp"). Did you mean "stats.cpu"? Columns seen: time, stats.cpu, host.',
    )
    expect(() => decode(wrong.repeat(1_000))).toThrow('there is no such column (got "t")')
  })

  test('a label that no line has is reported, not refused', () => {
    expect(decode(line({ t: 1, value: 1 })).report.unseen).toEqual(['host'])
  })
})

describe('bad lines', () => {
  test('are faults with their number, and no other line is lost', () => {
    const good = line({ t: 1_400_000_000, host: 'a', value: 1 })
    const { samples, report } = decode(
      `${good}\n[1]\n5\n{"t":1400000000,"value":01}\n{"t":1400000000\n{"t":1400000000,"value":[1]}\n{"value":1}\n{"t":1400000000,"value":"up"}\n${good}`,
    )
    expect(samples).toHaveLength(2)
    expect(report.faults.map((fault) => fault.line)).toEqual([3, 4, 5, 6, 7, 8, 9])
    expect(report.faults.map((fault) => fault.problem.slice(0, 20))).toEqual([
      'is JSON, but not an ',
      'is JSON, but not an ',
      'is not JSON: Unexpec',
      'is not JSON: Expecte',
      'value is a list',
      'there is no time',
      'value "up" is not a ',
    ])
    expect(report.lines).toBe(10)
  })

  test('lines over the limit are faults wherever they are cut, and reading goes on', () => {
    const good = line({ t: 1_400_000_000, host: 'a', value: 1 })
    const text = `${good}${'x'.repeat(ROW_BYTES_MAX + 1)}\n${good}`
    for (const cuts of [[], [100, ROW_BYTES_MAX], [ROW_BYTES_MAX + good.length + 1]]) {
      const { samples, report } = decode(text, {}, cuts)
      expect(samples).toHaveLength(2)
      expect(report.faults.map((fault) => [fault.line, fault.problem])).toEqual([
        [2, 'is longer than 262144 bytes'],
      ])
    }
  })
})

// ---- against an oracle -----------------------------------------------------------------------------------------

/** Half a surrogate pair has no UTF-8. */
const wellFormed = (text: string): string => new TextDecoder().decode(new TextEncoder().encode(text))

function oracle(text: string): { samples: Sample[]; faults: number } {
  const samples: Sample[] = []
  let faults = 0
  for (const one of text.split('\n')) {
    if (/^[ \t\r]*$/.test(one)) continue
    let object: Record<string, unknown>
    try {
      object = JSON.parse(one)
    } catch {
      faults++
      continue
    }
    const { t, host, value } = object
    const fine =
      typeof t === 'number' &&
      (value === undefined || value === null || typeof value === 'number' || typeof value === 'boolean') &&
      typeof host !== 'object'
    if (!fine && host !== null) {
      faults++
      continue
    }
    if (value === undefined || value === null) continue
    const labels = {
      [NAME_LABEL]: 'm',
      ...(host === undefined || host === null || host === '' ? {} : { host: wellFormed(String(host)) }),
    }
    samples.push([seriesText(labels), (t as number) * 1_000, Number(value)])
  }
  return { samples, faults }
}

const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
const object = fc.record(
  {
    t: fc.integer({ min: 0, max: 2_000_000_000 }),
    host: fc.oneof(
      fc.constantFrom('a', 'b', 'ä"\n\\', '日本', '\ud800', '__proto__'),
      fc.string(),
      finite,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
    ),
    value: fc.oneof(finite, fc.integer(), fc.boolean(), fc.constant(null)),
    other: fc.jsonValue({ maxDepth: 2 }),
  },
  { requiredKeys: ['t'] },
)
const spaced = fc
  .tuple(object, fc.constantFrom(0, 1))
  .map(([one, indent]) => JSON.stringify(one, null, indent).replaceAll('\n', indent === 1 ? ' \t' : ''))
const broken = fc
  .tuple(spaced, fc.nat(60), fc.constantFrom('', '"', '}', ',', '1', 'e', '\\', 'x'))
  .map(([text, at, put]) => text.slice(0, at) + put + text.slice(at + 1))
  // What breaking leaves must still have a time in seconds, or none: the oracle knows no other.
  .filter((text) => oracle(text).faults === 1)

describe('any input', () => {
  test('equals a naive reader over JSON.parse, wherever the chunks are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof({ weight: 5, arbitrary: spaced }, broken), { minLength: 1, maxLength: 20 }),
        fc.array(fc.nat(1_500), { maxLength: 10 }),
        (lines, cuts) => {
          const text = `${line({ t: 1, value: 1 })}${lines.join('\n')}\n`
          const { samples, report } = decode(text, {}, cuts)
          const expected = oracle(text)
          expect(report.faultCount).toBe(expected.faults)
          expect(samples.map(([series, at, value]) => [series, at, value + 0])).toEqual(
            expected.samples.map(([series, at, value]) => [series, at, value + 0]),
          )
        },
      ),
      { numRuns: 1_000 },
    )
  })

  test('the answer to anything at all does not depend on the cuts', () => {
    const soup = fc.string({ unit: fc.constantFrom(...'{}":,\n\r \\tvalue1-.e0[]n'), maxLength: 120 })
    fc.assert(
      fc.property(soup, fc.array(fc.nat(160), { maxLength: 8 }), (text, cuts) => {
        const input = `${line({ t: 1, value: 1 })}${text}`
        expect(decode(input, {}, cuts)).toEqual(decode(input))
      }),
      { numRuns: 1_000 },
    )
  })
})
