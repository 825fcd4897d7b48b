/**
 * When the log writer applies retention: by size as soon as there is no room, by age now and then, and at once again while
 * there is more to delete. Where nothing could go (pipelines are behind), it does not ask with every transaction. Pure; called
 * by the log writer between transactions.
 */
export const RETENTION_EVERY_MS = 1_000

export class RetentionTurns {
  #lastAtMs = 0
  /** False: the last turn for size found nothing that may be deleted (a pipeline needs it, a backup holds it). */
  #canDelete = true

  /** `bytesMax`: what the log may keep; Infinity: it has room. */
  isDue(nowMs: number, bytesMax: number): boolean {
    if (bytesMax < Infinity && this.#canDelete) return true
    return nowMs - this.#lastAtMs >= RETENTION_EVERY_MS
  }

  /** `more`: there is more to delete, of batches or of what is remembered beside them. */
  took(nowMs: number, bytesMax: number, batches: number, more: boolean): void {
    // At once, between transactions, so that ingest is not held up by one long deletion.
    this.#lastAtMs = more ? 0 : nowMs
    this.#canDelete = batches > 0 || bytesMax === Infinity
  }
}
