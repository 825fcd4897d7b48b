import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { isOwnerAlive, OWNER_SILENT_MS, type OwnerRecord, parseProcStat, processStartOf } from './owner.ts'

const HERE: OwnerRecord = {
  pid: 100,
  processStart: '5000',
  bootId: 'boot-a',
  pidNamespace: 'pid:[1]',
  hostname: 'here',
  sinceMs: 0,
}
const NOW_MS = 1_000_000
const FRESH_MS = NOW_MS - 1_000
const STALE_MS = NOW_MS - OWNER_SILENT_MS

describe('an owner in the same boot and pid namespace', () => {
  test('lives while its pid has its start time, however old its heartbeat', () => {
    expect(isOwnerAlive(HERE, HERE, STALE_MS, NOW_MS, () => '5000')).toBe(true)
  })
  test('is dead at once when its pid is gone, however fresh its heartbeat', () => {
    expect(isOwnerAlive(HERE, HERE, FRESH_MS, NOW_MS, () => undefined)).toBe(false)
  })
  test('is dead when its pid was given to another process', () => {
    expect(isOwnerAlive(HERE, HERE, FRESH_MS, NOW_MS, () => '6000')).toBe(false)
  })
})

describe('an owner elsewhere', () => {
  const elsewhere: OwnerRecord[] = [
    { ...HERE, bootId: 'boot-b' },
    { ...HERE, pidNamespace: 'pid:[2]' },
    { ...HERE, bootId: null, pidNamespace: null, processStart: null, hostname: 'there' },
  ]
  test.each(elsewhere)('lives by its heartbeat: %o', (owner) => {
    expect(isOwnerAlive(owner, HERE, FRESH_MS, NOW_MS, () => '5000')).toBe(true)
    expect(isOwnerAlive(owner, HERE, STALE_MS, NOW_MS, () => '5000')).toBe(false)
  })
})

describe('without /proc', () => {
  const plain: OwnerRecord = { ...HERE, bootId: null, pidNamespace: null, processStart: null }
  test('a pid that exists lives by its heartbeat, one that does not is dead', () => {
    expect(isOwnerAlive(plain, plain, FRESH_MS, NOW_MS, () => null)).toBe(true)
    expect(isOwnerAlive(plain, plain, STALE_MS, NOW_MS, () => null)).toBe(false)
    expect(isOwnerAlive(plain, plain, FRESH_MS, NOW_MS, () => undefined)).toBe(false)
  })
})

describe('start times', () => {
  const after = `S ${Array.from({ length: 18 }, (_, i) => i).join(' ')} 77777 0 0`
  test('are field 22, whatever the command is called', () => {
    expect(parseProcStat(`42 (node) ${after}`)).toBe('77777')
    expect(parseProcStat(`42 (a) b (c) ${after}`)).toBe('77777')
  })
  test('a zombie owns nothing', () => {
    expect(parseProcStat(`42 (node) Z${after.slice(1)}`)).toBeUndefined()
  })
  test('a stopped process is judged by its heartbeat', () => {
    for (const state of ['T', 't']) expect(parseProcStat(`42 (node) ${state}${after.slice(1)}`)).toBeNull()
    expect(isOwnerAlive(HERE, HERE, FRESH_MS, NOW_MS, () => null)).toBe(true)
    expect(isOwnerAlive(HERE, HERE, STALE_MS, NOW_MS, () => null)).toBe(false)
  })
  test.runIf(process.platform === 'linux')('a killed child is gone, a running one has one', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    await once(child, 'spawn')
    expect(processStartOf(child.pid!)).toMatch(/^\d+$/)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(processStartOf(child.pid!)).toBeUndefined()
  })
})
