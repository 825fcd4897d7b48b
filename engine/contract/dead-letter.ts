/**
 * A record batch that one pipeline cannot process: its thread failed there again and again. The decision to skip it is
 * part of the pipeline's input, as the log is: it is durable before the pipeline goes past the batch, and every replay
 * makes the same one. Made by the supervisor, stored by the committer, obeyed by the shard, told by Queries.
 */
export interface DeadLetter {
  readonly partition: number
  /** Offsets [baseOffset, endOffset) are skipped. */
  readonly baseOffset: number
  readonly endOffset: number
  /** Samples skipped; 0 for a record that holds none (a tick, an end). */
  readonly samples: number
  /** How the last try ended. */
  readonly reason: string
  /** Tries that ended there before it was given up. */
  readonly tries: number
  /** When the decision was made. */
  readonly atMs: number
}
