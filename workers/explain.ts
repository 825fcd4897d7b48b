/**
 * Questions of `explain` to a running node: each is answered by a thread of its own, which reads the store and ends. One at a
 * time, a few may wait; beyond that the answer is UNAVAILABLE. What is told is of the last checkpoint.
 */
import { once } from 'node:events'
import { MillraceError } from '../engine/contract/errors.ts'
import type { ExplainQuery, ExplainRow } from '../engine/contract/queries.ts'
import type { ExplainWiring } from './explain-thread.ts'
import { ThreadPool } from './pool.ts'

const THREAD = 'explain'
/** Questions that wait for the one under way, that one included. */
export const EXPLAINS_MAX = 8

export class NodeExplain {
  readonly #dir: string
  #last: Promise<unknown> = Promise.resolve()
  #asked = 0

  constructor(dir: string) {
    this.#dir = dir
  }

  async ask(query: ExplainQuery): Promise<readonly ExplainRow[]> {
    if (this.#asked >= EXPLAINS_MAX) {
      const message = `${EXPLAINS_MAX} questions of this kind are being answered. Ask again in a moment.`
      throw new MillraceError('UNAVAILABLE', message, { retryable: true })
    }
    this.#asked++
    const answer = this.#last.then(() => explainAside(this.#dir, query))
    this.#last = answer.catch(() => {})
    try {
      return await answer
    } finally {
      this.#asked--
    }
  }

  /** Nothing reads the store any more. */
  async close(): Promise<void> {
    this.#asked = EXPLAINS_MAX
    await this.#last
  }
}

async function explainAside(dir: string, query: ExplainQuery): Promise<readonly ExplainRow[]> {
  const { port1, port2 } = new MessageChannel()
  let failure: MillraceError | null = null
  const pool = new ThreadPool({
    threads: 1,
    onFailure: (_thread, { error }) => {
      failure = error
    },
    onIdleFailure: (error) => {
      failure = error
    },
  })
  let rows: readonly ExplainRow[] = []
  port1.on('message', (message: readonly ExplainRow[]) => {
    rows = message
  })
  const closed = once(port1, 'close')
  try {
    const wiring: ExplainWiring = { dir, query, port: port2 }
    pool.start(THREAD, 'explain', wiring, [port2])
    await pool.ended(THREAD)
    // What was posted before the thread's end of the channel closed comes before its close.
    if (failure === null) await closed
  } finally {
    port1.close()
    await pool.close()
  }
  if (failure !== null) throw failure
  return rows
}
