/**
 * One partition's partial stream as an owner of groups (merger.ts) has been offered it: what waits to be taken, in order,
 * and what the partition has said of its clocks. Holds no more than the owner lets it; decides nothing.
 */
import { ENTRY_ARRIVALS, ENTRY_MARK, PARTITION_UNSEEN } from '../contract/entries.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import type { Entry } from '../store/state-contract.ts'
import { EventClock } from '../time/event-clock.ts'

/** Entries taken before their places are given back at once. */
const TAKEN_MAX = 1_024
const ROUTES_MIN = 64

export class Inlet {
  readonly clock: EventClock
  state = PARTITION_UNSEEN
  /** Next entry to take: everything before it is in the owner's state. */
  cursor = 0
  /** Next entry to be offered. */
  offered = 0
  readonly pending: Entry[] = []
  first = 0
  pendingBytes = 0
  /** No entry of a log time before this will be offered any more. */
  frontierMs = -Infinity
  /** Of the entries pending, in order: those that may make a window fire, and log times of those that tell of arrivals. */
  readonly urgent: Entry[] = []
  readonly arrivalsMs: number[] = []
  /** By group id of the partition. */
  routes: Int32Array = new Int32Array(ROUTES_MIN)

  constructor(plan: PipelinePlan) {
    this.clock = new EventClock(plan.disorderMs, plan.idleMs)
  }

  head(): Entry | undefined {
    return this.pending[this.first]
  }

  headMs(): number {
    const entry = this.pending[this.first]
    return entry === undefined ? Infinity : logMsOf(entry)
  }

  /** Entries before it will bring about nothing more. */
  settled(): number {
    return this.urgent[0]?.seq ?? this.offered
  }

  push(entry: Entry): void {
    this.pending.push(entry)
    this.pendingBytes += entry.bytes.length
    this.offered = entry.seq + 1
    this.frontierMs = Math.max(this.frontierMs, logMsOf(entry))
    if (isUrgent(entry)) this.urgent.push(entry)
    if (entry.kind === ENTRY_ARRIVALS) this.arrivalsMs.push(logMsOf(entry))
  }

  shift(): void {
    const entry = this.pending[this.first++]!
    this.pendingBytes -= entry.bytes.length
    this.cursor = entry.seq + 1
    if (entry === this.urgent[0]) this.urgent.shift()
    if (entry.kind === ENTRY_ARRIVALS) this.arrivalsMs.shift()
    if (this.first === this.pending.length) {
      this.pending.length = 0
      this.first = 0
    } else if (this.first >= TAKEN_MAX) {
      this.pending.splice(0, this.first)
      this.first = 0
    }
  }
}

/** Of all kinds of entry it is the time, too: that needs no look at the bytes. */
export function logMsOf({ eventTimeMs }: Entry): number {
  return eventTimeMs
}

/** Low byte of a word that is 0 or 1. */
function isUrgent({ kind, bytes }: Entry): boolean {
  return kind === ENTRY_MARK && bytes[4] === 1
}
