/**
 * Broken engines that the crash test must find: each breaks one promise. They are put into the threads of a child by a
 * module that node loads before all others (mutants.ts), so that the engine itself holds no switch for them.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

export const MUTANTS = ['offset-apart', 'ack-early', 'sent-early', 'not-suppressed'] as const
export type Mutant = (typeof MUTANTS)[number]

export const MUTANT_VARIABLE = 'MILLRACE_TEST_MUTANT'

export function mutantEnvironment(mutant: string): Record<string, string> {
  const module = pathToFileURL(join(import.meta.dirname, 'mutants.js')).href
  return { [MUTANT_VARIABLE]: mutant, NODE_OPTIONS: `--import=${module}` }
}
