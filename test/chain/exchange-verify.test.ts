/** `verify` restores the states of owners of groups as a start of the node does, and says what is wrong with one. */
import { describe, expect, it } from 'vitest'
import { RECORD_SAMPLES } from '../../engine/contract/samples.ts'
import { ownerStream, partialStream } from '../../engine/contract/streams.ts'
import type { StatePage } from '../../engine/pipeline/chain.ts'
import { planHash } from '../../engine/pipeline/plan-difference.ts'
import { pipelineVerifier } from '../../engine/pipeline/verify-pipeline.ts'
import type { Checkpoint } from '../../engine/store/state-contract.ts'
import type { PipelineVerifier } from '../../engine/store/verify/verify.ts'
import { ExchangeRun, type LogRecord } from './exchange-run.ts'
import { exchangePlan, logOf } from './exchange-traffic.ts'
import { registry } from './fixtures.ts'

const REGION_PARTS = 2
const plan = exchangePlan({ sizeMs: 2_000, everyMs: 1_000, surge: 'mean', quiet: true }, 2, 1)

/** One partition is ahead in event time: what it has sent waits at the owner. */
function stateOfOwner(): { checkpoint: Checkpoint; pages: StatePage[]; groups: readonly Uint8Array[] } {
  const records: LogRecord[] = []
  for (let second = 0; second < 12; second++) {
    for (const partition of [0, 1]) {
      const labels = { __name__: 'm', host: `h${partition}`, region: `r${second % 3}` }
      const samples = [
        { labels, timestampMs: 100_000 + second * (partition === 0 ? 1_000 : 250), value: second },
      ]
      records.push({ partition, logMs: 100_000 + second * 1_000, kind: RECORD_SAMPLES, samples })
    }
  }
  const run = new ExchangeRun({ plan, registry, log: logOf(plan, records), seed: 1 }).finish()
  const owner = run.owners[0]!
  // The first may end one that is under way.
  for (let i = 0; i < 2; i++) owner.save(Number.MAX_SAFE_INTEGER)
  const { meta, pages } = owner.saved
  const { position, nextSeq } = owner.merger
  return { checkpoint: { position, nextSeq, meta }, pages: [...pages.values()], groups: owner.visible.groups }
}

function verifier(): PipelineVerifier {
  const planJson = JSON.stringify(plan)
  const record = { id: 0, name: plan.name, topicId: 0, topic: 'metrics', planHash: planHash(plan), planJson }
  const made = pipelineVerifier(record, registry)
  if (typeof made === 'string') throw new Error(made)
  return made
}

describe('verify over the state of an owner of groups', () => {
  const stream = ownerStream(plan, 0)
  const { checkpoint, pages, groups } = stateOfOwner()
  const check = (changed: Partial<Checkpoint> = {}, some: readonly StatePage[] = pages): string | null =>
    verifier().checkpoint(stream, { ...checkpoint, ...changed }, some, (groupId) => {
      const key = groups[groupId]
      if (key === undefined) throw new RangeError(`group ${groupId} is missing`)
      return key
    })

  it('finds nothing wrong with one as it was written', () => {
    expect(check()).toBe(null)
  })

  it('tells what it goes on from in the streams of the partitions', () => {
    const needs = verifier().needs(stream, checkpoint)
    expect(needs.map((need) => need.stream)).toEqual([partialStream(plan, 0), partialStream(plan, 1)])
    for (const { fromSeq, takenSeq } of needs) expect(fromSeq).toBeLessThanOrEqual(takenSeq)
    // Parts wait, so something that was taken is wanted again.
    expect(needs.some(({ fromSeq, takenSeq }) => fromSeq < takenSeq)).toBe(true)
    expect(verifier().needs(0, checkpoint)).toEqual([])
  })

  it('names another position, another number of entries, another version and another plan', () => {
    expect(check({ position: checkpoint.position + 1 })).toMatch(/^it restores to position \d+, entry \d+$/)
    expect(check({ nextSeq: checkpoint.nextSeq + 1 })).toMatch(/^it restores to position/)
    const meta = JSON.parse(checkpoint.meta) as object
    expect(check({ meta: JSON.stringify({ ...meta, version: 99 }) })).toContain('version')
    expect(check({ meta: JSON.stringify({ ...meta, layout: 'other' }) })).toContain('layout')
    expect(check({ meta: '{' })).not.toBe(null)
  })

  it('names parts whose page is missing, and groups that are', () => {
    const without = pages.filter(({ region }) => region !== REGION_PARTS)
    expect(without.length).toBeLessThan(pages.length)
    expect(check({}, without)).toMatch(/^its parts want entries .* of the partitions, not \d/)
    expect(check({}, [])).not.toBe(null)
  })

  it('knows no state of what partitions send', () => {
    expect(verifier().checkpoint(partialStream(plan, 0), checkpoint, pages, () => groups[0]!)).toBe(
      'no state belongs to this stream',
    )
  })
})
