/**
 * Power loss: what a process wrote and synced is recorded below the C library; for any moment of the record the files are
 * built as a disk may hold them then, and the store must open on them with everything acknowledged by that moment, nothing
 * that was never written, and go on. A run prints its seed; MILLRACE_SEED and MILLRACE_IMAGES set seed and length.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import { type Counts, count, Disk, type DiskEvent, readRecord } from '../disk/record.ts'
import { Asker, buildShim, compiler, exitOf, scratchDirectory, spawnScript } from '../disk/shim.ts'

const SEED = Number(process.env.MILLRACE_SEED ?? 20_250_103)
const IMAGES = Number(process.env.MILLRACE_IMAGES ?? 200)
const CONTROL_IMAGES = 60
/** A record is made anew after so many images, with another seed. */
const IMAGES_A_RECORD = 100
const STEPS = 40
const SESSIONS = 3

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

interface Question {
  readonly dir: string
  readonly seed: number
  readonly count: number
  readonly least: Counts
  readonly most: Counts
  readonly reopen: boolean
}
interface Answer {
  readonly fault: string | null
}

/** Runs the workload under the shim and gives back what it did to the disk. */
async function record(scratch: string, library: string, seed: number, orders = ''): Promise<DiskEvent[]> {
  const root = join(scratch, `root-${seed}`)
  const file = join(scratch, `record-${seed}`)
  rmSync(root, { recursive: true, force: true })
  rmSync(file, { force: true })
  mkdirSync(root)
  const args = [root, join(root, 'data'), String(seed), String(STEPS), String(SESSIONS), orders]
  const child = spawnScript('work-process.mjs', args, { library, root, record: file })
  let errors = ''
  child.stderr!.on('data', (text: Buffer) => {
    errors += text.toString()
  })
  expect(await exitOf(child), errors).toBe('0')
  rmSync(root, { recursive: true })
  const events = readRecord(file)
  rmSync(file)
  return events
}

/** Faults found in `images` power losses at random moments of the record. */
async function faultsOf(
  scratch: string,
  events: readonly DiskEvent[],
  seed: number,
  images: number,
): Promise<string[]> {
  const prng = new Prng(seed)
  const moments = Array.from({ length: images }, () => prng.below(events.length + 1)).sort((a, b) => a - b)
  const asker = new Asker<Question, Answer>(() => spawnScript('verify-process.mjs', []))
  const disk = new Disk()
  const least: Counts = { log: 0, state: 0 }
  const most: Counts = { log: 0, state: 0 }
  const faults: string[] = []
  let seen = 0
  for (const [image, moment] of moments.entries()) {
    for (; seen < moment; seen++) {
      const event = events[seen]!
      disk.see(event)
      count(event, { least, most })
    }
    const dir = join(scratch, 'image')
    rmSync(dir, { recursive: true, force: true })
    disk.writeImage(dir, prng)
    const answer = await asker.ask({ dir: join(dir, 'data'), seed, count: STEPS, least, most, reopen: true })
    const fault = 'died' in answer ? `the process died of ${answer.died}` : answer.fault
    if (fault === null) continue
    faults.push(`image ${image}, event ${moment} of ${events.length}: ${fault.slice(0, 600)}`)
  }
  await asker.end()
  return faults
}

test.skipIf(compiler === null)(
  'after a power loss at any moment everything acknowledged is there, nothing else is, and writing goes on (needs a C compiler)',
  { timeout: 30_000 + IMAGES * 1_000 },
  async () => {
    console.log(`power loss: seed ${SEED}, ${IMAGES} images`)
    const scratch = scratchDirectory(cleanups)
    const library = buildShim(scratch)
    for (let done = 0; done < IMAGES; done += IMAGES_A_RECORD) {
      const seed = SEED + done
      const events = await record(scratch, library, seed)
      const images = Math.min(IMAGES_A_RECORD, IMAGES - done)
      expect(await faultsOf(scratch, events, seed, images), `MILLRACE_SEED=${SEED}`).toEqual([])
    }
  },
)

test.skipIf(compiler === null)(
  'the control: where syncs do nothing, the same images lose what was acknowledged (needs a C compiler)',
  { timeout: 120_000 },
  async () => {
    const scratch = scratchDirectory(cleanups)
    const events = await record(scratch, buildShim(scratch), SEED, 'swallow 1')
    const faults = await faultsOf(scratch, events, SEED, CONTROL_IMAGES)
    expect(faults.length).toBeGreaterThan(CONTROL_IMAGES / 2)
    expect(
      faults.filter((fault) => /were acknowledged|is damaged|not that of any number/.test(fault)),
    ).not.toEqual([])
  },
)
