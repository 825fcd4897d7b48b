import { expect, test } from 'vitest'
import { runRing } from '../../bench/lib/ring-run.ts'
import type { Traffic } from '../../bench/lib/ring-traffic.ts'

const WORKER = new URL('./litmus-worker.mjs', import.meta.url)

/** A ring of few frames, so that both sides often wait. The full 1e8 samples: `npm run bench -- ring-transfer`. */
test.each([
  ['verify', 1 << 16, 200],
  ['copy', 1 << 20, 200],
  ['small', 1 << 12, 40_000],
] as const satisfies readonly (readonly [Traffic, number, number])[])(
  'two threads: every number arrives once, whole and in order (%s, ring of %d bytes)',
  async (traffic, capacityBytes, framesARound) => {
    const run = { traffic, capacityBytes, framesARound, rounds: 5, samplesAFrame: 1024 }
    const tallies = await runRing(WORKER, run)
    expect(tallies.map(({ frames, wrong }) => ({ frames, wrong }))).toEqual(
      Array.from({ length: run.rounds }, () => ({ frames: framesARound, wrong: 0 })),
    )
  },
  60_000,
)
