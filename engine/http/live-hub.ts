/**
 * Server-sent events to the pages that watch. Bounded in every direction: so many clients, so many events kept for those
 * who come back, one event on its way to each. A client that reads slowly gets what is still kept when it can take
 * more, else a new beginning; one that takes nothing for long is let go. So a client costs a socket buffer and one event,
 * however slow it is, and none holds up another.
 *
 * Asks its source only while somebody watches. Called by the HTTP server; knows nothing of what the events say.
 */
import type { ServerResponse } from 'node:http'
import { MillraceError } from '../contract/errors.ts'
import { LIVE_CLIENTS, LIVE_DROPPED } from '../metrics/catalog.ts'
import type { ThreadMetrics } from '../metrics/thread-metrics.ts'
import type { Clock } from '../util/clock.ts'

export interface LiveEvent {
  readonly event: string
  /** JSON in one line. */
  readonly data: string
}

/** Where events come from. Called from one hub only. */
export interface LiveSource {
  /** Somebody watches: resolves when there is something to tell. */
  open(): Promise<void>
  /** What is new since the last call. */
  poll(): readonly LiveEvent[]
  /** All there is to tell to someone who knows nothing, up to the last `poll`; taken as slowly as the client reads. */
  snapshot(): Iterable<LiveEvent>
  /** Nobody watches any more; may be followed by `open`. */
  close(): void
}

export interface LiveLimits {
  /** Beyond, the answer is 503 with Retry-After. */
  readonly clientsMax: number
  /** Events kept for who comes back, and for who is slow: by number and by length; the oldest go first. */
  readonly eventsKeptMax: number
  readonly eventsKeptLengthMax: number
  /** A client that has taken nothing for so long is cut off. */
  readonly stalledMsMax: number
  readonly pollMs: number
  /** Silence after which a comment is sent, so that whatever is in between keeps the connection. */
  readonly heartbeatMs: number
  /** How long the source stays open when the last one has left: a page that is loaded again resumes. */
  readonly lingerMs: number
}

export const LIVE_LIMITS: LiveLimits = {
  clientsMax: 32,
  eventsKeptMax: 1_024,
  eventsKeptLengthMax: 8 * 2 ** 20,
  stalledMsMax: 30_000,
  pollMs: 250,
  heartbeatMs: 15_000,
  lingerMs: 30_000,
}

export interface LiveHubOptions {
  readonly source: LiveSource
  readonly clock: Clock
  readonly counters: ThreadMetrics
  readonly limits?: Partial<LiveLimits>
  /** Sent with every stream. */
  readonly headers?: Readonly<Record<string, string>>
  /** The source threw what is no operating error; the clients are let go. */
  readonly defect: (error: unknown) => void
}

interface Client {
  readonly res: ServerResponse
  /** Number of the next event it wants; below the oldest kept: it starts from a snapshot. */
  next: number
  snapshot: Iterator<LiveEvent> | null
  /** Since when it has not taken what was written; null: it takes all. */
  stalledFromMs: number | null
  writtenMs: number
}

/** Browsers come back after so long when a stream ends. */
const RETRY_MS = 2_000
const NOWHERE = -1

export class LiveHub {
  readonly #source: LiveSource
  readonly #clock: Clock
  readonly #counters: ThreadMetrics
  readonly #limits: LiveLimits
  readonly #headers: Readonly<Record<string, string>>
  readonly #defect: (error: unknown) => void
  readonly #clients = new Set<Client>()
  /** In wire form; the first has number `#oldest`. */
  #events: string[] = []
  #oldest = 0
  #eventsLength = 0
  /** Ids of one opening of the source are not known to the next. */
  #incarnation = ''
  #state: 'closed' | 'opening' | 'open' | 'ended' = 'closed'
  #timer: NodeJS.Timeout | null = null
  #emptyFromMs = 0

  constructor(options: LiveHubOptions) {
    this.#source = options.source
    this.#clock = options.clock
    this.#counters = options.counters
    this.#limits = { ...LIVE_LIMITS, ...options.limits }
    this.#headers = options.headers ?? {}
    this.#defect = options.defect
    this.#count()
  }

  get clientCount(): number {
    return this.#clients.size
  }

  /** Begins a stream on the response; throws UNAVAILABLE beyond the limit. `lastEventId`: what the client saw last. */
  attach(res: ServerResponse, lastEventId: string | undefined): void {
    const { clientsMax } = this.#limits
    if (this.#state === 'ended' || this.#clients.size >= clientsMax) {
      const reason =
        this.#state === 'ended'
          ? 'the node is stopping'
          : `${clientsMax} pages watch already, the most there may be`
      throw new MillraceError('UNAVAILABLE', `${reason}. Close one, or try again later.`, { retryable: true })
    }
    const client: Client = {
      res,
      next: this.#numberOf(lastEventId),
      snapshot: null,
      stalledFromMs: null,
      writtenMs: this.#clock.monotonicMs(),
    }
    this.#clients.add(client)
    this.#count()
    res.on('drain', () => {
      client.stalledFromMs = null
      if (this.#state === 'open') this.#pump(client)
    })
    res.on('close', () => this.#forget(client))
    res.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'X-Accel-Buffering': 'no',
      ...this.#headers,
    })
    res.write(`retry: ${RETRY_MS}\n\n`)
    if (this.#state === 'open') this.#pump(client)
    else if (this.#state === 'closed') this.#open()
  }

  /** Ends all streams; may be called twice. */
  close(): void {
    this.#state = 'ended'
    this.#stop()
    for (const { res } of [...this.#clients]) res.end()
    this.#clients.clear()
  }

  #open(): void {
    this.#state = 'opening'
    this.#incarnation = `${this.#clock.nowMs().toString(36)}-`
    this.#source.open().then(
      () => {
        if (this.#state !== 'opening') return this.#source.close()
        this.#state = 'open'
        this.#timer = setInterval(() => this.#turn(), this.#limits.pollMs)
        this.#timer.unref()
        for (const client of [...this.#clients]) this.#pump(client)
      },
      (error: unknown) => this.#fail(error),
    )
  }

  /** Forgets what is kept: the next opening starts from nothing. */
  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    this.#source.close()
    this.#oldest += this.#events.length
    this.#events = []
    this.#eventsLength = 0
  }

  #turn(): void {
    const nowMs = this.#clock.monotonicMs()
    if (this.#clients.size === 0 && nowMs - this.#emptyFromMs >= this.#limits.lingerMs) {
      this.#stop()
      this.#state = 'closed'
      return
    }
    try {
      for (const event of this.#source.poll()) this.#keep(event)
    } catch (error) {
      this.#fail(error)
      return
    }
    for (const client of [...this.#clients]) {
      this.#pump(client)
      this.#tend(client, nowMs)
    }
  }

  #keep(event: LiveEvent): void {
    const text = wire(event, this.#incarnation + (this.#oldest + this.#events.length))
    this.#events.push(text)
    this.#eventsLength += text.length
    const { eventsKeptMax, eventsKeptLengthMax } = this.#limits
    // The newest stays, however long: it is on its way to everybody.
    while (
      this.#events.length > 1 &&
      (this.#events.length > eventsKeptMax || this.#eventsLength > eventsKeptLengthMax)
    ) {
      this.#eventsLength -= this.#events.shift()!.length
      this.#oldest++
    }
  }

  /** Writes what the client wants until it takes no more, one event beyond that at most. */
  #pump(client: Client): void {
    const { res } = client
    try {
      while (!res.writableNeedDrain && !res.destroyed) {
        const text = this.#nextFor(client)
        if (text === null) return
        res.write(text)
        client.writtenMs = this.#clock.monotonicMs()
      }
      client.stalledFromMs ??= this.#clock.monotonicMs()
    } catch (error) {
      this.#fail(error)
    }
  }

  #nextFor(client: Client): string | null {
    if (client.snapshot !== null) {
      const { done, value } = client.snapshot.next()
      if (done !== true) return wire(value, null)
      client.snapshot = null
      // The id comes last: who breaks off before begins anew.
      return wire({ event: 'ready', data: '{}' }, this.#incarnation + (client.next - 1))
    }
    if (client.next < this.#oldest) {
      client.next = this.#oldest + this.#events.length
      client.snapshot = this.#source.snapshot()[Symbol.iterator]()
      return this.#nextFor(client)
    }
    const text = this.#events[client.next - this.#oldest]
    if (text === undefined) return null
    client.next++
    return text
  }

  #tend(client: Client, nowMs: number): void {
    if (client.stalledFromMs !== null) {
      if (nowMs - client.stalledFromMs < this.#limits.stalledMsMax) return
      this.#counters.add(LIVE_DROPPED, 1)
      client.res.destroy()
      this.#forget(client)
    } else if (nowMs - client.writtenMs >= this.#limits.heartbeatMs) {
      client.res.write(': still here\n\n')
      client.writtenMs = nowMs
    }
  }

  /** Number of the event after the one with this id; NOWHERE where it is none of ours. */
  #numberOf(id: string | undefined): number {
    if (id === undefined || this.#state !== 'open' || !id.startsWith(this.#incarnation)) return NOWHERE
    const number = Number(id.slice(this.#incarnation.length))
    const isKnown = Number.isInteger(number) && number < this.#oldest + this.#events.length
    return isKnown ? number + 1 : NOWHERE
  }

  #forget(client: Client): void {
    if (!this.#clients.delete(client)) return
    if (this.#clients.size === 0) this.#emptyFromMs = this.#clock.monotonicMs()
    this.#count()
  }

  #fail(error: unknown): void {
    if (this.#state === 'ended') return
    this.#stop()
    this.#state = 'closed'
    if (!(error instanceof MillraceError)) {
      for (const { res } of [...this.#clients]) res.destroy()
      this.#defect(error)
      return
    }
    // Told once; they come back, and it may be over by then.
    const { code, message } = error
    const told = wire({ event: 'problem', data: JSON.stringify({ code, error: message }) }, null)
    for (const { res } of [...this.#clients]) res.end(told)
  }

  #count(): void {
    this.#counters.set(LIVE_CLIENTS, this.#clients.size)
  }
}

function wire({ event, data }: LiveEvent, id: string | null): string {
  return `${id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`
}
