/**
 * Watches the room on the data directory's disk. A failed LMDB commit is the end of the process, so the node must never
 * come to one for want of room: below the reserve nothing is taken in, and what is under way fits into the reserve. It
 * goes on by itself when there is room again, a tenth above the reserve, so that it does not flutter.
 */
import type { StatsFs } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { MillraceError } from '../engine/contract/errors.ts'

/** What can be written between two looks must fit into the reserve, beside what is in flight. */
const LOOK_MS = 250
const RESUME_FACTOR = 1.1

export interface DiskGuardOptions {
  readonly dir: string
  /** 0: no bound. */
  readonly reserveBytes: number
  readonly onWarning: (error: MillraceError) => void
  readonly statfs?: (dir: string) => Promise<Pick<StatsFs, 'bavail' | 'bsize'>>
}

export class DiskGuard {
  readonly reserveBytes: number
  /** NaN before the first look. */
  freeBytes = Number.NaN
  isLow = false
  readonly #options: DiskGuardOptions
  readonly #waiting: (() => void)[] = []
  #timer: NodeJS.Timeout | null = null
  #isLooking = false
  #isBlind = false

  constructor(options: DiskGuardOptions) {
    this.#options = options
    this.reserveBytes = options.reserveBytes
  }

  /** Resolves after the first look. */
  async start(): Promise<void> {
    await this.look()
    this.#timer = setInterval(() => void this.look(), LOOK_MS)
    this.#timer.unref()
  }

  /** Resolves when there is room; at once, as a rule. */
  room(): Promise<void> {
    return this.isLow ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve()
  }

  /** Why nothing is taken in, for the one who sends; null: there is room. */
  get problem(): string | null {
    if (!this.isLow) return null
    return `the disk has ${this.freeBytes} bytes left, the reserve is ${this.reserveBytes}`
  }

  async look(): Promise<void> {
    // A disk that takes long to answer is asked once at a time.
    if (this.#isLooking) return
    this.#isLooking = true
    try {
      const { bavail, bsize } = await (this.#options.statfs ?? statfs)(this.#options.dir)
      this.#isBlind = false
      this.#judge(bavail * bsize)
    } catch (error) {
      // It is not known to be full; a disk that fails shows itself at the next commit.
      if (this.#isBlind) return
      this.#isBlind = true
      const reason = error instanceof Error ? error.message : String(error)
      this.#options.onWarning(new MillraceError('STORE_IO', `the room on the disk is not known: ${reason}`))
    } finally {
      this.#isLooking = false
    }
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  #judge(freeBytes: number): void {
    this.freeBytes = freeBytes
    const wasLow = this.isLow
    this.isLow = freeBytes < this.reserveBytes * (wasLow ? RESUME_FACTOR : 1)
    if (this.isLow === wasLow) return
    const { onWarning } = this.#options
    if (this.isLow) {
      const text = `${this.problem}: nothing is taken in until there is room (--disk-reserve)`
      onWarning(new MillraceError('STORE_IO', text, { retryable: true }))
      return
    }
    onWarning(
      new MillraceError('STORE_IO', `the disk has room again: ${freeBytes} bytes`, { retryable: true }),
    )
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
