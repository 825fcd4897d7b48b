/**
 * The producers of a log: who they are (id, epoch, name) and, for each topic they write to, which sequence was stored
 * last and where. Used by the log writer thread only.
 *
 * Guarantees: ids are never given twice; an epoch only rises; a producer's sequences in a topic have no gap and no
 * repeat; the newest SEQUENCES_KEPT of them are remembered with their receipts. Nothing here expires by time. At
 * `producersMax` a new producer takes the place of the one that has been quiet longest, if that is at least
 * PRODUCER_QUIET_MS of log time; otherwise it is refused. Who lost its place is unknown from then on, never taken for new.
 */
import type { ProducerGrant, Receipt } from '../../contract/idempotency.ts'
import { assert } from '../../util/assert.ts'
import type { StoreEnv, Table } from '../env.ts'
import { KeyBuffer, readU16, readU32 } from '../keys.ts'
import { damaged, seal, sealJson, unseal, unsealJson } from '../sealed.ts'
import { RECEIPT_BYTES, readReceipt, SEQUENCE_RECEIPTS_AT, writeReceipt } from './layout.ts'

/** As many as Kafka keeps: what a client may reasonably have in flight. */
export const SEQUENCES_KEPT = 5
export const PRODUCER_QUIET_MS = 7 * 86_400_000
const NEXT_ID_ROW = 0
const FROM_FIRST = new Uint8Array([0])
const PAST_LAST = new Uint8Array(8).fill(0xff)

export type SequenceVerdict =
  | { readonly verdict: 'new' }
  /** `receipt` null: older than what is remembered. */
  | { readonly verdict: 'duplicate'; readonly receipt: Receipt | null }
  | { readonly verdict: 'unknown_producer' }
  | { readonly verdict: 'fenced'; readonly epoch: number }
  | { readonly verdict: 'gap'; readonly expected: number }

interface Sequences {
  last: number
  usedMs: number
  /** Of the newest sequences, oldest first. */
  readonly receipts: Receipt[]
}

interface Producer {
  readonly id: number
  readonly name: string | null
  epoch: number
  usedMs: number
  readonly topics: Map<number, Sequences>
}

interface ProducerRow {
  readonly name: string | null
  readonly epoch: number
  readonly usedMs: number
}

const NEW: SequenceVerdict = { verdict: 'new' }
const UNKNOWN: SequenceVerdict = { verdict: 'unknown_producer' }

export class ProducerStore {
  readonly #env: StoreEnv
  readonly #producers: Table
  readonly #sequences: Table
  readonly #producersMax: number
  readonly #key = new KeyBuffer()
  readonly #byId = new Map<number, Producer>()
  readonly #byName = new Map<string, Producer>()
  #nextId = 1
  readonly #granted = new Set<Producer>()
  /** Topics written to since the last durable transaction. */
  readonly #written = new Map<Producer, Set<number>>()
  readonly #evicted: Producer[] = []

  constructor(env: StoreEnv, tables: { producers: Table; sequences: Table }, producersMax: number) {
    this.#env = env
    this.#producers = tables.producers
    this.#sequences = tables.sequences
    this.#producersMax = producersMax
    this.#load()
  }

  get count(): number {
    return this.#byId.size
  }

  /**
   * A new producer, or for a known name its id with the next epoch, which fences whoever had the one before.
   * Null: there are `producersMax`, and none has been quiet for long. Durable with the next `flush`.
   */
  grant(name: string | null, logMs: number): ProducerGrant | null {
    const known = name === null ? undefined : this.#byName.get(name)
    const producer = known ?? this.#make(name, logMs)
    if (producer === null) return null
    if (known !== undefined) {
      known.epoch++
      known.usedMs = Math.max(known.usedMs, logMs)
    }
    this.#granted.add(producer)
    return {
      producerId: producer.id,
      producerEpoch: producer.epoch,
      topics: [...producer.topics].map(([topicId, { last, receipts }]) => ({
        topicId,
        lastSequence: last,
        storedAt: receipts.at(-1)?.storedAt ?? null,
      })),
    }
  }

  check(producerId: number, epoch: number, topicId: number, sequence: number): SequenceVerdict {
    const producer = this.#byId.get(producerId)
    // An epoch that was never handed out is somebody else's, or from before a restore of an older backup.
    if (producer === undefined || epoch > producer.epoch) return UNKNOWN
    if (epoch < producer.epoch) return { verdict: 'fenced', epoch: producer.epoch }
    const sequences = producer.topics.get(topicId)
    const expected = sequences === undefined ? 0 : sequences.last + 1
    if (sequence === expected) return NEW
    if (sequence > expected) return { verdict: 'gap', expected }
    const receipts = sequences?.receipts ?? []
    return { verdict: 'duplicate', receipt: receipts[receipts.length - (expected - sequence)] ?? null }
  }

  /** After `check` gave `new`. Durable with the next `flush`. */
  record(producerId: number, topicId: number, sequence: number, receipt: Receipt, logMs: number): void {
    const producer = this.#byId.get(producerId)
    assert(producer !== undefined, 'a producer that was checked', producerId)
    let sequences = producer.topics.get(topicId)
    if (sequences === undefined) {
      sequences = { last: -1, usedMs: logMs, receipts: [] }
      producer.topics.set(topicId, sequences)
    }
    assert(sequence === sequences.last + 1, 'sequences go one by one', sequence, sequences.last)
    sequences.last = sequence
    sequences.usedMs = Math.max(sequences.usedMs, logMs)
    producer.usedMs = Math.max(producer.usedMs, logMs)
    sequences.receipts.push(receipt)
    if (sequences.receipts.length > SEQUENCES_KEPT) sequences.receipts.shift()
    const topics = this.#written.get(producer)
    if (topics === undefined) this.#written.set(producer, new Set([topicId]))
    else topics.add(topicId)
  }

  /** Inside the transaction of the samples. */
  flush(): void {
    for (const producer of this.#evicted) {
      this.#env.remove(this.#producers, this.#producerKey(producer.id))
      for (const topicId of producer.topics.keys()) {
        this.#env.remove(this.#sequences, this.#sequenceKey(producer.id, topicId))
      }
    }
    if (this.#granted.size > 0) {
      this.#env.put(this.#producers, this.#producerKey(NEXT_ID_ROW), sealJson({ nextId: this.#nextId }))
    }
    for (const { id, name, epoch, usedMs } of this.#granted) {
      const row: ProducerRow = { name, epoch, usedMs }
      this.#env.put(this.#producers, this.#producerKey(id), sealJson(row))
    }
    for (const [producer, topics] of this.#written) {
      for (const topicId of topics) {
        const bytes = encodeSequences(producer.topics.get(topicId)!)
        this.#env.put(this.#sequences, this.#sequenceKey(producer.id, topicId), seal(bytes))
      }
    }
  }

  settle(): void {
    this.#granted.clear()
    this.#written.clear()
    this.#evicted.length = 0
  }

  /** The transaction failed, and its requests are given up: back to what is stored. */
  discard(): void {
    this.settle()
    this.#byId.clear()
    this.#byName.clear()
    this.#nextId = 1
    this.#load()
  }

  #make(name: string | null, logMs: number): Producer | null {
    if (this.#byId.size >= this.#producersMax && !this.#evictQuiet(logMs)) return null
    const producer: Producer = { id: this.#nextId++, name, epoch: 0, usedMs: logMs, topics: new Map() }
    this.#hold(producer)
    return producer
  }

  #hold(producer: Producer): void {
    this.#byId.set(producer.id, producer)
    if (producer.name !== null) this.#byName.set(producer.name, producer)
  }

  #evictQuiet(logMs: number): boolean {
    let quietest: Producer | null = null
    for (const producer of this.#byId.values()) {
      if (quietest === null || producer.usedMs < quietest.usedMs) quietest = producer
    }
    if (quietest === null || logMs - quietest.usedMs < PRODUCER_QUIET_MS) return false
    this.#byId.delete(quietest.id)
    if (quietest.name !== null) this.#byName.delete(quietest.name)
    this.#granted.delete(quietest)
    this.#written.delete(quietest)
    this.#evicted.push(quietest)
    return true
  }

  #producerKey(id: number): Uint8Array {
    return this.#key.start().u32(id).view()
  }

  #sequenceKey(id: number, topicId: number): Uint8Array {
    return this.#key.start().u32(id).u16(topicId).view()
  }

  #load(): void {
    this.#env.read(() => {
      for (const { key, value } of this.#env.rows(this.#producers, FROM_FIRST, PAST_LAST)) {
        const id = readU32(key, 0)
        const what = (): string => `the record of producer ${id} in the log`
        if (id === NEXT_ID_ROW) this.#nextId = unsealJson<{ nextId: number }>(value, what).nextId
        else this.#hold({ id, topics: new Map(), ...unsealJson<ProducerRow>(value, what) })
      }
      for (const { key, value } of this.#env.rows(this.#sequences, FROM_FIRST, PAST_LAST)) {
        const id = readU32(key, 0)
        const topicId = readU16(key, 4)
        const what = (): string => `the sequences of producer ${id} in topic ${topicId} in the log`
        const producer = this.#byId.get(id)
        if (producer === undefined) throw damaged(what(), 'its producer is missing')
        const sequences = decodeSequences(unseal(value, what))
        producer.topics.set(topicId, sequences)
        producer.usedMs = Math.max(producer.usedMs, sequences.usedMs)
      }
    })
  }
}

function encodeSequences({ last, usedMs, receipts }: Sequences): Uint8Array {
  const bytes = new Uint8Array(SEQUENCE_RECEIPTS_AT + receipts.length * RECEIPT_BYTES)
  const view = new DataView(bytes.buffer)
  view.setFloat64(0, last, true)
  view.setFloat64(8, usedMs, true)
  for (const [i, receipt] of receipts.entries()) {
    writeReceipt(view, SEQUENCE_RECEIPTS_AT + i * RECEIPT_BYTES, receipt)
  }
  return bytes
}

function decodeSequences(bytes: Uint8Array): Sequences {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const receipts: Receipt[] = []
  for (let at = SEQUENCE_RECEIPTS_AT; at < bytes.length; at += RECEIPT_BYTES)
    receipts.push(readReceipt(view, at))
  return { last: view.getFloat64(0, true), usedMs: view.getFloat64(8, true), receipts }
}
