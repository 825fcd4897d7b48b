import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../util/clock.ts'
import { networkFileSystem } from './directory.ts'
import { openEnv, type Table } from './env.ts'
import { openLogWriter } from './log-store.ts'
import { OWNER_SILENT_MS, type OwnerRecord, thisProcess, writeHeartbeat } from './owner.ts'
import { emptyFile } from './page-layout.ts'
import { sealJson, unsealJson } from './sealed.ts'
import type { StateTransaction } from './state-contract.ts'
import { openStateReader, openStateWriter } from './state-store.ts'
import { openStore, STORE_FORMAT } from './store.ts'

let base: string
let dir: string

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'millrace-store-'))
  dir = join(base, 'data')
})

afterEach(() => rmSync(base, { recursive: true, force: true }))

/** Changes the meta table of a store that nobody has open. */
async function tamper(folder: 'log' | 'state', key: string, value: unknown): Promise<void> {
  const env = openEnv(join(dir, folder), null)
  env.transaction(() => env.put(env.meta, Buffer.from(key), sealJson(value)))
  await env.close()
}

async function openAndClose(): Promise<{ identity: string; fence: number }> {
  const store = await openStore({ dir })
  await store.close()
  return { identity: store.identity, fence: store.fence }
}

describe('opening', () => {
  test('a new store has an identity, a fence and no downtime; the next opening keeps the one and raises the other', async () => {
    const clock = new ManualClock(50_000)
    const first = await openStore({ dir, clock })
    expect(first.resumed).toBeNull()
    clock.advance(1_000)
    first.heartbeat()
    clock.advance(500)
    await first.close()
    await first.close()
    clock.advance(60_000)
    const second = await openStore({ dir, clock })
    expect(second.identity).toBe(first.identity)
    expect(second.fence).toBeGreaterThan(first.fence)
    expect(second.resumed).toEqual({ downFromMs: 51_500 })
    await second.close()
  })

  test('a heartbeat beside the event loop is one of its own; closing waits for it, and nothing is written afterwards', async () => {
    const clock = new ManualClock(50_000)
    const store = await openStore({ dir, clock })
    const heartbeatMs = (): unknown => JSON.parse(readFileSync(join(dir, 'owner.json'), 'utf8')).heartbeatMs
    clock.advance(1_000)
    await store.heartbeatAside()
    expect(heartbeatMs()).toBe(51_000)
    clock.advance(1_000)
    const beats = [store.heartbeatAside(), store.heartbeatAside()]
    clock.advance(1_000)
    const closed = store.close()
    await Promise.all([...beats, closed, store.heartbeatAside()])
    expect(heartbeatMs()).toBe(53_000)
    expect(readdirSync(dir).filter((name) => name.startsWith('owner'))).toEqual(['owner.json'])
  })

  test('a second live owner is refused by pid, host, since when and what to do', async () => {
    const store = await openStore({ dir })
    const second = openStore({ dir })
    await expect(second).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    await expect(openStore({ dir })).rejects.toThrow(
      new RegExp(`owned by process ${process.pid} on .+ since 20\\d\\d-.+kill ${process.pid}`),
    )
    store.heartbeat()
    await store.close()
    await openAndClose()
  })

  test('of two openers at the same moment one wins and the other is told by name', async () => {
    const results = await Promise.allSettled([openStore({ dir }), openStore({ dir })])
    const won = results.filter((result) => result.status === 'fulfilled')
    const lost = results.filter((result) => result.status === 'rejected')
    expect([won.length, lost.length]).toEqual([1, 1])
    expect(lost[0]?.reason).toMatchObject({ code: 'STORE_LOCKED' })
    for (const { value } of won) await value.close()
  })

  test('an owner elsewhere holds the store until its heartbeat is old; its zombie is then fenced', async () => {
    const clock = new ManualClock(1_000_000)
    const zombie = await openStore({ dir, clock })
    const writer = openLogWriter({ dir, fence: zombie.fence })
    const state = openStateWriter({ dir, fence: zombie.fence })
    // As if the owner lived in another container: its pid means nothing here.
    const log = openEnv(join(dir, 'log'), null)
    const owner = { ...thisProcess(clock.nowMs()), pidNamespace: 'pid:[elsewhere]', hostname: 'elsewhere' }
    log.transaction(() => log.put(log.meta, Buffer.from('owner'), sealJson(owner)))
    clock.advance(OWNER_SILENT_MS - 1)
    await expect(openStore({ dir, clock })).rejects.toThrow(/on elsewhere since/)
    clock.advance(1)
    const heir = await openStore({ dir, clock })
    expect(() => zombie.heartbeat()).toThrow(expect.objectContaining({ code: 'STORE_FENCED' }))
    await expect(zombie.heartbeatAside()).rejects.toMatchObject({ code: 'STORE_FENCED' })
    const append = (): unknown =>
      writer.transaction((txn) => txn.createTopic({ name: 't', partitions: 1, partitionBy: null }))
    expect(append).toThrow(expect.objectContaining({ code: 'STORE_FENCED' }))
    const commit = (): void => state.transaction((txn) => txn.putSink(0, 's', '{}'))
    expect(commit).toThrow(expect.objectContaining({ code: 'STORE_FENCED' }))
    for (const open of [writer, state, zombie, log, heir]) await open.close()
  })

  test('a takeover from an owner that may return is remembered; after a close or a death there is none', async () => {
    const clock = new ManualClock(1_000_000)
    const takeoverAfter = async (change: Partial<OwnerRecord> | null): Promise<[number, number]> => {
      const before = await openStore({ dir, clock })
      const log = openEnv(join(dir, 'log'), null)
      if (change === null) await before.close()
      else {
        const owner = { ...thisProcess(clock.nowMs()), ...change }
        log.transaction(() => log.put(log.meta, Buffer.from('owner'), sealJson(owner)))
      }
      clock.advance(OWNER_SILENT_MS)
      const heir = await openStore({ dir, clock })
      const state = openStateReader({ dir })
      const takeover = state.takeover()
      for (const open of [before, log, state, heir]) await open.close()
      return [takeover, heir.fence]
    }
    expect((await takeoverAfter(null))[0]).toBe(0)
    expect((await takeoverAfter({ processStart: 'another' }))[0]).toBe(0)
    const [takeover, fence] = await takeoverAfter({ pidNamespace: 'pid:[elsewhere]', hostname: 'elsewhere' })
    expect(takeover).toBe(fence)
    // It may still return, whoever comes after.
    expect((await takeoverAfter(null))[0]).toBe(fence)
    // A reboot of this machine has ended everything; the one elsewhere may still return.
    expect((await takeoverAfter({ bootId: 'before' }))[0]).toBe(fence)
  })

  test('after kill -9 of its owner the store opens at once', async () => {
    await openAndClose()
    const child = spawn(process.execPath, [
      '--input-type=module',
      '-e',
      `const log = (await import('lmdb')).open({
         path: ${JSON.stringify(join(dir, 'log'))}, overlappingSync: false, maxReaders: 512, maxDbs: 16,
         encoding: 'binary', keyEncoding: 'binary', cache: false })
       const meta = log.openDB({ name: 'meta', encoding: 'binary', keyEncoding: 'binary', cache: false })
       meta.get(Buffer.from('fence'))
       console.log('open')
       setInterval(() => meta.get(Buffer.from('fence')), 10)`,
    ])
    await outputOf(child)
    await tamper('log', 'owner', ownerOf(child.pid!))
    writeHeartbeat(dir, { pid: child.pid!, hostname: 'h', sinceMs: 1, fence: 9, heartbeatMs: Date.now() })
    await expect(openStore({ dir })).rejects.toThrow(new RegExp(`owned by process ${child.pid}`))
    child.kill('SIGKILL')
    await once(child, 'exit')
    const store = await openStore({ dir })
    expect(store.resumed?.downFromMs).toBeLessThanOrEqual(Date.now())
    await store.close()
  })
})

/** The record a process writes, taken from its own pid's facts. */
function ownerOf(pid: number): unknown {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const processStart = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  return { ...thisProcess(Date.now()), pid, processStart }
}

async function outputOf(child: ChildProcess): Promise<void> {
  child.stderr?.on('data', (text) => process.stderr.write(text))
  await once(child.stdout!, 'data')
}

describe('refusals', () => {
  test('another format version, in either environment, with what to do', async () => {
    for (const folder of ['log', 'state'] as const) {
      await openAndClose()
      await tamper(folder, 'format', 7)
      const opening = openStore({ dir })
      await expect(opening).rejects.toMatchObject({ code: 'STORE_VERSION' })
      await expect(openStore({ dir })).rejects.toThrow(
        new RegExp(`written in store format 7; .* format ${STORE_FORMAT}\\. Run the version`),
      )
      rmSync(dir, { recursive: true })
    }
  })

  test('a log and a state of two stores do not open together', async () => {
    const first = await openAndClose()
    cpSync(join(dir, 'state'), join(base, 'kept'), { recursive: true })
    rmSync(dir, { recursive: true })
    const second = await openAndClose()
    rmSync(join(dir, 'state'), { recursive: true })
    cpSync(join(base, 'kept'), join(dir, 'state'), { recursive: true })
    const opening = openStore({ dir })
    await expect(opening).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
    await expect(openStore({ dir })).rejects.toThrow(new RegExp(`${second.identity}.*${first.identity}`))
  })

  test('a store that lost one environment is refused', async () => {
    for (const folder of ['log', 'state']) {
      await openAndClose()
      rmSync(join(dir, folder), { recursive: true })
      await expect(openStore({ dir })).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
      rmSync(dir, { recursive: true })
    }
  })

  test('a state ahead of the log is refused, naming pipeline and partition', async () => {
    const store = await openStore({ dir })
    const log = openLogWriter({ dir, fence: store.fence })
    log.transaction((txn) => txn.createTopic({ name: 't', partitions: 4, partitionBy: null }))
    const state = openStateWriter({ dir, fence: store.fence })
    state.transaction((txn) => {
      const { id } = txn.putPipeline({
        name: 'latency',
        topicId: 0,
        topic: 't',
        planHash: 'h',
        planJson: '{}',
      })
      txn.putCheckpoint(id, 3, { position: 17, nextSeq: 0, meta: '' })
    })
    for (const open of [log, state, store]) await open.close()
    const opening = openStore({ dir })
    await expect(opening).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
    await expect(openStore({ dir })).rejects.toThrow(
      /checkpoint of pipeline "latency", partition 3, stands at offset 17, but the log ends at 0/,
    )
  })

  test('a refusal lets the directory go: it does not lock out the next attempt', async () => {
    const { identity } = await openAndClose()
    await tamper('state', 'identity', 'other')
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'STORE_MISMATCH' })
    await tamper('state', 'identity', identity)
    await openAndClose()
  })

  test('a path that is a file, has no parent, or may not be written', async () => {
    writeFileSync(dir, '')
    await expect(openStore({ dir })).rejects.toThrow(/is a file, not a directory/)
    await expect(openStore({ dir: join(base, 'a', 'b') })).rejects.toThrow(
      /parent .* does not exist. Make the parent/,
    )
    expect(existsSync(join(base, 'a'))).toBe(false)
  })

  test.skipIf(process.getuid?.() === 0)('a directory without the right to write (not as root)', async () => {
    mkdirSync(dir)
    chmodSync(dir, 0o500)
    await expect(openStore({ dir })).rejects.toThrow(/may not write there/)
    chmodSync(dir, 0o700)
  })

  test('files that are no environment are damage, not a crash', async () => {
    mkdirSync(join(dir, 'log'), { recursive: true })
    writeFileSync(join(dir, 'log', 'data.mdb'), Buffer.alloc(8_192, 7))
    await expect(openStore({ dir })).rejects.toMatchObject({ code: 'STORE_DAMAGED' })
  })

  test('a file cut short is damage, not a crash', async () => {
    const store = await openStore({ dir })
    const log = openLogWriter({ dir, fence: store.fence })
    for (let i = 0; i < 50; i++) {
      log.transaction((txn) => {
        txn.createTopic({ name: `t${i}`, partitions: 64, partitionBy: null })
      })
    }
    for (const open of [log, store]) await open.close()
    const file = join(dir, 'log', 'data.mdb')
    truncateSync(file, statSync(file).size / 2)
    const reopen = async (): Promise<void> => {
      const again = await openStore({ dir })
      openLogWriter({ dir, fence: again.fence })
    }
    await expect(reopen()).rejects.toMatchObject({ code: 'STORE_DAMAGED' })
  })

  test('rows of no pipeline, of no partition, or missing at the end of a run are damage', async () => {
    const make = async (put: (txn: StateTransaction, id: number) => void): Promise<void> => {
      rmSync(dir, { recursive: true, force: true })
      const store = await openStore({ dir })
      const log = openLogWriter({ dir, fence: store.fence })
      log.transaction((txn) => txn.createTopic({ name: 't', partitions: 2, partitionBy: null }))
      const state = openStateWriter({ dir, fence: store.fence })
      state.transaction((txn) => {
        const plan = { name: 'p', topicId: 0, topic: 't', planHash: 'h', planJson: '{}' }
        put(txn, txn.putPipeline(plan).id)
      })
      for (const open of [log, state, store]) await open.close()
    }
    const bytes = new Uint8Array(8)
    const ledger = { in: 0, windowed: 0, filtered: 0, late: 0, nonFinite: 0, dead: 0 }
    await make((txn, id) => txn.putSink(id + 1, 'file', '{}'))
    await expect(openStore({ dir })).rejects.toThrow(/row \(sink\) of pipeline #1 is damaged/)
    await make((txn, id) => txn.putGroup(id, 2, 0, bytes))
    await expect(openStore({ dir })).rejects.toThrow(/no such partition/)
    await make((txn, id) => {
      txn.putEntry(id, 0, 0, 1, 0, 0, bytes)
      txn.putProgress(id, 0, { position: 0, nextSeq: 2, ledger })
    })
    await expect(openStore({ dir })).rejects.toThrow(
      /entry 1 of pipeline "p", partition 0 is damaged \(missing\)/,
    )
  })

  test('a value that stands under another key, or in another table, fails its check', async () => {
    await openAndClose()
    const env = openEnv(join(dir, 'log'), null)
    const [here, there] = [env.table('here'), env.table('there')]
    const [rawHere, rawThere] = [
      env.table('here', { isBound: false }),
      env.table('there', { isBound: false }),
    ]
    const [one, two] = [Buffer.from('key-1'), Buffer.from('key-2')]
    env.transaction(() => {
      env.put(here, one, sealJson('sound'))
      const stored = env.get(rawHere, one)!
      env.put(rawHere, two, stored)
      env.put(rawThere, one, stored)
    })
    const read = (table: Table, key: Uint8Array) => (): string => unsealJson(env.get(table, key)!, () => 'it')
    expect(read(here, one)()).toBe('sound')
    expect(read(here, two)).toThrow(/it is damaged \(wrong CRC\)/)
    expect(read(there, one)).toThrow(/it is damaged \(wrong CRC\)/)
    const rows = env.read(() => Array.from(env.rows(here, one, Buffer.from('key-9')), ({ value }) => value))
    expect(unsealJson(rows[0]!, () => 'it')).toBe('sound')
    expect(() => unsealJson(rows[1]!, () => 'it')).toThrow(/it is damaged/)
    await env.close()
  })

  test('a transaction that only removes what is not there is no failed commit', async () => {
    await openAndClose()
    const env = openEnv(join(dir, 'log'), null)
    const remove = (): boolean => env.transaction(() => env.remove(env.meta, Buffer.from('nothing')))
    expect([remove(), remove()]).toEqual([false, false])
    env.transaction(() => env.put(env.meta, Buffer.from('something'), sealJson(1)))
    expect(env.transaction(() => env.remove(env.meta, Buffer.from('something')))).toBe(true)
    await env.close()
  })

  test('a table that stands under another name is missed', async () => {
    await openAndClose()
    const path = join(dir, 'log', 'data.mdb')
    const file = readFileSync(path)
    // A page that is no longer in use may hold the name too.
    for (let at = file.indexOf('topics\0'); at >= 0; at = file.indexOf('topics\0', at + 1))
      file[at + 1] = 0x70
    writeFileSync(path, file)
    await expect(openStore({ dir })).rejects.toThrow(/no table "topics", but one named "tppics"/)
  })

  test('drafts of an environment that was never finished are removed', async () => {
    const draft = join(dir, 'state-draft-1')
    mkdirSync(draft, { recursive: true })
    writeFileSync(join(draft, 'data.mdb'), '')
    await openAndClose()
    expect(existsSync(draft)).toBe(false)
  })

  test('the file an environment begins with is the one LMDB makes', async () => {
    mkdirSync(dir)
    await openEnv(join(dir, 'made'), null).close()
    const made = readFileSync(join(dir, 'made', 'data.mdb'))
    const ours = emptyFile()
    // What a first transaction changes: both trees, last page, transaction, boot; the map's size in its turn.
    const rest = (file: Buffer): Buffer =>
      Buffer.concat([file.subarray(0, 40), file.subarray(48, 56), file.subarray(4_096, 4_136)])
    expect(rest(made).equals(rest(ours))).toBe(true)
  })

  test('network file systems by their statfs type', () => {
    expect([0x6969, 0xff534d42, -11317950].map(networkFileSystem)).toEqual(['NFS', 'CIFS', 'CIFS'])
    expect([0xef53, 0x58465342, 0x01021994].map(networkFileSystem)).toEqual([null, null, null])
  })
})
