/** A real Prometheus scrapes a real node; promtool finds nothing to complain of. Debian: apt-get install prometheus. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { freePort, json, scratch, start, until, write, writePipeline } from './process.ts'

const has = (program: string): boolean => spawnSync('which', [program]).status === 0

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const PIPELINE = `export default pipeline('cpu').from(topic('metrics')).disorder('1s')
  .window(tumbling('1s'), { mean: mean() }).detect('mean', ewma({}))`

async function node() {
  const dir = scratch(cleanups)
  const running = await start(['run', writePipeline(dir, PIPELINE), '--data', join(dir, 'data')], cleanups)
  const lines: string[] = []
  for (let i = 0; i < 1_000; i++) lines.push(`cpu,host=h${i % 10} value=${i} ${Date.now() - 20_000 + i * 10}`)
  expect((await write(running.url, lines.join('\n'))).status).toBe(204)
  return { ...running, dir }
}

test.skipIf(!has('promtool'))('/metrics is clean under promtool check metrics', async () => {
  const { url } = await node()
  const exposition = await (await fetch(`${url}/metrics`)).text()
  const check = spawnSync('promtool', ['check', 'metrics'], { input: exposition, encoding: 'utf8' })
  expect(check.stderr + check.stdout).toBe('')
  expect(check.status).toBe(0)
})

test.skipIf(!has('prometheus'))(
  'Prometheus scrapes it, and a query finds the samples that were sent',
  async () => {
    const { url, dir } = await node()
    const port = await freePort()
    const config = join(dir, 'prometheus.yml')
    const target = new URL(url).host
    writeFileSync(
      config,
      `global: { scrape_interval: 1s }\nscrape_configs: [{ job_name: millrace, static_configs: [{ targets: ['${target}'] }] }]\n`,
    )
    const prometheus = spawn(
      'prometheus',
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(dir, 'tsdb')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    )
    cleanups.push(async () => {
      const ended = new Promise((resolve) => prometheus.once('exit', resolve))
      prometheus.kill('SIGKILL')
      await ended
    })
    const ask = async (query: string): Promise<string | null> => {
      const answer = await json<{ data: { result: { value: [number, string] }[] } }>(
        `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`,
      ).catch(() => null)
      return answer?.data.result[0]?.value[1] ?? null
    }
    expect(await until(() => ask('up{job="millrace"} == 1'), 60_000)).toBe('1')
    expect(await until(() => ask('millrace_ingest_samples_total'))).toBe('1000')
    expect(await until(() => ask('millrace_pipeline_samples_in_total{pipeline="cpu"}'))).toBe('1000')
  },
)
