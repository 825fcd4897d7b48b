/** A node whose pipeline writes its scores into another topic of the same node, killed with -9 again and again: each score once. */
import { afterEach, expect, test } from 'vitest'
import { freePort, launch, type Running, results, scratch, until, write, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const START_MS = 1_767_225_600_000
const HOSTS = 60
const MINUTES = 40

test('scores of every window are samples of the other topic, once, and another pipeline judges them', async () => {
  const dir = scratch(cleanups)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const file = writePipeline(
    dir,
    `const load = pipeline('load').from(topic('metrics', { partitions: 2, partitionBy: ['host'] })).groupBy('host')
       .window(tumbling('1m'), { v: mean() }).detect('v', threshold({ below: 0, above: 100 }), { name: 'bounds' })
       .to(scoresTo({ url: '${url}/', topic: 'scores' }), { of: 'results' })
     const judged = pipeline('judged').from(topic('scores', { partitions: 2, partitionBy: ['host'] }))
       .where({ name: ['anomaly_score', 'anomaly_upper'] }).groupBy('host', 'name').disorder('1m')
       .window(tumbling('1m'), { n: count(), s: mean() }).detect('s', threshold({ above: 1e9 }))
     export default [load, judged]`,
  )
  const run = async (): Promise<Omit<Running, 'url'>> => {
    const node = launch(['run', file, '--data', `${dir}/data`, '--port', String(port)], cleanups)
    await until(async () => (await fetch(`${url}/readyz`).catch(() => null))?.ok || null)
    return node
  }
  let node = await run()
  for (let minute = 0; minute < MINUTES; minute++) {
    const lines = Array.from({ length: HOSTS }, (_, h) => {
      return `cpu,host=h${h} value=${(minute + h) % 100} ${START_MS + minute * 60_000}`
    })
    expect((await write(url, lines.join('\n'))).status).toBe(204)
    if (minute % 8 === 7) {
      // In the middle of what the sink has under way.
      await new Promise((done) => setTimeout(done, 40 * (minute % 3)))
      await node.kill('SIGKILL')
      node = await run()
    }
  }
  // What is open at the end stays open; samples of scores move the other topic's windows.
  const wanted = (MINUTES - 4) * HOSTS * 2
  const rows = await until(async () => {
    const found = await results(url, 'judged')
    return found.length >= wanted ? found : null
  }, 60_000)
  expect(rows.filter(({ values }) => values.n !== 1)).toEqual([])
  const load = new Map(
    (await results(url, 'load')).map(({ group, windowEndMs, scores }) => [
      `${group.host} ${windowEndMs}`,
      (scores.bounds as { score: number }).score,
    ]),
  )
  for (const { group, windowEndMs, values } of rows) {
    // A score stands at the end of its window, where the next one begins.
    const score = load.get(`${group.host} ${windowEndMs - 60_000}`)
    expect(values.s).toBe(group.__name__ === 'anomaly_upper' ? 100 : score)
  }
  await node.kill('SIGTERM')
}, 180_000)
