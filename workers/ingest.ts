/**
 * Where samples enter, on the main thread: one series table a topic, one ring to the log writer for all of them. Serves
 * the HTTP door (Ingest) and the files and host metrics of the command line (NodeInput). Never blocks the event loop.
 */
import { SampleBuilder } from '../engine/batch/sample-builder.ts'
import type { LogInput } from '../engine/broker/log-input.ts'
import type { BoardTopic } from '../engine/broker/node-board.ts'
import type {
  Ingest,
  IngestRequest,
  IngestResult,
  LinePrecision,
  Refusal,
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

  begin(topic: string, { precision }: { readonly precision: LinePrecision }): IngestRequest {
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
    return new LineRequest(this, door, builder, decoder)
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

  async append(
    door: Door,
    builder: SampleBuilder,
  ): Promise<AppendResult & { readonly refusedLocalIds: readonly number[] }> {
    if (builder.count === 0) return { samples: 0, refusedSamples: 0, durable: true, refusedLocalIds: [] }
    const ack = await this.#options.input.append(door.topic.topicId, door.table.takeNew(), builder)
    for (const localId of ack.refusedLocalIds) door.table.refuse(localId)
    const { samples, refusedSamples, refusedLocalIds } = ack
    return { samples, refusedSamples, durable: true, refusedLocalIds }
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

class LineRequest implements IngestRequest {
  readonly #ingest: NodeIngest
  readonly #door: Door
  readonly #decoder: LineProtocolDecoder
  #builder: SampleBuilder | null

  constructor(ingest: NodeIngest, door: Door, builder: SampleBuilder, decoder: LineProtocolDecoder) {
    this.#ingest = ingest
    this.#door = door
    this.#builder = builder
    this.#decoder = decoder
  }

  get sampleCount(): number {
    return this.#builder?.count ?? 0
  }

  write(chunk: Uint8Array): void {
    this.#decoder.write(chunk)
  }

  async finish(): Promise<IngestResult> {
    const builder = this.#builder
    assert(builder !== null, 'a request is finished once')
    const report = this.#decoder.end()
    this.#builder = null
    const appended = this.#ingest.append(this.#door, builder)
    // The columns are in the ring, or copied.
    this.#ingest.recycle(builder)
    const { refusedSamples, refusedLocalIds, durable } = await appended
    const { table } = this.#door
    return {
      report,
      durable,
      refusedSeries:
        refusedSamples === 0
          ? null
          : {
              samples: refusedSamples,
              examples: refusedLocalIds
                .slice(0, REFUSED_EXAMPLES_MAX)
                .map((id) => seriesText(table.labelsOf(id))),
              limit: this.#ingest.seriesLimit,
            },
    }
  }

  abort(): void {
    if (this.#builder !== null) this.#ingest.recycle(this.#builder)
    this.#builder = null
  }
}
