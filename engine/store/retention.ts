/**
 * Which batches retention deletes: a pure plan over "the oldest batch of a partition". Guarantees: whole batches, oldest
 * append first over all partitions, never past a partition's low-water offset, never a partition's newest batch, at most
 * `deletionsMax` a plan. The log writer carries the plan out in one transaction.
 */
export const RETENTION_DELETIONS_MAX = 1_024

/** Room that the file should have for what is appended next; below the first, retention makes as much as the second. */
export const FREE_BYTES_LOW = 4 * 2 ** 20
export const FREE_BYTES_HIGH = 8 * 2 ** 20
/** What the log may be larger than its limit, while its file has room for it; beyond, it is deleted in steps. */
export const BYTES_SLACK = 0.1
const STEP_BYTES = 2 ** 20

/**
 * How large the log may stay, for `planRetention`: beyond `bytesMax`, no more is deleted than what is appended next needs.
 * lmdb-js checks the whole list of the file's free pages with each commit, in more than linear time, so they are kept few,
 * and what the file has is filled before anything is deleted: docs/decisions/store.md. Infinity: nothing is due.
 * `freeBytes` is asked for only where it matters.
 */
export function bytesToKeep(bytes: number, bytesMax: number, freeBytes: () => number): number {
  if (bytes <= bytesMax) return Infinity
  const most = bytesMax * (1 + BYTES_SLACK)
  if (bytes > most) return Math.max(bytesMax, most - STEP_BYTES)
  const free = freeBytes()
  return free >= FREE_BYTES_LOW ? Infinity : Math.max(bytesMax, bytes - (FREE_BYTES_HIGH - free))
}

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
