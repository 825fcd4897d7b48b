/** The command line as a user meets it: the demo, a run over files, and a project that installed the package. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { json, launch, ROOT, results, scratch, start, until, writePipeline } from './process.ts'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

test('the demo watches this machine, stops cleanly, and goes on where it was', async () => {
  const data = join(scratch(cleanups), 'data')
  const first = await start(['demo', '--data', data], cleanups)
  const rows = await until(async () => {
    const found = await results(first.url, 'host-usage')
    return found.length > 0 ? found : null
  }, 40_000)
  expect(rows[0]!.group.__name__).toMatch(/^host_/)
  for (const { values } of rows) expect(values.mean).toBeGreaterThanOrEqual(0)
  expect((await fetch(`${first.url}/`)).headers.get('content-type')).toContain('text/html')
  expect(await first.kill('SIGINT')).toBe(0)
  const second = await start(['demo', '--data', data], cleanups)
  const later = await until(async () => {
    const found = await results(second.url, 'host-usage')
    return found.length > rows.length ? found : null
  }, 40_000)
  const ids = later.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  expect(later.slice(0, rows.length)).toEqual(rows)
  expect(await second.kill('SIGTERM')).toBe(0)
})

test('a run over files ends by itself, with all windows closed and a summary', async () => {
  const dir = scratch(cleanups)
  const file = join(dir, 'out.ndjson')
  const pipeline = writePipeline(
    dir,
    `export default pipeline('t').from(topic('metrics')).window(tumbling('1m'), { n: count(), s: sum() })
      .to(ndjsonFile({ path: ${JSON.stringify(file)} }))`,
  )
  const rows = Array.from({ length: 600 }, (_, i) => {
    const time = new Date(1_700_000_000_000 + i * 1_000).toISOString()
    return { time, host: `h${i % 2}`, value: i }
  })
  const first = rows.filter(({ host }) => host === 'h0').map((row) => `${row.time},${row.host},${row.value}`)
  const second = rows.filter(({ host }) => host === 'h1').map((row) => JSON.stringify(row))
  writeFileSync(join(dir, 'a.csv'), `time,host,value\n${first.join('\n')}\n`)
  writeFileSync(join(dir, 'b.ndjson'), `${second.join('\n')}\n`)
  const files = [join(dir, 'a.csv'), join(dir, 'b.ndjson')]
  const flags = [
    '--time',
    'time',
    '--labels',
    'host',
    '--name',
    'm',
    '--data',
    join(dir, 'data'),
    '--port',
    '0',
  ]
  const run = launch(['run', pipeline, ...files, ...flags], cleanups)
  expect(await run.exited, run.text()).toBe(0)
  expect(run.text()).toContain('t: 600 samples (600 windowed, 0 filtered, 0 late)')
  const lines = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { values: { n: number; s: number } })
  expect(lines.reduce((sum, { values }) => sum + values.n, 0)).toBe(600)
  expect(lines.reduce((sum, { values }) => sum + values.s, 0)).toBe((599 * 600) / 2)
})

test('stdin is read as NDJSON, bad lines are named and lose no other', async () => {
  const dir = scratch(cleanups)
  const pipeline = writePipeline(
    dir,
    "export default pipeline('t').from(topic('metrics')).window(tumbling('1m'), { n: count() })",
  )
  const input = '{"timestamp":1700000000,"value":1}\nnot json\n{"timestamp":1700000001,"value":2}\n'
  const args = ['run', pipeline, '-', '--format', 'ndjson', '--data', join(dir, 'data'), '--port', '0']
  const run = launch(args, cleanups, input)
  expect(await run.exited, run.text()).toBe(0)
  expect(run.text()).toMatch(/stdin:2/)
  expect(run.text()).toContain('t: 2 samples')
})

test('a project that installed the package runs and checks its own TypeScript pipeline', async () => {
  const dir = scratch(cleanups)
  const packed = execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', dir], {
    cwd: ROOT,
    encoding: 'utf8',
  }).trim()
  const project = join(dir, 'project')
  mkdirSync(project)
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({ name: 'project', private: true, type: 'module' }),
  )
  const install = ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts', join(dir, packed)]
  execFileSync('npm', install, { cwd: project, stdio: 'pipe' })
  writeFileSync(
    join(project, 'pipeline.ts'),
    `import { mean, pipeline, threshold, topic, tumbling } from 'millrace'
    interface Limit { readonly above: number }
    const limit: Limit = { above: 5 }
    export default pipeline('mine').from(topic('metrics')).window(tumbling('1s'), { v: mean() }).detect('v', threshold(limit))\n`,
  )
  const bin = join(project, 'node_modules/.bin/millrace')
  const check = spawnSync(bin, ['check', 'pipeline.ts'], { cwd: project, encoding: 'utf8' })
  expect(check.stdout + check.stderr).toContain('v-threshold')
  expect(check.status).toBe(0)
  const broken = spawnSync(bin, ['check', 'nothing.ts'], { cwd: project, encoding: 'utf8' })
  expect(broken.status).toBe(1)
  const main = join(project, 'node_modules/millrace/dist/main.js')
  const node = await start(['run', join(project, 'pipeline.ts'), '--data', join(dir, 'data')], cleanups, main)
  const status = await json<{ dataDirectory: string }>(`${node.url}/api/v1/status`)
  expect(status.dataDirectory).toBe(join(dir, 'data'))
  // Its page is there whole: its own modules, and uPlot as npm put it.
  for (const path of ['/', '/live.css', '/live/main.js', '/live/uplot.js', '/live/uplot.css']) {
    expect((await fetch(node.url + path)).status, path).toBe(200)
  }
})
