/**
 * The load of `latency`: one ordered stream of requests, pipelined over one connection, from a process of its own. Ordered,
 * because with disorder 0 a sample that is overtaken is late; pipelined, so that a request never waits for the answer to
 * the one before. Two kinds of load, one after the other on the same connection:
 *
 * saturate   as fast as it goes, with a bounded number of unanswered requests: what the node sustains;
 * schedule   open loop: request i is due at `firstDueMs + i * everyMs` whatever became of those before. One that is sent
 *            late (this process was not scheduled, or its timer was late) is still counted from when it was due.
 *
 * At UNANSWERED_MAX requests without an answer sending stops until there is one: memory has an end. What is held back is
 * counted from when it was due all the same.
 */
import { connect, type Socket } from 'node:net'
import { LineBody, type LineBodyOptions } from './line-body.ts'
import { sharedMs } from './shared-time.ts'

export interface OpenLoad {
  readonly requests: LineBodyOptions
  readonly kind: 'saturate' | 'schedule'
  /** Number of the first body in the endless order of scrapes; a body holds whole scrapes. */
  readonly firstBody: number
  readonly bodies: number
  /** Of `saturate`. */
  readonly unansweredMax: number
  /** Of `schedule`. */
  readonly everyMs: number
}

export interface OpenLoadReport {
  /** In shared time (shared-time.ts). */
  readonly firstDueMs: number
  readonly lastAnswerMs: number
  /** Requests by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Of `schedule`: how late requests were sent at worst, and on average. */
  readonly sentLateMsMax: number
  readonly sentLateMsMean: number
}

const UNANSWERED_MAX = 2_048
/** Before the first request of a schedule is due. */
const LEAD_MS = 20

class OpenLoader {
  readonly #socket: Socket
  readonly #load: OpenLoad
  readonly #spare: LineBody[]
  readonly #unanswered: LineBody[] = []
  readonly #statuses: Record<string, number> = {}
  readonly #done: (report: OpenLoadReport) => void
  #text = ''
  #sent = 0
  #answered = 0
  #firstDueMs = 0
  #isHeldBack = false
  #lateMsMax = 0
  #lateMsSum = 0

  constructor(socket: Socket, load: OpenLoad, spare: LineBody[], done: (report: OpenLoadReport) => void) {
    this.#socket = socket
    this.#load = load
    this.#spare = spare
    this.#done = done
    socket.on('data', this.#read)
  }

  start(): void {
    if (this.#load.kind === 'saturate') {
      this.#firstDueMs = sharedMs()
      this.#fill()
      return
    }
    this.#firstDueMs = sharedMs() + LEAD_MS
    this.#sendDue()
  }

  readonly #read = (chunk: Buffer): void => {
    this.#text += chunk.toString('latin1')
    for (;;) {
      const headEnd = this.#text.indexOf('\r\n\r\n')
      if (headEnd < 0) break
      const head = this.#text.slice(0, headEnd)
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
      if (this.#text.length < headEnd + 4 + length) break
      this.#text = this.#text.slice(headEnd + 4 + length)
      const status = head.slice(9, 12)
      this.#statuses[status] = (this.#statuses[status] ?? 0) + 1
      this.#answered++
      const body = this.#unanswered.shift()
      if (body !== undefined) this.#spare.push(body)
    }
    if (this.#answered === this.#load.bodies) this.#end()
    else if (this.#load.kind === 'saturate') this.#fill()
    else if (this.#isHeldBack) this.#sendDue()
  }

  #fill(): void {
    const { bodies, unansweredMax } = this.#load
    while (this.#sent < bodies && this.#unanswered.length < unansweredMax) this.#send()
  }

  #sendDue(): void {
    const { bodies, everyMs } = this.#load
    while (this.#sent < bodies) {
      const waitMs = this.#firstDueMs + this.#sent * everyMs - sharedMs()
      if (waitMs > 0) {
        setTimeout(() => this.#sendDue(), waitMs)
        return
      }
      this.#isHeldBack = this.#unanswered.length >= UNANSWERED_MAX
      if (this.#isHeldBack) return
      this.#lateMsMax = Math.max(this.#lateMsMax, -waitMs)
      this.#lateMsSum -= waitMs
      this.#send()
    }
  }

  #send(): void {
    const { requests, firstBody } = this.#load
    const firstLine = (firstBody + this.#sent) * requests.linesPerBody
    const body = this.#spare.pop() ?? new LineBody(requests, firstLine)
    body.stamp(firstLine)
    this.#unanswered.push(body)
    this.#sent++
    this.#socket.write(body.bytes)
  }

  #end(): void {
    this.#socket.off('data', this.#read)
    this.#done({
      firstDueMs: this.#firstDueMs,
      lastAnswerMs: sharedMs(),
      statuses: this.#statuses,
      sentLateMsMax: this.#lateMsMax,
      sentLateMsMean: this.#lateMsSum / this.#sent,
    })
  }
}

// Started as a process of its own: a load in, its report out, until it is told nothing more.
let socket: Socket | null = null
const spare: LineBody[] = []

process.on('message', (load: OpenLoad) => {
  if (socket === null) {
    socket = connect({ port: load.requests.port, host: '127.0.0.1', noDelay: true })
    socket.on('error', (error) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    })
  }
  new OpenLoader(socket, load, spare, (report) => process.send?.(report)).start()
})
process.on('disconnect', () => process.exit(0))
