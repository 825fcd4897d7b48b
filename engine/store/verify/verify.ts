/**
 * Verifies a whole store, while a node runs on it or none: every byte that carries a CRC, and everything that rows of both
 * environments say about each other. Reads only, holds no snapshot longer than a few MiB take, and names what it finds; the
 * list of checks is open: a mechanism that adds a table adds its check here.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { envExists, openEnv, type StoreEnv } from '../env.ts'
import { LOG_FOLDER } from '../log-store.ts'
import { LogTables } from '../log-tables.ts'
import type { PipelineRecord } from '../state-contract.ts'
import { STATE_FOLDER } from '../state-store.ts'
import { StateTables } from '../state-tables.ts'
import { environmentProblems } from '../store.ts'
import {
  type Check,
  type CheckContext,
  FINDINGS_KEPT_MAX,
  type Finding,
  type PipelineVerifier,
  problemOf,
  RESTORE,
} from './context.ts'
import { batchesCheck, feedbackCheck, seriesCheck, topicsCheck } from './log-checks.ts'
import { silencesCheck } from './silence-checks.ts'
import { checkpointsCheck, entriesCheck, pipelinesCheck, sinksCheck } from './state-checks.ts'

export type { Finding, PipelineVerifier, StreamNeed } from './context.ts'

const environmentCheck: Check = {
  name: 'environments',
  *run(context) {
    for (const problem of environmentProblems(context.log.env, context.state.env, context.dir)) {
      context.damage('store', problem)
    }
    yield
  },
}

export const CHECKS: readonly Check[] = [
  environmentCheck,
  topicsCheck,
  seriesCheck,
  pipelinesCheck,
  // The log before the state: a checkpoint that is read later only needs less of it.
  batchesCheck,
  feedbackCheck,
  entriesCheck,
  checkpointsCheck,
  sinksCheck,
  silencesCheck,
]

export interface VerifyOptions {
  readonly dir: string
  readonly pipeline: (record: PipelineRecord) => PipelineVerifier | string
  /** True: stop here. Called after every few MiB. */
  readonly onProgress?: (progress: VerifyProgress) => boolean
  readonly checks?: readonly Check[]
}

export interface VerifyProgress {
  readonly check: string
  readonly rows: number
  readonly bytesRead: number
  /** Of both files, free pages included: a bound from above. */
  readonly bytesTotal: number
}

export interface CheckReport {
  readonly check: string
  readonly rows: number
  readonly bytes: number
  readonly findings: number
}

export interface VerifyReport {
  readonly dir: string
  readonly checks: readonly CheckReport[]
  /** The first FINDINGS_KEPT_MAX of `findingCount`. */
  readonly findings: readonly Finding[]
  readonly findingCount: number
  readonly warnings: readonly Finding[]
  readonly rows: number
  readonly bytes: number
  /** Stopped before the end. */
  readonly isPartial: boolean
}

/** Turns of the event loop between this many chunks, so that signals and progress get theirs. */
const CHUNKS_A_TURN = 8

export async function verifyStore(options: VerifyOptions): Promise<VerifyReport> {
  const run = new VerifyRun(options)
  const opened: StoreEnv[] = []
  try {
    const log = openPart(run, options.dir, LOG_FOLDER, opened)
    const state = openPart(run, options.dir, STATE_FOLDER, opened)
    if (log !== null && state !== null) await run.checks(new LogTables(log), new StateTables(state))
  } finally {
    for (const env of opened) await env.close()
  }
  return run.report()
}

function openPart(run: VerifyRun, dir: string, folder: string, opened: StoreEnv[]): StoreEnv | null {
  const path = join(dir, folder)
  try {
    if (!envExists(path)) {
      run.damage(path, 'the environment is missing')
      return null
    }
    const env = openEnv(path, null)
    opened.push(env)
    return env
  } catch (error) {
    run.damage(path, problemOf(error))
    return null
  }
}

class VerifyRun {
  readonly #options: VerifyOptions
  readonly #findings: Finding[] = []
  readonly #warnings: Finding[] = []
  readonly #checks: CheckReport[] = []
  readonly #bytesTotal: number
  readonly #verifiers = new Map<number, PipelineVerifier | string>()
  #findingCount = 0
  #rows = 0
  #bytes = 0
  #isPartial = false

  constructor(options: VerifyOptions) {
    this.#options = options
    this.#bytesTotal = sizeOf(options.dir, LOG_FOLDER) + sizeOf(options.dir, STATE_FOLDER)
  }

  damage(place: string, problem: string, remedy = RESTORE): void {
    this.#findingCount++
    if (this.#findings.length < FINDINGS_KEPT_MAX) this.#findings.push({ place, problem, remedy })
  }

  async checks(log: LogTables, state: StateTables): Promise<void> {
    const context: CheckContext = {
      log,
      state,
      dir: this.#options.dir,
      series: new Map(),
      damage: (place, problem, remedy) => this.damage(place, problem, remedy),
      warn: (place, problem, remedy) => {
        if (this.#warnings.length < FINDINGS_KEPT_MAX) this.#warnings.push({ place, problem, remedy })
      },
      read: (rows, bytes) => {
        this.#rows += rows
        this.#bytes += bytes
      },
      pipeline: (record) => this.#verifierOf(record),
    }
    for (const check of this.#options.checks ?? CHECKS) {
      if (this.#isPartial) return
      await this.#check(check, context)
    }
  }

  async #check(check: Check, context: CheckContext): Promise<void> {
    const before = { rows: this.#rows, bytes: this.#bytes, findings: this.#findingCount }
    let chunks = 0
    try {
      for (const _chunk of check.run(context)) {
        if (++chunks % CHUNKS_A_TURN !== 0) continue
        if (this.#tell(check.name)) break
        await new Promise(setImmediate)
      }
    } catch (error) {
      this.damage(check.name, `the check could not go on: ${problemOf(error)}`)
    }
    this.#tell(check.name)
    this.#checks.push({
      check: check.name,
      rows: this.#rows - before.rows,
      bytes: this.#bytes - before.bytes,
      findings: this.#findingCount - before.findings,
    })
  }

  #tell(check: string): boolean {
    const progress = { check, rows: this.#rows, bytesRead: this.#bytes, bytesTotal: this.#bytesTotal }
    if (this.#options.onProgress?.(progress) === true) this.#isPartial = true
    return this.#isPartial
  }

  #verifierOf(record: PipelineRecord): PipelineVerifier | string {
    let verifier = this.#verifiers.get(record.id)
    if (verifier === undefined) {
      verifier = this.#options.pipeline(record)
      this.#verifiers.set(record.id, verifier)
    }
    return verifier
  }

  report(): VerifyReport {
    return {
      dir: this.#options.dir,
      checks: this.#checks,
      findings: this.#findings,
      findingCount: this.#findingCount,
      warnings: this.#warnings,
      rows: this.#rows,
      bytes: this.#bytes,
      isPartial: this.#isPartial,
    }
  }
}

function sizeOf(dir: string, folder: string): number {
  return statSync(join(dir, folder, 'data.mdb'), { throwIfNoEntry: false })?.size ?? 0
}
