/** A node of the built command line as a process of its own, and the signals that end it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { DIST } from './places.ts'

const MAIN = join(DIST, 'main.js')
/** Short epochs, so that a short run has many. */
export const NODE_ARGUMENTS: readonly string[] = [
  ['--shards', '2'],
  ['--commit-every', '20ms'],
  ['--checkpoint-every', '150ms'],
  // Event times are fixed by the seed, and lie ever further back.
  ['--retention-age', '30000d'],
].flat()

/** No checkpoint within a run: every restart replays from the beginning. */
export const REPLAY_ALL: readonly string[] = ['--checkpoint-every', '10m']

/** Of what a node says, the newest is kept for the report of a failure. */
const SAID_CHARACTERS_MAX = 8_192

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export class NodeProcess {
  /** The address once it listens; null: it ended before. */
  readonly ready: Promise<string | null>
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess
  #said = ''

  constructor(args: readonly string[], env: Readonly<Record<string, string>>) {
    const child = spawn(process.execPath, [MAIN, ...args, '--port', '0'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', ...env },
    })
    this.#child = child
    running.add(child)
    let found: (url: string | null) => void = () => {}
    this.ready = new Promise((resolve) => {
      found = resolve
    })
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-SAID_CHARACTERS_MAX)
      const url = /listens on (http:\/\/[\d.]+:\d+)/.exec(this.#said)?.[1]
      if (url !== undefined) found(url)
    })
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        running.delete(child)
        found(null)
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  get said(): string {
    return this.#said
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Null: it still runs after `ms`. */
  async endsWithin(ms: number): Promise<Ended | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), ms)
    })
    try {
      return await Promise.race([this.ended, late])
    } finally {
      clearTimeout(timer)
    }
  }
}
