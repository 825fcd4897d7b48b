/**
 * Which kill comes next, from the seed: first the points of a store's first start, in their order; then points in a
 * shuffled order, two of three, and times at random. A point that was not met is tried again, by its first hit.
 */
import { KILL_POINTS, type KillPoint } from '../../engine/util/kill-point.ts'
import type { Prng } from '../../engine/util/prng.ts'
import { PHASES, type Phase } from './points.ts'

/** While a node is fed, a point is met often: the kill comes at one of its first hits. */
const HITS_MAX = 12
const TRIES_MAX = 4

export type Kill =
  | { readonly at: 'point'; readonly point: KillPoint; readonly phase: Phase; readonly hit: number }
  /** `of`: the moment the time counts from. */
  | { readonly at: 'random'; readonly of: 'spawn' | 'ready'; readonly share: number }

export class Schedule {
  readonly #prng: Prng
  readonly #points: readonly KillPoint[]
  readonly #tries = new Map<KillPoint, number>()
  readonly #killedAt = new Set<KillPoint>()
  readonly #onlyPoints: boolean
  #queue: KillPoint[] = []

  /** `only`: these points again and again, and no random times. */
  constructor(prng: Prng, only: readonly KillPoint[] | null) {
    this.#prng = prng
    this.#points = only ?? KILL_POINTS
    this.#onlyPoints = only !== null
    const created = this.#points.filter((point) => PHASES[point] === 'create')
    this.#queue = [...created, ...this.#shuffled()]
  }

  next(): Kill {
    const inCreation = this.#queue[0] !== undefined && PHASES[this.#queue[0]] === 'create'
    if (!inCreation && !this.#onlyPoints && this.#prng.below(3) === 0) {
      return { at: 'random', of: this.#prng.below(4) === 0 ? 'spawn' : 'ready', share: this.#prng.float() }
    }
    if (this.#queue.length === 0) this.#queue = this.#shuffled()
    const point = this.#queue.shift()!
    const phase = PHASES[point]
    const tries = this.#tries.get(point) ?? 0
    this.#tries.set(point, tries + 1)
    const hit = phase === 'run' && tries === 0 ? 1 + this.#prng.below(HITS_MAX) : 1
    return { at: 'point', point, phase, hit }
  }

  killed(point: KillPoint): void {
    this.#killedAt.add(point)
    this.#tries.set(point, 0)
  }

  /** The process went on past it, or never came by. */
  missed(point: KillPoint): void {
    if (this.#tries.get(point)! < TRIES_MAX && PHASES[point] !== 'create') this.#queue.push(point)
  }

  get met(): number {
    return this.#killedAt.size
  }

  get of(): number {
    return this.#points.length
  }

  unmet(): readonly KillPoint[] {
    return this.#points.filter((point) => !this.#killedAt.has(point))
  }

  /** Those of a first start come once in a store's life. */
  #shuffled(): KillPoint[] {
    const points = this.#points.filter((point) => PHASES[point] !== 'create')
    for (let i = points.length - 1; i > 0; i--) {
      const j = this.#prng.below(i + 1)
      const swapped = points[i]!
      points[i] = points[j]!
      points[j] = swapped
    }
    return points
  }
}
