/** Retention, checkpoints and readers over one real log: what is needed stays, what is gone is named, never wrong data. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sealBatch } from '../batch/batch-encoder.ts'
import { BatchView } from '../batch/batch-view.ts'
import * as layout from '../batch/layout.ts'
import { RECORD_SAMPLES } from '../contract/samples.ts'
import { openLogReader, openLogWriter } from './log-store.ts'
import { openStore } from './store.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_107)

type Step =
  | { readonly do: 'append'; readonly count: number; readonly stepMs: number }
  | { readonly do: 'checkpoint'; readonly share: number }
  | { readonly do: 'retain'; readonly ageMs: number; readonly bytesMax: number }
  | { readonly do: 'read'; readonly share: number }
  | { readonly do: 'scan'; readonly share: number }

const share = fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100)
const stepShape: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      count: fc.integer({ min: 1, max: 300 }),
      stepMs: fc.nat(50),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('checkpoint' as const), share }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('retain' as const),
      ageMs: fc.integer({ min: 0, max: 60 }),
      bytesMax: fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 40_000 })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), share }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('scan' as const), share }) },
)

test('a reader gets what was appended, or OFFSET_GONE with the oldest left; a checkpoint’s records stay', async () => {
  const root = mkdtempSync(join(tmpdir(), 'millrace-retained-'))
  let cases = 0
  const seen = { gone: 0, read: 0 }
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(stepShape, { minLength: 40, maxLength: 60 }), async (steps) => {
        await run(join(root, String(cases++)), steps, seen)
      }),
      { numRuns: 8, seed: SEED },
    )
    // The property is about both.
    expect(seen.gone).toBeGreaterThan(5)
    expect(seen.read).toBeGreaterThan(5)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}, 120_000)

async function run(dir: string, steps: readonly Step[], seen: { gone: number; read: number }): Promise<void> {
  const store = await openStore({ dir })
  const writer = openLogWriter({ dir, fence: store.fence })
  const reader = openLogReader({ dir })
  writer.transaction((txn) => txn.createTopic({ name: 'metrics', partitions: 1, partitionBy: null }))
  const buffer = new ArrayBuffer(layout.BATCH_BYTES_MAX + 8)
  const view = new BatchView(buffer)
  let checkpoint = 0
  let nowMs = 1_000
  let start = 0
  /** Values equal their offset, so that wrong data shows. */
  const check = (): void => {
    view.point(0)
    for (let i = 0; i < view.count; i++) expect(view.values[view.valuesAt + i]).toBe(view.baseOffset + i)
  }
  for (const step of steps) {
    const end = writer.endOffset(0, 0)
    if (step.do === 'append') {
      nowMs += step.stepMs
      writer.transaction((txn) => txn.putBatch(record(end, step.count, nowMs)))
    } else if (step.do === 'checkpoint') {
      checkpoint = Math.max(checkpoint, Math.floor(end * step.share))
    } else if (step.do === 'retain') {
      const { ageMs: ageMsMax, bytesMax } = step
      writer.retain({ nowMs, ageMsMax, bytesMax, lowWater: () => checkpoint })
      start = writer.startOffset(0, 0)
      expect(start).toBeLessThanOrEqual(checkpoint)
    } else {
      const offset = Math.floor(end * step.share)
      const oldest = reader.oldest(0, 0)
      expect(oldest?.offset ?? 0).toBe(start)
      const read = (): number =>
        step.do === 'read'
          ? reader.read(0, 0, offset, buffer)
          : reader.scan(0, 0, offset, end, buffer, check, 10_000)
      if (offset < start) {
        seen.gone++
        expect(read).toThrow(expect.objectContaining({ code: 'OFFSET_GONE' }))
        expect(read).toThrow(new RegExp(`oldest kept is ${start}, stored at`))
        continue
      }
      const got = read()
      seen.read++
      if (step.do === 'scan') expect(got).toBeGreaterThanOrEqual(offset)
      else if (offset < end) {
        check()
        expect(view.baseOffset).toBeLessThanOrEqual(offset)
        expect(view.endOffset).toBeGreaterThan(offset)
      }
    }
  }
  // Whoever restores the checkpoint can read everything from there.
  let next = checkpoint
  while (next < writer.endOffset(0, 0)) next = reader.scan(0, 0, next, Infinity, buffer, check)
  await reader.close()
  await writer.close()
  await store.close()
}

function record(baseOffset: number, count: number, appendedMs: number): Uint8Array {
  const buffer = new ArrayBuffer((layout.batchBytes(count) + 7) & ~7)
  const values = new Float64Array(buffer, layout.valuesAt(count), count)
  for (let i = 0; i < count; i++) values[i] = baseOffset + i
  const bytes = new Uint8Array(buffer, 0, layout.batchBytes(count))
  sealBatch(bytes, new DataView(buffer), {
    kind: RECORD_SAMPLES,
    topicId: 0,
    partition: 0,
    baseOffset,
    count,
    minTimestampMs: 0,
    maxTimestampMs: 0,
    appendedMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  return bytes
}
