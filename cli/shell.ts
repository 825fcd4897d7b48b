/**
 * What a command may touch of the world around it, handed in by main.ts: so that tests run commands in process, with a
 * node, signals and output of their own. Commands return an exit code; only main.ts ends the process.
 */
import type { CommandDef } from 'citty'
import type { NodeConfig } from '../engine/config/config.ts'
import type { MillraceError } from '../engine/contract/errors.ts'
import type { Node } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Registry } from '../engine/contract/plugins.ts'
import type { Clock } from '../engine/util/clock.ts'

export const EXIT_OK = 0
/** What was asked for could not be done. */
export const EXIT_FAILED = 1
/** It was not asked for in a way that can be understood. */
export const EXIT_USAGE = 2
/** A run over files was broken off: 128 and the signal's number, as shells count. */
export const EXIT_SIGNALLED: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 }

export type StopSignal = 'SIGINT' | 'SIGTERM'

export interface StartOptions {
  readonly config: NodeConfig
  readonly pipelines: readonly PipelinePlan[]
  readonly onFatal: (error: MillraceError) => void
  readonly resetState: boolean
  readonly onWarning: (error: MillraceError) => void
  readonly demo?: boolean
}

export interface Shell {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** What was asked for, for machines too. */
  out(text: string): void
  /** Everything else. */
  err(text: string): void
  /** Whether `err` goes to a terminal, whose lines can be written over. */
  readonly errIsTerminal: boolean
  /** Whether `out` does; by default not. */
  readonly outIsTerminal?: boolean
  /** The whole terminal, for a command that fills it; null or left out: there is none. */
  readonly terminal?: () => Terminal | null
  readonly stdin: AsyncIterable<Uint8Array>
  /** Whether somebody is there to answer a question. */
  readonly stdinIsTerminal: boolean
  /** The first signal to stop. The second ends the process at once. */
  readonly stopped: Promise<StopSignal>
  /** Loaded on first use: `check` and `--help` start no threads. */
  startNode(options: StartOptions): Promise<Node>
  registry(): Promise<Registry>
}

export interface Terminal {
  readonly columns: number
  readonly rows: number
  /** Keys come one by one, unechoed, until the returned function gives the terminal back as it was. */
  take(listener: { readonly onKey: (key: string) => void; readonly onResize: () => void }): () => void
}

/** One command, one file. `examples` follow the flags in its help. */
export interface Command {
  // biome-ignore lint/suspicious/noExplicitAny: citty's type of arguments is invariant.
  readonly definition: CommandDef<any>
  readonly examples: string
}

/** citty hands `data` through untyped. */
export function shellOf(data: unknown): Shell {
  return data as Shell
}
