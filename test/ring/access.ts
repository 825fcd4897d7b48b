/**
 * The shared accesses that a model thread makes, one `yield` each: what the explorer interleaves. `site` names the place
 * in the code (with its caller, where a method has several), so that site and fields together are the thread's state.
 */
export type Access =
  | { readonly op: 'load' | 'atomic-load'; readonly site: string; readonly word: number }
  | {
      readonly op: 'store' | 'atomic-store' | 'or' | 'and'
      readonly site: string
      readonly word: number
      readonly value: number
    }
  | {
      readonly op: 'compare-exchange'
      readonly site: string
      readonly word: number
      readonly expected: number
      readonly value: number
    }
  | { readonly op: 'wait'; readonly site: string; readonly word: number; readonly expected: number }
  | { readonly op: 'notify'; readonly site: string; readonly word: number }

/** What `yield` gives back: the word's value before the access; for `wait` one of these; for stores 0. */
export const WAIT_RUNG = 0
export const WAIT_NOT_EQUAL = 1
export const WAIT_TIMED_OUT = 2

export type Program<T = void> = Generator<Access, T, number>

/** A thread that can be started any number of times. `fields` is everything it remembers between two accesses. */
export interface ModelThread {
  readonly name: string
  start(): { program: Program; fields(): unknown }
}

export class ModelFailure extends Error {
  override readonly name = 'ModelFailure'
}

/** A violated guarantee, in model code. */
export function guarantee(condition: boolean, message: string, ...values: readonly unknown[]): void {
  if (!condition) throw new ModelFailure(`${message} [${values.map(String).join(', ')}]`)
}
