/**
 * Damage: random bits are flipped and sectors zeroed, filled with garbage or taken from another place in the files of a
 * store that was closed cleanly. Whoever then opens it and reads everything gets exactly what was written (the damage hit
 * what nobody reads) or a refusal by name; never another answer, never a process that dies.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openStateWriter } from '../../engine/store/state-store.ts'
import { openStore } from '../../engine/store/store.ts'
import { Prng } from '../../engine/util/prng.ts'
import { damage } from '../disk/damage.ts'
import { Asker, exitOf, scratchDirectory, spawnScript } from '../disk/shim.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_105)
const IMAGES = Number(process.env.MILLRACE_IMAGES ?? 200)
const STEPS = 40
const NAMES = ['STORE_DAMAGED', 'STORE_MISMATCH', 'STORE_VERSION']

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

test('beside a living writer the check of the pages finds no damage', { timeout: 120_000 }, async () => {
  const dir = join(scratchDirectory(cleanups), 'data')
  const store = await openStore({ dir })
  const state = openStateWriter({ dir, fence: store.fence })
  cleanups.push(() => Promise.all([state.close(), store.close()]))
  const prng = new Prng(SEED)
  const checks = 120
  const child = spawnScript('check-process.mjs', [join(dir, 'state', 'data.mdb'), String(checks)])
  let text = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
  }
  const ended = exitOf(child)
  let isRunning = true
  ended.then(() => {
    isRunning = false
  })
  while (isRunning) {
    // Rows come and go, so that pages are freed and used again.
    state.transaction((txn) => {
      for (let i = 0; i < 20; i++) {
        const name = `sink-${prng.below(2_000)}`
        txn.putSink(0, name, 'x'.repeat(prng.below(6_000)))
        txn.removeAlert(0, name)
      }
    })
    // Now and then long enough for a whole check, else all of them are overtaken.
    await new Promise((resolve) => setTimeout(resolve, prng.below(4) === 0 ? 60 : 1))
  }
  expect(await ended, text).toBe('0')
  const seen = JSON.parse(text) as { checks: number; sound: number; overtaken: number; transactions: number }
  expect(seen.checks).toBeGreaterThanOrEqual(checks)
  expect(seen.sound + seen.overtaken).toBe(seen.checks)
  expect(seen.transactions).toBeGreaterThan(1)
})

test('random damage: what was written or a refusal by name, never another answer, never a dead process', {
  timeout: 60_000 + IMAGES * 1_000,
}, async () => {
  const scratch = scratchDirectory(cleanups)
  const sound = join(scratch, 'sound')
  const child = spawnScript('work-process.mjs', [scratch, sound, String(SEED), String(STEPS), '2'])
  expect(await exitOf(child)).toBe('0')
  const prng = new Prng(SEED)
  const asker = new Asker<object, { fault: string | null; code: string | null }>(() =>
    spawnScript('verify-process.mjs', []),
  )
  const counts = { log: STEPS, state: STEPS }
  const faults: string[] = []
  const refusals: Record<string, number> = {}
  for (let image = 0; image < IMAGES; image++) {
    const dir = join(scratch, 'image')
    rmSync(dir, { recursive: true, force: true })
    cpSync(sound, dir, { recursive: true })
    const folder = image % 2 === 0 ? 'log' : 'state'
    const path = join(dir, folder, 'data.mdb')
    const file = readFileSync(path)
    const how = `image ${image}: ${folder}, ${damage(file, prng)}`
    writeFileSync(path, file)
    const question = { dir, seed: SEED, count: STEPS, least: counts, most: counts, reopen: true }
    const answer = await asker.ask(question)
    if ('died' in answer) faults.push(`${how}: the process died of ${answer.died}`)
    else if (answer.fault !== null && !NAMES.includes(answer.code ?? ''))
      faults.push(`${how}: ${answer.code} ${answer.fault.slice(0, 900)}`)
    const end = 'died' in answer ? 'died' : (answer.code ?? (answer.fault === null ? 'unharmed' : 'wrong'))
    refusals[end] = (refusals[end] ?? 0) + 1
  }
  await asker.end()
  console.log(`damage: seed ${SEED}, ${IMAGES} images: ${JSON.stringify(refusals)}`)
  expect(faults, `MILLRACE_SEED=${SEED}`).toEqual([])
  expect(refusals.STORE_DAMAGED).toBeGreaterThan(IMAGES / 4)
})
