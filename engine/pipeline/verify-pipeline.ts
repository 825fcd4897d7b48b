/**
 * What `verify` asks of a pipeline: whether an entry is what its plan makes, and whether a checkpoint can be restored. It
 * answers by doing what a reader of results and a start of the node do.
 */
import { ENTRY_RESULTS, type EntrySink, RESULTS_HEADER_BYTES } from '../contract/entries.ts'
import type { FeedbackSource } from '../contract/feedback.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Registry } from '../contract/plugins.ts'
import { ownerStream, partialStream } from '../contract/streams.ts'
import type { Entry, PastPlan, PipelineRecord } from '../store/state-contract.ts'
import type { PipelineVerifier, StreamNeed } from '../store/verify/verify.ts'
import { assert } from '../util/assert.ts'
import { compareBytes } from '../util/bytes.ts'
import { Chain } from './chain.ts'
import { EntryDecoder, feedOf } from './entry-decoder.ts'
import { Merger, type MergeSource } from './merger.ts'
import { ownKinds } from './own-detectors.ts'
import { planHash } from './plan-difference.ts'

/** The verifier, or what is wrong with the stored plan. */
export function pipelineVerifier(record: PipelineRecord, registry: Registry): PipelineVerifier | string {
  try {
    const plan = JSON.parse(record.planJson) as PipelinePlan
    if (planHash(plan) !== record.planHash) return 'its plan does not have the digest that was stored with it'
    return new StoredPipeline(plan, registry, record.past)
  } catch (error) {
    return `its plan cannot be read: ${textOf(error)}`
  }
}

class StoredPipeline implements PipelineVerifier {
  readonly #plan: PipelinePlan
  readonly #registry: Registry
  readonly #decoder: EntryDecoder

  constructor(plan: PipelinePlan, registry: Registry, past: readonly PastPlan[] = []) {
    this.#plan = plan
    this.#registry = registry
    // Labels are looked up by nobody: shapes are enough here.
    this.#decoder = new EntryDecoder(plan, { group: () => ({}), series: () => ({}) }, past)
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
    if (unknownDetectors(this.#plan, this.#registry).length > 0) return null
    try {
      const state = this.#stateOf(partition)
      if (state === null) return 'no state belongs to this stream'
      state.restore(checkpoint.meta, pages)
      if (state.position !== checkpoint.position || state.nextSeq !== checkpoint.nextSeq) {
        return `it restores to position ${state.position}, entry ${state.nextSeq}`
      }
      if (state instanceof Merger) return partsProblem(state, checkpoint.meta)
      for (let groupId = 0; groupId < state.groupCount; groupId++) {
        if (compareBytes(state.groupKeyOf(groupId), groupKey(groupId)) !== 0)
          return `its group ${groupId} has another key than the group of that number`
      }
      return null
    } catch (error) {
      return textOf(error)
    }
  }

  needs(...[partition, { meta }]: Parameters<PipelineVerifier['needs']>): readonly StreamNeed[] {
    if (this.#bucketOf(partition) === null) return []
    const { cursors, needed } = JSON.parse(meta) as OwnerNeeds
    return needed.map((fromSeq, from) => ({
      stream: partialStream(this.#plan, from),
      fromSeq,
      takenSeq: cursors[from]!,
    }))
  }

  #stateOf(stream: number): Chain | Merger | null {
    return stateOf(this.#plan, this.#registry, stream)
  }

  /** Of an owner's stream; null: any other. */
  #bucketOf(stream: number): number | null {
    return bucketOf(this.#plan, stream)
  }
}

/** What a start of the node restores, empty; null: a stream without state. It emits nothing. */
export function stateOf(
  plan: PipelinePlan,
  registry: Registry,
  stream: number,
  feedback?: FeedbackSource,
): Chain | Merger | null {
  const bucket = bucketOf(plan, stream)
  const said = feedback === undefined ? {} : { feedback }
  if (bucket !== null)
    return new Merger({ plan, registry, bucket, sink: NO_SINK, source: NO_SOURCE, ...said })
  if (stream >= plan.topic.partitions) return null
  return new Chain({
    plan,
    registry,
    partition: stream,
    keyOf: () => new Uint8Array(0),
    sink: NO_SINK,
    ...said,
    ...(plan.exchange === undefined ? {} : { partialSink: NO_SINK }),
  })
}

function bucketOf(plan: PipelinePlan, stream: number): number | null {
  const bucket = stream - ownerStream(plan, 0)
  return bucket >= 0 && bucket < (plan.exchange?.buckets ?? 0) ? bucket : null
}

/** What an owner's meta says of the partitions' entries; merger.ts says more. */
interface OwnerNeeds {
  readonly cursors: readonly number[]
  readonly needed: readonly number[]
}

/** The parts that wait for their windows lie in pages of their own: a page that is missing shows in what they need. */
function partsProblem(owner: Merger, meta: string): string | null {
  const stored = JSON.parse(meta) as OwnerNeeds
  const restored = JSON.parse(owner.snapshot(() => {})) as OwnerNeeds
  if (JSON.stringify(restored.needed) === JSON.stringify(stored.needed)) return null
  return `its parts want entries ${restored.needed.join(', ')} of the partitions, not ${stored.needed.join(', ')}`
}

const NO_SINK: EntrySink = { group() {}, entry() {} }
/** A restore reads nothing again: parts are read when their window fires. */
const NO_SOURCE: MergeSource = {
  groupKey: () => assert(false, 'a restore reads no groups of partitions') as never,
  entry: () => assert(false, 'a restore reads no entries') as never,
}

function windowProblem({ bytes, eventTimeMs }: Entry): string | null {
  if (bytes.length < RESULTS_HEADER_BYTES) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const endMs = view.getFloat64(16, true)
  return endMs === eventTimeMs ? null : `its window ends at ${endMs}, the entry is of time ${eventTimeMs}`
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Detectors that a pipeline's own module defines, and nobody has loaded: state with them is checked page by page only. */
export function unknownDetectors(plan: PipelinePlan, registry: Registry): readonly string[] {
  return [...ownKinds(plan).keys()].filter((kind) => !registry.detectors.has(kind))
}
