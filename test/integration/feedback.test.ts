/** What people say of alerts, over whole nodes: by the command line, over a kill -9, and in a replay. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, expect, test } from 'vitest'
import { json, MAIN, type Running, scratch, start, until, write, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START_S = 1_767_225_600
const HOSTS = ['a', 'b']
const CPUS = 4
const run = promisify(execFile)

const minuteMs = (minute: number): number => (START_S + 60 * minute) * 1_000

/** How far off a host is at a minute. Nothing tells one host from the other but what people say of it. */
const OFF: Readonly<Record<string, number>> = {
  'a 150': 14,
  'b 150': 14,
  'a 230': 13.5,
  'b 230': 13.5,
  'a 290': 13.5,
  'b 290': 13.5,
  'a 310': 10,
  'b 310': 10,
  'a 350': 11.2,
  'b 350': 11.2,
}

function samples(from: number, to: number): { minute: number; host: string; cpu: number; value: number }[] {
  const all = []
  for (let minute = from; minute < to; minute++) {
    for (const host of HOSTS) {
      for (let cpu = 0; cpu < CPUS; cpu++) {
        all.push({ minute, host, cpu, value: 20 + ((minute * 7) % 5) + (OFF[`${host} ${minute}`] ?? 0) })
      }
    }
  }
  return all
}

/** Up to the minute, and one sample more: it closes the last window. */
async function send({ url }: Running, from: number, to: number): Promise<void> {
  const lines = samples(from, to + 1).map(
    ({ minute, host, cpu, value }) => `load,host=${host},cpu=${cpu} value=${value} ${minuteMs(minute)}`,
  )
  expect((await write(url, lines.join('\n'))).status).toBe(204)
  await until(async () => {
    const { rows } = await json<{ rows: unknown[] }>(
      `${url}/api/v1/results?pipeline=load&from=${minuteMs(to)}&limit=10`,
    )
    return rows.length > 0 ? true : null
  })
}

interface AlertLine {
  readonly id: string
  readonly state: string
  readonly group: { readonly host: string }
  readonly sinceMs: number
  readonly atMs: number
}

/** `host minute` of each alert, by the minute in which its window began. */
const begun = (alerts: readonly AlertLine[]): string[] =>
  alerts
    .filter(({ state }) => state === 'firing')
    .map(({ group, sinceMs }) => `${group.host} ${Math.round((sinceMs - minuteMs(1)) / 60_000)}`)
    .sort()

test.each([
  ['in their partitions', `topic('metrics', { partitions: 2, partitionBy: ['host'] })`],
  ['spread over partitions', `topic('metrics', { partitions: 2 })`],
])(
  'groups %s: what is said holds from then on, once, over a kill, and in a replay',
  async (_where, topic) => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('load').from(${topic}).groupBy('host').disorder('1s').idle('2s')
         .window(tumbling('1m'), { v: mean() }).detect('v', ewma({ warmUp: '30m' }), { name: 'odd' })`,
    )
    const rows = samples(0, 200).map(({ minute, host, cpu, value }) =>
      [START_S + 60 * minute, value, host, cpu].join(','),
    )
    writeFileSync(join(dir, 'h.csv'), `time,value,host,cpu\n${rows.join('\n')}\n`)
    const data = ['--data', join(dir, 'data')]
    const file = [join(dir, 'h.csv'), '--time', 'time', '--labels', 'host,cpu']
    await run(process.execPath, [MAIN, 'run', pipeline, ...file, ...data, '--port', '0'])

    let node = await start(['run', pipeline, ...data], cleanups)
    const millrace = async (...words: string[]): Promise<string> =>
      (await run(process.execPath, [MAIN, ...words, '--url', node.url])).stdout
    const history = async (): Promise<AlertLine[]> =>
      JSON.parse(await millrace('alerts', 'list', '--history', '--since', '2026-01-01', '--json')).rows
    const told = await history()
    expect(begun(told)).toEqual(['a 150', 'b 150'])
    const { id } = told.find(({ group, state }) => group.host === 'a' && state === 'firing')!

    const answer = await millrace('alerts', 'expected', id, '--note', 'backup runs', '--by', 'ops')
    expect(answer).toContain('A deviation such as this one does not alert.')
    await node.kill('SIGKILL')
    node = await start(['run', pipeline, ...data], cleanups)
    expect(await millrace('alerts', 'expected', id)).toContain('was said before (statement 1)')
    expect(JSON.parse(await millrace('alerts', 'feedback', '--json')).rows).toMatchObject([
      { id: 1, says: 'expected', alert: id, note: 'backup runs', by: 'ops', undoneBy: null },
    ])
    await send(node, 200, 260)
    expect(begun(await history())).toEqual(['a 150', 'b 150', 'b 230'])

    expect(await millrace('alerts', 'undo', '1')).toContain('as wide as learned')
    await send(node, 260, 320)
    expect(begun(await history())).toEqual(['a 150', 'a 290', 'b 150', 'b 230', 'b 290'])

    const missed = ['load', 'host=b', '--detector', 'odd']
    const at = new Date(minuteMs(310)).toISOString()
    expect(await millrace('alerts', 'missed', ...missed, '--at', at)).toContain(
      'A value such as this one alerts.',
    )
    // Killed at once: what was answered is there.
    await node.kill('SIGKILL')
    node = await start(['run', pipeline, ...data], cleanups)
    await send(node, 320, 380)
    const all = ['a 150', 'a 290', 'b 150', 'b 230', 'b 290', 'b 350']
    expect(begun(await history())).toEqual(all)
    const live = await history()
    // What is refused says why.
    const twice = millrace('alerts', 'missed', ...missed, '--at', new Date(minuteMs(290)).toISOString())
    await expect(twice).rejects.toMatchObject({ stderr: expect.stringContaining('anomalous already') })
    await expect(millrace('alerts', 'undo', '9')).rejects.toMatchObject({
      stderr: expect.stringContaining('is no statement'),
    })
    expect(await node.kill('SIGTERM')).toBe(0)

    const explained = await run(process.execPath, [MAIN, 'explain', 'load', 'host=b', ...data])
    expect(explained.stdout).toMatch(/threshold +0\.\d+ times as learned +statement 3, missed/)
    const verified = await run(process.execPath, [MAIN, 'verify', ...data])
    expect(verified.stdout).toContain('no fault found')
    await run(process.execPath, [MAIN, 'replay', pipeline, '--into', join(dir, 'again'), ...data])
    const again = readFileSync(join(dir, 'again/alerts.ndjson'), 'utf8').trim().split('\n')
    const texts = (alerts: readonly AlertLine[]): string[] =>
      alerts.map(({ group, state, sinceMs, atMs }) => `${group.host} ${state} ${sinceMs} ${atMs}`).sort()
    expect(texts(again.map((line) => JSON.parse(line) as AlertLine))).toEqual(texts(live))
  },
  120_000,
)
