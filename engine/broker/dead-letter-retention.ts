/**
 * Dead letters are kept as long as results are (`--retention-age`), and no more bytes of them than DEAD_LETTERS_BYTES_MAX
 * or `--retention-size`, whichever is less; the oldest go first. One that a restart would still obey, because the
 * checkpoint of its partition lies before its batch, is never deleted: the batch would be tried again. Used by the
 * committer, with retention.
 */
import type { DeadLetter } from '../contract/dead-letter.ts'
import type { StateWriter } from '../store/state-contract.ts'

/** Some 30,000 letters with the longest reasons. */
export const DEAD_LETTERS_BYTES_MAX = 64 << 20
/** Of one transaction. */
const DELETIONS_MAX = 1_000

export interface DeadLetterBounds {
  /** Decided before this: too old. */
  readonly beforeMs: number
  /** Of all letters together, as they are stored. */
  readonly bytesMax: number
}

export interface DeadLetterStream {
  readonly pipelineId: number
  readonly partition: number
  /** What a restart replays from. */
  readonly checkpointPosition: number
}

/** True: there is more to delete. */
export function retainDeadLetters(
  state: StateWriter,
  streams: Iterable<DeadLetterStream>,
  { beforeMs, bytesMax }: DeadLetterBounds,
): boolean {
  const over: { readonly pipelineId: number; readonly letter: DeadLetter; readonly bytes: number }[] = []
  let bytesTotal = 0
  for (const { pipelineId, partition, checkpointPosition } of streams) {
    for (const letter of state.deadLetters(pipelineId, partition)) {
      const bytes = Buffer.byteLength(JSON.stringify(letter))
      bytesTotal += bytes
      if (letter.endOffset <= checkpointPosition) over.push({ pipelineId, letter, bytes })
    }
  }
  over.sort((a, b) => a.letter.atMs - b.letter.atMs)
  let count = 0
  for (const { letter, bytes } of over) {
    if (letter.atMs >= beforeMs && bytesTotal <= bytesMax) break
    bytesTotal -= bytes
    count++
  }
  const deleted = over.slice(0, Math.min(count, DELETIONS_MAX))
  if (deleted.length > 0) {
    state.transaction((txn) => {
      for (const { pipelineId, letter } of deleted)
        txn.removeDeadLetter(pipelineId, letter.partition, letter.baseOffset)
    })
  }
  return count > deleted.length
}
