/** Errors lose class and code on their way between threads; this is their form there. */
import { MillraceError, type WireError } from '../engine/contract/errors.ts'

export function wireOf(error: unknown): WireError {
  if (error instanceof MillraceError) return error.toWire()
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return new MillraceError('WORKER_FAILED', message).toWire()
}
