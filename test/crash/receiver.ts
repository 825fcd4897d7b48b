/**
 * Whom the webhooks post to. Keeps every record that it was sent whole, with the path it came by. Now and then it takes
 * its time, and now and then it takes the record and answers nothing: what it answered is not what the node knows.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Prng } from '../../engine/util/prng.ts'

const SLOW_ONE_IN = 16
const SLOW_MS_MAX = 60
const SILENT_ONE_IN = 200

export class Receiver {
  /** By path, the JSON of each record in the order of arrival. */
  readonly received = new Map<string, string[]>()
  readonly #server: Server
  readonly #prng: Prng
  url = ''

  constructor(seed: number) {
    this.#prng = new Prng(seed)
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        this.#take(request.url!, Buffer.concat(chunks).toString())
        if (this.#prng.below(SILENT_ONE_IN) === 0) request.destroy()
        else if (this.#prng.below(SLOW_ONE_IN) === 0)
          setTimeout(() => response.end(), this.#prng.below(SLOW_MS_MAX))
        else response.end()
      })
      // A node that is killed resets its connections.
      request.on('error', () => {})
      response.on('error', () => {})
    })
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  count(): number {
    let count = 0
    for (const records of this.received.values()) count += records.length
    return count
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  #take(path: string, body: string): void {
    const there = this.received.get(path) ?? []
    const parsed: unknown = JSON.parse(body)
    // A record's own bytes: JSON of one parsed record is what the sink wrote, since key order is kept.
    const records = Array.isArray(parsed) ? parsed.map((record) => JSON.stringify(record)) : [body]
    there.push(...records)
    this.received.set(path, there)
  }
}
