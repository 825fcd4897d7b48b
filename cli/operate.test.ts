/** status, alerts, top and doctor: what they ask whom, and what they say. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { emptyLedger } from '../engine/contract/entries.ts'
import type { DetectorHealth } from '../engine/contract/plugins.ts'
import type { NodeStatus, PipelineStatus } from '../engine/contract/queries.ts'
import { testAlert, testPlan } from '../engine/pipeline/memory-state.ts'
import { openStore } from '../engine/store/store.ts'
import { portHolder } from '../engine/util/port-holder.ts'
import {
  clockVerdict,
  fileSystemCheck,
  memoryCheck,
  nodeCheck,
  openFilesCheck,
  platformCheck,
  roomCheck,
  syncCheck,
} from './doctor.ts'
import type { Terminal } from './shell.ts'
import { runCommand } from './test-shell.ts'

let dir = ''
const servers: Server[] = []

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'millrace-operate-'))
  mkdirSync(join(dir, 'node_modules/millrace'), { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  const manifest = '{"name":"installed","type":"module","exports":"./index.ts"}'
  writeFileSync(join(dir, 'node_modules/millrace/package.json'), manifest)
  const index = `export * from ${JSON.stringify(resolve('index.ts'))}\n`
  writeFileSync(join(dir, 'node_modules/millrace/index.ts'), index)
})

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  }
  rmSync(dir, { recursive: true, force: true })
})

const NOW = Date.UTC(2026, 0, 31, 12)

function nodeStatus(change: Partial<NodeStatus> = {}): NodeStatus {
  return {
    version: '9.9.9',
    startedMs: NOW - 180_000,
    nowMs: NOW,
    uptimeSeconds: 180,
    dataDirectory: join(dir, 'data'),
    threads: [{ name: 'shard-0', lastSeenMs: NOW, restarts: 0, lastFailureMs: null }],
    disk: { freeBytes: 5e9, reserveBytes: 5e8, isLow: false },
    logBytes: 1e6,
    stateBytes: 2e6,
    topics: [{ name: 'metrics', partitions: 16, series: 7, seriesLimit: 1_000, appended: 4_321 }],
    ...change,
  }
}

/** Series of a detector by its health. */
function series(change: Partial<Record<DetectorHealth, number>>): Record<DetectorHealth, number> {
  return { ok: 0, warming: 0, starved: 0, saturated: 0, blind: 0, ...change }
}

function pipelineStatus(change: Partial<PipelineStatus> = {}): PipelineStatus {
  return {
    name: 'cpu',
    topic: 'metrics',
    state: 'running',
    problem: null,
    plan: testPlan(),
    partitions: [{ partition: 0, position: 9, endOffset: 12, lag: 3, watermarkMs: NOW - 2_000 }],
    ledger: { ...emptyLedger(), in: 1_234, windowed: 1_230, late: 4 },
    alertsPending: 0,
    alertsFiring: 1,
    ...change,
  }
}

/** Answers as a node does; `asked` gets every path. */
async function fakeNode(
  answers: Readonly<Record<string, unknown>> = {},
  asked: string[] = [],
  bodies: unknown[] = [],
): Promise<{ url: string; port: string; answers: Record<string, unknown> }> {
  const all: Record<string, unknown> = {
    '/api/v1/status': nodeStatus(),
    '/api/v1/pipelines': { rows: [pipelineStatus()] },
    '/api/v1/alerts': { rows: [testAlert({ atMs: NOW, sinceMs: NOW - 60_000 })] },
    '/api/v1/alerts/history': { rows: [testAlert({ atMs: NOW, state: 'resolved' })], cursor: null },
    ...answers,
  }
  const server = createServer(async (req, res) => {
    asked.push(req.url!)
    const chunks: Buffer[] = []
    for await (const chunk of req as AsyncIterable<Buffer>) chunks.push(chunk)
    if (chunks.length > 0) bodies.push(JSON.parse(Buffer.concat(chunks).toString()))
    const body = all[req.url!.replace(/\?.*/, '')]
    res.writeHead(body === undefined ? 404 : 200, { 'Content-Type': 'application/json' })
    res.end(JSON.stringify(body ?? { error: 'there is nothing here' }))
  })
  servers.push(server)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const port = String((server.address() as AddressInfo).port)
  return { url: `http://127.0.0.1:${port}`, port, answers: all }
}

/** A port that was free a moment ago. */
async function freePort(): Promise<string> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  await new Promise((done) => server.close(done))
  return String(port)
}

describe('millrace status', () => {
  test('asks the node over HTTP, and says all is well by its exit code', async () => {
    const { port, url } = await fakeNode()
    const { code, out } = await runCommand(['status', '--port', port], { cwd: dir })
    expect(code).toBe(0)
    expect(out).toContain(`${url}  millrace 9.9.9, up 3 min 0 s`)
    expect(out).toMatch(/cpu +running +1,234 +4 +3 +2\.0 s +1/)
    expect(out).not.toContain('\x1b')
  })

  test('what is wrong is said, and is exit code 1', async () => {
    const threads = [{ name: 'committer', lastSeenMs: NOW - 60_000, restarts: 2, lastFailureMs: NOW }]
    const { port } = await fakeNode({
      '/api/v1/status': nodeStatus({ disk: { freeBytes: 1e6, reserveBytes: 5e8, isLow: true }, threads }),
      '/api/v1/pipelines': { rows: [pipelineStatus({ state: 'failed', problem: 'no detector "x"' })] },
    })
    const { code, out } = await runCommand(['status', '--port', port], { cwd: dir })
    expect(code).toBe(1)
    expect(out).toContain('! pipeline cpu is failed: no detector "x"')
    expect(out).toContain('! nothing is taken in: the disk is full (1.0 MB left, 500.0 MB wanted)')
    expect(out).toContain('! thread committer has been silent for 60 s')
  })

  test('tells how detectors do for their series; a blind one is something wrong', async () => {
    const detectors = [
      { name: 'mean-ewma', series: series({ ok: 90, warming: 7, saturated: 3 }) },
      { name: 'n-ewma', series: series({ ok: 1_200 }) },
      { name: 'later', series: null },
    ]
    const node = await fakeNode({ '/api/v1/pipelines': { rows: [pipelineStatus({ detectors })] } })
    const fine = await runCommand(['status', '--port', node.port], { cwd: dir })
    expect(fine.code).toBe(0)
    expect(fine.out).toContain('1,290 ok, 7 warming, 3 saturated')
    node.answers['/api/v1/pipelines'] = {
      rows: [
        pipelineStatus({
          detectors: [{ name: 'mean-ewma', series: series({ ok: 15, warming: 3, blind: 2 }) }],
        }),
      ],
    }
    const { code, out } = await runCommand(['status', '--port', node.port], { cwd: dir })
    expect(code).toBe(1)
    expect(out).toContain(
      '! detector cpu/mean-ewma is blind for 2 of 20 series: it could not alarm whatever came',
    )
  })

  test('--json is one document, and --url an address', async () => {
    const { url } = await fakeNode()
    const { code, out } = await runCommand(['status', '--json', '--url', url], { cwd: dir })
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      url,
      node: { version: '9.9.9' },
      pipelines: [{ name: 'cpu' }],
      problems: [],
    })
  })

  test('without a node, the store itself is opened; of another store than the node’s as well', async () => {
    const data = join(dir, 'other')
    await (await openStore({ dir: data })).close()
    const port = await freePort()
    const down = await runCommand(['status', '--port', port, '--data', data, '--json'], { cwd: dir })
    expect(down).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(down.out)).toEqual({
      url: null,
      dataDirectory: data,
      node: null,
      pipelines: [],
      problems: [],
    })
    const node = await fakeNode()
    const other = await runCommand(['status', '--port', node.port, '--data', data], { cwd: dir })
    expect(other.out).toContain(`no node runs on the store in ${data}`)
  })

  test('a store that a node holds elsewhere is not opened beside it', async () => {
    const data = join(dir, 'data')
    const store = await openStore({ dir: data })
    try {
      const port = await freePort()
      const { code, err } = await runCommand(['status', '--port', port, '--data', data], { cwd: dir })
      expect(code).toBe(1)
      expect(err).toContain(
        `a node runs on the store in ${data}, but not at http://127.0.0.1:${port}. Name where`,
      )
    } finally {
      await store.close()
    }
  })

  test('nobody to ask, an address that is none, a server that is no node: said, with what to do', async () => {
    const port = await freePort()
    const nobody = await runCommand(['status', '--port', port], { cwd: dir })
    expect(nobody.code).toBe(1)
    expect(nobody.err).toContain('and there is no store in')
    const down = await runCommand(['status', '--url', `127.0.0.1:${port}`], { cwd: dir })
    expect(down.err).toContain(`nothing answers at http://127.0.0.1:${port}`)
    const bad = await runCommand(['status', '--url', 'ftp://x'], { cwd: dir })
    expect(bad.err).toContain('--url: is no address (got "ftp://x")')
    const { url } = await fakeNode({ '/api/v1/status': { hello: 'I am something else' } })
    const other = await runCommand(['status', '--url', url], { cwd: dir })
    expect(other).toMatchObject({ code: 1 })
    expect(existsSync(join(dir, 'millrace-data'))).toBe(false)
  })
})

describe('millrace alerts', () => {
  test('list is what stands now; state and pipeline are handed on', async () => {
    const asked: string[] = []
    const { port } = await fakeNode({}, asked)
    const { code, out } = await runCommand(['alerts', '--port', port], { cwd: dir })
    expect(code).toBe(0)
    expect(out).toBe(
      'firing    2026-01-31 12:00:00Z  cpu/mean-ewma {host="a"}: mean 9 is 4 scales above the expected 1 (band 0 … 2)\n',
    )
    const words = ['alerts', 'list', '--state', 'firing', '--pipeline', 'cpu', '--port', port, '--json']
    expect(JSON.parse((await runCommand(words, { cwd: dir })).out)).toMatchObject({
      rows: [{ state: 'firing' }],
    })
    expect(asked.at(-1)).toBe('/api/v1/alerts?state=firing&pipeline=cpu')
  })

  test('--history asks each pipeline', async () => {
    const asked: string[] = []
    const { port } = await fakeNode({}, asked)
    const words = ['alerts', 'list', '--history', '--since', '2026-01-01', '--port', port]
    const { out } = await runCommand(words, { cwd: dir })
    expect(out).toContain('resolved  2026-01-31 12:00:00Z')
    expect(asked.at(-1)).toBe(`/api/v1/alerts/history?pipeline=cpu&limit=10000&from=${Date.UTC(2026, 0, 1)}`)
  })

  test('incidents are asked of the node with all options, and told with what stood together', async () => {
    const asked: string[] = []
    const reason = 'mean 9 is 4 scales above'
    const alert = (host: string, sinceMs: number) => ({
      id: `cpu/${host}`,
      pipeline: 'cpu',
      detector: 'mean-ewma',
      group: { host, rack: '7' },
      severity: 'warning',
      sinceMs,
      untilMs: null,
      reason,
    })
    const alerts = ['a', 'b'].map((host, i) => alert(host, NOW + i * 1_000))
    const incident = { id: 'cpu/a', severity: 'warning', sinceMs: NOW, untilMs: null, labels: { rack: '7' } }
    const { port } = await fakeNode(
      { '/api/v1/incidents': { rows: [{ ...incident, alerts }], isWhole: false } },
      asked,
    )
    const words = ['alerts', 'incidents', '--since', '2026-01-01', '--port', port]
    const { out, err } = await runCommand(words, { cwd: dir })
    expect(out).toBe(
      [
        'open      2026-01-31 12:00:00Z  2 alerts  {rack="7"}',
        ...['a', 'b'].map(
          (host, i) => `  2026-01-31 12:00:0${i}Z  cpu/mean-ewma {host="${host}",rack="7"}: ${reason}`,
        ),
        '',
      ].join('\n'),
    )
    expect(err).toContain('of the newest 100,000 transitions only')
    const from = `from=${Date.UTC(2026, 0, 1)}`
    expect(asked.at(-1)).toBe(`/api/v1/incidents?${from}&gap=300000ms`)
    const grouped = [...words, '--by', 'host, rack', '--gap', '1m', '--pipeline', 'cpu', '--json']
    const { out: json } = await runCommand(grouped, { cwd: dir })
    expect(JSON.parse(json).rows).toMatchObject([{ id: 'cpu/a', alerts }])
    expect(asked.at(-1)).toBe(`/api/v1/incidents?pipeline=cpu&${from}&gap=60000ms&by=host%2Crack`)
  })

  test('incidents without a node come from the store', async () => {
    const data = join(dir, 'data')
    await (await openStore({ dir: data })).close()
    const words = ['alerts', 'incidents', '--data', data, '--port', await freePort()]
    expect(await runCommand(words, { cwd: dir })).toMatchObject({ code: 0 })
    expect((await runCommand([...words, '--pipeline', 'nil'], { cwd: dir })).err).toContain('nil')
  })

  test('incidents refuse what they cannot group by', async () => {
    const { err } = await runCommand(['alerts', 'incidents', '--gap', '5', '--by', 'host,', '--since', 'x'], {
      cwd: dir,
    })
    for (const place of ['--gap: has no unit', '--by: names no label', '--since: is not a time'])
      expect(err).toContain(place)
  })

  const SILENCE = {
    id: 3,
    state: 'active',
    match: ['rack="r7"'],
    pipeline: null,
    detector: null,
    severity: 'warning',
    fromMs: NOW,
    untilMs: NOW + 7_200_000,
    comment: 'new switch',
    madeMs: NOW,
    endedMs: null,
  }

  test('silence hands on every condition and tells what was made, with what looks wrong', async () => {
    const asked: string[] = []
    const bodies: unknown[] = []
    const warnings = ['no group has a label "rak" so far. Did you mean "rack"?']
    const { port } = await fakeNode(
      { '/api/v1/silences': { silence: SILENCE, alerts: 2, warnings, rows: [SILENCE] } },
      asked,
      bodies,
    )
    const words = ['alerts', 'silence', 'rack=r7', '--match', 'host=~web-.*', '--match=dc!=a', '--for', '2h']
    const { code, out, err } = await runCommand([...words, '--comment', 'new switch', '--port', port], {
      cwd: dir,
      nowMs: NOW,
    })
    expect(code).toBe(0)
    expect(bodies).toEqual([
      { match: ['rack=r7', 'host=~web-.*', 'dc!=a'], for: '2h', comment: 'new switch' },
    ])
    expect(out).toBe(
      'active     3  until 2026-01-31 14:00:00Z (2h)  rack="r7", severity warning  new switch\n',
    )
    expect(err).toContain('Did you mean "rack"?')
    expect(err).toContain('it holds for 2 of the alerts that stand now')
    const listed = await runCommand(['alerts', 'silences', '--state', 'active', '--port', port], {
      cwd: dir,
      nowMs: NOW,
    })
    expect(listed.out).toBe(out)
    expect(asked.at(-1)).toBe('/api/v1/silences?state=active')
  })

  test('a time of day is the next one that comes', async () => {
    const bodies: { until?: unknown }[] = []
    const { port } = await fakeNode(
      { '/api/v1/silences': { silence: SILENCE, alerts: 0, warnings: [] } },
      [],
      bodies,
    )
    const evening = new Date(NOW)
    evening.setHours(18, 0, 0, 0)
    if (evening.getTime() <= NOW) evening.setDate(evening.getDate() + 1)
    const words = ['alerts', 'silence', 'rack=r7', '--until', '18:00', '--comment', 'x', '--port', port]
    const { err } = await runCommand(words, { cwd: dir, nowMs: NOW })
    expect(bodies.at(-1)!.until).toBe(evening.getTime())
    expect(err).toContain('it holds for no alert that stands now')
  })

  test('unsilence ends one by its number; without a node neither is possible, and a list is', async () => {
    const asked: string[] = []
    const ended = { ...SILENCE, state: 'expired', endedMs: NOW }
    const { port } = await fakeNode({ '/api/v1/silences': ended }, asked)
    const { out } = await runCommand(['alerts', 'unsilence', '3', '--port', port], { cwd: dir, nowMs: NOW })
    expect(out).toBe('expired    3  ended 2026-01-31 12:00:00Z  rack="r7", severity warning  new switch\n')
    expect(asked.at(-1)).toBe('/api/v1/silences?id=3')
    for (const words of [[], ['x'], ['3', '4']])
      expect(await runCommand(['alerts', 'unsilence', ...words], { cwd: dir })).toMatchObject({ code: 2 })
    const data = join(dir, 'data')
    await (await openStore({ dir: data })).close()
    const nobody = ['--data', data, '--port', await freePort()]
    expect((await runCommand(['alerts', 'unsilence', '3', ...nobody], { cwd: dir })).err).toContain(
      'no node answers',
    )
    const make = ['alerts', 'silence', 'a=b', '--for', '1h', '--comment', 'x', ...nobody]
    expect((await runCommand(make, { cwd: dir })).err).toContain('no node answers')
    const listed = await runCommand(['alerts', 'silences', ...nobody], { cwd: dir })
    expect(listed).toMatchObject({ code: 0, err: 'no silences\n' })
  })

  test('an alert that is silenced is marked, by which silence', async () => {
    const alert = { ...testAlert({ atMs: NOW }), silencedBy: 3 }
    const { port } = await fakeNode({ '/api/v1/alerts': { rows: [alert] } })
    const { out } = await runCommand(['alerts', '--port', port], { cwd: dir })
    expect(out).toContain('silenced by 3  cpu/mean-ewma')
  })

  test('what is not understood is a usage error, with what was meant', async () => {
    const typo = await runCommand(['alerts', 'lst'], { cwd: dir })
    expect(typo).toMatchObject({ code: 2 })
    expect(typo.err).toContain('Did you mean "list"?')
    const state = await runCommand(['alerts', '--state', 'fire', '--since', 'soon'], { cwd: dir })
    expect(state.err).toContain('--state: is not one of the choices')
    expect(state.err).toContain('--since: is not a time')
  })

  const module = (sinks: string): void =>
    writeFileSync(
      join(dir, 'p.ts'),
      `import { mean, ndjsonFile, pipeline, threshold, topic, tumbling, webhook } from 'millrace'
export default pipeline('cpu').from(topic('metrics')).window(tumbling('1m'), { mean: mean() })
  .detect('mean', threshold({ above: 1 }))${sinks}\n`,
    )

  test('test sends one marked alert to the webhook, and leaves the file alone', async () => {
    const bodies: { test?: boolean; reason?: string }[] = []
    const receiver = createServer((req, res) => {
      let text = ''
      req.on('data', (chunk) => {
        text += chunk
      })
      req.on('end', () => {
        bodies.push(JSON.parse(text))
        res.end()
      })
    })
    servers.push(receiver)
    await new Promise<void>((done) => receiver.listen(0, '127.0.0.1', done))
    const { port } = receiver.address() as AddressInfo
    module(
      `.to(webhook({ url: 'http://127.0.0.1:${port}/' })).to(ndjsonFile({ path: 'alerts.ndjson' }), { name: 'kept' })`,
    )
    const one = await runCommand(['alerts', 'test', 'p.ts', '--sink', 'webhook'], { cwd: dir })
    expect(one).toMatchObject({ code: 0, err: 'taken     cpu: webhook\n' })
    expect(bodies).toMatchObject([
      { test: true, state: 'firing', pipeline: 'cpu', detector: 'mean-threshold' },
    ])
    expect(bodies[0]!.reason).toContain('nothing is wrong')
    const both = await runCommand(['alerts', 'test', 'p.ts', '--json'], { cwd: dir })
    expect(both.code).toBe(1)
    expect(JSON.parse(both.out)).toMatchObject({
      sinks: [
        { sink: 'webhook', outcome: 'taken' },
        { sink: 'kept', kind: 'ndjson-file', outcome: 'left out' },
      ],
    })
    expect(existsSync(join(dir, 'alerts.ndjson'))).toBe(false)
  })

  test('test: a receiver that refuses is exit code 1, with its answer', async () => {
    const { url } = await fakeNode()
    module(`.to(webhook({ url: '${url}/nowhere' }))`)
    const { code, err } = await runCommand(['alerts', 'test', 'p.ts'], { cwd: dir })
    expect(code).toBe(1)
    expect(err).toMatch(/^refused +cpu: webhook: .*404/)
  })

  test('test: no file, no sink, a sink or pipeline that is not there', async () => {
    expect(await runCommand(['alerts', 'test'], { cwd: dir })).toMatchObject({ code: 2 })
    module('')
    expect((await runCommand(['alerts', 'test', 'p.ts'], { cwd: dir })).err).toContain(
      'have no sink for alerts',
    )
    module(`.to(webhook({ url: 'http://127.0.0.1:9/' }))`)
    const sink = await runCommand(['alerts', 'test', 'p.ts', '--sink', 'webhok'], { cwd: dir })
    expect(sink.err).toContain('Did you mean "webhook"?')
    const named = await runCommand(['alerts', 'test', 'p.ts', '--pipeline', 'cpus'], { cwd: dir })
    expect(named.err).toContain('Did you mean "cpu"?')
  })
})

describe('millrace top', () => {
  /** A terminal of the test's own; `press` sends a key once the screen shows `text`. */
  function fakeTerminal(columns: number, rows: number) {
    let listener: Parameters<Terminal['take']>[0] | null = null
    const state = { columns, rows, isTaken: false }
    const terminal: Terminal = {
      get columns() {
        return state.columns
      },
      get rows() {
        return state.rows
      },
      take(given) {
        listener = given
        state.isTaken = true
        return () => {
          state.isTaken = false
        }
      },
    }
    return {
      terminal,
      state,
      press: (key: string) => listener!.onKey(key),
      resize(toColumns: number, toRows: number) {
        state.columns = toColumns
        state.rows = toRows
        listener!.onResize()
      },
    }
  }

  /** Lines of the last frame. */
  function screen(out: string): string[] {
    const frame = out.slice(out.lastIndexOf('\x1b[H')).split('\x1b[?25h')[0]!
    return stripVTControlCharacters(frame).split('\r\n')
  }

  test('shows pipelines with rates and alerts, follows the size, and gives the terminal back', async () => {
    const node = await fakeNode()
    const { terminal, state, press, resize } = fakeTerminal(100, 30)
    let out = ''
    const looks: string[] = []
    const ran = runCommand(['top', '--port', node.port], {
      cwd: dir,
      env: { NO_COLOR: '1' },
      terminal: () => terminal,
      onOut(text) {
        out += text
        if (!text.includes('\x1b[H')) return
        looks.push(text)
        if (looks.length === 1) {
          expect(state.isTaken).toBe(true)
          node.answers['/api/v1/pipelines'] = {
            rows: [pipelineStatus({ ledger: { ...emptyLedger(), in: 51_234 } })],
          }
        } else if (looks.length === 2) {
          const lines = screen(out)
          expect(lines[0]).toContain('millrace 9.9.9')
          const rate = /cpu +running +(\d+) (k) +51,234/.exec(lines.join('\n'))
          expect(rate, lines.join('\n')).not.toBeNull()
          expect(lines.join('\n')).toContain('1 firing, 0 pending')
          resize(20, 5)
        } else if (looks.length === 3) {
          const lines = screen(out)
          expect(lines.length).toBeLessThanOrEqual(4)
          for (const line of lines) expect(line.length).toBeLessThanOrEqual(20)
          press('q')
        }
      },
    })
    expect((await ran).code).toBe(0)
    expect(state.isTaken).toBe(false)
    expect(out.startsWith('\x1b[?1049h\x1b[?25l')).toBe(true)
    expect(out.endsWith('\x1b[?25h\x1b[?1049l')).toBe(true)
  })

  test('a node that goes away is said, and one that comes back is shown again', async () => {
    const node = await fakeNode()
    const status = node.answers['/api/v1/status']
    const { terminal, press } = fakeTerminal(100, 30)
    let out = ''
    let looks = 0
    const { code } = await runCommand(['top', '--port', node.port], {
      cwd: dir,
      env: { NO_COLOR: '1' },
      terminal: () => terminal,
      onOut(text) {
        out += text
        if (!text.includes('\x1b[H')) return
        looks++
        if (looks === 1) delete node.answers['/api/v1/status']
        if (looks === 2) {
          expect(screen(out)[0]).toContain('does not answer; asking again')
          expect(screen(out).join('\n')).toContain('cpu')
          node.answers['/api/v1/status'] = status
        }
        if (looks === 3) {
          expect(screen(out)[0]).toContain('millrace 9.9.9')
          press('\x03')
        }
      },
    })
    expect(code).toBe(0)
  })

  test('without a terminal, or without a node, says so', async () => {
    expect(await runCommand(['top'], { cwd: dir })).toMatchObject({ code: 2 })
    const port = await freePort()
    const { terminal, state } = fakeTerminal(80, 24)
    const { code, err, out } = await runCommand(['top', '--port', port], {
      cwd: dir,
      terminal: () => terminal,
    })
    expect(code).toBe(1)
    expect(err).toContain('no node answers at')
    expect(out).toBe('')
    expect(state.isTaken).toBe(false)
  })
})

describe('millrace doctor', () => {
  test('a place where a node would do well', async () => {
    const port = await freePort()
    const before = readdirSync(dir)
    const { code, out } = await runCommand(['doctor', '--json', '--port', port, '--disk-reserve', '1MB'], {
      cwd: dir,
    })
    const report = JSON.parse(out) as {
      ok: boolean
      checks: { name: string; outcome: string; remedy: string | null }[]
    }
    expect(code).toBe(0)
    expect(report.ok).toBe(true)
    const names = report.checks.map(({ name }) => name)
    expect(names).toEqual([
      'node',
      'platform',
      'machine',
      'open files',
      'directory',
      'file system',
      'disk',
      'disk speed',
      'store',
      'clock',
      'port',
    ])
    for (const { outcome, remedy } of report.checks) expect(outcome === 'ok').toBe(remedy === null)
    expect(readdirSync(dir)).toEqual(before)
  })

  test('what is in the way is exit code 1: a directory without its parent, a port that is held, by whom', async () => {
    const { port } = await fakeNode({ '/api/v1/status': undefined })
    const { code, out } = await runCommand(['doctor', '--port', port, '--data', join(dir, 'no/such')], {
      cwd: dir,
    })
    expect(code).toBe(1)
    expect(out).toMatch(/^fail {2}directory +\S+\/no does not exist$/m)
    const holder = portHolder(Number(port))
    if (holder !== null) expect(holder.pid).toBe(process.pid)
    expect(out).toMatch(/port +\d+ on 127\.0\.0\.1 is held by (process \d+ \(.+\)|a process)/)
    expect(out).toContain('2 in the way')
  })

  test('each judgement has its bound and its remedy', () => {
    expect(nodeCheck('20.19.0').outcome).toBe('ok')
    expect(nodeCheck('20.18.3')).toMatchObject({ outcome: 'fail', remedy: 'Install node 20.19 or newer.' })
    expect(platformCheck('linux', 'arm64').outcome).toBe('ok')
    expect(platformCheck('darwin', 'arm64').outcome).toBe('warn')
    expect(platformCheck('win32', 'x64')).toMatchObject({
      outcome: 'fail',
      remedy: expect.stringContaining('WSL'),
    })
    expect(memoryCheck(5e8, 4).outcome).toBe('warn')
    expect(memoryCheck(8e9, 1).outcome).toBe('warn')
    expect(
      openFilesCheck('Max open files            1024                 4096                 files').outcome,
    ).toBe('warn')
    expect(
      openFilesCheck('Max open files            unlimited            unlimited            files').outcome,
    ).toBe('ok')
    expect(openFilesCheck(null).outcome).toBe('ok')
    expect(fileSystemCheck(0xef53).outcome).toBe('ok')
    expect(fileSystemCheck(0x6969)).toMatchObject({ outcome: 'fail', found: expect.stringContaining('NFS') })
    // statfs gives it as a signed number on some systems.
    expect(fileSystemCheck(0xff534d42 | 0)).toMatchObject({
      outcome: 'fail',
      found: expect.stringContaining('CIFS'),
    })
    expect(roomCheck(1e8, 5e8).outcome).toBe('fail')
    expect(roomCheck(1e9, 5e8).outcome).toBe('warn')
    expect(roomCheck(1e10, 5e8).outcome).toBe('ok')
    expect(syncCheck(10).outcome).toBe('warn')
    expect(clockVerdict(0, 0).outcome).toBe('fail')
    expect(clockVerdict(Date.UTC(2026, 5), 5_000)).toMatchObject({ outcome: 'warn' })
  })
})
