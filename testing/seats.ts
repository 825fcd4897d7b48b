/**
 * What a shard holds of a pipeline, for the driver: a Chain for each partition, a Merger for each bucket of groups, and the
 * streams they emit, which here are committed at once. `restart` takes each through a checkpoint and back.
 */
import type { EntrySink, Ledger } from '../engine/contract/entries.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Registry } from '../engine/contract/plugins.ts'
import { Chain, type PageSink, type StatePage } from '../engine/pipeline/chain.ts'
import { Merger } from '../engine/pipeline/merger.ts'
import type { Entry } from '../engine/store/state-contract.ts'

/** Whoever emits a stream that sinks and queries read. */
export interface Seat {
  readonly entries: readonly Entry[]
  /** Group keys by group id. */
  readonly groups: readonly Uint8Array[]
  readonly groupCount: number
  readonly ledger: Ledger
}

/** A stream as it is stored. */
export class Stream {
  readonly entries: Entry[] = []
  readonly groups: Uint8Array[] = []
  readonly sink: EntrySink = {
    group: (groupId, key) => {
      this.groups[groupId] = key.slice()
    },
    entry: (kind, seq, causeOffset, eventTimeMs, bytes, length) => {
      this.entries.push({ kind, seq, causeOffset, eventTimeMs, bytes: bytes.slice(0, length) })
    },
  }
}

/** The newest version of every page ever handed out, as the state store keeps it. */
class Pages {
  readonly #pages = new Map<string, StatePage>()
  readonly sink: PageSink = (region, index, cells) => {
    this.#pages.set(`${region}/${index}`, { region, index, cells: cells.slice() })
  }

  all(): Iterable<StatePage> {
    return this.#pages.values()
  }
}

export interface ChainSeatOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly partition: number
  readonly keyOf: (seriesId: number) => Uint8Array
}

export class ChainSeat implements Seat {
  readonly partition: number
  readonly partials: Stream | null
  readonly #options: ChainSeatOptions
  readonly #stream = new Stream()
  readonly #pages = new Pages()
  #chain: Chain

  constructor(options: ChainSeatOptions) {
    this.#options = options
    this.partition = options.partition
    this.partials = options.plan.exchange === undefined ? null : new Stream()
    this.#chain = this.#fresh()
  }

  get chain(): Chain {
    return this.#chain
  }

  get entries(): readonly Entry[] {
    return this.#stream.entries
  }

  get groups(): readonly Uint8Array[] {
    return this.#stream.groups
  }

  get groupCount(): number {
    return this.#chain.groupCount
  }

  get ledger(): Ledger {
    return this.#chain.ledger
  }

  restart(): void {
    // One that has seen nothing has no checkpoint either.
    if (this.#chain.position === 0) return
    const meta = this.#chain.snapshot(this.#pages.sink)
    this.#chain = this.#fresh()
    this.#chain.restore(meta, this.#pages.all())
  }

  #fresh(): Chain {
    return new Chain({
      ...this.#options,
      sink: this.#stream.sink,
      ...(this.partials === null ? {} : { partialSink: this.partials.sink }),
    })
  }
}

export interface OwnerSeatOptions {
  readonly plan: PipelinePlan
  readonly registry: Registry
  readonly bucket: number
  readonly chains: readonly ChainSeat[]
}

export class OwnerSeat implements Seat {
  readonly #options: OwnerSeatOptions
  readonly #stream = new Stream()
  readonly #pages = new Pages()
  /** By partition: next entry to offer. */
  readonly #offered: number[]
  #merger: Merger

  constructor(options: OwnerSeatOptions) {
    this.#options = options
    this.#offered = options.chains.map(() => 0)
    this.#merger = this.#fresh()
  }

  get merger(): Merger {
    return this.#merger
  }

  get entries(): readonly Entry[] {
    return this.#stream.entries
  }

  get groups(): readonly Uint8Array[] {
    return this.#stream.groups
  }

  get groupCount(): number {
    return this.#merger.groupCount
  }

  get ledger(): Ledger {
    return this.#merger.ledger
  }

  /** Takes everything that partitions have sent, as far as it can be decided. */
  poll(): void {
    for (let before = -1; before < this.#offeredTotal(); ) {
      before = this.#offeredTotal()
      for (const seat of this.#options.chains) this.#offer(seat)
      this.#merger.advance()
    }
  }

  restart(): void {
    const meta = this.#merger.snapshot(this.#pages.sink)
    this.#merger = this.#fresh()
    this.#merger.restore(meta, this.#pages.all())
    this.#options.chains.forEach((_, partition) => {
      this.#offered[partition] = this.#merger.cursor(partition)
    })
  }

  #offer({ partition, partials, chain }: ChainSeat): void {
    const { entries } = partials!
    let seq = this.#offered[partition]!
    while (seq < entries.length && this.#merger.wants(partition))
      this.#merger.offer(partition, entries[seq++]!)
    this.#offered[partition] = seq
    if (seq === entries.length) this.#merger.frontier(partition, chain.logMs)
  }

  #offeredTotal(): number {
    return this.#offered.reduce((sum, seq) => sum + seq, 0)
  }

  #fresh(): Merger {
    const { plan, registry, bucket, chains } = this.#options
    return new Merger({
      plan,
      registry,
      bucket,
      sink: this.#stream.sink,
      source: {
        groupKey: (partition, groupId) => chains[partition]!.groups[groupId]!,
        // A copy is aligned.
        entry: (partition, seq) => chains[partition]!.partials!.entries[seq]!.bytes.slice(),
      },
    })
  }
}
