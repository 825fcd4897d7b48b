/**
 * The decoder against the corpus of github.com/influxdata/line-protocol-corpus: every accept, every reject, and what
 * was decoded. Decoded twice with the same table, so that the hot loop answers as the strict parser did.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SampleBuilder } from '../../engine/batch/sample-builder.ts'
import type { DecodeReport } from '../../engine/contract/plugins.ts'
import { encodeSeriesKey } from '../../engine/series/series-key.ts'
import { SeriesTable } from '../../engine/series/series-table.ts'
import { lineProtocolDecoder, type PrecisionName } from './line-protocol.ts'

interface CorpusText {
  readonly binary: string
}
interface CorpusPoint {
  readonly time: bigint
  readonly name: string | CorpusText
  readonly tags: readonly { readonly key: string | CorpusText; readonly value: string | CorpusText }[]
  readonly fields: readonly { readonly key: string | CorpusText; readonly value: Record<string, unknown> }[]
}
interface CorpusCase {
  readonly input: {
    readonly text: string | CorpusText
    readonly defaultTime: bigint
    readonly precision: string
  }
  readonly output: { readonly error?: string; readonly result?: readonly CorpusPoint[] }
}

const PATH = join(
  process.env.MILLRACE_SHARED ?? join(import.meta.dirname, '../../../shared'),
  'corpora/line-protocol/corpus.json',
)
const PRECISION_NAMES: Readonly<Record<string, PrecisionName>> = {
  '1ns': 'ns',
  '1µs': 'us',
  '1ms': 'ms',
  '1s': 's',
}

/** Integers beyond 2 ** 53 keep their digits: JSON.parse would round times. */
function readCorpus(): Record<string, CorpusCase> {
  const text = readFileSync(PATH, 'utf8').replace(/("(?:time|defaultTime)":\s*)(-?\d+)/g, '$1"big:$2"')
  return JSON.parse(text, (_, value: unknown) =>
    typeof value === 'string' && value.startsWith('big:') ? BigInt(value.slice(4)) : value,
  ).decode
}

function bytesOf(text: string | CorpusText): Uint8Array {
  return typeof text === 'string' ? Buffer.from(text) : Buffer.from(text.binary, 'base64')
}

function textOf(text: string | CorpusText): string {
  return Buffer.from(bytesOf(text)).toString()
}

/** The float64 nearest to an exact number of nanoseconds, in ms. */
function msOf(nanoseconds: bigint): number {
  const magnitude = nanoseconds < 0n ? -nanoseconds : nanoseconds
  const text = `${magnitude / 1_000_000n}.${String(magnitude % 1_000_000n).padStart(6, '0')}`
  return nanoseconds < 0n ? 0 - Number(text) : Number(text)
}

function decode(table: SeriesTable, bytes: Uint8Array, input: CorpusCase['input']) {
  const builder = new SampleBuilder()
  const decoder = lineProtocolDecoder({
    table,
    builder,
    precision: PRECISION_NAMES[input.precision]!,
    nowMs: msOf(input.defaultTime),
    futureLimitMs: Number.POSITIVE_INFINITY,
  })
  decoder.write(bytes)
  const report = decoder.end()
  return { samples: samplesOf(table, builder), report }
}

function samplesOf(table: SeriesTable, builder: SampleBuilder): string[] {
  const samples: string[] = []
  for (let i = 0; i < builder.count; i++) {
    const key = Buffer.from(table.keyOf(builder.seriesIds[i]!)).toString('latin1')
    samples.push(JSON.stringify([key, builder.timestampsMs[i], builder.values[i]]))
  }
  return samples
}

function expectedOf(points: readonly CorpusPoint[]): { samples: string[]; strings: number } {
  const samples: string[] = []
  let strings = 0
  for (const { time, name, tags, fields } of points) {
    const labels = tags.map(({ key, value }) => [textOf(key), textOf(value)])
    for (const field of fields) {
      const [kind, raw] = Object.entries(field.value)[0]!
      if (kind === 'string') {
        strings++
        continue
      }
      const fieldName = textOf(field.key)
      const seriesName = fieldName === 'value' ? textOf(name) : `${textOf(name)}_${fieldName}`
      const key = encodeSeriesKey(Object.fromEntries([...labels, ['__name__', seriesName]]))
      const value = kind === 'bool' ? Number(raw) : (raw as number)
      samples.push(JSON.stringify([Buffer.from(key).toString('latin1'), msOf(time), value]))
    }
  }
  return { samples, strings }
}

describe.skipIf(!existsSync(PATH))('line protocol corpus', () => {
  const cases = existsSync(PATH) ? Object.entries(readCorpus()) : []
  const accepted = cases.filter(([, { output }]) => output.error === undefined)
  const rejected = cases.filter(([, { output }]) => output.error !== undefined)

  it('holds accepts and rejects in number', () => {
    expect(accepted.length).toBeGreaterThan(300)
    expect(rejected.length).toBeGreaterThan(6000)
  })

  it('accepts what the corpus accepts, with the same content, on first sight and on the second', () => {
    const differing: unknown[] = []
    for (const [key, { input, output }] of accepted) {
      const expected = expectedOf(output.result!)
      const table = new SeriesTable({ limit: 10_000 })
      for (const sight of [1, 2, 3]) {
        const { samples, report } = decode(table, bytesOf(input.text), input)
        const same =
          report.faultCount === 0 &&
          report.stringFields === expected.strings &&
          report.samples === expected.samples.length &&
          JSON.stringify(samples) === JSON.stringify(expected.samples)
        if (!same) differing.push({ key, sight, input, samples, expected, faults: report.faults })
      }
    }
    expect(differing).toEqual([])
  })

  it('reports a fault where the corpus rejects', () => {
    const differing: unknown[] = []
    const table = new SeriesTable({ limit: 100_000 })
    for (const [key, { input, output }] of rejected) {
      const report: DecodeReport = decode(table, bytesOf(input.text), input).report
      if (report.faultCount === 0) differing.push({ key, text: input.text, error: output.error })
    }
    expect(differing).toEqual([])
  })

  it('gives the first fault the line that the corpus gives it', () => {
    const differing: unknown[] = []
    const table = new SeriesTable({ limit: 100_000 })
    for (const [key, { input, output }] of rejected) {
      const line = /at line (\d+):/.exec(output.error!)?.[1]
      if (line === undefined) continue
      const first = decode(table, bytesOf(input.text), input).report.faults[0]!
      if (first.line !== Number(line)) differing.push({ key, text: input.text, error: output.error, first })
    }
    expect(differing).toEqual([])
  })
})
