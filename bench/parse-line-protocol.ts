/**
 * Line protocol bytes to columns: lines of 66 bytes of 1,000 series, in bodies of 10,000 lines as an agent sends them.
 * linesPerSecond: scrape order (each scrape sends the series in the same order). linesPerSecondRandom: random order, so
 * that prediction never helps. Each value and each time differs from the one before. One thread, no HTTP.
 */
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import { SeriesTable } from '../engine/series/series-table.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { lineProtocolDecoder } from '../operators/sources/line-protocol.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { medianOf } from './lib/measure.ts'

const LINE_BYTES = 66
const SERIES = 1_000
const LINES_A_BODY = 10_000
const BODIES = 50
const START_S = 1_700_000_000

export const bench: BenchModule = {
  name: 'parse-line-protocol',
  figures: ['linesPerSecond', 'linesPerSecondRandom'],
  async run({ smoke }) {
    const figures: Figure[] = []
    for (const order of ['scrape', 'random'] as const) {
      const bodies = makeBodies(order, smoke ? 2 : BODIES)
      const table = new SeriesTable({ limit: SERIES })
      const builder = new SampleBuilder(LINES_A_BODY)
      let checksum = ''
      const value = await medianOf({ rounds: smoke ? 2 : 15, warmup: smoke ? 1 : 3 }, () => {
        // Only the decoder is timed, not the checksum over what it made.
        let seconds = 0
        let sum = 0
        for (const body of bodies) {
          const start = performance.now()
          decodeBody(table, builder, body)
          seconds += (performance.now() - start) / 1000
          sum = checksumOf(builder, sum)
        }
        assert(
          checksum === '' || checksum === String(sum),
          'every round decodes the same samples',
          checksum,
          sum,
        )
        checksum = String(sum)
        return (bodies.length * LINES_A_BODY) / seconds
      })
      figures.push({
        figure: order === 'scrape' ? 'linesPerSecond' : 'linesPerSecondRandom',
        value,
        unit: 'lines/s',
        params: {
          order,
          lineBytes: LINE_BYTES,
          series: SERIES,
          linesABody: LINES_A_BODY,
          bodies: bodies.length,
        },
        checksum,
      })
    }
    return figures
  },
}

function decodeBody(table: SeriesTable, builder: SampleBuilder, body: Uint8Array): void {
  builder.clear()
  const decoder = lineProtocolDecoder({
    table,
    builder,
    precision: 'ns',
    nowMs: START_S * 1000,
    futureLimitMs: 36e5,
  })
  decoder.write(body)
  const report = decoder.end()
  assert(report.samples === LINES_A_BODY && report.faultCount === 0, 'every line is decoded', report.samples)
}

/** `cpu,host=web-0042,region=eu-wst usage=12.3456 1700000000123456789\n` */
function makeBodies(order: 'scrape' | 'random', count: number): Uint8Array[] {
  const prng = new Prng(1)
  const bodies: Uint8Array[] = []
  let line = 0
  for (let i = 0; i < count; i++) {
    let text = ''
    for (let j = 0; j < LINES_A_BODY; j++) {
      const series = order === 'scrape' ? line % SERIES : prng.below(SERIES)
      const host = String(series).padStart(4, '0')
      const value = (10 + prng.float() * 89).toFixed(4)
      const nanoseconds = String(prng.below(1_000_000_000)).padStart(9, '0')
      const seconds = START_S + Math.floor(line / SERIES)
      text += `cpu,host=web-${host},region=eu-wst usage=${value} ${seconds}${nanoseconds}\n`
      line++
    }
    const body = new TextEncoder().encode(text)
    assert(body.length === LINES_A_BODY * LINE_BYTES, 'a line has the stated length', body.length)
    bodies.push(body)
  }
  return bodies
}

/** Over ids, times and values, in order. */
function checksumOf(builder: SampleBuilder, seed: number): number {
  let sum = seed
  for (let i = 0; i < builder.count; i++) {
    const sample = builder.seriesIds[i]! * 31 + builder.timestampsMs[i]! * 7 + builder.values[i]! * 1e4
    sum = (sum * 33 + sample) % 4_294_967_291
  }
  return sum
}
