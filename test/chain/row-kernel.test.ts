/** A kernel shows in no byte: the same records through a chain with one and a chain without. */
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Drive, type DrivenSample } from '../../operators/testing/drive.ts'
import { planOf, registry } from './fixtures.ts'

const NEVER = { fromSamples: Infinity, batchSamplesMin: 0, foldedRowsMin: Infinity }
const ALWAYS = { fromSamples: 0, batchSamplesMin: 0, foldedRowsMin: 0 }
const TALLY = ['mean', 'count']
const MOMENTS = ['count', 'sum', 'standardDeviation', 'min', 'max']
/** Rows of eight cells beyond it do not fit the second-level cache. */
const SPREAD_ROWS = 65_536 / 8

function sample(timestampMs: number, value: number, host: number, name = 'load'): DrivenSample {
  return { labels: { __name__: name, host: `h${host}` }, timestampMs, value }
}

function digest(driven: Drive): unknown[] {
  return driven.entries.map(({ bytes, ...entry }) => ({ ...entry, length: bytes.length, crc: crc32(bytes) }))
}

const valueArbitrary = fc.oneof(
  { weight: 8, arbitrary: fc.double({ noNaN: true }) },
  { weight: 2, arbitrary: fc.constantFrom(0, -0, 1, -1, 5e-324, 1.7e308, -1.7e308) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity) },
)
const sampleArbitrary = fc.record({
  // Most batches lie in one slice, some straddle two, some samples are late.
  jumpMs: fc.oneof(
    { weight: 20, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: -3_000, max: 3_000 }) },
  ),
  value: valueArbitrary,
  host: fc.oneof({ weight: 9, arbitrary: fc.nat(5) }, { weight: 1, arbitrary: fc.nat(300) }),
  name: fc.oneof(
    { weight: 30, arbitrary: fc.constant('load') },
    { weight: 1, arbitrary: fc.constant('other') },
  ),
})
const batchesArbitrary = fc.array(
  fc.record({
    // A step of log time may be long enough for a silence.
    stepMs: fc.oneof({ weight: 5, arbitrary: fc.nat(1_500) }, { weight: 1, arbitrary: fc.nat(9_000) }),
    samples: fc.array(sampleArbitrary, { minLength: 1, maxLength: 60 }),
  }),
  { minLength: 1, maxLength: 12 },
)

describe('the kernel of a row', () => {
  it('gives the bytes that a chain without one gives: odd values, new rows, filters, late samples, any slicing, silence', () => {
    fc.assert(
      fc.property(
        batchesArbitrary,
        fc.constantFrom(TALLY, MOMENTS),
        fc.constantFrom(1_000, 4_000),
        fc.boolean(),
        fc.boolean(),
        (batches, aggregates, everyMs, crashes, quiet) => {
          const plan = planOf({
            sizeMs: 4_000,
            everyMs,
            disorderMs: 1_000,
            aggregates,
            quiet,
            where: [{ label: '__name__', op: '!=', value: 'other' }],
          })
          const plain = new Drive({ plan, registry, kernel: NEVER })
          const quick = new Drive({ plan, registry, kernel: ALWAYS })
          let nowMs = 10_000
          for (const { stepMs, samples } of batches) {
            nowMs += stepMs
            const sent = samples.map((s) => sample(nowMs + s.jumpMs, s.value, s.host, s.name))
            plain.advance(stepMs).send(sent)
            quick.advance(stepMs).send(sent)
            if (crashes) quick.crash()
          }
          expect(digest(quick.end())).toEqual(digest(plain.end()))
          expect(quick.chain.ledger).toEqual(plain.chain.ledger)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('does so for rows that are fetched before they are added to, as they grow in number and after a restore', () => {
    const plan = planOf({ sizeMs: 10_000, disorderMs: 2_000, aggregates: MOMENTS })
    const plain = new Drive({ plan, registry, kernel: NEVER })
    const quick = new Drive({ plan, registry, kernel: { fromSamples: 1_000, batchSamplesMin: 32 } })
    let seed = 1
    const next = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
      return (seed >>> 8) % below
    }
    const rows = SPREAD_ROWS + 1_000
    for (let second = 0; second < 14; second++) {
      const known = Math.min(rows, 3_000 * (second + 1))
      const samples = Array.from({ length: 3_500 }, (_, i) => {
        const value = next(200) === 0 ? NaN : next(1_000) / 7
        return sample(
          second * 1_000 + (i % 100 === 99 ? 900 : 0),
          value,
          i < 3_000 ? known - 1 - i : next(known),
        )
      })
      plain.send(samples)
      quick.send(samples)
      if (second === 8) quick.crash()
    }
    expect(quick.chain.groupCount).toBe(rows)
    expect(digest(quick.end())).toEqual(digest(plain.end()))
    expect(quick.chain.ledger).toEqual(plain.chain.ledger)
  })
})
