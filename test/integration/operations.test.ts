/** Operating commands on real nodes: verify, backup, restore and replay beside one that takes samples; damage by name. */
import { openSync, readdirSync, readFileSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openStateReader } from '../../engine/store/state-store.ts'
import { launch, results, scratch, start, until, write, writePipeline } from './process.ts'

const START_MS = 1_700_000_000_000
const BODIES = 60
const BODIES_AFTER_BACKUP = 5

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Idleness by log time would close windows at times that differ from run to run; an hour keeps it out. */
const PIPELINE = (dir: string): string => `
export default pipeline('cpu').from(topic('metrics', { partitions: 4 })).disorder('1s').idle('1h')
  .window(sliding({ size: '4s', every: '1s' }), { mean: mean(), n: count() })
  .detect('mean', threshold({ above: 90, clear: 80 }), { name: 'hot' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'alerts.ndjson'))} }), { name: 'alerts' })
  .to(ndjsonFile({ path: ${JSON.stringify(join(dir, 'results.ndjson'))} }), { name: 'results', of: 'results' })`

function body(index: number): string {
  const lines: string[] = []
  for (let scrape = 0; scrape < 5; scrape++) {
    const second = index * 5 + scrape
    for (let host = 0; host < 20; host++) {
      const value = (second >> 4) % 5 === host % 5 ? 95 + host / 7 : 20 + ((second * 31 + host) % 100) / 10
      lines.push(`cpu,host=h${host} value=${value} ${START_MS + second * 1_000}`)
    }
  }
  return lines.join('\n')
}

async function millrace(...args: string[]): Promise<{ code: number | string; text: string }> {
  const running = launch(args, cleanups)
  return { code: await running.exited, text: running.text() }
}

/** Whole lines by result stream: streams of different partitions interleave as they happen to be committed. */
function streams(file: string): Record<string, string[]> {
  const byPartition: Record<string, string[]> = {}
  for (const line of readFileSync(file, 'utf8').split('\n').slice(0, -1)) {
    const partition = /^\{"id":"cpu\/(\d+)\//.exec(line)![1]!
    byPartition[partition] ??= []
    byPartition[partition].push(line)
  }
  return byPartition
}

/** A dozen processes start one after another, on whatever machine this is. */
const TEST_MS_MAX = 600_000

const LAST_END_MS = START_MS + (BODIES * 5 - 2) * 1_000

test(
  'verify, backup and replay beside a node under load; the backup gives the same results again',
  async () => {
    const dir = scratch(cleanups)
    const data = join(dir, 'data')
    const pipeline = writePipeline(dir, PIPELINE(dir))
    const node = await start(['run', pipeline, '--data', data, '--checkpoint-every', '200ms'], cleanups)
    let sent = 0
    const send = async (upTo: number): Promise<void> => {
      for (; sent < upTo; sent++) expect((await write(node.url, body(sent))).status).toBe(204)
    }
    await send(10)
    const feeding = send(BODIES - BODIES_AFTER_BACKUP)
    const backup = join(dir, 'backup')
    const verified = await millrace('verify', '--data', data, '--json')
    expect(verified.code, verified.text).toBe(0)
    const backedUp = await millrace('backup', backup, '--data', data)
    expect(backedUp.code, backedUp.text).toBe(0)
    await feeding
    // However fast the machine is, the backup does not hold all that the file will.
    await send(BODIES)
    const rows = await until(async () => {
      const found = await results(node.url, 'cpu')
      return Math.max(0, ...found.map((row) => row.windowEndMs)) >= LAST_END_MS ? found : null
    }, 120_000)
    await until(async () =>
      Object.values(streams(join(dir, 'results.ndjson'))).flat().length >= rows.length ? true : null,
    )

    // Three replays beside the node: each the same bytes, and those that the node committed.
    const bytes: Buffer[][] = []
    for (const threads of ['1', '2', '4']) {
      const into = join(dir, `replay-${threads}`)
      const replayed = await millrace(
        'replay',
        pipeline,
        '--data',
        data,
        '--into',
        into,
        '--threads',
        threads,
      )
      expect(replayed.code, replayed.text).toBe(0)
      expect(readdirSync(into).sort()).toEqual(['alerts.ndjson', 'late.ndjson', 'results.ndjson'])
      bytes.push(['results', 'alerts', 'late'].map((feed) => readFileSync(join(into, `${feed}.ndjson`))))
    }
    expect(bytes[1]).toEqual(bytes[0])
    expect(bytes[2]).toEqual(bytes[0])
    for (const feed of ['results', 'alerts']) {
      const live = streams(join(dir, `${feed}.ndjson`))
      expect(Object.values(live).flat().length).toBeGreaterThan(10)
      expect(streams(join(dir, 'replay-1', `${feed}.ndjson`))).toEqual(live)
    }

    expect(await node.kill('SIGKILL')).toBe('SIGKILL')
    const offline = await millrace('verify', '--data', data)
    expect(offline.code, offline.text).toBe(0)
    expect(offline.text).toContain('no fault found')

    const again = join(dir, 'again')
    const restored = await millrace('restore', backup, '--data', again)
    expect(restored.code, restored.text).toBe(0)
    const before = readFileSync(join(dir, 'results.ndjson'))
    const second = await start(['run', pipeline, '--data', again], cleanups)
    const known = new Map(rows.map((row) => [row.id, row]))
    const restoredRows = await until(async () => {
      const found = await results(second.url, 'cpu')
      return found.length > 0 ? found : null
    })
    for (const row of restoredRows) expect(row).toEqual(known.get(row.id))
    // The file went on after the backup: what the restored results do not hold is never written over or repeated.
    if (restored.text.includes('truncate')) {
      await until(async () => (second.text().includes('cannot use the file') ? true : null))
    }
    expect(readFileSync(join(dir, 'results.ndjson')).subarray(0, before.length)).toEqual(before)
  },
  TEST_MS_MAX,
)

test(
  'damage in the log and in the state is found by place; a new pipeline’s start is kept from the first commit on',
  async () => {
    const dir = scratch(cleanups)
    const data = join(dir, 'data')
    const args = ['run', writePipeline(dir, PIPELINE(dir)), '--data', data, '--checkpoint-every', '1h']
    const node = await start(args, cleanups)
    for (let i = 0; i < 30; i++) await write(node.url, body(i))
    await until(async () => ((await results(node.url, 'cpu')).length > 500 ? true : null))
    expect(await node.kill('SIGKILL')).toBe('SIGKILL')

    const state = openStateReader({ dir: data })
    const { id } = state.pipeline('cpu')!
    for (let partition = 0; partition < 4; partition++) {
      if (state.progress(id, partition) !== null) expect(state.checkpoint(id, partition)?.position).toBe(0)
    }
    await state.close()

    expect((await millrace('verify', '--data', data)).code).toBe(0)
    flip(join(data, 'log/data.mdb'), 'MRB1', 84)
    flip(join(data, 'state/data.mdb'), '"kind":"alert"', 3)
    const { code, text } = await millrace('verify', '--data', data, '--json')
    expect(code).toBe(1)
    const { findings } = JSON.parse(text) as { findings: { place: string; problem: string }[] }
    const found = findings.map(({ place, problem }) => `${place}: ${problem}`).join('\n')
    expect(found).toMatch(/log: topic "metrics", partition \d, offset \d+: the batch has a wrong CRC/)
    expect(found).toMatch(/state: pipeline "cpu", partition \d, entry \d+: the entry has a wrong CRC/)
    const refused = await millrace('backup', join(dir, 'backup'), '--data', data)
    expect(refused.code).toBe(1)
    expect(readdirSync(dir)).not.toContain('backup')
  },
  TEST_MS_MAX,
)

/** One bit of every place where the text stands: some may be pages that LMDB has freed. */
function flip(file: string, text: string, at: number): void {
  const fd = openSync(file, 'r+')
  const bytes = Buffer.alloc(statSync(file).size)
  readSync(fd, bytes, 0, bytes.length, 0)
  for (let found = bytes.indexOf(text); found >= 0; found = bytes.indexOf(text, found + 1)) {
    writeSync(fd, Buffer.from([bytes[found + at]! ^ 1]), 0, 1, found + at)
  }
}
