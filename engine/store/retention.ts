/**
 * Which batches retention deletes: a pure plan over "the oldest batch of a partition". Guarantees: whole batches, oldest
 * append first over all partitions, never past a partition's low-water offset, never a partition's newest batch, at most
 * `deletionsMax` a plan. The log writer carries the plan out in one transaction.
 */
export const RETENTION_DELETIONS_MAX = 256

export interface StoredBatch {
  readonly baseOffset: number
  readonly endOffset: number
  readonly appendedMs: number
  readonly bytes: number
}

export interface RetainedPartition {
  readonly topicId: number
  readonly partition: number
  readonly startOffset: number
  readonly endOffset: number
  /** Nothing at or above it is deleted. */
  readonly lowWater: number
}

export interface RetentionPolicy {
  readonly nowMs: number
  readonly ageMsMax: number
  readonly bytesMax: number
  readonly deletionsMax: number
}

export interface Deletion {
  readonly topicId: number
  readonly partition: number
  readonly batch: StoredBatch
}

export interface RetentionPlan {
  readonly deletions: readonly Deletion[]
  readonly bytes: number
  readonly more: boolean
  readonly heldBack: boolean
}

/** `batchAt(partition, offset)`: the batch that starts at `offset`. */
export function planRetention(
  partitions: readonly RetainedPartition[],
  totalBytes: number,
  policy: RetentionPolicy,
  batchAt: (partition: RetainedPartition, offset: number) => StoredBatch,
): RetentionPlan {
  const { nowMs, ageMsMax, bytesMax, deletionsMax } = policy
  const heads = partitions.map((partition) => headAt(partition, partition.startOffset, batchAt))
  const deletions: Deletion[] = []
  let bytes = 0
  for (;;) {
    const oldest = indexOfOldest(heads)
    const head = heads[oldest]
    const overBytes = totalBytes - bytes > bytesMax
    if (head === undefined || head === null) return { deletions, bytes, more: false, heldBack: overBytes }
    if (!overBytes && nowMs - head.appendedMs <= ageMsMax) {
      return { deletions, bytes, more: false, heldBack: false }
    }
    if (deletions.length >= deletionsMax) return { deletions, bytes, more: true, heldBack: false }
    const partition = partitions[oldest]!
    deletions.push({ topicId: partition.topicId, partition: partition.partition, batch: head })
    bytes += head.bytes
    heads[oldest] = headAt(partition, head.endOffset, batchAt)
  }
}

/** The batch at `offset` if it may be deleted at all. */
function headAt(
  partition: RetainedPartition,
  offset: number,
  batchAt: (partition: RetainedPartition, offset: number) => StoredBatch,
): StoredBatch | null {
  if (offset >= partition.endOffset || offset >= partition.lowWater) return null
  const batch = batchAt(partition, offset)
  const isNewest = batch.endOffset >= partition.endOffset
  return isNewest || batch.endOffset > partition.lowWater ? null : batch
}

/** Ties go to the first in the list. -1: none. */
function indexOfOldest(heads: readonly (StoredBatch | null)[]): number {
  let oldest = -1
  let oldestMs = Number.POSITIVE_INFINITY
  for (let i = 0; i < heads.length; i++) {
    const head = heads[i]
    if (head === null || head === undefined || head.appendedMs >= oldestMs) continue
    oldest = i
    oldestMs = head.appendedMs
  }
  return oldest
}
