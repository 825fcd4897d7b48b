/**
 * Joins the command line to this process, its signals, its terminal and its output, and to the node. The only place that
 * ends the process. Threads and plug-ins are loaded when a command needs them. Called by main.ts.
 */
import { isatty } from 'node:tty'
import { systemClock } from '../engine/util/clock.ts'
import { dispatch } from './dispatch.ts'
import type { Shell, StopSignal, Terminal } from './shell.ts'

/** Something keeps the event loop alive although the command is done: it is not waited for longer. */
const LINGER_MS = 2_000

let stopped: Promise<StopSignal> | undefined

const shell: Shell = {
  cwd: process.cwd(),
  env: process.env,
  clock: systemClock,
  out: (text) => {
    process.stdout.write(text)
  },
  err: (text) => {
    process.stderr.write(text)
  },
  errIsTerminal: process.stderr.isTTY === true,
  outIsTerminal: process.stdout.isTTY === true,
  terminal: () => (process.stdin.isTTY === true && process.stdout.isTTY === true ? ownTerminal() : null),
  get stdin() {
    return process.stdin
  },
  stdinIsTerminal: isatty(0),
  // Only a command that can stop cleanly takes signals over; the others die of them.
  get stopped() {
    stopped ??= firstSignal()
    return stopped
  },
  startNode: async (options) => (await import('../workers/node.ts')).startNode(options),
  registry: async () => (await import('../operators/registry.ts')).registry,
}

/**
 * The second one ends the process at once: whoever asks twice does not want to wait. By SIGKILL, since `process.exit` ends
 * threads, and a thread that is ended inside a transaction may never be done with it.
 */
function firstSignal(): Promise<StopSignal> {
  return new Promise((resolve) => {
    let asked = false
    const on = (signal: StopSignal): void => {
      if (asked) process.kill(process.pid, 'SIGKILL')
      asked = true
      resolve(signal)
    }
    process.on('SIGINT', on)
    process.on('SIGTERM', on)
  })
}

function ownTerminal(): Terminal {
  const { stdin, stdout } = process
  return {
    get columns() {
      return stdout.columns
    },
    get rows() {
      return stdout.rows
    },
    take({ onKey, onResize }) {
      const keys = (chunk: Buffer): void => onKey(chunk.toString())
      stdin.setRawMode(true)
      stdin.on('data', keys)
      stdin.resume()
      stdout.on('resize', onResize)
      return () => {
        stdin.off('data', keys)
        stdin.setRawMode(false)
        stdin.pause()
        stdout.off('resize', onResize)
      }
    },
  }
}

export async function runProcess(): Promise<void> {
  // The reader went away, as in `millrace check x.ts | head`: nobody is left to tell.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
  process.exitCode = await dispatch(process.argv.slice(2), shell)
  setTimeout(() => process.exit(), LINGER_MS).unref()
}
