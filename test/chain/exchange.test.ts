/** What an exchange promises: groups spread over partitions, and the bytes of their results a function of the logs. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RECORD_END, RECORD_RESUMED, RECORD_SAMPLES, RECORD_TICK } from '../../engine/contract/samples.ts'
import { Prng } from '../../engine/util/prng.ts'
import { ExchangeOracle } from './exchange-oracle.ts'
import { ExchangeRun } from './exchange-run.ts'
import { cut, logOf, type Traffic, trafficArbitrary } from './exchange-traffic.ts'
import { registry } from './fixtures.ts'

const RUNS = 50

function run({ plan, records }: Traffic, seed = 1, crashes = 0): ExchangeRun {
  return new ExchangeRun({ plan, registry, log: logOf(plan, records), seed, crashes }).finish()
}

describe('an exchange against results worked out from kept samples', () => {
  it('gives the same rows and the same ledger', () => {
    // Downtime is not idleness, which the oracle does not know; the chain's own tests show it.
    const traffic = trafficArbitrary.filter(({ records }) =>
      records.every(({ kind }) => kind !== RECORD_RESUMED),
    )
    fc.assert(
      fc.property(traffic, ({ plan, records }) => {
        const oracle = new ExchangeOracle(plan, 'region')
        // The last ticks only say that the instant before them is complete.
        oracle.take(records.filter(({ logMs }) => logMs < records.at(-1)!.logMs))
        const merged = run({ plan, records })
        const rows = merged.results()
        expect(rows.map(({ windowEndMs, group }) => [windowEndMs, group.region])).toEqual(
          oracle.rows.map(({ windowEndMs, group }) => [windowEndMs, group]),
        )
        rows.forEach(({ values }, i) => {
          const want = oracle.rows[i]!.values
          for (const exact of ['count', 'min', 'max', 'last']) {
            if (values[exact] !== undefined) expect(values[exact]).toBe(want[exact])
          }
          for (const close of ['sum', 'mean', 'standardDeviation']) {
            expect(Math.abs(values[close]! - want[close]!)).toBeLessThanOrEqual(1e-4)
          }
        })
        expect(merged.ledger).toEqual(oracle.ledger)
      }),
      { numRuns: RUNS },
    )
  })
})

describe('the bytes of an exchange depend on the logs alone', () => {
  it('whatever order partitions and owners take turns in, and however far one is ahead', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), fc.integer(), (traffic, a, b) => {
        const first = run(traffic, a)
        const second = run(traffic, b)
        expect(second.entries).toEqual(first.entries)
        expect(second.ledger).toEqual(first.ledger)
      }),
      { numRuns: RUNS },
    )
  })

  it('however samples are cut into record batches', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), ({ plan, records }, seed) => {
        const whole = run({ plan, records })
        const parts = run({ plan, records: cut(records, new Prng(seed)) }, seed)
        expect(parts.entries).toEqual(whole.entries)
        expect(parts.ledger).toEqual(whole.ledger)
      }),
      { numRuns: RUNS },
    )
  })

  it('whoever crashes, whenever, and goes on from an older checkpoint, with what it passed retired', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), (traffic, seed) => {
        const calm = run(traffic)
        const crashing = run(traffic, seed, 15)
        expect(crashing.entries).toEqual(calm.entries)
        expect(crashing.ledger).toEqual(calm.ledger)
      }),
      { numRuns: RUNS },
    )
  })

  it('however little memory the owners have', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), ({ plan, records }, seed) => {
        const log = logOf(plan, records)
        const poor = new ExchangeRun({ plan, registry, log, seed, pendingBytesMax: 100, partsBytesMax: 200 })
        expect(poor.finish().entries).toEqual(run({ plan, records }).entries)
      }),
      { numRuns: RUNS },
    )
  })

  it('and, where idleness has no say, not even on log time', () => {
    fc.assert(
      fc.property(trafficArbitrary, fc.integer(), ({ plan: drawn, records: all }, seed) => {
        const plan = {
          ...drawn,
          idleMs: 1e9,
          detectors: drawn.detectors.filter(({ column }) => column !== null),
        }
        const records = all.filter(({ kind }) => kind === RECORD_SAMPLES)
        const prng = new Prng(seed)
        const later = records.map((record) => ({ ...record, logMs: record.logMs + prng.below(5_000) }))
        const finished = [records, later].map((some) => {
          // As the log: monotone in each partition. Every partition ends, then goes on in log time.
          const newestMs: number[] = []
          const clamped = some.map((record) => {
            const logMs = Math.max(record.logMs, newestMs[record.partition] ?? 0)
            newestMs[record.partition] = logMs
            return { ...record, logMs }
          })
          const endMs = Math.max(0, ...clamped.map(({ logMs }) => logMs))
          for (const [after, kind] of [RECORD_END, RECORD_TICK].entries()) {
            for (let partition = 0; partition < plan.topic.partitions; partition++) {
              clamped.push({ partition, logMs: endMs + 1 + after, kind, samples: [] })
            }
          }
          const merged = run({ plan, records: clamped })
          return { rows: merged.results(), alerts: merged.alerts(), ledger: merged.ledger }
        })
        expect(finished[1]).toEqual(finished[0])
      }),
      { numRuns: RUNS },
    )
  })

  it('accounts for every sample', () => {
    fc.assert(
      fc.property(trafficArbitrary, (traffic) => {
        const { ledger } = run(traffic)
        const sent = traffic.records.reduce((sum, { samples }) => sum + samples.length, 0)
        expect(ledger.in).toBe(sent)
        expect(ledger.windowed + ledger.filtered + ledger.late + ledger.nonFinite).toBe(sent)
      }),
      { numRuns: RUNS },
    )
  })
})
