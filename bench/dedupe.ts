/**
 * Remembering idempotency keys: how fast a new key is looked for and remembered while ten million are, in memory alone and
 * with the log's transaction; how fast a repeat is confirmed; what a key costs in memory and on disk; how long opening
 * takes; and what keys cost the whole path, HTTP to committed results, compared within one run.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { KeyHash, Receipt } from '../engine/contract/idempotency.ts'
import type { Dedupe, DedupeOptions } from '../engine/store/dedupe/dedupe.ts'
import type { LogWriter } from '../engine/store/log-contract.ts'
import { LOG_FOLDER, openLogWriter } from '../engine/store/log-store.ts'
import { openStore } from '../engine/store/store.ts'
import { assert } from '../engine/util/assert.ts'
import { Prng } from '../engine/util/prng.ts'
import { measure, type Size } from './end-to-end.ts'
import type { BenchModule, Figure } from './lib/bench.ts'
import { median } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const HORIZON_MS = 86_400_000
/** Keys of a transaction in the durable figures: what a busy node's group commit gathers. */
const KEYS_PER_TRANSACTION = 2_000
const REMEMBERED = 10_000_000
const CHECKS = 2_000_000
const DURABLE_CHECKS = 1_000_000
const REPEATS = 200_000
const ROUNDS = 5
const END_TO_END_ROUNDS = 9
const SEED = 20_260_101

/** Five generations, as in the middle of a day. */
const STEPS = 5

export const bench: BenchModule = {
  name: 'dedupe',
  figures: [
    'checksPerSecond',
    'durableChecksPerSecond',
    'repeatsPerSecond',
    'bytesPerKey',
    'diskBytesPerKey',
    'recoveryMs',
    'endToEndKeysShare',
    'endToEndSequencesShare',
  ],
  async run({ smoke }) {
    const keys = smoke ? 100_000 : REMEMBERED
    const figures = await storeFigures(keys, smoke)
    const size: Size = smoke
      ? { linesPerBody: 1_000, warmLines: 20_000, lines: 100_000, stepMs: 200 }
      : { linesPerBody: 10_000, warmLines: 6_000_000, lines: 20_000_000, stepMs: 10 }
    return [...figures, ...(await pathFigures(size, smoke ? 1 : END_TO_END_ROUNDS))]
  },
}

async function storeFigures(keys: number, smoke: boolean): Promise<Figure[]> {
  const scratch = openScratch('dedupe')
  const dir = join(scratch.path, 'data')
  const store = await openStore({ dir })
  const writer = openLogWriter({ dir, fence: store.fence })
  try {
    const options: DedupeOptions = { horizonMs: HORIZON_MS, keysMax: keys * 4, producersMax: 1 }
    const load = new KeyLoad(writer, writer.openDedupe(options))
    for (let step = 0; step < STEPS; step++) {
      load.remember(keys / STEPS, true)
      if (step < STEPS - 1) load.nowMs += HORIZON_MS / 4 - 1
    }
    const { keys: remembered } = load.dedupe
    assert(remembered.count === keys, 'all of them are remembered', remembered.count, keys)
    const bytesPerKey = remembered.bytes / keys
    const params = {
      keys,
      keysPerTransaction: KEYS_PER_TRANSACTION,
      generations: STEPS,
      horizonMs: HORIZON_MS,
    }
    const checksum = (): string => `${remembered.count} keys, ${load.found} found again`

    const openedMs: number[] = []
    for (let i = 0; i < (smoke ? 1 : ROUNDS); i++) {
      const startMs = performance.now()
      const again = writer.openDedupe(options)
      openedMs.push(performance.now() - startMs)
      assert(again.keys.count === keys, 'opening finds all of them', again.keys.count, keys)
    }
    const diskBytes = statSync(join(dir, LOG_FOLDER, 'data.mdb')).size

    const rounds = smoke ? 1 : ROUNDS
    const checks = smoke ? 50_000 : CHECKS / ROUNDS
    const durable = rates(rounds, () => load.remember(smoke ? 20_000 : DURABLE_CHECKS / ROUNDS, true))
    const repeats = rates(rounds, () => load.repeat(smoke ? 5_000 : REPEATS / ROUNDS))
    const memory = rates(rounds, () => load.remember(checks, false))
    const figure = (name: string, value: number, unit: string): Figure => {
      return { figure: name, value, unit, params, checksum: checksum() }
    }
    return [
      figure('checksPerSecond', memory, 'checks/s'),
      figure('durableChecksPerSecond', durable, 'checks/s'),
      figure('repeatsPerSecond', repeats, 'checks/s'),
      figure('bytesPerKey', bytesPerKey, 'bytes'),
      figure('diskBytesPerKey', diskBytes / keys, 'bytes'),
      figure('recoveryMs', median(openedMs), 'ms'),
    ]
  } finally {
    await writer.close()
    await store.close()
    scratch.remove()
  }
}

function rates(rounds: number, round: () => number): number {
  const values: number[] = []
  for (let i = 0; i < rounds; i++) values.push(round())
  return median(values)
}

/** Keys of a seeded stream, so that any of them can be made again. */
class KeyLoad {
  readonly dedupe: Dedupe
  readonly #writer: LogWriter
  readonly #prng = new Prng(SEED)
  readonly #kept: KeyHash[] = []
  nowMs = 1_700_000_000_000
  found = 0
  #made = 0

  constructor(writer: LogWriter, dedupe: Dedupe) {
    this.#writer = writer
    this.dedupe = dedupe
  }

  /** Checks and remembers so many new keys; checks a second. */
  remember(count: number, isDurable: boolean): number {
    const { keys } = this.dedupe
    const startMs = performance.now()
    for (let done = 0; done < count; ) {
      const until = Math.min(count, done + KEYS_PER_TRANSACTION)
      for (; done < until; done++) {
        const hash = this.#next()
        keys.advance(this.nowMs)
        if (keys.find(hash) === null) keys.add(hash, this.#receipt())
        else this.found++
      }
      if (isDurable) {
        this.#writer.transaction(() => this.dedupe.flush())
        this.dedupe.settle()
      }
    }
    return count / ((performance.now() - startMs) / 1_000)
  }

  /** Looks for keys that are remembered, each read from the log; checks a second. */
  repeat(count: number): number {
    const { keys } = this.dedupe
    const startMs = performance.now()
    for (let i = 0; i < count; i++) {
      if (keys.find(this.#kept[i % this.#kept.length]!) !== null) this.found++
    }
    return count / ((performance.now() - startMs) / 1_000)
  }

  #next(): KeyHash {
    const prng = this.#prng
    const hash = { a: prng.uint32() | 0, b: prng.uint32() | 0, c: prng.uint32() | 0, d: prng.uint32() | 0 }
    if (this.#made % 97 === 0) this.#kept.push(hash)
    this.#made++
    return hash
  }

  #receipt(): Receipt {
    const storedAt = { partition: this.#made % 16, offset: this.#made }
    return { fingerprint: this.#made, bodyBytes: 660_000, storedAt, samples: 10_000, refusedSamples: 0 }
  }
}

/**
 * Rounds in turn, each beginning with another kind: what else runs, and what the run before left to be written, meets all
 * alike.
 */
async function pathFigures(size: Size, rounds: number): Promise<Figure[]> {
  const kinds = ['none', 'key', 'sequence'] as const
  const rates: Record<(typeof kinds)[number], number[]> = { none: [], key: [], sequence: [] }
  let checksum = ''
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < kinds.length; turn++) {
      const kind = kinds[(round + turn) % kinds.length]!
      const measured = await measure(size, kind)
      rates[kind].push(measured.samplesPerSecond)
      checksum = measured.checksum
    }
  }
  const base = median(rates.none)
  const share = (name: string, kind: 'key' | 'sequence'): Figure => ({
    figure: name,
    value: median(rates[kind]) / base,
    unit: 'of the rate without',
    params: { ...size, rounds, samplesPerSecond: Math.round(median(rates[kind])), without: Math.round(base) },
    checksum,
  })
  return [share('endToEndKeysShare', 'key'), share('endToEndSequencesShare', 'sequence')]
}
