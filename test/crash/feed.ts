/**
 * What the crash test sends: bodies made from the seed and their number, each sample once in all of them together. A
 * sample's value carries the number of its body, so that the log tells which bodies it holds, and whether whole.
 *
 * The feeder keeps no promise of its own: it sends a body until it is acknowledged, as any careful client does, and
 * counts sends and acknowledgements. `/write` without keys is at least once, so the log may hold a body once for each
 * send, and must hold it once for each acknowledgement.
 */
import { NAME_LABEL } from '../../engine/contract/samples.ts'
import { Prng } from '../../engine/util/prng.ts'

/** Event time of one body; windows, disorder and idleness of the pipelines are small multiples of it. */
export const STEP_MS = 500
const START_MS = 1_700_000_000_000
const HOSTS = 10
/** Bodies that one short-lived host is in. */
const GUEST_BODIES = 16
/** How far a late sample lies behind: beyond disorder and windows. */
const LATE_MS = 20_000
/** The body's number is the fraction of each value, exactly: 2^20 bodies at most. */
const FRACTION = 2 ** 20

export interface FedSample {
  readonly host: string
  readonly timestampMs: number
  readonly value: number
}

export interface Body {
  readonly index: number
  readonly samples: readonly FedSample[]
  readonly text: string
}

export function makeBody(seed: number, index: number): Body {
  if (index >= FRACTION) throw new RangeError(`a run has at most ${FRACTION} bodies`)
  const prng = new Prng((seed ^ Math.imul(index + 1, 0x9e3779b1)) | 0)
  const startMs = START_MS + index * STEP_MS
  const samples: FedSample[] = []
  const add = (host: string, timestampMs: number, whole: number): void => {
    samples.push({ host, timestampMs, value: whole + index / FRACTION })
  }
  for (let host = 0; host < HOSTS; host++) {
    const isHot = (index >> 4) % 5 === host % 5
    add(`h${host}`, startMs + prng.below(STEP_MS), isHot ? 90 + prng.below(9) : 20 + prng.below(30))
  }
  add(`g${Math.floor(index / GUEST_BODIES)}`, startMs + prng.below(STEP_MS), prng.below(60))
  if (prng.below(4) === 0)
    add(`h${prng.below(HOSTS)}`, startMs - LATE_MS - prng.below(STEP_MS), prng.below(60))
  const lines = samples.map(
    ({ host, timestampMs, value }) => `load,host=${host} value=${value} ${timestampMs}`,
  )
  return { index, samples, text: lines.join('\n') }
}

/** Which body a sample of the log belongs to. */
export function bodyOf(value: number): number {
  return (value - Math.floor(value)) * FRACTION
}

export function hostOf(labels: Readonly<Record<string, string>>): string {
  return labels[NAME_LABEL] === 'load' ? labels.host! : `?${labels[NAME_LABEL]}`
}

/** Requests at a time: two share a transaction now and then. */
const LANES = 2
const ANSWER_MS_MAX = 20_000

export class Feeder {
  /** By body: requests that may have reached the node, and 2xx answers. */
  readonly sends: number[] = []
  readonly acks: number[] = []
  readonly #seed: number
  readonly #pauseMs: number
  /** Sent without an answer: they go first. */
  readonly #again: number[] = []
  #url: string | null = null
  #refused: string | null = null
  #lanes: Promise<void>[] = []

  /** `firstBody`: those before it are another feeder's. */
  constructor(seed: number, pauseMs: number, firstBody = 0) {
    this.#seed = seed
    this.#pauseMs = pauseMs
    for (let index = 0; index < firstBody; index++) {
      this.sends.push(0)
      this.acks.push(0)
    }
  }

  /** Counts what another feeder sent and was told. */
  join(other: Feeder): void {
    for (const [index, sends] of other.sends.entries()) {
      this.sends[index] = (this.sends[index] ?? 0) + sends
      this.acks[index] = (this.acks[index] ?? 0) + (other.acks[index] ?? 0)
    }
  }

  get bodies(): number {
    return this.sends.length
  }

  get unanswered(): number {
    return this.#again.length
  }

  /** An answer that is neither 2xx nor a lost one: the test itself is broken. */
  get refused(): string | null {
    return this.#refused
  }

  /** Feeds the node at `url` until `stop`; new bodies only up to `bodiesMax`. */
  start(url: string, bodiesMax = Number.POSITIVE_INFINITY): void {
    this.#url = url
    this.#lanes = Array.from({ length: LANES }, () => this.#lane(url, bodiesMax))
  }

  /** Resolves when nothing is in flight. */
  async stop(): Promise<void> {
    this.#url = null
    await this.ended()
  }

  /** Resolves when stopped, or when all bodies are acknowledged. */
  async ended(): Promise<void> {
    await Promise.all(this.#lanes)
  }

  async #lane(url: string, bodiesMax: number): Promise<void> {
    while (this.#url === url) {
      const index = this.#again.shift() ?? (this.sends.length < bodiesMax ? this.sends.length : -1)
      if (index < 0) return
      this.sends[index] = (this.sends[index] ?? 0) + 1
      this.acks[index] ??= 0
      const answer = await send(url, makeBody(this.#seed, index).text)
      if (answer === 204) this.acks[index]!++
      else {
        this.#again.push(index)
        if (answer !== null && answer !== 503) this.#refused = `body ${index} was answered ${answer}`
        // The node is gone or going; whoever started it says so.
        await pause(20)
      }
      await pause(this.#pauseMs)
    }
  }
}

/** The status; null: no answer. */
async function send(url: string, body: string): Promise<number | null> {
  try {
    const answer = await fetch(`${url}/write?precision=ms`, {
      method: 'POST',
      body,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    })
    await answer.text()
    return answer.status
  } catch {
    return null
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
