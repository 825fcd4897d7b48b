/**
 * What `run` and `demo` share: a node from start to clean end, whatever ends it. `work` gets the running node and a
 * signal that fires when it should come to an end; a fatal error of the node rejects.
 */
import type { NodeConfig } from '../engine/config/config.ts'
import type { MillraceError } from '../engine/contract/errors.ts'
import type { Node } from '../engine/contract/node.ts'
import type { PipelinePlan } from '../engine/contract/plan.ts'
import type { Shell } from './shell.ts'

export interface ServeOptions {
  readonly config: NodeConfig
  readonly pipelines: readonly PipelinePlan[]
  readonly resetState: boolean
  /** The page may ask for a disturbance. */
  readonly demo?: boolean
}

export async function withNode<T>(
  shell: Shell,
  options: ServeOptions,
  work: (node: Node, stop: AbortSignal) => Promise<T>,
): Promise<T> {
  const fatal = rejectable()
  const stopping = new AbortController()
  void shell.stopped.then(() => stopping.abort())
  const node = await shell.startNode({
    ...options,
    onFatal: (error: MillraceError) => {
      stopping.abort()
      fatal.reject(error)
    },
    onWarning: (error) => shell.err(`millrace: ${error.message}\n`),
  })
  try {
    return await Promise.race([work(node, stopping.signal), fatal.promise])
  } finally {
    await node.close()
  }
}

interface Rejectable {
  readonly promise: Promise<never>
  reject(error: unknown): void
}

function rejectable(): Rejectable {
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse
  })
  // It is awaited once the node runs; before that it must not count as unhandled.
  promise.catch(() => {})
  return { promise, reject }
}

/** Resolves when the node should stop. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
