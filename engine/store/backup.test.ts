import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sealBatch } from '../batch/batch-encoder.ts'
import * as layout from '../batch/layout.ts'
import { RECORD_SAMPLES } from '../contract/samples.ts'
import { systemClock } from '../util/clock.ts'
import {
  type BackupManifest,
  type BackupOptions,
  backupStore,
  MANIFEST_FILE,
  restoreStore,
} from './backup.ts'
import type { LogWriter } from './log-contract.ts'
import { openLogReader, openLogWriter } from './log-store.ts'
import { measureStore, resetPipelines, resetStore } from './reset.ts'
import { HOLD_MS } from './retention-hold.ts'
import type { StateWriter } from './state-contract.ts'
import { openStateReader, openStateWriter } from './state-store.ts'
import { openStore, STORE_FORMAT, type Store } from './store.ts'

const LEDGER = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }

let root: string
let dir: string
let target: string
let store: Store
let log: LogWriter
let state: StateWriter
let nowMs = 0

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'millrace-backup-'))
  dir = join(root, 'data')
  target = join(root, 'backup')
  store = await openStore({ dir })
  log = openLogWriter({ dir, fence: store.fence })
  state = openStateWriter({ dir, fence: store.fence })
  log.transaction((txn) => txn.createTopic({ name: 'metrics', partitions: 1, partitionBy: null }))
  state.transaction((txn) => {
    for (const name of ['cpu', 'disk']) {
      txn.putPipeline({ name, topicId: 0, topic: 'metrics', planHash: 'h', planJson: '{}' })
    }
  })
  for (let i = 0; i < 4; i++) append()
  commit(4)
})

afterEach(async () => {
  await stop()
  rmSync(root, { recursive: true, force: true })
})

async function stop(): Promise<void> {
  await state.close()
  await log.close()
  await store.close()
}

/** One record of one offset. */
function append(): void {
  const buffer = new ArrayBuffer(layout.batchBytes(1) + 4)
  const bytes = new Uint8Array(buffer, 0, layout.batchBytes(1))
  nowMs += 10
  sealBatch(bytes, new DataView(buffer), {
    kind: RECORD_SAMPLES,
    topicId: 0,
    partition: 0,
    baseOffset: log.endOffset(0, 0),
    count: 1,
    minTimestampMs: 0,
    maxTimestampMs: 0,
    appendedMs: nowMs,
    producerId: 0,
    producerEpoch: 0,
    baseSequence: -1,
  })
  log.transaction((txn) => txn.putBatch(bytes))
}

function commit(position: number): void {
  state.transaction((txn) => {
    txn.putProgress(0, 0, { position, nextSeq: 0, ledger: LEDGER })
    txn.putCheckpoint(0, 0, { position, nextSeq: 0, meta: '{}' })
  })
}

/** As the log writer does: down to the checkpoint, whatever its age. */
function retain(clockMs = systemClock.nowMs()): number {
  const lowWater = state.checkpoint(0, 0)?.position ?? 0
  return log.retain({ nowMs: clockMs, ageMsMax: 0, bytesMax: 0, lowWater: () => lowWater }).batches
}

const VERIFIED = (): Promise<boolean> => Promise.resolve(true)

function backup(more: Partial<BackupOptions> = {}): Promise<BackupManifest | null> {
  return backupStore({ dir, target, version: '1.2.3', clock: systemClock, verify: VERIFIED, ...more })
}

function restore(to = join(root, 'again'), from = target): Promise<BackupManifest | null> {
  return restoreStore({ backup: from, dir: to, version: '1.2.3', clock: systemClock, verify: VERIFIED })
}

describe('backup', () => {
  test('while records, commits and retention go on, the copied state stands on the copied log', async () => {
    let retained = -1
    await backup({
      afterState() {
        for (let i = 0; i < 6; i++) append()
        commit(10)
        retained = retain()
      },
    })
    expect(retained).toBe(0)
    const copiedLog = openLogReader({ dir: target })
    const copiedState = openStateReader({ dir: target })
    const checkpoint = copiedState.checkpoint(0, 0)!
    expect(checkpoint.position).toBe(4)
    expect(copiedLog.startOffset(0, 0)).toBeLessThanOrEqual(checkpoint.position)
    expect(copiedLog.endOffset(0, 0)).toBeGreaterThanOrEqual(copiedState.progress(0, 0)!.position)
    await copiedLog.close()
    await copiedState.close()
    // Afterwards retention goes on.
    expect(retain()).toBe(9)
  })

  test('a hold that is not renewed is over after a while', async () => {
    writeFileSync(join(dir, 'hold.1'), JSON.stringify({ untilMs: systemClock.nowMs() + HOLD_MS }))
    expect(retain()).toBe(0)
    expect(retain(systemClock.nowMs() + HOLD_MS + 1)).toBe(3)
  })

  test('the copy has no owner, opens beside the living original, and supersedes every older token', async () => {
    await backup()
    expect(existsSync(join(target, 'owner.json'))).toBe(false)
    const copy = await openStore({ dir: target })
    expect(copy.identity).toBe(store.identity)
    expect(copy.fence).toBeGreaterThan(store.fence)
    await copy.close()
    store.heartbeat()
    append()
  })

  test('a target that is not empty is refused and left as it is', async () => {
    mkdirSync(target)
    writeFileSync(join(target, 'precious'), 'x')
    await expect(backup()).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(readdirSync(target)).toEqual(['precious'])
    expect(readdirSync(root).sort()).toEqual(['backup', 'data'])
  })

  test('a copy that does not verify is never published', async () => {
    expect(await backup({ verify: () => Promise.resolve(false) })).toBeNull()
    await expect(backup({ verify: () => Promise.reject(new Error('no')) })).rejects.toThrow('no')
    expect(readdirSync(root)).toEqual(['data'])
    expect(readdirSync(dir).filter((name) => name.startsWith('hold.'))).toEqual([])
  })

  test('where there is no store, none is made', async () => {
    await expect(backup({ dir: join(root, 'nothing') })).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    expect(readdirSync(root)).toEqual(['data'])
  })
})

describe('restore', () => {
  test('gives a store that opens, was down since its newest record, and goes on', async () => {
    await backup()
    const dirAgain = join(root, 'again')
    const manifest = await restore(dirAgain)
    expect(manifest).toMatchObject({ format: STORE_FORMAT, version: '1.2.3', source: dir })
    const again = await openStore({ dir: dirAgain })
    expect(again.resumed).toEqual({ downFromMs: nowMs })
    const writer = openLogWriter({ dir: dirAgain, fence: again.fence })
    expect(writer.endOffset(0, 0)).toBe(4)
    await writer.close()
    await again.close()
    // A backup may be used more than once.
    expect(await restore(join(root, 'third'))).not.toBeNull()
  })

  test('over a live store is refused by its owner’s name, over any other directory that is not empty too', async () => {
    await backup()
    await expect(restore(dir)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    await expect(restore(dir)).rejects.toThrow(new RegExp(`process ${process.pid}`))
    await expect(restore(root)).rejects.toMatchObject({ code: 'INPUT_INVALID' })
    store.heartbeat()
    append()
  })

  test('of a newer version is refused by name, and nothing is changed', async () => {
    await backup()
    const path = join(target, MANIFEST_FILE)
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as BackupManifest
    writeFileSync(path, JSON.stringify({ ...manifest, format: STORE_FORMAT + 1, version: '9.0.0' }))
    const refused = restore()
    await expect(refused).rejects.toMatchObject({ code: 'STORE_VERSION' })
    await expect(refused).rejects.toThrow(
      /made by millrace 9\.0\.0 .*Restore it with millrace 9\.0\.0 or later/,
    )
    expect(readdirSync(root).sort()).toEqual(['backup', 'data'])
  })

  test('what is no backup is refused by name', async () => {
    await expect(restore(undefined, dir)).rejects.toThrow(/no backup\.json, so it is no backup/)
    await expect(restore(undefined, join(root, 'none'))).rejects.toThrow(/no such directory/)
  })
})

describe('reset', () => {
  test('forgets the pipelines named, keeps the others, the log and the time of the last sign of life', async () => {
    state.transaction((txn) => {
      for (let seq = 0; seq < 10; seq++) txn.putEntry(0, 0, seq, 1, 0, 0, new Uint8Array(8))
      txn.putProgress(1, 0, { position: 2, nextSeq: 0, ledger: LEDGER })
    })
    const { pipelines } = await measureStore(dir)
    expect(pipelines.map(({ name, rows }) => [name, rows])).toEqual([
      ['cpu', 12],
      ['disk', 1],
    ])
    await stop()
    const heartbeat = readFileSync(join(dir, 'owner.json'), 'utf8')
    await resetPipelines(dir, ['cpu'], systemClock)
    expect(readFileSync(join(dir, 'owner.json'), 'utf8')).toBe(heartbeat)
    const { pipelines: left } = await measureStore(dir)
    expect(left).toMatchObject([{ name: 'disk', rows: 1 }])
    const reader = openLogReader({ dir })
    expect(reader.endOffset(0, 0)).toBe(4)
    await reader.close()
    const again = await openStore({ dir })
    const writer = openStateWriter({ dir, fence: again.fence })
    const plan = { name: 'cpu', topicId: 0, topic: 'metrics', planHash: 'h', planJson: '{}' }
    // A new life with a new id: nothing of the old one can be taken for its own.
    expect(writer.transaction((txn) => txn.putPipeline(plan)).id).toBe(2)
    await writer.close()
    await again.close()
  })

  test('is refused while somebody owns the store', async () => {
    await expect(resetPipelines(dir, ['cpu'], systemClock)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    await expect(resetStore(dir, systemClock)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    expect(state.pipelines()).toHaveLength(2)
  })

  test('of a whole store deletes what millrace made, and no other file', async () => {
    await stop()
    writeFileSync(join(dir, 'mine.txt'), 'x')
    await resetStore(dir, systemClock)
    expect(readdirSync(dir)).toEqual(['mine.txt'])
    rmSync(join(dir, 'mine.txt'))
    await (await openStore({ dir })).close()
    await resetStore(dir, systemClock)
    expect(existsSync(dir)).toBe(false)
  })

  test('works on a store that cannot be opened any more, unless there was a sign of life just now', async () => {
    await stop()
    writeFileSync(join(dir, 'log/data.mdb'), Buffer.alloc(8_192, 7))
    await expect(resetStore(dir, systemClock)).rejects.toThrow(/gave a sign of life/)
    expect(existsSync(join(dir, 'state/data.mdb'))).toBe(true)
    const later = { ...systemClock, nowMs: () => systemClock.nowMs() + 60_000 }
    await resetStore(dir, later)
    expect(existsSync(dir)).toBe(false)
  })
})
