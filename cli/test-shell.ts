/** A shell for tests of commands that need no node of their own: what they print is kept, signals and keys are sent by hand. */
import { MillraceError } from '../engine/contract/errors.ts'
import { ManualClock, systemClock } from '../engine/util/clock.ts'
import { registry } from '../operators/registry.ts'
import { dispatch } from './dispatch.ts'
import type { Shell, StopSignal, Terminal } from './shell.ts'

export interface TestWorld {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly outIsTerminal?: boolean
  readonly terminal?: () => Terminal | null
  readonly stopped?: Promise<StopSignal>
  readonly onOut?: (text: string) => void
  /** A clock that stands still there. */
  readonly nowMs?: number
}

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export async function runCommand(words: readonly string[], world: TestWorld): Promise<Ran> {
  let out = ''
  let err = ''
  const shell: Shell = {
    cwd: world.cwd,
    env: world.env ?? {},
    clock: world.nowMs === undefined ? systemClock : new ManualClock(world.nowMs),
    out(text) {
      out += text
      world.onOut?.(text)
    },
    err(text) {
      err += text
    },
    errIsTerminal: false,
    outIsTerminal: world.outIsTerminal === true,
    ...(world.terminal === undefined ? {} : { terminal: world.terminal }),
    stdin: (async function* () {})(),
    stdinIsTerminal: false,
    stopped: world.stopped ?? new Promise<StopSignal>(() => {}),
    startNode: () => Promise.reject(new MillraceError('UNAVAILABLE', 'no node is started here')),
    registry: () => Promise.resolve(registry),
  }
  const code = await dispatch(words, shell)
  return { code, out, err }
}
