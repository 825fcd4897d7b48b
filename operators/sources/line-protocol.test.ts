import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import { LINE_FAULTS_KEPT_MAX } from '../../engine/contract/plugins.ts'
import { seriesText } from '../../engine/series/series-key.ts'
import { SeriesTable } from '../../engine/series/series-table.ts'
import {
  FAULT_TEXT_BYTES_MAX,
  LINE_BYTES_MAX,
  type LineProtocolOptions,
  lineProtocolDecoder,
} from './line-protocol.ts'

const NOW_MS = 1_700_000_000_000

interface Setup extends Partial<LineProtocolOptions> {
  readonly cuts?: readonly number[]
}

function decode(input: string | Uint8Array, setup: Setup = {}) {
  const bytes = typeof input === 'string' ? Buffer.from(input) : input
  const table = setup.table ?? new SeriesTable({ limit: 1_000 })
  const builder = new SampleBuilder(1)
  const decoder = lineProtocolDecoder({
    precision: 'ns',
    nowMs: NOW_MS,
    futureLimitMs: Number.POSITIVE_INFINITY,
    ...setup,
    table,
    builder,
  })
  let from = 0
  for (const cut of [...(setup.cuts ?? []), bytes.length]) {
    // A decoder must not rely on bytes behind a chunk, nor keep the chunk: it gets a copy, spoilt afterwards.
    const chunk = Uint8Array.from(bytes.subarray(from, cut))
    decoder.write(chunk)
    chunk.fill(0x58)
    from = cut
  }
  const report = decoder.end()
  const samples: [string, number, number][] = []
  for (let i = 0; i < builder.count; i++) {
    const name = seriesText(table.labelsOf(builder.seriesIds[i]!))
    samples.push([name, builder.timestampsMs[i]!, builder.values[i]!])
  }
  return { samples, report, table }
}

const series = (samples: readonly [string, number, number][]) => samples.map(([name]) => name)
const values = (samples: readonly [string, number, number][]) => samples.map(([, , value]) => value)

/** Lines of every kind, good and bad, that run into each other when a cut or a quote goes wrong. */
const lines = fc.oneof(
  fc.constantFrom(
    'cpu,host=a value=1 1700000000000000001\n',
    'cpu,host=a usage=1.5,idle=2i,s="x y",ok=true 1700000000123456789\n',
    'cpu,host=a usage=2.5,idle=3i 1700000000123456789\n',
    'cpu,host=b usage=0.30000000000000004 1700000000123456789\r\n',
    'cpu,host=ab usage=12345678901234567890u\n',
    'cpu usage=1e-7,usage=2\n',
    'm,t\\ a\\=g=\\,v f\\ x=1\n',
    'm,b=1,a=2 f=1\n',
    'm,a=2,b=1 f=2\n',
    'm s="a\nb\n\\"c",f=1 5\n',
    'm s="é\n",f=t -1\n',
    'm s="open\n',
    'm s="x"y\n',
    '# comment "\n',
    '#bad \u0001\n',
    '\n',
    '\r\n',
    '  \n',
    ' cpu,host=a value=9\n',
    'cpu,host=a value=nan\n',
    'cpu,host=a value=1 17x\n',
    'cpu,host=a value=1 99999999999999999999\n',
    'cpu,host=a, value=1\n',
    'cpu,host=a,host=b value=1\n',
    'no-field\n',
    '"\n',
    'm f=1 1\rm f=2 2\n',
    'm f=1,\n',
    'm f=1',
    'm f=1 5 \r',
    'm f=1 170000000000000000\\',
  ),
  fc.string({
    unit: fc.constantFrom('m', 'f', '=', ',', ' ', '"', '\\', '\n', '1', '#', '\r'),
    maxLength: 30,
  }),
)
const inputs = fc.array(lines, { maxLength: 12 }).map((parts) => Buffer.from(parts.join('')))

describe('cutting', () => {
  it('never changes what is decoded, nor the faults, nor the counts', () => {
    fc.assert(
      fc.property(inputs, fc.array(fc.nat({ max: 400 }), { maxLength: 30 }), (bytes, points) => {
        const cuts = points.filter((point) => point <= bytes.length).sort((a, b) => a - b)
        const whole = decode(bytes)
        const cut = decode(bytes, { cuts })
        expect([cut.samples, cut.report]).toEqual([whole.samples, whole.report])
      }),
      { numRuns: 3_000 },
    )
  })

  it('after every single byte gives the same, too', () => {
    fc.assert(
      fc.property(inputs, (bytes) => {
        const whole = decode(bytes)
        const cut = decode(bytes, { cuts: Array.from(bytes.keys()) })
        expect([cut.samples, cut.report]).toEqual([whole.samples, whole.report])
      }),
      { numRuns: 500 },
    )
  })

  it('around the line limit gives the same, for whole, refused and unclosed lines', () => {
    const fill = (length: number, start: string, byte: string, end: string) =>
      start + byte.repeat(length - start.length - end.length) + end
    const cases: string[] = []
    for (const length of [LINE_BYTES_MAX, LINE_BYTES_MAX + 1, LINE_BYTES_MAX * 2 + 17]) {
      cases.push(fill(length, 'm s="', 'x', '" 1\n'))
      cases.push(fill(length, 'm s="\n', 'x', '" 1\n'))
      cases.push(fill(length, 'm f=bad ', 'x', '\n'))
      cases.push(fill(length, '#', 'x', '\n'))
      cases.push(fill(length, '', ' ', '\n'))
      cases.push(fill(length, 'm s="open', '\n', 'm f=1'))
      cases.push(fill(length, 'm f=1,s="', 'x', '"'))
    }
    for (const text of cases) {
      const bytes = Buffer.from(`m f=1 1\n${text}\nm f=2 2\nm f=3 3`)
      const whole = decode(bytes)
      expect(values(whole.samples).slice(-2)).toEqual([2, 3])
      for (const step of [65_537, LINE_BYTES_MAX - 8, LINE_BYTES_MAX + 1]) {
        const cuts = Array.from({ length: Math.floor(bytes.length / step) }, (_, i) => (i + 1) * step)
        const cut = decode(bytes, { cuts })
        expect([cut.samples, cut.report]).toEqual([whole.samples, whole.report])
      }
    }
  })

  it('keeps the work linear: lines without a space do not make the decoder look ahead', () => {
    for (const line of ['\n', 'x\n', '#\n', 'm,t=v\n']) {
      const started = performance.now()
      const { report } = decode(line.repeat(LINE_BYTES_MAX))
      expect(report.lines).toBe(LINE_BYTES_MAX)
      // Quadratic work would be 1e10 steps and more, minutes.
      expect(performance.now() - started).toBeLessThan(10_000)
    }
  })

  it('keeps the work linear: newlines in a string that arrive one by one are not parsed again and again', () => {
    const bytes = Buffer.from(`m s="${'\n'.repeat(LINE_BYTES_MAX - 100)}",f=1 1\nm f=2 2\n`)
    const started = performance.now()
    const { samples } = decode(bytes, { cuts: Array.from(bytes.keys()) })
    expect(values(samples)).toEqual([1, 2])
    // Quadratic work would be 3e10 steps, minutes.
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})

describe('prediction and aliases', () => {
  it('never give a line another series than its own, for near-equal keys in any order', () => {
    const part = fc.string({ unit: fc.constantFrom('a', 'b', '_'), minLength: 1, maxLength: 5 })
    const line = fc.record({
      measurement: part,
      tags: fc.uniqueArray(fc.tuple(part, part), { maxLength: 3, selector: ([key]) => key }),
      fields: fc.uniqueArray(part, { minLength: 1, maxLength: 3 }),
      spaces: fc.constantFrom(' ', ' ', '  '),
    })
    fc.assert(
      fc.property(
        fc.array(line, { minLength: 1, maxLength: 40 }),
        fc.array(fc.nat(), { maxLength: 100 }),
        (pool, picks) => {
          const table = new SeriesTable({ limit: 10_000 })
          // Each pick is a body of its own or goes on with the last: both the strict and the hot path see it.
          let text = ''
          const expected: string[] = []
          for (const [index, pick] of [...picks, ...picks].entries()) {
            const { measurement, tags, fields, spaces } = pool[pick % pool.length]!
            const head = [measurement, ...tags.map(([key, value]) => `${key}=${value}`)].join(',')
            text += `${head}${spaces}${fields.map((field) => `${field}=${index}`).join(',')} ${index}\n`
            const sorted = [...tags].sort(([a], [b]) => (a < b ? -1 : 1))
            const shown = sorted.map(([key, value]) => `${key}="${value}"`).join(',')
            for (const field of fields)
              expected.push(`${measurement}_${field}${shown === '' ? '' : `{${shown}}`} ${index}`)
          }
          const { samples, report } = decode(text, { table })
          expect(report.faults).toEqual([])
          expect(samples.map(([name, , value]) => `${name} ${value}`)).toEqual(expected)
        },
      ),
      { numRuns: 500 },
    )
  })

  it('answer as the first sight did: a table that knows all keys changes nothing', () => {
    fc.assert(
      fc.property(inputs, (bytes) => {
        const table = new SeriesTable({ limit: 1_000 })
        const first = decode(bytes, { table })
        for (let i = 0; i < 2; i++) {
          const again = decode(bytes, { table })
          expect([again.samples, again.report]).toEqual([first.samples, first.report])
        }
      }),
      { numRuns: 3_000 },
    )
  })

  it('know spellings of one series as one', () => {
    const { samples, table } = decode('m,b=1,a=2 f=1\nm,a=2,b=1 f=2\nm,a=2,b=1  f=3\nm,b=1,a=2 f=4\n')
    expect(new Set(series(samples))).toEqual(new Set(['m_f{a="2",b="1"}']))
    expect([table.size, table.aliases.size]).toEqual([1, 3])
  })

  it('are bounded: endless spellings are forgotten and every line is still right', () => {
    const table = new SeriesTable({ limit: 4 })
    const spellings = 3_000
    const text = Array.from({ length: spellings }, (_, i) => `m${' '.repeat(i + 1)}f=${i},g=${i}\n`).join('')
    const { samples, report } = decode(text, { table })
    expect(report.faultCount).toBe(0)
    expect(values(samples)).toEqual(Array.from({ length: spellings * 2 }, (_, i) => i >> 1))
    expect(table.aliases.clears).toBeGreaterThan(0)
    expect(table.size).toBe(2)
  })

  it('follow a refusal of the log writer', () => {
    const table = new SeriesTable({ limit: 10 })
    decode('m f=1\nm f=2\nm g=3\n', { table })
    table.refuse(0)
    const { samples, report } = decode('m f=1\nm g=3\nm f=2\n', { table })
    expect(series(samples)).toEqual(['m_g'])
    expect(report.faults.map(({ line }) => line)).toEqual([1, 3])
  })
})

describe('fields', () => {
  it('become series named after measurement and field, with the tags as labels', () => {
    const { samples, report } = decode(
      'cpu,host=a value=1,usage=2i,up=T,down=false,note="x" 1700000000000000000\n',
    )
    expect(samples).toEqual([
      ['cpu{host="a"}', 1.7e12, 1],
      ['cpu_usage{host="a"}', 1.7e12, 2],
      ['cpu_up{host="a"}', 1.7e12, 1],
      ['cpu_down{host="a"}', 1.7e12, 0],
    ])
    expect(report).toMatchObject({ lines: 1, samples: 4, stringFields: 1, faultCount: 0 })
  })

  it('repeated in a line count once, with the last value, on every sight', () => {
    const text = 'm f=1,g=5,f=2 1\n'
    const { samples, report } = decode(text.repeat(3))
    expect(values(samples)).toEqual([2, 5, 2, 5, 2, 5])
    expect(report.samples).toBe(6)
  })

  it('may be strings once and numbers later', () => {
    const { samples, report } = decode('m f="x" 1\nm f="y" 2\nm f=3 3\nm f="z" 4\nm f=5 5\n')
    expect(samples).toEqual([
      ['m_f', 3e-6, 3],
      ['m_f', 5e-6, 5],
    ])
    expect(report.stringFields).toBe(3)
  })

  it('of a measurement that starts with a byte order mark or of odd tag names keep their series apart', () => {
    const { table } = decode('m,constructor=1 f=1\nm,toString=1 f=1\nm f=1\n')
    expect(table.size).toBe(3)
  })
})

describe('times', () => {
  it('missing, are the given clock cut to the precision', () => {
    const nowMs = 1_700_000_000_987.5
    expect(decode('m f=1\nm f=2\n', { nowMs, precision: 's' }).samples.map(([, time]) => time)).toEqual([
      1.7e12, 1.7e12,
    ])
    expect(decode('m f=1\nm f=2', { nowMs }).samples.map(([, time]) => time)).toEqual([nowMs, nowMs])
  })

  it('have the unit of the precision, under its v1 and v2 names', () => {
    const cases = [
      ['ns', '1700000000123456789', 1700000000123.4568],
      ['n', '1700000000123456789', 1700000000123.4568],
      ['us', '1700000000123456', 1700000000123.456],
      ['u', '1700000000123456', 1700000000123.456],
      ['ms', '1700000000123', 1700000000123],
      ['s', '1700000000', 1.7e12],
      ['m', '28333333', 1699999980000],
      ['h', '472222', 1699999200000],
    ] as const
    for (const [precision, text, expected] of cases) {
      // First by the strict parser, then by the hot loop.
      const { samples } = decode(`m f=1 ${text}\nm f=1 ${text}\n`, { precision })
      expect(
        samples.map(([, time]) => time),
        precision,
      ).toEqual([expected, expected])
    }
  })

  it('of 19 digits are the float64 nearest to the exact time in the hot loop, too', () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), { minLength: 2, maxLength: 5 }),
        (times) => {
          const digits = times.map((time) => String(time).padStart(19, '0'))
          const { samples } = decode(`m f=0\n${digits.map((text) => `m f=1 ${text}\n`).join('')}`)
          const nearest = digits.map((text) => Number(`${text.slice(0, 13)}.${text.slice(13)}`))
          expect(samples.slice(1).map(([, time]) => time)).toEqual(nearest)
        },
      ),
    )
  })

  it('beyond the future limit refuse their line, with the reason, and are counted', () => {
    const text = [
      'm f=1,g=2,s="x" 1700000001000000000\n',
      'm f=3,g=4,s="y" 1700000001000001000\n',
      'm f=5 1700000000000000000\n',
    ].join('')
    // The second time the keys are known, and the hot loop has to see it.
    const { samples, report } = decode(text.repeat(2), { futureLimitMs: 1_000 })
    expect(values(samples)).toEqual([1, 2, 5, 1, 2, 5])
    expect(report).toMatchObject({ futureSamples: 4, stringFields: 2, faultCount: 2 })
    expect(report.faults[0]).toMatchObject({
      line: 2,
      problem: 'the timestamp is more than 1000 ms in the future',
    })
  })
})

describe('faults', () => {
  it('name their line and lose no other, whatever comes between', () => {
    const text = [
      'm f=1 1', // 1
      'm f=', // 2: fault
      '', // 3
      '# comment', // 4
      'm s="two', // 5
      'lines",f=2 2', // 6
      'm f=x', // 7: fault
      'm f=3 3', // 8
      'm f=4 four', // 9: fault
      'm f=5 5', // 10
      'm,t f=1', // 11: fault
    ].join('\n')
    for (const table of [new SeriesTable({ limit: 10 })]) {
      for (let sight = 0; sight < 3; sight++) {
        const { samples, report } = decode(text, { table })
        expect(values(samples)).toEqual([1, 2, 3, 5])
        expect(report.faults.map(({ line }) => line)).toEqual([2, 7, 9, 11])
        expect(report).toMatchObject({ lines: 11, faultCount: 4, samples: 4 })
      }
    }
  })

  it('store nothing of their line', () => {
    const { samples, table } = decode('m a=1,b=2,c=x 1\nm a=1,b=2 x\n')
    expect(samples).toEqual([])
    expect([table.size, table.takeNew()]).toEqual([0, null])
  })

  it('say what is wrong, and show the line', () => {
    const problems: [string, string][] = [
      ['m,host=a value=nope 1', 'value "nope" of field "value" is not a number, boolean or string'],
      ['m value=1e999', 'value "1e999" of field "value" is out of range'],
      ['m value=', 'value of field "value" is missing'],
      ['m value=1 12:30', 'unexpected ":" in the timestamp'],
      ['m value=1 99999999999999999999', 'the timestamp is out of the range of 64-bit nanoseconds'],
      ['m,host value=1', 'expected = after tag key "host", found a space'],
      ['m,host= value=1', 'expected a value for tag "host", found a space'],
      ['m,a=1,a=2 value=1', 'duplicate tag key "a"'],
      ['m,a=1', 'expected a tag or a field, found the end of the line'],
      ['m value="x', 'the string of field "value" has no closing quote'],
      ['m,__name__=x value=1', 'the tag key __name__ is reserved for the name of the series'],
      ['m\tvalue=1', 'expected a tag or a field, found byte 0x09'],
    ]
    for (const [text, problem] of problems) {
      const { report } = decode(`${text}\n`)
      expect(report.faults).toEqual([{ line: 1, problem, text }])
    }
  })

  it('of a string that closes nowhere lose only its line', () => {
    const { samples, report } = decode('m f=1 1\nm s="open 2\nm f=3 3\nm f=4 4\n')
    expect(values(samples)).toEqual([1, 3, 4])
    expect(report.faults.map(({ line }) => line)).toEqual([2])
  })

  it('never take the lines inside a closed string for lines', () => {
    const { samples, report } = decode('m s="\nm f=666 1\n",f=bad\nm f=2 2\n')
    expect(values(samples)).toEqual([2])
    expect(report).toMatchObject({ faultCount: 1, lines: 4 })
  })

  it('of a line over the limit name the limit, and lose only that line', () => {
    const { samples, report } = decode(`m f=1 1\nm f=2,s="${'x'.repeat(LINE_BYTES_MAX)}" 2\nm f=3 3\n`)
    expect(values(samples)).toEqual([1, 3])
    expect(report.faults).toHaveLength(1)
    expect(report.faults[0]).toMatchObject({
      line: 2,
      problem: `a line is longer than ${LINE_BYTES_MAX} bytes`,
    })
    expect(report.faults[0]!.text).toHaveLength(FAULT_TEXT_BYTES_MAX)
  })

  it('are all counted, and the first kept', () => {
    const { report } = decode('bad\n'.repeat(LINE_FAULTS_KEPT_MAX + 5))
    expect(report.faultCount).toBe(LINE_FAULTS_KEPT_MAX + 5)
    expect(report.faults).toHaveLength(LINE_FAULTS_KEPT_MAX)
    expect(report.faults.at(-1)!.line).toBe(LINE_FAULTS_KEPT_MAX)
  })

  it('for invalid UTF-8 are given in keys and strings, on first sight and later', () => {
    const bad = (before: string, after: string) =>
      Buffer.concat([Buffer.from(before), Buffer.of(0xff), Buffer.from(after)])
    const table = new SeriesTable({ limit: 10 })
    decode('m,t=v f=1,s="x"\n', { table })
    for (const input of [
      bad('m,t=v f=1,s="', '"\n'),
      bad('m,t=v', ' f=1\n'),
      bad('m', ',t=v f=1\n'),
      bad('m,t=v f', '=1\n'),
    ]) {
      const { samples, report } = decode(Buffer.concat([input, Buffer.from('m,t=v f=1\n')]), { table })
      expect(values(samples)).toEqual([1])
      expect(report.faults[0]!.problem).toContain('is not UTF-8')
    }
  })
})

describe('the series limit', () => {
  it('refuses the lines that would pass it, by name, and nothing else', () => {
    const table = new SeriesTable({ limit: 2 })
    const text = 'a f=1 1\nb f=2 2\nc f=3 3\na f=4 4\nb f=5,g=6 5\n'
    for (let sight = 0; sight < 2; sight++) {
      const { samples, report } = decode(text, { table })
      expect(values(samples)).toEqual([1, 2, 4])
      expect(report).toMatchObject({ seriesLimitLines: 2, faultCount: 2 })
      expect(report.faults[0]).toEqual({
        line: 3,
        problem: 'a new series would pass the series limit of 2',
        text: 'c f=3 3',
      })
    }
  })

  it('is not used up by lines that are refused', () => {
    const table = new SeriesTable({ limit: 2 })
    const { samples } = decode('m a=1,b=2,c=3\nm a=1\nm b=2\n', { table })
    expect(series(samples)).toEqual(['m_a', 'm_b'])
  })

  it('also holds for keys longer than the store keeps', () => {
    const { report } = decode(`m,t=${'v'.repeat(5_000)} f=1\n`)
    expect(report.faults[0]!.problem).toContain('5006 bytes together; the limit is 4096')
  })
})

describe('where a time is required', () => {
  it('a line without one is a fault, known or not, and no other is', () => {
    for (const futureLimitMs of [0, Infinity]) {
      const table = new SeriesTable({ limit: 10 })
      const text = 'a f=1 1\na f=2\na f=3 2\nb f=4\na f=5 3\n'
      for (let sight = 0; sight < 2; sight++) {
        const { samples, report } = decode(text, { table, timeRequired: true, futureLimitMs })
        expect(values(samples)).toEqual([1, 3, 5])
        expect(report.faults.map(({ line, problem }) => [line, problem])).toEqual([
          [2, 'the line has no timestamp'],
          [4, 'the line has no timestamp'],
        ])
      }
    }
  })
})
