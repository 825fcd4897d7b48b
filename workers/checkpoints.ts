/**
 * Checkpoints of a shard's streams, one after another, a bounded piece at a time, so that the shard goes on taking record
 * batches meanwhile. Built and driven by the shard, between two record batches.
 *
 * Guarantee: each checkpoint is one stream's state at one position, whose progress was sent before; the committer sees it
 * whole or not at all. Streams are cut by themselves, at different moments of a round: each is a function of its own
 * inputs. A round that is asked for while one is under way follows it; of several, one is enough.
 */
import type { CheckpointSender, CommitProducer, StreamState } from '../engine/broker/commit-producer.ts'
import { assert } from '../engine/util/assert.ts'

/** Pages sent in a turn: 128 KiB, a small part of a millisecond. */
export const PAGES_A_TURN = 32
/** Streams cut in a turn: of small ones many fit. */
const CUTS_A_TURN = 4

export interface CheckpointSeat {
  readonly pipelineId: number
  /** contract/streams.ts */
  readonly stream: number
  readonly state: StreamState
  /** What the committer has been told. */
  readonly reportedPosition: number
  /** Of the newest checkpoint sent; -1: none. */
  checkpointedPosition: number
}

interface Underway {
  readonly seat: CheckpointSeat
  readonly sender: CheckpointSender
}

export class Checkpoints {
  readonly #commits: CommitProducer
  readonly #seats: readonly CheckpointSeat[]
  readonly #pagesATurn: number
  /** Next seat of the round; the number of seats: there is no round. */
  #next: number
  #isAskedAgain = false
  #underway: Underway | null = null
  #awaitsRoom = false

  constructor(commits: CommitProducer, seats: readonly CheckpointSeat[], pagesATurn = PAGES_A_TURN) {
    this.#commits = commits
    this.#seats = seats
    this.#pagesATurn = pagesATurn
    this.#next = seats.length
  }

  /** Nothing is left to send. */
  get isDone(): boolean {
    return this.#underway === null && this.#next === this.#seats.length && !this.#isAskedAgain
  }

  /** The last turn met a ring without room for it. */
  get awaitsRoom(): boolean {
    return this.#awaitsRoom
  }

  /** Every stream that has moved since its last checkpoint is to have one of its state from now on. */
  ask(): void {
    this.#isAskedAgain = true
  }

  /** One bounded piece of the work. False: there was none. Never waits. */
  turn(): boolean {
    if (this.isDone) return false
    this.#awaitsRoom = false
    for (let cuts = 0; cuts <= CUTS_A_TURN; cuts++) {
      if (this.#underway === null && (cuts === CUTS_A_TURN || !this.#cutNext())) return true
      const { seat, sender } = this.#underway!
      const pages = sender.send(this.#pagesATurn)
      if (!sender.isSent) {
        this.#awaitsRoom = pages < this.#pagesATurn
        return true
      }
      seat.checkpointedPosition = sender.position
      this.#underway = null
      if (pages > 0) return true
    }
    return true
  }

  /** All that was asked for, waiting for room. */
  finish(): void {
    while (this.turn()) if (this.#awaitsRoom) this.#commits.awaitPageRoom()
  }

  /** False: the round is over. */
  #cutNext(): boolean {
    if (this.#next === this.#seats.length) {
      if (!this.#isAskedAgain) return false
      this.#isAskedAgain = false
      this.#next = 0
    }
    while (this.#next < this.#seats.length) {
      const seat = this.#seats[this.#next++]!
      const { position } = seat.state
      if (position === seat.checkpointedPosition) continue
      assert(
        position === seat.reportedPosition || seat.reportedPosition < 0,
        'a checkpoint follows the progress that it covers',
        seat.stream,
        position,
        seat.reportedPosition,
      )
      const sender = this.#commits.cut(seat.pipelineId, seat.stream, seat.state)
      this.#underway = { seat, sender }
      return true
    }
    return false
  }
}
