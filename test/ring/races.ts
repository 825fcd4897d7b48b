/**
 * Happens-before, with vector clocks: JavaScript promises sequential consistency only to programs without data races
 * (ECMA-262, Memory Model: "data race freedom"). A plain access races when another thread touched the word, one of the two
 * wrote, and no chain of Atomics orders them; mixing plain and atomic accesses to one word counts too.
 *
 * An atomic read synchronises with exactly the atomic write that it reads. Each thread's epoch grows with its atomic writes.
 * `canonical` renumbers epochs by rank and forgets accesses that everyone knows of, so that the explored space is finite.
 */

const PLAIN_READ = 0
const PLAIN_WRITE = 1
const ATOMIC_READ = 2
const ATOMIC_WRITE = 3
const KINDS = 4

export type Clocks = Int32Array

export class Races {
  readonly #threads: number
  readonly #words: number
  readonly #syncAt: number
  readonly #accessAt: number
  readonly #places: (readonly number[])[] = []

  constructor(threads: number, words: number) {
    this.#threads = threads
    this.#words = words
    this.#syncAt = threads * threads
    this.#accessAt = this.#syncAt + words * threads
    for (let thread = 0; thread < threads; thread++) this.#places.push(this.#placesOf(thread))
  }

  start(): Clocks {
    const clocks = new Int32Array(this.#accessAt + this.#words * KINDS * this.#threads)
    for (let thread = 0; thread < this.#threads; thread++) clocks[this.#knows(thread, thread)] = 1
    return clocks
  }

  /** Notes the access in `clocks`; the other thread it races with, or -1. */
  access(
    clocks: Clocks,
    thread: number,
    word: number,
    atomic: boolean,
    reads: boolean,
    writes: boolean,
  ): number {
    if (atomic && reads) this.#acquire(clocks, thread, word)
    const racer = this.#racer(clocks, thread, word, atomic, writes)
    const epoch = clocks[this.#knows(thread, thread)]!
    if (reads) clocks[this.#at(word, atomic ? ATOMIC_READ : PLAIN_READ, thread)] = epoch
    if (writes) clocks[this.#at(word, atomic ? ATOMIC_WRITE : PLAIN_WRITE, thread)] = epoch
    if (atomic && writes) this.#publish(clocks, thread, word)
    return racer
  }

  canonical(clocks: Clocks): void {
    for (let thread = 0; thread < this.#threads; thread++) this.#canonicalOf(clocks, thread)
  }

  #racer(clocks: Clocks, thread: number, word: number, atomic: boolean, writes: boolean): number {
    for (let other = 0; other < this.#threads; other++) {
      if (other === thread) continue
      const known = clocks[this.#knows(thread, other)]!
      if (clocks[this.#at(word, PLAIN_WRITE, other)]! > known) return other
      if (writes && clocks[this.#at(word, PLAIN_READ, other)]! > known) return other
      if (atomic) continue
      if (clocks[this.#at(word, ATOMIC_WRITE, other)]! > known) return other
      if (writes && clocks[this.#at(word, ATOMIC_READ, other)]! > known) return other
    }
    return -1
  }

  #acquire(clocks: Clocks, thread: number, word: number): void {
    for (let other = 0; other < this.#threads; other++) {
      const known = this.#knows(thread, other)
      clocks[known] = Math.max(clocks[known]!, clocks[this.#sync(word, other)]!)
    }
  }

  #publish(clocks: Clocks, thread: number, word: number): void {
    for (let other = 0; other < this.#threads; other++) {
      clocks[this.#sync(word, other)] = clocks[this.#knows(thread, other)]!
    }
    clocks[this.#knows(thread, thread)]! += 1
  }

  /** Epochs of one thread, wherever they are kept, renumbered 1, 2 … in their order; 0: known to all. */
  #canonicalOf(clocks: Clocks, thread: number): void {
    let knownToAll = Number.MAX_SAFE_INTEGER
    for (let other = 0; other < this.#threads; other++) {
      if (other !== thread) knownToAll = Math.min(knownToAll, clocks[this.#knows(other, thread)]!)
    }
    const places = this.#places[thread]!
    const epochs = new Set<number>()
    for (const place of places) {
      if (clocks[place]! <= knownToAll) clocks[place] = 0
      else epochs.add(clocks[place]!)
    }
    const ranks = new Map([...epochs].sort((a, b) => a - b).map((epoch, rank) => [epoch, rank + 1]))
    for (const place of places) clocks[place] = ranks.get(clocks[place]!) ?? 0
  }

  /** Everywhere that an epoch of `thread` is kept. */
  #placesOf(thread: number): number[] {
    const places: number[] = []
    for (let other = 0; other < this.#threads; other++) places.push(this.#knows(other, thread))
    for (let word = 0; word < this.#words; word++) {
      places.push(this.#sync(word, thread))
      for (let kind = 0; kind < KINDS; kind++) places.push(this.#at(word, kind, thread))
    }
    return places
  }

  #knows(thread: number, other: number): number {
    return thread * this.#threads + other
  }
  #sync(word: number, thread: number): number {
    return this.#syncAt + word * this.#threads + thread
  }
  #at(word: number, kind: number, thread: number): number {
    return this.#accessAt + (word * KINDS + kind) * this.#threads + thread
  }
}
