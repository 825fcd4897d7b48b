/**
 * Decides which transitions of alerts sinks are told of, while silences hold. Guarantee: the decision on an entry is part of
 * the transaction that commits the entry, so that every sink, after any crash or rewind, skips the same ones; entries
 * keep their bytes. Used by the committer alone, whose clock and store it is given.
 *
 * - A transition that begins an alert or makes it more severe is withheld while a silence holds for it.
 * - An end is told if anything of the alert was told, silence or not: whoever holds the alert open must hear of it. Else it is
 *   withheld with the rest.
 * - When no silence holds any longer for an alert whose newest transition was withheld, and which still stands, that
 *   transition is told then: as a row before the next entry of its stream (contract/silences.ts, Retold). No entry of
 *   that number is committed yet, so that the row's place in the order is decided once, too.
 */
import type { Alert } from '../contract/alert.ts'
import {
  SILENCE_KEPT_MS,
  SILENCES_LIVE_MAX,
  SILENCES_OVER_MAX,
  type Silence,
  type SilenceSpec,
  type Unheard,
} from '../contract/silences.ts'
import { silencedBy, silenceState, silenceTest } from '../pipeline/silences.ts'
import type { StateReader, StateTransaction } from '../store/state-contract.ts'

/** Alerts looked at in one transaction when a silence ends: the rest with the next. */
export const RETOLD_MAX = 4_096

interface Held {
  readonly silence: Silence
  readonly holds: ReturnType<typeof silenceTest>
}

interface AlertsOf {
  /** Current alerts of which something was told. */
  readonly known: Set<string>
  /** By the alert's id. */
  readonly unheard: Map<string, Unheard>
}

type Reader = Pick<StateReader, 'silences' | 'unheard' | 'alerts' | 'retold'>

/** Where a stream stands: number of its next entry. */
export type NextSeqOf = (pipelineId: number, partition: number) => number

export class SilenceKeeper {
  readonly #state: Reader
  readonly #alerts = new Map<number, AlertsOf>()
  #silences: Silence[]
  #active: readonly Held[] = []
  /** Wall clock at which a silence begins, ends or may be forgotten. */
  #nextChangeMs: number
  /** Silences have ended, perhaps, since all alerts were looked at. */
  #owes = false

  constructor(pipelineIds: Iterable<number>, state: Reader) {
    this.#state = state
    this.#silences = [...state.silences()]
    this.#nextChangeMs = this.#silences.length === 0 ? Infinity : Number.NEGATIVE_INFINITY
    for (const pipelineId of pipelineIds) {
      const unheard = new Map(state.unheard(pipelineId).map((one) => [one.alertId, one]))
      const known = new Set<string>()
      for (const { id } of state.alerts(pipelineId)) if (unheard.get(id)?.isKnown !== false) known.add(id)
      this.#alerts.set(pipelineId, { known, unheard })
      if (unheard.size > 0) this.#owes = true
    }
  }

  get activeCount(): number {
    return this.#active.length
  }

  /** Alerts whose newest transition no sink was told of. O(pipelines). */
  get unheardCount(): number {
    let count = 0
    for (const { unheard } of this.#alerts.values()) count += unheard.size
    return count
  }

  /** `advance` has something to write. */
  isDue(nowMs: number): boolean {
    return this.#owes || nowMs >= this.#nextChangeMs
  }

  /**
   * Inside a transaction, before entries are written: takes the step of time, ends what is over, and tells what is owed. Returns
   * the transitions that are told now.
   */
  advance(txn: StateTransaction, nowMs: number, nextSeqOf: NextSeqOf): number {
    if (nowMs >= this.#nextChangeMs) this.#setTime(txn, nowMs)
    return this.#owes ? this.#tell(txn, nextSeqOf) : 0
  }

  /** Inside the transaction that commits the entry: a transition of an alert, as number `seq` of its stream. */
  committed(txn: StateTransaction, pipelineId: number, partition: number, seq: number, alert: Alert): void {
    const { known, unheard } = this.#alerts.get(pipelineId)!
    const before = unheard.get(alert.id)
    if (alert.state === 'resolved') {
      if (before !== undefined && !before.isKnown)
        txn.putWithheld(pipelineId, partition, { seq, silence: before.silence })
      if (before !== undefined) this.#heard(txn, pipelineId, alert.id)
      known.delete(alert.id)
      return
    }
    const silence = this.#active.length === 0 ? null : silencedBy(this.#active, alert)
    if (silence === null) {
      if (before !== undefined) this.#heard(txn, pipelineId, alert.id)
      known.add(alert.id)
      return
    }
    txn.putWithheld(pipelineId, partition, { seq, silence })
    const now = { alertId: alert.id, partition, seq, silence, isKnown: known.has(alert.id) }
    txn.putUnheard(pipelineId, now)
    unheard.set(alert.id, now)
  }

  /** Inside a transaction. A text: why not. */
  make(txn: StateTransaction, spec: SilenceSpec, nowMs: number): Silence | string {
    const live = this.#silences.filter((silence) => silenceState(silence, nowMs) !== 'expired')
    if (live.length >= SILENCES_LIVE_MAX) {
      return `${SILENCES_LIVE_MAX} silences are active or to come, and more are not possible. End one that is no longer needed, or let one cover several by a pattern.`
    }
    const silence: Silence = { id: txn.takeSilenceId(), ...spec, madeMs: nowMs, endedMs: null }
    txn.putSilence(silence)
    this.#silences.push(silence)
    this.#nextChangeMs = Number.NEGATIVE_INFINITY
    return silence
  }

  /** Inside a transaction: ends it now. One that is over already stays as it is. A text: why not. */
  end(txn: StateTransaction, id: number, nowMs: number): Silence | string {
    const silence = this.#silences.find((one) => one.id === id)
    if (silence === undefined) return `there is no silence ${id}. List them with millrace alerts silences.`
    if (silence.endedMs !== null) return silence
    // Over by its time, and not written down yet: whoever was told that it is over must find it so.
    const ended = this.#ended(txn, silence, Math.min(nowMs, silence.untilMs))
    this.#nextChangeMs = Number.NEGATIVE_INFINITY
    return ended
  }

  #ended(txn: StateTransaction, silence: Silence, endedMs: number): Silence {
    const ended = { ...silence, endedMs }
    txn.putSilence(ended)
    this.#silences[this.#silences.indexOf(silence)] = ended
    this.#owes = true
    return ended
  }

  #setTime(txn: StateTransaction, nowMs: number): void {
    for (const silence of [...this.#silences]) {
      // Written down, so that a clock that is set back does not begin it again.
      if (silence.endedMs === null && silence.untilMs <= nowMs) this.#ended(txn, silence, silence.untilMs)
    }
    this.#forget(txn, nowMs)
    this.#active = this.#silences
      .filter((silence) => silenceState(silence, nowMs) === 'active')
      .map((silence) => ({ silence, holds: silenceTest(silence) }))
    const changes = this.#silences.map(({ fromMs, untilMs, endedMs }) => {
      if (endedMs !== null) return endedMs + SILENCE_KEPT_MS
      return fromMs > nowMs ? fromMs : untilMs
    })
    this.#nextChangeMs = Math.min(Infinity, ...changes)
  }

  #forget(txn: StateTransaction, nowMs: number): void {
    const over = this.#silences
      .filter(({ endedMs }) => endedMs !== null)
      .sort((a, b) => b.endedMs! - a.endedMs! || b.id - a.id)
    const forgotten = new Set(
      over.filter(({ endedMs }, i) => i >= SILENCES_OVER_MAX || endedMs! + SILENCE_KEPT_MS <= nowMs),
    )
    for (const { id } of forgotten) txn.removeSilence(id)
    if (forgotten.size > 0) this.#silences = this.#silences.filter((silence) => !forgotten.has(silence))
  }

  /** Alerts that stand, were withheld, and for which no silence holds any longer. */
  #tell(txn: StateTransaction, nextSeqOf: NextSeqOf): number {
    let told = 0
    for (const [pipelineId, { known, unheard }] of this.#alerts) {
      if (unheard.size === 0) continue
      const current = new Map(this.#state.alerts(pipelineId).map(({ id, json }) => [id, json]))
      /** By stream: rows before its next entry. */
      const rows = new Map<number, number>()
      for (const [alertId, { partition, seq, silence: by, isKnown }] of [...unheard]) {
        const json = current.get(alertId)!
        const silence = silencedBy(this.#active, JSON.parse(json) as Alert)
        if (silence !== null) {
          if (silence === by) continue
          const now = { alertId, partition, seq, silence, isKnown }
          txn.putUnheard(pipelineId, now)
          unheard.set(alertId, now)
          continue
        }
        if (told >= RETOLD_MAX) return told
        const beforeSeq = nextSeqOf(pipelineId, partition)
        const index =
          rows.get(partition) ?? this.#state.retold(pipelineId, partition, beforeSeq, beforeSeq + 1).length
        txn.putRetold(pipelineId, partition, index, { beforeSeq, seq, json })
        rows.set(partition, index + 1)
        this.#heard(txn, pipelineId, alertId)
        known.add(alertId)
        told++
      }
    }
    this.#owes = false
    return told
  }

  #heard(txn: StateTransaction, pipelineId: number, alertId: string): void {
    txn.removeUnheard(pipelineId, alertId)
    this.#alerts.get(pipelineId)!.unheard.delete(alertId)
  }
}
