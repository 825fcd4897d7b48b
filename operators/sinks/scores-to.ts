/**
 * Scores and bands of judged windows as samples of a topic, of this node or another one: exactly once. One body an entry of the
 * result stream, written by a producer of the partition's own, whose sequences count those entries (docs/http.md): what is sent again
 * is known there by its sequence and is not stored again. Where it is, is remembered with the sink's positions; the node's answer
 * tells only how far a sink got whose progress is lost. Entries of one partition go in order, partitions beside each other.
 *
 * At most one producer a partition: name `pipeline/sink/partition`, a new epoch with every open, so that a sink that was thought
 * dead is refused.
 */
import { type OptionInputOf, type OptionsOf, optionSpec, text } from '../../engine/config/options.ts'
import { DEFINITION, type SinkChoice } from '../../engine/contract/definition.ts'
import { MillraceError } from '../../engine/contract/errors.ts'
import type {
  ResultBody,
  SinkContext,
  SinkPlugin,
  SinkProgress,
  SinkRecord,
  TransactionalSink,
} from '../../engine/contract/plugins.ts'
import { type Labels, NAME_LABEL } from '../../engine/contract/samples.ts'
import { checkTarget, httpOptions, httpUrl } from './http-sink.ts'

const NAME_PATTERN = /^[A-Za-z_][A-Za-z0-9_]*$/
const ANSWER_SHOWN_CHARACTERS = 300
const RETRYABLE_STATUS = new Set([408, 425, 429])

const options = optionSpec(
  {
    url: { type: httpUrl, meaning: "a millrace node's address, this one's too" },
    topic: { type: text(), meaning: 'topic of that node, which some pipeline of it declares' },
    name: { type: text(), default: 'anomaly', meaning: 'metrics are called NAME_score, NAME_expected, …' },
    headers: httpOptions.headers,
    timeout: httpOptions.timeout,
  },
  (parsed, place, faults) => {
    checkTarget(parsed, place, faults)
    if (NAME_PATTERN.test(parsed.name)) return
    const remedy = 'Write letters, digits and underscores.'
    faults.push({ place: `${place}.name`, value: parsed.name, problem: 'is no name of a metric', remedy })
  },
)

export type ScoresToOptions = OptionsOf<typeof options>

/** Scores, expected values and bands of judged windows into a topic of a node, as samples, exactly once.
 *
 *     .to(scoresTo({ url: 'http://127.0.0.1:8428', topic: 'scores' }), { of: 'results' })
 */
export function scoresTo(written: OptionInputOf<typeof options>): SinkChoice {
  return { [DEFINITION]: { what: 'sink', kind: 'scores-to', options: written } }
}

export const scoresToPlugin: SinkPlugin<ScoresToOptions> = {
  kind: 'scores-to',
  summary: 'scores and bands of judged windows into a topic of a node, as samples, exactly once',
  guarantee: 'transactional',
  feeds: ['results'],
  wholeEntries: true,
  options,
  writesTopic: ({ topic }) => topic,
  open: async (parsed, context) => new ScoresTo(parsed, context),
}

interface Producer {
  readonly producerId: number
  readonly producerEpoch: number
  /** Of the topic. */
  readonly nextSequence: number
}

/** Sequence of the next entry, by partition. */
type Sequences = Readonly<Record<string, number>>

class ScoresTo implements TransactionalSink {
  readonly guarantee = 'transactional'
  readonly #options: ScoresToOptions
  readonly #context: SinkContext
  readonly #producers = new Map<number, Producer>()
  #sequences: Sequences = {}

  constructor(parsed: ScoresToOptions, context: SinkContext) {
    this.#options = parsed
    this.#context = context
  }

  async position(remembered: SinkProgress): Promise<SinkProgress> {
    const before = (remembered.token ?? {}) as Sequences
    const sequences: Record<string, number> = {}
    for (const partition of Object.keys(remembered.positions)) {
      const producer = await this.#producer(Number(partition))
      const sequence = before[partition] ?? producer.nextSequence
      if (sequence > producer.nextSequence) throw this.#behind(partition, sequence, producer)
      sequences[partition] = sequence
    }
    this.#sequences = sequences
    return { positions: remembered.positions, token: sequences }
  }

  async write(records: readonly SinkRecord[]): Promise<unknown> {
    const lanes = new Map<number, SinkRecord[][]>()
    for (const record of records) {
      const lane = lanes.get(record.partition) ?? []
      lanes.set(record.partition, lane)
      const last = lane.at(-1)
      if (last?.[0]?.seq === record.seq) last.push(record)
      else lane.push([record])
    }
    const written = await Promise.all([...lanes].map(([partition, lane]) => this.#writeLane(partition, lane)))
    // All or nothing: a lane that was through is known by its sequences when it comes again.
    this.#sequences = { ...this.#sequences, ...Object.fromEntries(written) }
    return this.#sequences
  }

  async close(): Promise<void> {
    // Requests in flight end with the context's signal.
  }

  async #writeLane(partition: number, entries: readonly SinkRecord[][]): Promise<[string, number]> {
    const producer = await this.#producer(partition)
    let sequence = this.#sequences[partition] ?? producer.nextSequence
    for (const entry of entries) {
      await this.#post(producer, sequence, entry)
      sequence++
    }
    return [String(partition), sequence]
  }

  async #producer(partition: number): Promise<Producer> {
    const known = this.#producers.get(partition)
    if (known !== undefined) return known
    const { pipeline, sink } = this.#context
    const name = `${pipeline}/${sink}/${partition}`
    const answer = await this.#ask(
      '/api/v1/producers',
      { 'content-type': 'application/json' },
      JSON.stringify({ name }),
    )
    if (!answer.ok) throw this.#refused(answer.status, await textOf(answer))
    const { producerId, producerEpoch, topics } = (await answer.json()) as {
      producerId: number
      producerEpoch: number
      topics: Readonly<Record<string, { readonly nextSequence: number }>>
    }
    const nextSequence = topics[this.#options.topic]?.nextSequence ?? 0
    const producer: Producer = { producerId, producerEpoch, nextSequence }
    this.#producers.set(partition, producer)
    return producer
  }

  /** Resolves when the node has stored it, now or before. */
  async #post(
    { producerId, producerEpoch }: Producer,
    sequence: number,
    entry: readonly SinkRecord[],
  ): Promise<void> {
    const { name, topic } = this.#options
    const body = entry.map(({ body }) => scoreLines(body as ResultBody, name)).join('')
    const query = new URLSearchParams({ topic, precision: 'ms' })
    const headers = {
      'X-Millrace-Producer-Id': String(producerId),
      'X-Millrace-Producer-Epoch': String(producerEpoch),
      'X-Millrace-Sequence': String(sequence),
    }
    const answer = await this.#ask(`/write?${query}`, headers, body)
    if (answer.ok) {
      await answer.arrayBuffer()
      return
    }
    const said = await textOf(answer)
    // Its good lines are stored and the sequence is used: the others are never taken.
    if (answer.status !== 400 || answer.headers.get('x-millrace-sequence') === null) {
      throw this.#refused(answer.status, said)
    }
    const message = `${this.#name()}: some scores of ${entry[0]!.id} were refused: ${said}. Their results are in the table.`
    this.#context.deadLetter(entry.length, new MillraceError('SINK_FAILED', message))
  }

  async #ask(path: string, headers: Readonly<Record<string, string>>, body: string): Promise<Response> {
    const { url, timeoutMs } = this.#options
    const signal = AbortSignal.any([this.#context.signal, AbortSignal.timeout(timeoutMs)])
    try {
      const target = `${url.replace(/\/+$/, '')}${path}`
      return await fetch(target, {
        method: 'POST',
        headers: { ...this.#options.headers, ...headers },
        body,
        redirect: 'manual',
        signal,
      })
    } catch (error) {
      const cause =
        error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
      throw this.#failure(
        `${new URL(url).origin} did not answer: ${cause}. It is tried again; nothing is lost`,
        true,
      )
    }
  }

  #refused(status: number, said: string): MillraceError {
    const isRetryable = RETRYABLE_STATUS.has(status) || status >= 500
    const then = isRetryable ? 'It is tried again' : 'The sink stops; it goes on from there at the next start'
    return this.#failure(
      `${new URL(this.#options.url).origin} answered ${status}: ${said}. ${then}`,
      isRetryable,
    )
  }

  #behind(partition: string, sequence: number, { nextSequence }: Producer): MillraceError {
    return this.#failure(
      `topic ${this.#options.topic} of ${new URL(this.#options.url).origin} holds ${nextSequence} bodies of partition ` +
        `${partition}, and had confirmed ${sequence}: it was restored from a backup, or is another one. Give the sink ` +
        'another name, and it begins anew',
      false,
    )
  }

  #failure(what: string, retryable: boolean): MillraceError {
    return new MillraceError('SINK_FAILED', `${this.#name()}: ${what}.`, { retryable })
  }

  #name(): string {
    return `Sink ${this.#context.pipeline}/${this.#context.sink}`
  }
}

/** Line protocol of a window's scores, a line a detector; empty where none could judge. Times are those of the window's end. */
export function scoreLines({ pipeline, group, windowEndMs, scores }: ResultBody, name: string): string {
  let lines = ''
  for (const [detector, { score, expected, lower, upper }] of Object.entries(scores)) {
    const fields = Object.entries({ score, expected, lower, upper })
      .flatMap(([field, value]) => (value === null ? [] : [`${field}=${value}`]))
      .join(',')
    if (fields === '') continue
    const tags = tagsOf({ pipeline, detector }, group)
    lines += `${name}${tags} ${fields} ${Math.round(windowEndMs)}\n`
  }
  return lines
}

/** The group's labels beside the sink's own; one that is called as these are is `exported_…`, as Prometheus has it. */
function tagsOf(own: Labels, group: Labels): string {
  const tags: Record<string, string> = { ...own }
  for (const [label, value] of Object.entries(group)) {
    let name = label === NAME_LABEL ? 'metric' : label
    while (Object.hasOwn(tags, name)) name = `exported_${name}`
    tags[name] = value
  }
  return Object.entries(tags)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `,${escaped(name)}=${escaped(value)}`)
    .join('')
}

/** A line break cannot stand in a tag. */
function escaped(text: string): string {
  return text.replaceAll('\n', '\\n').replace(/[,= ]/g, (sign) => `\\${sign}`)
}

async function textOf(answer: Response): Promise<string> {
  return (await answer.text()).trim().slice(0, ANSWER_SHOWN_CHARACTERS)
}
