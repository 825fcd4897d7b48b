import { describe, expect, test } from 'vitest'
import { DiskGuard } from './disk-guard.ts'

const BLOCK = 4_096

function guarded(reserveBytes: number) {
  const disk = { freeBytes: 10_000 * BLOCK, fails: false, asked: 0, hold: null as Promise<void> | null }
  const warnings: string[] = []
  const guard = new DiskGuard({
    dir: '/data',
    reserveBytes,
    onWarning: (error) => warnings.push(error.message),
    statfs: async () => {
      disk.asked++
      await disk.hold
      if (disk.fails) throw new Error('no such disk')
      return { bavail: disk.freeBytes / BLOCK, bsize: BLOCK }
    },
  })
  return { disk, guard, warnings }
}

describe('the disk guard', () => {
  test('takes nothing in below the reserve, says so once, and goes on a tenth above it', async () => {
    const { disk, guard, warnings } = guarded(1_000 * BLOCK)
    await guard.look()
    expect([guard.isLow, guard.problem]).toEqual([false, null])
    disk.freeBytes = 999 * BLOCK
    await guard.look()
    await guard.look()
    expect(guard.problem).toBe(`the disk has ${999 * BLOCK} bytes left, the reserve is ${1_000 * BLOCK}`)
    disk.freeBytes = 1_099 * BLOCK
    await guard.look()
    expect(guard.isLow).toBe(true)
    disk.freeBytes = 1_100 * BLOCK
    await guard.look()
    expect(guard.isLow).toBe(false)
    // Between the two it stays as it is.
    disk.freeBytes = 1_000 * BLOCK
    await guard.look()
    expect(guard.isLow).toBe(false)
    expect(warnings).toEqual([
      expect.stringMatching(/nothing is taken in until there is room \(--disk-reserve\)$/),
      expect.stringMatching(/has room again/),
    ])
  })

  test('who waits for room goes on when there is some, or when the node stops', async () => {
    const { disk, guard } = guarded(1_000 * BLOCK)
    await guard.room()
    disk.freeBytes = 0
    await guard.look()
    const passed: string[] = []
    void guard.room().then(() => passed.push('room'))
    await guard.look()
    expect(passed).toEqual([])
    disk.freeBytes = 5_000 * BLOCK
    await guard.look()
    await guard.room()
    expect(passed).toEqual(['room'])
    disk.freeBytes = 0
    await guard.look()
    const stopped = guard.room()
    guard.close()
    await stopped
  })

  test('no bound at 0', async () => {
    const { disk, guard } = guarded(0)
    disk.freeBytes = 0
    await guard.look()
    expect(guard.problem).toBe(null)
  })

  test('a disk that does not answer is asked once at a time; one that fails is told once, and stops nothing', async () => {
    const { disk, guard, warnings } = guarded(1_000 * BLOCK)
    let release: () => void = () => {}
    disk.hold = new Promise((resolve) => {
      release = resolve
    })
    const first = guard.look()
    await guard.look()
    await guard.look()
    expect(disk.asked).toBe(1)
    release()
    await first
    disk.fails = true
    await guard.look()
    await guard.look()
    expect(guard.isLow).toBe(false)
    expect(warnings).toEqual(['the room on the disk is not known: no such disk'])
  })
})
