/**
 * Where samples enter, on the main thread: one series table a topic, one ring to the log writer for all of them. Serves
 * the HTTP door (Ingest) and the files and host metrics of the command line (NodeInput). Never blocks the event loop.
 */
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import type { OnceFrame } from '../engine/broker/ingest-frames.ts'
import type { Acknowledgement } from '../engine/broker/log-appender.ts'
import type { LogInput } from '../engine/broker/log-input.ts'
import type { BoardTopic } from '../engine/broker/node-board.ts'
import { BodyFingerprint } from '../engine/broker/request-identity.ts'
import { MillraceError } from '../engine/contract/errors.ts'
import type { OnceVerdict, RequestIdentity, StoredPlace } from '../engine/contract/idempotency.ts'
import type {
  Ingest,
  IngestRequest,
  IngestResult,
  LinePrecision,
  OnceResult,
  OpenedProducer,
  Refusal,
  RefusedSeries,
} from '../engine/contract/ingest.ts'
import type { AppendResult, NodeInput } from '../engine/contract/node.ts'
import { seriesText } from '../engine/series/series-key.ts'
import { SeriesTable } from '../engine/series/series-table.ts'
import { assert } from '../engine/util/assert.ts'
import type { Clock } from '../engine/util/clock.ts'
import { type LineProtocolDecoder, lineProtocolDecoder } from '../operators/sources/line-protocol.ts'

/** Builders kept for the next requests, and the largest of them: the rest is left to the garbage collector. */
const BUILDERS_KEPT_MAX = 32
const BUILDER_SAMPLES_KEPT_MAX = 262_144
const REFUSED_EXAMPLES_MAX = 5

export interface IngestOptions {
  readonly topics: readonly BoardTopic[]
  readonly input: LogInput
  readonly seriesLimit: number
  readonly futureGuardMs: number
  readonly clock: Clock
  /** Why nothing is taken now, or null. */
  readonly refusal: (topic: BoardTopic) => Refusal | null
  /** Resolves when the disk has room. */
  readonly room: () => Promise<void>
}

interface Door {
  readonly topic: BoardTopic
  readonly table: SeriesTable
}

export class NodeIngest implements Ingest {
  readonly #options: IngestOptions
  readonly #doors: ReadonlyMap<string, Door>
  readonly #builders: SampleBuilder[] = []

  constructor(options: IngestOptions) {
    this.#options = options
    this.#doors = new Map(
      options.topics.map((topic) => [
        topic.name,
        { topic, table: new SeriesTable({ limit: options.seriesLimit }) },
      ]),
    )
  }

  admission(topic: string): Refusal | null {
    const door = this.#doors.get(topic)
    if (door !== undefined) return this.#options.refusal(door.topic)
    const known = [...this.#doors.keys()].map((name) => `"${name}"`).join(', ')
    return {
      status: 404,
      problem: `there is no topic "${topic}"`,
      remedy: `Topics of this node: ${known}. A topic is made when a pipeline declares it.`,
    }
  }

  begin(
    topic: string,
    options: { readonly precision: LinePrecision; readonly identity: RequestIdentity | null },
  ): IngestRequest {
    const { precision, identity } = options
    const door = this.#door(topic)
    const builder = this.#builders.pop() ?? new SampleBuilder()
    const { clock, futureGuardMs } = this.#options
    const decoder = lineProtocolDecoder({
      table: door.table,
      builder,
      precision,
      nowMs: clock.nowMs(),
      futureLimitMs: futureGuardMs,
    })
    const once = identity === null ? null : { identity, fingerprint: new BodyFingerprint(precision) }
    return new LineRequest(this, door, builder, decoder, once)
  }

  async openProducer(name: string | null): Promise<OpenedProducer> {
    const { grant } = await this.#options.input.openProducer(name)
    if (grant === undefined || grant === null) {
      throw new MillraceError(
        'LOG_FULL',
        'the node knows as many producers as it may, and none has been quiet for a week. Use the ones there are, by ' +
          'name, or raise producerLimit.',
        { retryable: true },
      )
    }
    const { producerId, producerEpoch } = grant
    const topics: Record<string, OpenedProducer['topics'][string]> = {}
    for (const { topicId, lastSequence, storedAt } of grant.topics) {
      const topic = this.#options.topics.find((each) => each.topicId === topicId)
      assert(topic !== undefined, 'every topic of the log has a door', topicId)
      const place = placeText(topic.name, storedAt)
      topics[topic.name] = { lastSequence, nextSequence: lastSequence + 1, storedAt: place }
    }
    return { producerId, producerEpoch, topics }
  }

  input(topic: string): NodeInput {
    const door = this.#door(topic)
    return { table: door.table, append: (builder) => this.#appendInRoom(door, builder) }
  }

  /** A file can wait: what is appended fits into the reserve of the disk, the next of it comes when there is room again. */
  async #appendInRoom(door: Door, builder: SampleBuilder): Promise<AppendResult> {
    const result = await this.append(door, builder)
    await this.#options.room()
    return result
  }

  async append(door: Door, builder: SampleBuilder): Promise<AppendResult> {
    if (builder.count === 0) return { samples: 0, refusedSamples: 0, durable: true }
    const { samples, refusedSamples } = await this.appendOnce(door, builder, null)
    return { samples, refusedSamples, durable: true }
  }

  async appendOnce(door: Door, builder: SampleBuilder, once: OnceFrame | null): Promise<Acknowledgement> {
    const ack = await this.#options.input.append(door.topic.topicId, door.table.takeNew(), builder, once)
    for (const localId of ack.refusedLocalIds) door.table.refuse(localId)
    return ack
  }

  recycle(builder: SampleBuilder): void {
    if (this.#builders.length >= BUILDERS_KEPT_MAX || builder.seriesIds.length > BUILDER_SAMPLES_KEPT_MAX)
      return
    builder.clear()
    this.#builders.push(builder)
  }

  get seriesLimit(): number {
    return this.#options.seriesLimit
  }

  #door(topic: string): Door {
    const door = this.#doors.get(topic)
    assert(door !== undefined, 'a topic is admitted before it is used', topic)
    return door
  }
}

/** What makes a request one that is stored once. */
interface RequestOnce {
  readonly identity: RequestIdentity
  readonly fingerprint: BodyFingerprint
}

class LineRequest implements IngestRequest {
  readonly #ingest: NodeIngest
  readonly #door: Door
  readonly #decoder: LineProtocolDecoder
  readonly #once: RequestOnce | null
  #builder: SampleBuilder | null

  constructor(
    ingest: NodeIngest,
    door: Door,
    builder: SampleBuilder,
    decoder: LineProtocolDecoder,
    once: RequestOnce | null,
  ) {
    this.#ingest = ingest
    this.#door = door
    this.#builder = builder
    this.#decoder = decoder
    this.#once = once
  }

  get sampleCount(): number {
    return this.#builder?.count ?? 0
  }

  write(chunk: Uint8Array): void {
    this.#once?.fingerprint.update(chunk)
    this.#decoder.write(chunk)
  }

  async finish(): Promise<IngestResult> {
    const builder = this.#builder
    assert(builder !== null, 'a request is finished once')
    const report = this.#decoder.end()
    this.#builder = null
    const once = this.#once
    if (once === null && builder.count === 0) {
      this.#ingest.recycle(builder)
      return { report, durable: true, refusedSeries: null, once: null }
    }
    const { name } = this.#door.topic
    const frame = once === null ? null : once.fingerprint.frame(name, once.identity)
    const appended = this.#ingest.appendOnce(this.#door, builder, frame)
    // The columns are in the ring, or copied.
    this.#ingest.recycle(builder)
    const ack = await appended
    if (once === null || ack.once === null) {
      return { report, durable: true, refusedSeries: this.#refusedSeries(ack), once: null }
    }
    const { verdict, storedAt } = ack.once
    const place = { topic: encodeURIComponent(name), storedAt: placeText(name, storedAt) }
    if (verdict === 'stored') {
      const stored: OnceResult = { ...place, isDuplicate: false, futureThen: 0 }
      return { report, durable: true, refusedSeries: this.#refusedSeries(ack), once: stored }
    }
    if (verdict !== 'duplicate') throw onceRefusal(once.identity, ack.once, name)
    // Lines that cannot be read are the same now as then. What reads well now and was not stored then lay in the future,
    // or belongs to series that were refused.
    const { samples, refusedSamples } = ack.once
    const notStored = samples < 0 ? 0 : Math.max(0, report.samples - samples)
    const refused = Math.min(notStored, refusedSamples)
    const limit = this.#ingest.seriesLimit
    return {
      report,
      durable: true,
      refusedSeries: refused === 0 ? null : { samples: refused, examples: [], limit },
      once: { ...place, isDuplicate: true, futureThen: notStored - refused },
    }
  }

  abort(): void {
    if (this.#builder !== null) this.#ingest.recycle(this.#builder)
    this.#builder = null
  }

  #refusedSeries({ refusedSamples, refusedLocalIds }: Acknowledgement): RefusedSeries | null {
    if (refusedSamples === 0) return null
    const { table } = this.#door
    const examples = refusedLocalIds
      .slice(0, REFUSED_EXAMPLES_MAX)
      .map((id) => seriesText(table.labelsOf(id)))
    return { samples: refusedSamples, examples, limit: this.#ingest.seriesLimit }
  }
}

/** `topic/partition:offset`, fit for a header. */
function placeText(topic: string, place: StoredPlace | null): string | null {
  return place === null ? null : `${encodeURIComponent(topic)}/${place.partition}:${place.offset}`
}

/** Nothing was stored, and why, and what to do. */
function onceRefusal(identity: RequestIdentity, verdict: OnceVerdict, topic: string): MillraceError {
  const { expected, storedAt } = verdict
  const place = placeText(topic, storedAt) ?? 'nowhere, since none of its lines could be stored'
  if (identity.kind === 'key') {
    const key = JSON.stringify(identity.key)
    return verdict.verdict === 'reused'
      ? new MillraceError(
          'KEY_REUSED',
          `Idempotency-Key ${key} was used for another body, stored at ${place}; nothing of this one is stored. Use a ` +
            'new key for each body, and the same bytes and precision when sending again.',
        )
      : new MillraceError(
          'LOG_FULL',
          `${expected} idempotency keys are remembered, which is the limit; nothing was stored under ${key}. Send again ` +
            'when older ones have expired, or raise idempotencyKeys, or shorten idempotencyHorizon.',
          { retryable: true },
        )
  }
  const { producerId, producerEpoch, sequence } = identity
  const who = `producer ${producerId}`
  switch (verdict.verdict) {
    case 'reused':
      return new MillraceError(
        'KEY_REUSED',
        `sequence ${sequence} of ${who} in topic ${topic} was used for another body, stored at ${place}; nothing of ` +
          'this one is stored. Count each body once, and send the same bytes and precision again.',
      )
    case 'fenced':
      return new MillraceError(
        'PRODUCER_FENCED',
        `${who} is in epoch ${expected} now, and epoch ${producerEpoch} may not write any more; nothing was stored. ` +
          'Another process has asked for this producer since: stop, or ask POST /api/v1/producers for it again.',
      )
    case 'gap':
      return new MillraceError(
        'SEQUENCE_GAP',
        `sequence ${sequence} of ${who} in topic ${topic} does not follow: ${expected} comes next; nothing was ` +
          `stored. Send the bodies from ${expected} on, in order, each after the one before it was answered.`,
      )
    default:
      return new MillraceError(
        'PRODUCER_UNKNOWN',
        `${who} with epoch ${producerEpoch} is not known here; nothing was stored. Ask POST /api/v1/producers for a ` +
          'producer, and find out what is stored before sending again what was not answered.',
      )
  }
}
