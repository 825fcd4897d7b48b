/**
 * The load of `end-to-end` and of the comparison with other servers: line protocol bodies over keep-alive connections,
 * from a process of its own. Bodies are built once; between sends only their timestamps are rewritten, so that the
 * generator costs as little as it can on the machine it shares with what it measures. It reads answers, counts them by
 * status, and sends the next body of a connection when the last one was answered.
 */
import { connect, type Socket } from 'node:net'
import { LineBody, type LineBodyOptions } from './line-body.ts'

export interface LoadOptions extends LineBodyOptions {
  readonly connections: number
  /** Bodies to send, over all connections. */
  readonly bodies: number
}

export interface LoadReport {
  readonly seconds: number
  readonly lines: number
  /** Bodies by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>
}

export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const { connections, linesPerBody, series, bodies, port } = options
  const statuses: Record<string, number> = {}
  let next = 0
  // Bodies by phase: with linesPerBody a multiple of series, or the reverse, there are few.
  const spare = new Map<number, LineBody[]>()
  const take = (firstLine: number): LineBody => {
    const phase = firstLine % series
    return spare.get(phase)?.pop() ?? new LineBody(options, firstLine)
  }
  const startMs = performance.now()
  await Promise.all(
    Array.from({ length: connections }, async (_, connection) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      })
      const answers = new Answers(socket)
      const { kind, producerIds, first } = options.identity
      for (let sent = 0; next < bodies; sent++) {
        const number = next++
        const firstLine = number * linesPerBody
        const body = take(firstLine)
        body.stamp(firstLine)
        body.identify(producerIds[connection] ?? 0, kind === 'key' ? first + number : sent)
        const answer = answers.next()
        socket.write(body.bytes)
        const status = await answer
        statuses[status] = (statuses[status] ?? 0) + 1
        const kept = spare.get(body.phase)
        if (kept === undefined) spare.set(body.phase, [body])
        else kept.push(body)
      }
      socket.destroy()
    }),
  )
  return { seconds: (performance.now() - startMs) / 1000, lines: bodies * linesPerBody, statuses }
}

/** Answers of one connection, one at a time: enough of HTTP for answers with a Content-Length or without a body. */
class Answers {
  #text = ''
  #waiting: { resolve: (status: string) => void; reject: (error: Error) => void } | null = null

  constructor(socket: Socket) {
    socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1')
      this.#settle()
    })
    socket.on('error', (error) => this.#waiting?.reject(error))
    socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')))
  }

  next(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
    })
  }

  #settle(): void {
    const headEnd = this.#text.indexOf('\r\n\r\n')
    if (headEnd < 0) return
    const head = this.#text.slice(0, headEnd)
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0)
    if (this.#text.length < headEnd + 4 + length) return
    this.#text = this.#text.slice(headEnd + 4 + length)
    this.#waiting?.resolve(head.slice(9, 12))
  }
}

// Started as a process of its own: options in, report out, then it ends.
process.once('message', (options: LoadOptions) => {
  runLoad(options).then(
    (report) => {
      process.send?.(report)
      process.disconnect?.()
    },
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exit(1)
    },
  )
})
