/**
 * What `verify` asks of a pipeline: whether an entry is what its plan makes, and whether a checkpoint can be restored. It
 * answers by doing what a reader of results and a start of the node do.
 */
import { ENTRY_RESULTS, type EntrySink, RESULTS_HEADER_BYTES } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import type { Entry, PipelineRecord } from '../store/state-contract.ts'
import type { PipelineVerifier } from '../store/verify/verify.ts'
import { compareBytes } from '../util/bytes.ts'
import { Chain } from './chain.ts'
import { EntryDecoder, feedOf } from './entry-decoder.ts'
import { planHash } from './plan-difference.ts'

/** The verifier, or what is wrong with the stored plan. */
export function pipelineVerifier(record: PipelineRecord, registry: Registry): PipelineVerifier | string {
  try {
    const plan = JSON.parse(record.planJson) as PipelinePlan
    if (planHash(plan) !== record.planHash) return 'its plan does not have the digest that was stored with it'
    return new StoredPipeline(plan, registry)
  } catch (error) {
    return `its plan cannot be read: ${textOf(error)}`
  }
}

class StoredPipeline implements PipelineVerifier {
  readonly #plan: PipelinePlan
  readonly #registry: Registry
  readonly #decoder: EntryDecoder

  constructor(plan: PipelinePlan, registry: Registry) {
    this.#plan = plan
    this.#registry = registry
    // Labels are looked up by nobody: shapes are enough here.
    this.#decoder = new EntryDecoder(plan, { group: () => ({}), series: () => ({}) })
  }

  entry(partition: number, entry: Entry): string | null {
    // The engine's own kinds have their own readers.
    if (feedOf(entry) === undefined) return null
    try {
      const rows = this.#decoder.rowCount(partition, entry)
      for (const _record of this.#decoder.records(partition, entry, Math.max(0, rows - 1)));
      return entry.kind === ENTRY_RESULTS ? windowProblem(entry) : null
    } catch (error) {
      return textOf(error)
    }
  }

  checkpoint(...[partition, checkpoint, pages, groupKey]: Parameters<PipelineVerifier['checkpoint']>) {
    // An owner's state is checked page by page; only a chain can be restored without what it stands on.
    if (partition >= this.#plan.topic.partitions) return null
    try {
      const chain = new Chain({
        plan: this.#plan,
        registry: this.#registry,
        partition,
        keyOf: () => new Uint8Array(0),
        sink: NO_SINK,
        ...(this.#plan.exchange === undefined ? {} : { partialSink: NO_SINK }),
      })
      chain.restore(checkpoint.meta, pages, groupKey)
      if (chain.position !== checkpoint.position || chain.nextSeq !== checkpoint.nextSeq) {
        return `it restores to offset ${chain.position}, entry ${chain.nextSeq}`
      }
      for (let groupId = 0; groupId < chain.groupCount; groupId++) {
        if (compareBytes(chain.groupKeyOf(groupId), groupKey(groupId)) !== 0)
          return `its group ${groupId} has another key than the group of that number`
      }
      return null
    } catch (error) {
      return textOf(error)
    }
  }
}

const NO_SINK: EntrySink = { group() {}, entry() {} }

function windowProblem({ bytes, eventTimeMs }: Entry): string | null {
  if (bytes.length < RESULTS_HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const endMs = view.getFloat64(16, true)
  return endMs === eventTimeMs ? null : `its window ends at ${endMs}, the entry is of time ${eventTimeMs}`
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
