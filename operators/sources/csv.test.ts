import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import { SERIES_KEY_BYTES_MAX, seriesText } from '../../engine/series/series-key.ts'
import { SeriesTable } from '../../engine/series/series-table.ts'
import { type ColumnOptions, type ColumnReport, ROW_BYTES_MAX } from './columns.ts'
import { type CsvOptions, csvDecoder } from './csv.ts'

type Sample = readonly [series: string, timeMs: number, value: number]

interface Outcome {
  readonly samples: readonly Sample[]
  readonly report: ColumnReport
}

const COLUMNS: ColumnOptions = { time: 't', value: 'value', labels: ['host'], name: 'm' }

function decode(
  input: string | Uint8Array,
  columns: Partial<ColumnOptions> = {},
  more: Partial<CsvOptions> = {},
  cuts: readonly number[] = [],
): Outcome {
  const bytes = typeof input === 'string' ? new TextEncoder().encode(input) : input
  const table = more.table ?? new SeriesTable({ limit: 10_000 })
  const builder = new SampleBuilder(16)
  const decoder = csvDecoder({
    columns: { ...COLUMNS, ...columns },
    place: 'data.csv',
    ...more,
    table,
    builder,
  })
  let from = 0
  for (const cut of [...cuts].sort((a, b) => a - b)) {
    // Copies, so that a decoder that kept a chunk would be found out.
    const chunk = bytes.slice(from, Math.min(cut, bytes.length))
    decoder.write(chunk)
    chunk.fill(0xff)
    from = Math.min(cut, bytes.length)
  }
  decoder.write(bytes.subarray(from))
  const report = decoder.end()
  const samples = Array.from({ length: builder.count }, (_, i): Sample => {
    const labels: Labels = table.labelsOf(builder.seriesIds[i]!)
    return [seriesText(labels), builder.timestampsMs[i]!, builder.values[i]!]
  })
  return { samples, report }
}

function failure(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('nothing was thrown')
}

describe('columns', () => {
  test('labels become labels, a column called value takes the name alone', () => {
    const { samples, report } = decode('t,host,value\n1400000000,a,1.5\n1400000001,b,2\n')
    expect(samples).toEqual([
      ['m{host="a"}', 1_400_000_000_000, 1.5],
      ['m{host="b"}', 1_400_000_001_000, 2],
    ])
    expect(report).toMatchObject({ lines: 3, samples: 2, faultCount: 0, emptyValues: 0 })
  })

  test('several values make a series each; empty ones are counted and make no sample', () => {
    const csv = 't,cpu,mem,host\n1400000000,1,2,a\n1400000001,,4,a\n1400000002,NaN,null,a\n'
    const { samples, report } = decode(csv, { value: ['cpu', 'mem'] })
    expect(samples.map(([series, , value]) => [series, value])).toEqual([
      ['m_cpu{host="a"}', 1],
      ['m_mem{host="a"}', 2],
      ['m_mem{host="a"}', 4],
    ])
    expect(report).toMatchObject({ samples: 3, emptyValues: 3, faultCount: 0 })
  })

  test('an empty label is an absent label', () => {
    expect(decode('t,host,value\n1400000000,,1\n').samples[0]![0]).toBe('m')
  })

  test('columns that are not there are ONE error with the columns seen and a guess', () => {
    const message = failure(() => decode('timestamp,hots,value\n', { time: 'timestmp' }))
    expect(message).toBe(
      'data.csv: 2 faults\n' +
        '  data.csv: there is no such column (got "timestmp"). Did you mean "timestamp"? Columns seen: timestamp, hots, value.\n' +
        '  data.csv: there is no such column (got "host"). Did you mean "hots"? Columns seen: timestamp, hots, value.',
    )
  })

  test('a header of one column that holds another delimiter says so', () => {
    expect(failure(() => decode('t;host;value\n'))).toContain('is the delimiter ";"?')
  })

  test('a wanted column that is there twice is refused', () => {
    expect(failure(() => decode('t,host,value,value\n'))).toContain('"value" more than once')
  })

  test('an empty input is refused, a header alone is not', () => {
    expect(failure(() => decode(''))).toContain('data.csv: is empty')
    expect(decode('t,host,value').report).toMatchObject({ lines: 1, samples: 0, faultCount: 0 })
  })

  test('names given take the place of a header row', () => {
    const { samples } = decode('1400000000\ta\t1\n', {}, { delimiter: '\t', header: ['t', 'host', 'value'] })
    expect(samples).toEqual([['m{host="a"}', 1_400_000_000_000, 1]])
  })
})

describe('RFC 4180', () => {
  test('quotes hold delimiters, doubled quotes and newlines; line numbers count them', () => {
    const { samples, report } = decode(
      '\ufefft,"host","value"\r\n1400000000,"a ""b"", c\nd","1"\r\n\r\n1400000001,x,oops\r\n',
    )
    expect(samples).toEqual([['m{host="a \\"b\\", c\\nd"}', 1_400_000_000_000, 1]])
    expect(report.faults).toEqual([
      { line: 5, problem: 'value "oops" is not a number', text: '1400000001,x,oops\r' },
    ])
    expect(report.lines).toBe(5)
  })

  test('a bad row loses no good one, not even after a quote left open', () => {
    const { samples, report } = decode(
      't,host,value\n1400000000,"a,1\n1400000001,b,2\n1400000002,c\n1400000003,"d"x,3\n1400000004,e,4',
    )
    expect(samples.map(([series]) => series)).toEqual(['m{host="b"}', 'm{host="e"}'])
    expect(report.faults.map(({ line, problem }) => [line, problem])).toEqual([
      [2, 'has text after a closing quote'],
      [4, 'has 2 fields, the header has 3'],
      [5, 'has text after a closing quote'],
    ])
  })

  test('a quote open at the end of input costs its own line only', () => {
    const { samples, report } = decode('t,host,value\n1400000000,"a,1\n1400000001,b,2\n')
    expect(samples).toHaveLength(1)
    expect(report.faults).toEqual([{ line: 2, problem: 'a quote is never closed', text: '1400000000,"a,1' }])
  })

  test('rows over the limit are faults, whether quoted or not, and reading goes on', () => {
    const long = 'x'.repeat(ROW_BYTES_MAX + 1)
    const csv = `t,host,value\n1400000000,${long},1\n1400000001,a,1\n1400000002,"${long}\n1400000003,b,1\n1400000004,c,1\n${'y'.repeat(ROW_BYTES_MAX * 2)}`
    for (const cuts of [[], [5_000, ROW_BYTES_MAX + 20, ROW_BYTES_MAX + 30, ROW_BYTES_MAX * 2 + 77]]) {
      const { samples, report } = decode(csv, {}, {}, cuts)
      expect(samples.map(([series]) => series)).toEqual(['m{host="a"}', 'm{host="b"}', 'm{host="c"}'])
      expect(report.faults.map(({ line, problem }) => [line, problem])).toEqual([
        [2, 'is longer than 262144 bytes'],
        [4, 'is longer than 262144 bytes; is a quote left open?'],
        [7, 'is longer than 262144 bytes'],
      ])
      expect(report.lines).toBe(7)
    }
  })

  test('a row exactly at the limit is taken', () => {
    const head = '1400000000,'
    const filler = ' '.repeat(ROW_BYTES_MAX - head.length - ',1'.length)
    const table = new SeriesTable({ limit: 10 })
    const { report } = decode(`t,x,value\n${head}${filler},1`, { labels: [] }, { table })
    expect(report).toMatchObject({ samples: 1, faultCount: 0 })
  })
})

describe('limits', () => {
  test('series over the limit of the table are faults, the others are taken', () => {
    const table = new SeriesTable({ limit: 1 })
    const csv = 't,host,value\n1400000000,a,1\n1400000001,b,2\n1400000002,a,3\n1400000003,b,4\n'
    const { samples, report } = decode(csv, {}, { table })
    expect(samples).toHaveLength(2)
    expect(report.faults.map((fault) => fault.line)).toEqual([3, 5])
    expect(report.faults[0]!.problem).toContain('series limit')
  })

  test('labels too long are a fault', () => {
    const { report } = decode(`t,host,value\n1400000000,${'h'.repeat(SERIES_KEY_BYTES_MAX)},1\n`)
    expect(report.faults[0]!.problem).toContain(`longer than ${SERIES_KEY_BYTES_MAX} bytes`)
  })

  test('times beyond the guard are faults and counted', () => {
    const csv = 't,host,value\n1400000000,a,1\n1500000000,a,1\n'
    const { report } = decode(csv, {}, { latestMs: 1_450_000_000_000 })
    expect(report).toMatchObject({ samples: 1, futureSamples: 1, faultCount: 1 })
  })

  test('a row is taken whole or not at all', () => {
    const csv = 't,host,a,b\n1400000000,x,1,oops\n'
    expect(decode(csv, { value: ['a', 'b'] })).toMatchObject({ samples: [], report: { faultCount: 1 } })
  })
})

// ---- against an oracle -----------------------------------------------------------------------------------------

/** Slow and obvious: whole text, one character at a time, for inputs whose rows are all well-formed. */
function oracle(text: string): Sample[] {
  const rows: string[][] = []
  let row: string[] = []
  let field = ''
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (quoted) {
      if (c !== '"') field += c
      else if (text[i + 1] === '"') field += text[i++]
      else quoted = false
    } else if (c === '"') quoted = true
    else if (c === ',') {
      row.push(field)
      field = ''
    } else if (c === '\n') {
      rows.push([...row, field])
      row = []
      field = ''
    } else if (c !== '\r') field += c
  }
  return rows.slice(1).map(([time, host, value]): Sample => {
    const labels = { [NAME_LABEL]: 'm', ...(host === '' ? {} : { host: host! }) }
    return [seriesText(labels), Number(time) * 1_000, Number(value)]
  })
}

const hostText = fc.oneof(
  fc.constantFrom('a', 'b', 'ä', '日本', '', 'x"y', 'two\nlines', 'c,d', ' padded '),
  fc.string({ maxLength: 8 }).filter((text) => !/[\r\0]/.test(text)),
)
const rowOf = fc.tuple(
  fc.integer({ min: 1, max: 2_000_000_000 }),
  hostText,
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.boolean(),
)
const quote = (text: string, always: boolean): string =>
  always || /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text

describe('any input', () => {
  test('well-formed rows equal a naive reader, wherever the chunks are cut', () => {
    fc.assert(
      fc.property(
        fc.array(rowOf, { maxLength: 30 }),
        fc.constantFrom('\n', '\r\n'),
        fc.array(fc.nat(800), { maxLength: 12 }),
        (rows, newline, cuts) => {
          const text = `t,host,value${newline}${rows
            .map(([t, host, value, always]) => `${t},${quote(host, always)},${quote(String(value), always)}`)
            .map((line) => line + newline)
            .join('')}`
          const { samples, report } = decode(text, {}, {}, cuts)
          expect(report.faults).toEqual([])
          expect(samples).toEqual(oracle(text))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('the answer to anything at all does not depend on the cuts', () => {
    const soup = fc.string({ unit: fc.constantFrom(...'"",,\n\n\r1a. 2'), maxLength: 120 })
    fc.assert(
      fc.property(soup, fc.array(fc.nat(130), { maxLength: 10 }), (text, cuts) => {
        const input = `t,host,value\n${text}`
        expect(decode(input, {}, {}, cuts)).toEqual(decode(input))
      }),
      { numRuns: 2_000 },
    )
  })

  test('one byte at a time is the same as all at once', () => {
    const text = '\ufefft,host,value\r\n1400000000,"a\r\nb",1\r\n1400000001,c,x\n\n1400000002,d,2'
    const every = Array.from({ length: 100 }, (_, i) => i)
    expect(decode(text, {}, {}, every)).toEqual(decode(text))
  })
})

// ---- real files ------------------------------------------------------------------------------------------------

const nab = join(process.env.MILLRACE_SHARED ?? '../shared', 'nab/data')

function nabFiles(): string[] {
  try {
    return readdirSync(nab, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.csv'))
  } catch {
    return []
  }
}

describe('the Numenta Anomaly Benchmark', () => {
  const files = nabFiles()
  test.skipIf(files.length === 0)('all its files are read cleanly, every row a sample', () => {
    expect(files.length).toBeGreaterThan(50)
    for (const file of files) {
      const bytes = readFileSync(join(nab, file))
      const rows = bytes
        .toString('latin1')
        .split('\n')
        .slice(1)
        .filter((line) => line.trim() !== '')
      const { samples, report } = decode(bytes, { time: 'timestamp', labels: [], name: 'nab' })
      expect([file, report.faults]).toEqual([file, []])
      expect([file, report.samples]).toEqual([file, rows.length])
      const [time, value] = rows.at(-1)!.trim().split(',')
      expect(samples.at(-1)).toEqual(['nab', Date.parse(`${time!.replace(' ', 'T')}Z`), Number(value)])
    }
  })
})
