/**
 * The contract of whatever runs inside a chain (windows, and any operator with state of its own), run by the plug-in's own
 * test over a plan that uses it: pure, so the same records give the same bytes; exact across a crash between any two
 * records; no sample unaccounted for. Also the streams that such tests run over.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { Registry } from '../../engine/contract/plugins.ts'
import { Drive, type DrivenSample } from './drive.ts'

const RUNS = 60
const HOSTS = ['a', 'b', 'c', 'ab', 'ü']

const valueArbitrary = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -50, max: 50 }) },
  { weight: 4, arbitrary: fc.double({ min: -1e9, max: 1e9, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(NaN, Infinity, -Infinity, 0, -0) },
)

/** Event time relative to log time: mostly near, sometimes far behind, ahead, tied, or a fraction off a boundary. */
const skewArbitrary = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: -3_000, max: 500 }) },
  { weight: 2, arbitrary: fc.integer({ min: -25_000, max: 3_000 }) },
  { weight: 2, arbitrary: fc.constantFrom(0, -1_000, -0.000244140625, 0.25) },
)

const sampleArbitrary = fc.record({
  host: fc.constantFrom(...HOSTS),
  name: fc.constantFrom('load', 'heat', 'load', 'other'),
  skewMs: skewArbitrary,
  value: valueArbitrary,
})

/** Samples that arrive at one log time; none: a tick. */
export interface Instant {
  readonly logMs: number
  readonly samples: readonly DrivenSample[]
}

/** Streams with disorder, gaps, ties, several groups and values that are no numbers, near the epoch and today. */
export const instantsArbitrary: fc.Arbitrary<Instant[]> = fc
  .array(
    fc.record({
      afterMs: fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: 1, max: 2_500 }) },
        { weight: 1, arbitrary: fc.constantFrom(20_000, 100_000) },
        { weight: 1, arbitrary: fc.constantFrom(5_000_000_000) },
      ),
      samples: fc.array(sampleArbitrary, { maxLength: 12 }),
    }),
    { minLength: 1, maxLength: 25 },
  )
  .chain((steps) =>
    // The epoch itself, times before it, and today.
    fc.constantFrom(0, -40_000, 1_700_000_000_000).map((epochMs) => {
      let logMs = 0
      return steps.map(({ afterMs, samples }): Instant => {
        logMs += afterMs
        const driven = samples.map(({ host, name, skewMs, value }) => ({
          labels: { __name__: name, host },
          timestampMs: epochMs + logMs + skewMs,
          value,
        }))
        return { logMs, samples: driven }
      })
    }),
  )

/** Takes an instant, its samples cut into the parts given. */
export function feed(drive: Drive, instant: Instant, parts: readonly (readonly DrivenSample[])[]): void {
  drive.logMs = instant.logMs
  if (instant.samples.length === 0) drive.tick()
  for (const part of parts) drive.send(part)
}

/** A record an instant, then the end of the input. */
export function driveThrough(
  drive: Drive,
  instants: readonly Instant[],
  afterRecord: (drive: Drive) => void = () => {},
): Drive {
  for (const instant of instants) {
    feed(drive, instant, [instant.samples])
    afterRecord(drive)
  }
  return drive.end()
}

export interface OperatorContract {
  readonly name: string
  readonly plan: PipelinePlan
  readonly registry: Registry
}

export function describeOperator({ name, plan, registry }: OperatorContract): void {
  const fresh = (): Drive => new Drive({ plan, registry })

  describe(`the contract of an operator: ${name}`, () => {
    it('gives the same bytes for the same records', () => {
      fc.assert(
        fc.property(instantsArbitrary, (instants) => {
          const first = driveThrough(fresh(), instants)
          const second = driveThrough(fresh(), instants)
          expect(second.records).toEqual(first.records)
          expect(second.chain.ledger).toEqual(first.chain.ledger)
          expect(second.entries).toEqual(first.entries)
        }),
        { numRuns: RUNS },
      )
    })

    it('gives the same bytes when restored from a snapshot after every record', () => {
      fc.assert(
        fc.property(instantsArbitrary, (instants) => {
          const whole = driveThrough(fresh(), instants)
          const crashing = driveThrough(fresh(), instants, (drive) => drive.crash())
          expect(crashing.entries).toEqual(whole.entries)
        }),
        { numRuns: RUNS },
      )
    })

    it('accounts for every sample', () => {
      fc.assert(
        fc.property(instantsArbitrary, (instants) => {
          const { ledger } = driveThrough(fresh(), instants).chain
          const sent = instants.reduce((sum, { samples }) => sum + samples.length, 0)
          expect(ledger.in).toBe(sent)
          expect(ledger.windowed + ledger.filtered + ledger.late + ledger.nonFinite).toBe(sent)
        }),
        { numRuns: RUNS },
      )
    })
  })
}
