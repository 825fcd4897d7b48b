/**
 * Turns a generator into a transition table, on demand: a generator can be neither copied nor compared, but a thread is a
 * deterministic function of the values its accesses returned. A local state is (site, fields); each keeps one history of
 * values that leads to it, and a new transition is found by running a fresh generator through that history.
 * `check` guards the merging: if a model kept a variable outside its fields, two histories would meet in one state and
 * then part, and states would go unexplored.
 */
import { Prng } from '../../engine/util/prng.ts'
import { type Access, ModelFailure, type ModelThread, type Program } from './access.ts'

interface LocalState {
  /** Null: the program has ended. */
  readonly access: Access | null
  readonly failure: string | null
  readonly key: string
  readonly history: readonly number[]
  readonly next: Map<number, number>
  /** Keys of `next`. */
  readonly values: number[]
}

const CHECK_WALKS = 1000

export class ThreadTable {
  readonly name: string
  readonly #thread: ModelThread
  readonly #states: LocalState[] = []
  readonly #idByKey = new Map<string, number>()

  constructor(thread: ModelThread) {
    this.name = thread.name
    this.#thread = thread
    this.#intern([])
  }

  get localStates(): number {
    return this.#states.length
  }

  access(id: number): Access | null {
    return this.#states[id]!.access
  }

  /** What the program threw on its way into this state, or null. */
  failure(id: number): string | null {
    return this.#states[id]!.failure
  }

  step(id: number, value: number): number {
    const state = this.#states[id]!
    const known = state.next.get(value)
    if (known !== undefined) return known
    const next = this.#intern([...state.history, value])
    state.next.set(value, next)
    state.values.push(value)
    return next
  }

  /**
   * Walks the table at random beside a live program; throws where they part: then two histories were merged in one state
   * that the program does not take for one, and a field is missing from `fields`.
   */
  check(seed: number): void {
    const prng = new Prng(seed)
    for (let walk = 0; walk < CHECK_WALKS; walk++) {
      const { program, fields } = this.#thread.start()
      let result = program.next()
      let id = 0
      while (!result.done && this.#states[id]!.values.length > 0) {
        const { values, next } = this.#states[id]!
        const value = values[prng.below(values.length)]!
        id = next.get(value)!
        result = program.next(value)
        if (keyOf(result.done ? null : result.value, fields()) === this.#states[id]!.key) continue
        throw new Error(`${this.name}: the model keeps state outside its fields at ${this.#states[id]!.key}`)
      }
    }
  }

  #intern(history: readonly number[]): number {
    const state = this.#replay(history)
    const known = this.#idByKey.get(state.key)
    if (known !== undefined) return known
    const id = this.#states.push({ ...state, history, next: new Map(), values: [] }) - 1
    this.#idByKey.set(state.key, id)
    return id
  }

  #replay(history: readonly number[]): Pick<LocalState, 'access' | 'failure' | 'key'> {
    const { program, fields } = this.#thread.start()
    try {
      let result = program.next()
      for (const value of history) result = program.next(value)
      const access = result.done ? null : result.value
      return { access, failure: null, key: keyOf(access, fields()) }
    } catch (error) {
      if (!(error instanceof ModelFailure)) throw error
      return { access: null, failure: error.message, key: `failed: ${error.message}` }
    }
  }
}

function keyOf(access: Access | null, fields: unknown): string {
  return `${JSON.stringify(access)} ${JSON.stringify(fields)}`
}

/** Runs a program alone on `words`, at once and in order; the accesses it made. */
export function runAlone<T>(program: Program<T>, words: Map<number, number>, trace: Access[]): T {
  let result = program.next()
  while (!result.done) {
    const access = result.value
    trace.push(access)
    const before = words.get(access.word) ?? 0
    if (access.op === 'store' || access.op === 'atomic-store') words.set(access.word, access.value)
    else if (access.op === 'or') words.set(access.word, before | access.value)
    else if (access.op === 'and') words.set(access.word, before & access.value)
    else if (access.op === 'compare-exchange') {
      if (before === access.expected) words.set(access.word, access.value)
    } else if (access.op === 'wait') throw new Error('a program that runs alone cannot wait')
    result = program.next(before)
  }
  return result.value
}
