/** `millrace explain` over a store that a run has left: what is told is what the detector judges by. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test } from 'vitest'
import { json, MAIN, scratch, start, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START_S = 1_767_225_600
const run = promisify(execFile)

describe.each([
  ['in their partitions', `topic('metrics', { partitionBy: ['host'] })`],
  ['spread over partitions', `topic('metrics', { partitions: 4 })`],
])('groups %s', (_where, topic) => {
  test('expected value, band, health, alert and facts of a series are those of its last checkpoint', async () => {
    const dir = scratch(cleanups)
    const pipeline = writePipeline(
      dir,
      `export default pipeline('load').from(${topic}).groupBy('host').window(tumbling('1m'), { v: mean() })
         .detect('v', ewma({ warmUp: '10m' })).detect(silence({ after: '1h' }))`,
    )
    const rows = Array.from({ length: 240 }, (_, i) => {
      const at = START_S + 60 * i
      return `${at},${i === 239 ? 9 : 5},a,0\n${at},5,a,0\n${at},7,b,1`
    })
    writeFileSync(join(dir, 'h.csv'), `time,value,host,cpu\n${rows.join('\n')}\n`)
    const data = ['--data', join(dir, 'data')]
    const columns = ['--time', 'time', '--labels', 'host,cpu']
    await run(process.execPath, [
      MAIN,
      'run',
      pipeline,
      join(dir, 'h.csv'),
      ...columns,
      ...data,
      '--port',
      '0',
    ])
    const explain = (...words: string[]): ReturnType<typeof run> =>
      run(process.execPath, [MAIN, 'explain', ...words, ...data])
    const { stdout } = await explain('load', 'host=b', '--json')
    const told = JSON.parse(String(stdout)) as Record<string, unknown>[]
    expect(told.map(({ detector }) => detector)).toEqual(['v-ewma', 'silence'])
    // 5 % of the mean is normal, since the series never moved.
    expect(told[0]).toMatchObject({
      pipeline: 'load',
      kind: 'ewma',
      column: 'v',
      state: 'ok',
      sinceMs: null,
      health: 'ok',
    })
    expect(told[0]!.expected).toBeCloseTo(7, 9)
    expect(told[0]!.lower).toBeCloseTo(6.65, 9)
    expect(told[0]!.upper).toBeCloseTo(7.35, 9)
    // The first moment that is more than an hour.
    expect(told[1]).toMatchObject({ column: null, silentAfterMs: 3_600_001, state: 'ok' })
    const words = await explain('load/v-ewma', '{host="a"}')
    expect(String(words.stdout)).toMatch(/alert +firing since 2026-01-01 04:00:00Z/)
    expect(String(words.stdout)).toMatch(/warm-up +\d+ of 20 values/)
    expect(String(words.stdout)).not.toContain('silence')
    expect(String((await explain('detector', 'host=b')).stdout)).toContain('load/silence')
    await expect(explain('load', 'host=zz')).rejects.toMatchObject({ code: 1 })
    await expect(explain('laod', 'host=a')).rejects.toMatchObject({
      stderr: expect.stringContaining('"load"'),
    })
    // A node that runs tells the same over HTTP.
    const node = await start(['run', pipeline, ...data], cleanups)
    const over = async (query: string): Promise<unknown> =>
      ((await json(`${node.url}/api/v1/explain?${query}`)) as { rows: unknown }).rows
    expect(await over('pipeline=load&group.host=b')).toEqual(told)
    expect(await over('pipeline=load&detector=v-ewma&group.host=b')).toEqual([told[0]])
    expect(await over('group.host=b')).toEqual(told)
    expect(await over('pipeline=load&group.host=zz')).toEqual([])
    const asked = await Promise.all(
      Array.from({ length: 30 }, () => fetch(`${node.url}/api/v1/explain?group.host=b`)),
    )
    const statuses = new Set(asked.map(({ status }) => status))
    expect([...statuses].sort()).toEqual([200, 503])
    const wrong = await fetch(`${node.url}/api/v1/explain?pipeline=load&detector=w&group.host=b`)
    expect([wrong.status, await wrong.text()]).toEqual([404, expect.stringContaining('v-ewma')])
    await node.kill('SIGTERM')
    await expect(explain('load')).rejects.toMatchObject({ code: 2 })
    await expect(explain('load', 'host')).rejects.toMatchObject({
      stderr: expect.stringContaining('is no series'),
    })
  })
})
