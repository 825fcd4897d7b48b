/**
 * Explores every interleaving of model threads, access by access, over one of three memories:
 *   races       sequentially consistent, with happens-before tracked: a data race is a violation (races.ts);
 *   tso         plain stores wait in a queue a thread, and become visible one after another at any later time (x86);
 *   unordered   plain stores become visible in any order among words; only an atomic write waits for all before it.
 * In all three an atomic load may overtake the thread's own plain stores; an atomic write may not.
 *
 * Guarantees checked in every state: what the model itself demands; no word outside the declared ones is touched; no
 * deadlock (somebody has not ended and nobody can step); and where waits do not time out, no cycle: every schedule ends.
 * States are merged by value, so the search ends; `statesMax` makes a model that grew too large fail instead of run on.
 */
import { type Access, type ModelThread, WAIT_NOT_EQUAL, WAIT_RUNG, WAIT_TIMED_OUT } from './access.ts'
import { type Clocks, Races } from './races.ts'
import { ThreadTable } from './thread-table.ts'

export type Memory = 'races' | 'tso' | 'unordered'

export interface Scenario {
  readonly threads: readonly ModelThread[]
  /** Every shared word and what it holds at first. */
  readonly words: ReadonlyMap<number, number>
  readonly memory: Memory
  /** Whether a wait may end by itself at any time. */
  readonly timeouts: boolean
  readonly statesMax: number
}

export interface Verdict {
  /** What went wrong first, or null: nothing can. */
  readonly violation: string | null
  /** The steps that lead to it. */
  readonly trace: readonly string[]
  readonly states: number
  readonly transitions: number
  readonly depthMax: number
}

interface PlainStore {
  readonly word: number
  readonly value: number
}

interface State {
  readonly memory: Int32Array
  readonly local: Int32Array
  /** 1: the thread sleeps in its wait; 2: it was notified there. */
  readonly asleep: Uint8Array
  readonly buffers: readonly (readonly PlainStore[])[]
  readonly clocks: Clocks
}

interface Step {
  readonly label: string
  readonly state: State
}

interface Frame {
  readonly steps: readonly Step[]
  readonly key: string
  next: number
  readonly label: string
}

const RUNNING = 0
const ASLEEP = 1
const NOTIFIED = 2

/** A guarantee broken by a step; carries what, and where. */
class Violation extends Error {
  readonly label: string
  constructor(message: string, label: string) {
    super(message)
    this.label = label
  }
}

export function explore(scenario: Scenario): Verdict {
  return new Explorer(scenario).run()
}

class Explorer {
  readonly #scenario: Scenario
  readonly #tables: readonly ThreadTable[]
  readonly #indexOf: ReadonlyMap<number, number>
  readonly #races: Races

  constructor(scenario: Scenario) {
    this.#scenario = scenario
    this.#tables = scenario.threads.map((thread) => new ThreadTable(thread))
    this.#indexOf = new Map([...scenario.words.keys()].map((word, index) => [word, index]))
    this.#races = new Races(scenario.threads.length, scenario.memory === 'races' ? scenario.words.size : 0)
  }

  /** Depth first; a state on the present path is 'open': meeting it again is a cycle. */
  run(): Verdict {
    const open = new Map<string, boolean>()
    const path: Frame[] = []
    let transitions = 0
    let depthMax = 0
    const verdict = (violation: string | null, last: string | null): Verdict => {
      const trace = path.map((frame) => frame.label).concat(last ?? [])
      return { violation, trace, states: open.size, transitions, depthMax }
    }
    const enter = (state: State, label: string): void => {
      const key = keyOf(state)
      open.set(key, true)
      path.push({ steps: this.#steps(state), key, next: 0, label })
      depthMax = Math.max(depthMax, path.length)
    }
    try {
      enter(this.#settled(this.#start()), 'start')
      for (let frame = path.at(-1); frame !== undefined; frame = path.at(-1)) {
        const step = frame.steps[frame.next++]
        if (step === undefined) {
          open.set(frame.key, false)
          path.pop()
          continue
        }
        transitions++
        const state = this.#settled(step.state)
        const seen = open.get(keyOf(state))
        if (seen === true && !this.#scenario.timeouts) return verdict('a schedule without end', step.label)
        if (seen !== undefined) continue
        if (open.size >= this.#scenario.statesMax) throw new Error(`more than ${open.size} states`)
        enter(state, step.label)
      }
    } catch (error) {
      if (error instanceof Violation) return verdict(error.message, error.label)
      throw error
    }
    for (const table of this.#tables) table.check(open.size)
    return verdict(null, null)
  }

  #start(): State {
    const { words, threads } = this.#scenario
    return {
      memory: Int32Array.from(words.values()),
      local: new Int32Array(threads.length),
      asleep: new Uint8Array(threads.length),
      buffers: threads.map(() => []),
      clocks: this.#races.start(),
    }
  }

  #steps(state: State): Step[] {
    const steps: Step[] = []
    let ended = true
    for (const [thread, table] of this.#tables.entries()) {
      this.#flushes(state, thread, steps)
      const access = table.access(state.local[thread]!)
      if (access === null) continue
      ended = false
      this.#accesses(state, thread, access, steps)
    }
    if (steps.length === 0 && !ended) throw new Violation('deadlock', 'nobody can step')
    return steps
  }

  /** The state after every step that needs no interleaving. */
  #settled(state: State): State {
    for (let thread = 0; thread < this.#tables.length; thread++) {
      const access = this.#tables[thread]!.access(state.local[thread]!)
      if (access === null || !this.#commutes(access)) continue
      const steps: Step[] = []
      this.#accesses(state, thread, access, steps)
      return this.#settled(steps[0]!.state)
    }
    if (this.#scenario.memory === 'races') this.#races.canonical(state.clocks)
    return state
  }

  /**
   * Steps that need no interleaving, taken at once. A plain store into the thread's own buffer: nobody sees it, and it may
   * become visible at any later time. Under `races` any plain access: it orders nothing, and if another thread's access
   * could come in between and matter, the two race, in whichever order they are taken.
   */
  #commutes(access: Access): boolean {
    return access.op === 'store' || (access.op === 'load' && this.#scenario.memory === 'races')
  }

  /** One waiting plain store becomes visible. */
  #flushes(state: State, thread: number, steps: Step[]): void {
    const buffer = state.buffers[thread]!
    for (let i = 0; i < buffer.length; i++) {
      if (i > 0 && this.#scenario.memory === 'tso') return
      const { word, value } = buffer[i]!
      if (buffer.findIndex((store) => store.word === word) < i) continue
      const next = copyOf(state)
      next.memory[word] = value
      next.buffers[thread] = buffer.toSpliced(i, 1)
      steps.push({ label: `${this.#tables[thread]!.name}: (visible: word ${word} = ${value})`, state: next })
    }
  }

  #accesses(state: State, thread: number, access: Access, steps: Step[]): void {
    const label = `${this.#tables[thread]!.name}: ${access.op} ${access.site}`
    const word = this.#indexOf.get(access.word)
    if (word === undefined) throw new Violation(`word ${access.word} lies outside the ring`, label)
    const buffer = state.buffers[thread]!
    const now = state.memory[word]!
    const push = (value: number, change: (next: Mutable) => void = () => {}): void => {
      const next = copyOf(state)
      change(next)
      const at = this.#tables[thread]!.step(state.local[thread]!, value)
      const failure = this.#tables[thread]!.failure(at)
      if (failure !== null) throw new Violation(failure, label)
      next.local[thread] = at
      if (this.#scenario.memory === 'races') this.#checkRace(next, thread, word, access, value, label)
      steps.push({ label, state: next })
    }
    const write = (value: number) => (next: Mutable) => {
      next.memory[word] = value
    }
    switch (access.op) {
      case 'load':
      case 'atomic-load':
        push(buffer.findLast((store) => store.word === word)?.value ?? now)
        return
      case 'store':
        if (this.#scenario.memory === 'races') push(0, write(access.value))
        else
          push(0, (next) => {
            next.buffers[thread] = [...buffer, { word, value: access.value }]
          })
        return
      case 'wait':
        this.#wait(state, thread, now, access.expected, label, push, steps)
        return
      case 'notify':
        push(0, (next) => this.#wake(next, word))
        return
    }
    // An atomic write: all of the thread's plain stores are visible before it.
    if (buffer.length > 0) return
    if (access.op === 'atomic-store') push(0, write(access.value))
    else if (access.op === 'compare-exchange')
      push(now, now === access.expected ? write(access.value) : undefined)
    else push(now, write(access.op === 'or' ? now | access.value : now & access.value))
  }

  #wait(
    state: State,
    thread: number,
    now: number,
    expected: number,
    label: string,
    push: (value: number, change?: (next: Mutable) => void) => void,
    steps: Step[],
  ): void {
    const awake = (next: Mutable): void => {
      next.asleep[thread] = RUNNING
    }
    if (state.asleep[thread] === NOTIFIED) push(WAIT_RUNG, awake)
    else if (state.asleep[thread] === RUNNING && now !== expected) push(WAIT_NOT_EQUAL)
    else {
      if (state.asleep[thread] === RUNNING) {
        const next = copyOf(state)
        next.asleep[thread] = ASLEEP
        steps.push({ label: `${label} (sleeps)`, state: next })
      } else if (this.#scenario.timeouts) push(WAIT_TIMED_OUT, awake)
    }
  }

  #wake(next: Mutable, word: number): void {
    for (const [thread, table] of this.#tables.entries()) {
      const access = table.access(next.local[thread]!)
      if (next.asleep[thread] !== ASLEEP || access === null) continue
      if (this.#indexOf.get(access.word) !== word) continue
      next.asleep[thread] = NOTIFIED
      return
    }
  }

  #checkRace(
    next: Mutable,
    thread: number,
    word: number,
    access: Access,
    value: number,
    label: string,
  ): void {
    const { op } = access
    if (op === 'notify') return
    const atomic = op !== 'load' && op !== 'store'
    const reads = op !== 'store' && op !== 'atomic-store'
    const failed = access.op === 'compare-exchange' && value !== access.expected
    const writes = op !== 'load' && op !== 'atomic-load' && op !== 'wait' && !failed
    const racer = this.#races.access(next.clocks, thread, word, atomic, reads, writes)
    if (racer >= 0) throw new Violation(`data race with ${this.#tables[racer]!.name}`, label)
  }
}

type Mutable = { -readonly [K in keyof State]: State[K] } & { buffers: (readonly PlainStore[])[] }

function copyOf(state: State): Mutable {
  return {
    memory: state.memory.slice(),
    local: state.local.slice(),
    asleep: state.asleep.slice(),
    buffers: state.buffers.slice(),
    clocks: state.clocks.slice(),
  }
}

function keyOf(state: State): string {
  const buffers = state.buffers.map((buffer) => buffer.map((store) => `${store.word}=${store.value}`).join())
  return `${state.local.join()} ${state.asleep.join()} ${state.memory.join()} ${buffers.join('|')} ${String.fromCharCode(...state.clocks)}`
}
