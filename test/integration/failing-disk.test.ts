/**
 * A disk that fails: over a scripted workload, opening and closing included, the Nth write or the Nth sync fails, for every
 * N until none is met. Expected each time: the error is named and the writer refuses everything later (the process must
 * exit); nothing that failed was acknowledged; without the fault the store opens, holds everything acknowledged and
 * nothing that was never begun, and goes on. One process a case, because lmdb 3.5.6 damages its heap where it describes a
 * failed write (106 characters into 100 bytes): such a process may end by a signal. That is fail-stop too; what it had
 * acknowledged is then taken from the record.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Counts, countsOf, readRecord } from '../disk/record.ts'
import { Asker, buildShim, compiler, exitOf, scratchDirectory, spawnScript } from '../disk/shim.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_104)
const STEPS = Number(process.env.MILLRACE_STEPS ?? 3)
/** Every fault at every N, and not one of them in turn. */
const IS_LONG = process.env.MILLRACE_LONG !== undefined
/** More calls than the workload makes: reaching it means that the loop does not end. */
const CALLS_MAX = 5_000
const AT_ONCE = 2

const EIO = 5
const ENOSPC = 28
/** For `write`, error 0 is a short write. */
const FAULTS = {
  write: ['EIO once', 'EIO always', 'ENOSPC always', 'short once'],
  sync: ['EIO once', 'EIO always'],
} as const
const ERRNO: Readonly<Record<string, number>> = { EIO, ENOSPC, short: 0 }

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Outcome {
  readonly acked: Counts
  readonly begun: Counts
  readonly ended: { readonly code: string | null; readonly name: string; readonly message: string } | null
  readonly later: readonly string[]
  readonly wasHit: boolean
}

/** What is wrong with how the process ended, or null. */
function faultOf({ ended, later, acked }: Outcome, fault: string): string | null {
  // Node completes a short write of a small file by itself.
  if (ended === null && fault.startsWith('short') && acked.log === STEPS && acked.state === STEPS) return null
  if (ended === null) return 'the fault was met, and nothing said so'
  if (ended.name !== 'MillraceError' || ended.code !== 'STORE_IO')
    return `ended with ${JSON.stringify(ended)}`
  if (later.some((code) => code !== 'STORE_IO')) return `afterwards the writer answered ${later.join(', ')}`
  return null
}

test.skipIf(compiler === null).each(['write', 'sync'] as const)(
  'the Nth %s fails, for every N: fail-stop, no false acknowledgement, a clean reopening (needs a C compiler)',
  { timeout: IS_LONG ? 3_600_000 : 300_000 },
  async (kind) => {
    const scratch = scratchDirectory(cleanups)
    const library = buildShim(scratch)
    const workload = { seed: SEED, count: STEPS }
    const faults: string[] = []
    let cases = 0
    let deaths = 0

    /** False: there is no Nth call any more. */
    const tryOne = async (n: number, fault: string): Promise<boolean> => {
      const name = `${kind} ${n} ${fault}`
      const root = join(scratch, name.replaceAll(' ', '-'))
      const dir = join(root, 'data')
      mkdirSync(root)
      const [error, mode] = fault.split(' ')
      const order = `fail ${kind} ${n} ${ERRNO[error!]} ${mode}`
      const record = join(scratch, `record-${n}`)
      const child = spawnScript('fail-process.mjs', [root], { library, root, record })
      const asker = new Asker<object, Outcome>(() => child)
      const outcome = await asker.ask({ ...workload, dir, order })
      await asker.end()
      const exit = await exitOf(child)
      const { least, most } = countsOf(readRecord(record))
      rmSync(record)
      if ('died' in outcome) {
        if (kind !== 'write') faults.push(`${name}: the process died of ${outcome.died}`)
        deaths++
      } else if (!outcome.wasHit) {
        expect([outcome.ended, outcome.acked]).toEqual([null, { log: STEPS, state: STEPS }])
        return false
      } else {
        expect([outcome.acked, outcome.begun]).toEqual([least, most])
        const wrong = faultOf(outcome, fault)
        if (wrong !== null) faults.push(`${name}: ${wrong}`)
        if (exit !== '0' && kind !== 'write') faults.push(`${name}: after the error it died of ${exit}`)
        if (exit !== '0') deaths++
      }
      cases++
      const answer = await verifying.ask({
        ...workload,
        dir,
        least,
        most,
        reopen: true,
      })
      if ('died' in answer) faults.push(`${name}: reopening died of ${answer.died}`)
      else if (answer.fault !== null) faults.push(`${name}: after reopening, ${answer.fault.slice(0, 300)}`)
      rmSync(root, { recursive: true })
      return true
    }

    const verifying = new Asker<object, { fault: string | null }>(() => spawnScript('verify-process.mjs', []))
    let next = 1
    const work = async (): Promise<void> => {
      for (let isThere = true; isThere; ) {
        const n = next++
        expect(n).toBeLessThan(CALLS_MAX)
        const all = FAULTS[kind]
        const chosen = IS_LONG ? all : [all[n % all.length]!]
        for (const fault of chosen) isThere = await tryOne(n, fault)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    await verifying.end()
    console.log(`failing disk: ${kind}, seed ${SEED}, ${cases} cases, ${deaths} of them ended by a signal`)
    expect(cases).toBeGreaterThan(STEPS * 4)
    expect(faults, `MILLRACE_SEED=${SEED}`).toEqual([])
  },
)
