/** Traffic for tests of exchanges: what several partitions hold, drawn from a seed. */
import fc from 'fast-check'
import type { PipelinePlan } from '../../engine/contract/plan.ts'
import {
  RECORD_END,
  RECORD_FEEDBACK,
  RECORD_RESUMED,
  RECORD_SAMPLES,
  RECORD_TICK,
} from '../../engine/contract/samples.ts'
import { Prng } from '../../engine/util/prng.ts'
import type { DrivenSample } from '../../operators/testing/drive.ts'
import { type LogRecord, MemoryLog } from './exchange-run.ts'
import { type PlanWishes, planOf } from './fixtures.ts'

const AGGREGATES = ['count', 'sum', 'mean', 'min', 'max', 'standardDeviation', 'last']

export function exchangePlan(wishes: PlanWishes, partitions: number, buckets: number): PipelinePlan {
  const plan = planOf({ aggregates: AGGREGATES, ...wishes, groupBy: ['region'] })
  return {
    ...plan,
    topic: { name: 'metrics', partitions, partitionBy: ['host'] },
    exchange: { buckets },
  }
}

export interface Traffic {
  readonly plan: PipelinePlan
  readonly records: readonly LogRecord[]
}

const wishesArbitrary = fc
  .record({
    sizeMs: fc.constantFrom(1_000, 4_000, 6_000),
    everyMs: fc.constantFrom(1_000, 2_000, 3_000),
    disorderMs: fc.constantFrom(0, 700, 2_500),
    idleMs: fc.constantFrom(2_000, 6_000, 1_000_000),
    aggregates: fc.constantFrom(AGGREGATES, ['count', 'sum', 'mean', 'min', 'max', 'standardDeviation']),
    quiet: fc.boolean(),
  })
  .map((wishes) => ({ ...wishes, everyMs: Math.min(wishes.everyMs, wishes.sizeMs), surge: 'mean' }))

/** Records of several partitions in order of log time: gaps, ties, disorder, NaN, feedback, partitions that pause or never speak. */
export const trafficArbitrary: fc.Arbitrary<Traffic> = fc
  .record({
    wishes: wishesArbitrary,
    partitions: fc.integer({ min: 1, max: 4 }),
    buckets: fc.integer({ min: 1, max: 3 }),
    seed: fc.integer({ min: 1, max: 1 << 30 }),
    instants: fc.integer({ min: 1, max: 30 }),
    integers: fc.boolean(),
  })
  .map(({ wishes, partitions, buckets, seed, instants, integers }) => {
    const prng = new Prng(seed)
    const plan = exchangePlan(wishes, partitions, buckets)
    const records: LogRecord[] = []
    const loud = Array.from({ length: partitions }, () => prng.below(10) > 0)
    let logMs = 50_000
    for (let i = 0; i < instants; i++) {
      logMs += [0, 1, 100, 400, 900, 3_000][prng.below(6)]!
      if (prng.below(25) === 0) {
        const downFromMs = logMs
        logMs += 5_000
        for (let partition = 0; partition < partitions; partition++) {
          const isThere = records.some((record) => record.partition === partition)
          if (isThere) records.push({ partition, logMs, kind: RECORD_RESUMED, samples: [], downFromMs })
        }
      }
      for (let partition = 0; partition < partitions; partition++) {
        const roll = prng.below(10)
        if (roll < 3) continue
        if (roll < 4) records.push({ partition, logMs, kind: RECORD_TICK, samples: [] })
        else if (loud[partition]) {
          const samples = Array.from({ length: 1 + prng.below(6) }, (): DrivenSample => {
            const host = prng.below(3)
            const skewMs = [0, 0, -300, -1_500, -6_000, 1_000][prng.below(6)]!
            const value =
              prng.below(20) === 0 ? NaN : integers ? prng.below(1_000) - 500 : prng.normal() * 1e3
            return {
              labels: { __name__: 'm', host: `h${partition}-${host}`, region: `r${(partition + host) % 4}` },
              // Partitions never tie, so that the newest sample is one.
              timestampMs: logMs + skewMs + partition / 8,
              value,
            }
          })
          records.push({ partition, logMs, kind: RECORD_SAMPLES, samples })
        }
      }
      if (prng.below(4) === 0) records.push(feedbackRecord(plan, prng, logMs))
    }
    const ends = prng.below(4) > 0
    for (let partition = 0; partition < partitions; partition++) {
      if (ends) records.push({ partition, logMs, kind: RECORD_END, samples: [] })
    }
    // Log time goes on in every partition.
    for (let i = 1; i <= 3; i++) {
      for (let partition = 0; partition < partitions; partition++) {
        records.push({ partition, logMs: logMs + i * 4_000, kind: RECORD_TICK, samples: [] })
      }
    }
    return { plan, records }
  })

/** Somebody says something of a group, in the partition where all that is said of it stands. */
function feedbackRecord(plan: PipelinePlan, prng: Prng, logMs: number): LogRecord {
  const region = prng.below(4)
  const after = [0.25, 0.5, 1, 2, 8][prng.below(5)]!
  const about = { topic: plan.topic.name, detector: 'surge', group: { region: `r${region}` }, after }
  const pipeline = prng.below(8) === 0 ? 'another' : plan.name
  const partition = region % plan.topic.partitions
  return { partition, logMs, kind: RECORD_FEEDBACK, samples: [], says: { pipeline, ...about } }
}

export function logOf(plan: PipelinePlan, records: readonly LogRecord[]): MemoryLog {
  const log = new MemoryLog(plan.topic.partitions)
  for (const record of records) log.append(record)
  return log
}

/** The same samples at the same log times in other record batches. */
export function cut(records: readonly LogRecord[], prng: Prng): LogRecord[] {
  return records.flatMap((record) => {
    const parts: DrivenSample[][] = [[]]
    for (const sample of record.samples) {
      if (parts.at(-1)!.length > 0 && prng.below(2) === 0) parts.push([])
      parts.at(-1)!.push(sample)
    }
    return record.samples.length === 0 ? [record] : parts.map((samples) => ({ ...record, samples }))
  })
}
