/**
 * The node's own loops, run by one seed on one thread: crashed, paused, with failing syncs and targets, and compared with
 * an uninterrupted run (docs/decisions/simulation.md). A failure names the seed and how to run it again.
 */
import { randomInt } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { MUTANTS } from './mutants.ts'
import { type Scenario, shardRingBytesMin } from './scenario.ts'
import { Simulation, type SimulationReport, simulate } from './simulation.ts'

/** Never the same work twice: fixed seeds hold what was found, a fresh one looks further. */
const FIXED_RUNS = 20
const FRESH_RUNS = 20
/** Each mutant is found by one of these, most by the first; which they are changes with every change of what a seed means. */
const MUTANT_SEEDS_MAX = 1_200

async function run(seed: number): Promise<SimulationReport> {
  try {
    return await simulate(seed)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new Error(`seed ${seed}: ${text}\nreplay: npm run simulate -- --seed ${seed}`, { cause: error })
  }
}

describe('a simulated node', () => {
  test('keeps every promise over crashes, failing disks and targets, whatever the schedule', async () => {
    const reports: SimulationReport[] = []
    for (let i = 0; i < FIXED_RUNS; i++) reports.push(await run(5_000 + i))
    const sum = (of: (report: SimulationReport) => number): number =>
      reports.reduce((total, report) => total + of(report), 0)
    // The runs are worth something: they did what they are for. Of the fixed ones, so that it does not hang on luck.
    expect(sum(({ crashes }) => crashes)).toBeGreaterThan(5)
    expect(sum(({ deaths }) => deaths)).toBeGreaterThan(9)
    expect(sum(({ resent }) => resent)).toBeGreaterThan(5)
    expect(sum(({ entries }) => entries)).toBeGreaterThan(200)
    expect(sum(({ catchUpReads }) => catchUpReads)).toBeGreaterThan(50)
    expect(sum(({ faults }) => faults['sync failure'] ?? 0)).toBeGreaterThan(0)
    expect(sum(({ faults }) => faults['target failure'] ?? 0)).toBeGreaterThan(0)
    const fresh = randomInt(2 ** 31)
    for (let i = 0; i < FRESH_RUNS; i++) await run(fresh + i)
  }, 300_000)

  test('loses nothing that was skipped while a ring was full and its shard had no time', async () => {
    let skipped = 0
    for (let seed = 1; seed <= 5; seed++) {
      const stalling = new Simulation({
        seed,
        change: (scenario) => ({
          ...scenario,
          samplesMax: 1,
          requests: 60,
          paceMs: 5,
          shardRingBytes: shardRingBytesMin(scenario.clients),
          oneIn: { ...scenario.oneIn, stall: 20 },
        }),
      })
      skipped += (await stalling.run()).skippedBatches
    }
    expect(skipped).toBeGreaterThan(10)
  }, 120_000)

  test('does the same again for the same seed, and something else for another', async () => {
    const first = await run(77)
    expect(await run(77)).toEqual(first)
    expect((await run(78)).digest).not.toBe(first.digest)
  }, 60_000)
})

describe('a simulated node that is broken on purpose is found out', () => {
  for (const mutant of MUTANTS) {
    test(mutant.name, async () => {
      for (let seed = 1; seed <= MUTANT_SEEDS_MAX; seed++) {
        // Most of what is broken shows only when the node, or a shard of it, comes back.
        const change = (scenario: Scenario): Scenario => {
          return { ...scenario, oneIn: { ...scenario.oneIn, crash: 100, shardDeath: 25 } }
        }
        const found = await new Simulation({ seed, mutant, change }).run().then(
          () => false,
          () => true,
        )
        if (!found) continue
        // What was found is the mutant's doing: without it the same run passes.
        await new Simulation({ seed, change }).run()
        return
      }
      expect.fail(`no seed up to ${MUTANT_SEEDS_MAX} shows it`)
    }, 300_000)
  }
})
