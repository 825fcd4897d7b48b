import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ENTRY_LATE } from '../../engine/contract/entries.ts'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import type { KernelUse } from '../../engine/pipeline/chain.ts'
import {
  driveThrough,
  feed,
  type Instant,
  instantsArbitrary,
} from '../../operators/testing/describe-operator.ts'
import { Drive, type DrivenSample } from '../../operators/testing/drive.ts'
import { EVERY_AGGREGATE, planOf, registry } from './fixtures.ts'
import { WindowOracle } from './window-oracle.ts'

const RUNS = 150
const TALLY_AGGREGATES = ['mean', 'sum', 'count']
const MOMENTS_AGGREGATES = ['count', 'sum', 'mean', 'min', 'max', 'standardDeviation']

const where: PipelinePlan['where'] = [{ label: '__name__', op: '!=', value: 'other' }]
const accepts = (sample: DrivenSample): boolean => sample.labels.__name__ !== 'other'

const planArbitrary = fc
  .record({
    sizeMs: fc.constantFrom(1_000, 6_000, 10_000),
    everyMs: fc.constantFrom(1_000, 2_000, 3_000, 4_000, 10_000),
    disorderMs: fc.constantFrom(0, 500, 2_000, 7_000),
    idleMs: fc.constantFrom(3_000, 60_000),
    holdMs: fc.constantFrom(0, 3_000),
    // Rows of several accumulators, and of one: that one may be added in a single pass.
    aggregates: fc.constantFrom(EVERY_AGGREGATE, MOMENTS_AGGREGATES, TALLY_AGGREGATES),
    quiet: fc.boolean(),
  })
  .map((wishes) =>
    planOf({
      ...wishes,
      everyMs: Math.min(wishes.everyMs, wishes.sizeMs),
      where,
      surge: 'mean',
    }),
  )

const WITHOUT_KERNEL: KernelUse = { fromSamples: Infinity, batchSamplesMin: 0, foldedRowsMin: Infinity }
/** With and without a kernel, and one that comes in the middle. */
const kernelArbitrary = fc.constantFrom(
  WITHOUT_KERNEL,
  { fromSamples: 0, batchSamplesMin: 0, foldedRowsMin: 0 },
  { fromSamples: 12, batchSamplesMin: 2 },
)

function run(
  plan: PipelinePlan,
  instants: readonly Instant[],
  kernel: KernelUse,
  afterRecord: (drive: Drive) => void,
): Drive {
  return driveThrough(new Drive({ plan, registry, kernel }), instants, afterRecord)
}

describe('the chain against windows worked out from kept samples', () => {
  it('gives the same rows, late samples, watermark and ledger', () => {
    fc.assert(
      fc.property(planArbitrary, instantsArbitrary, kernelArbitrary, (plan, instants, kernel) => {
        const oracle = new WindowOracle(plan, accepts)
        const drive = new Drive({ plan, registry, kernel })
        for (const instant of instants) {
          oracle.take(instant)
          feed(drive, instant, [instant.samples])
          expect(drive.chain.watermarkMs).toBe(oracle.watermarkMs)
          expect(drive.chain.ledger).toEqual(oracle.ledger)
        }
        oracle.end()
        drive.end()

        const rows = drive.results()
        expect(rows.map((row) => [row.windowStartMs, row.windowEndMs, row.group.host])).toEqual(
          oracle.rows.map((row) => [row.windowStartMs, row.windowEndMs, row.host]),
        )
        rows.forEach((row, i) => {
          const { values, scale } = oracle.rows[i]!
          const count = values.count!
          const close = (name: string, tolerance: number): void => {
            if (row.values[name] === undefined) return
            expect(Math.abs(row.values[name]! - values[name]!)).toBeLessThanOrEqual(tolerance)
          }
          for (const exact of ['count', 'min', 'max', 'last']) close(exact, 0)
          close('sum', 1e-14 * count * count * scale)
          close('mean', 1e-14 * count * scale)
          // Squares of deviations below 1e-150 are subnormal or nothing in float64.
          close('standardDeviation', 1e-7 * scale + 1e-150)
          expect(Object.keys(row.values)).toEqual(plan.aggregates.map(({ name }) => name))
          if (row.values.rate === undefined) return
          if (Number.isNaN(values.rate)) expect(row.values.rate).toBeNull()
          else close('rate', 1e-9 * Math.max(1, Math.abs(values.rate!)) + 1e-6 * scale)
        })
        expect(drive.late().map(({ timestampMs, value, series }) => [timestampMs, value, series])).toEqual(
          oracle.late.map(({ timestampMs, value, labels }) => [timestampMs, value, labels]),
        )
      }),
      { numRuns: RUNS },
    )
  })

  it('emits the same bytes however samples are cut into record batches', () => {
    const cutArbitrary = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 })
    fc.assert(
      fc.property(
        planArbitrary,
        instantsArbitrary,
        kernelArbitrary,
        cutArbitrary,
        (plan, instants, kernel, cuts) => {
          const whole = run(plan, instants, WITHOUT_KERNEL, () => {})
          const cut = new Drive({ plan, registry, kernel })
          let at = 0
          for (const instant of instants) {
            const parts: DrivenSample[][] = [[]]
            for (const sample of instant.samples) {
              if (cuts[at++ % cuts.length]) parts.push([])
              parts.at(-1)!.push(sample)
            }
            feed(cut, instant, parts)
          }
          cut.end()
          // A LATE entry lists one record batch's late samples, so only those differ, and with them the numbering.
          expect(withoutLate(cut)).toEqual(withoutLate(whole))
          expect(cut.late()).toEqual(whole.late().map((late) => ({ ...late, offset: expect.any(Number) })))
          expect(cut.chain.ledger).toEqual(whole.chain.ledger)
        },
      ),
      { numRuns: RUNS },
    )
  })

  it('emits the same bytes when restored from a snapshot after every record', () => {
    fc.assert(
      fc.property(planArbitrary, instantsArbitrary, kernelArbitrary, (plan, instants, kernel) => {
        const whole = run(plan, instants, WITHOUT_KERNEL, () => {})
        const crashing = run(plan, instants, kernel, (drive) => drive.crash())
        expect(crashing.entries).toEqual(whole.entries)
        expect(crashing.chain.ledger).toEqual(whole.chain.ledger)
        expect(crashing.chain.position).toBe(whole.chain.position)
      }),
      { numRuns: RUNS },
    )
  })

  it('reaches every deadline with one tick that changes something', () => {
    fc.assert(
      fc.property(planArbitrary, instantsArbitrary, (plan, instants) => {
        const drive = new Drive({ plan, registry })
        for (const instant of instants) {
          // tickUntil fails on a deadline that its own tick does not move.
          drive.tickUntil(instant.logMs)
          drive.send(instant.samples)
        }
        const { deadlineMs } = drive.chain
        if (deadlineMs !== Infinity) drive.tickUntil(deadlineMs)
        expect(drive.chain.deadlineMs).toBeGreaterThan(drive.logMs)
      }),
      { numRuns: RUNS },
    )
  })
})

function withoutLate(drive: Drive): unknown[] {
  return drive.entries
    .filter(({ kind }) => kind !== ENTRY_LATE)
    .map(({ kind, eventTimeMs, bytes, causeOffset }) => ({ kind, eventTimeMs, bytes, causeOffset }))
}
