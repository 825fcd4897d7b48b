/**
 * `npm run bench:compare`: the load of `end-to-end` against VictoriaMetrics and InfluxDB 1.x on the same machine, in
 * turn with ours, round by round, and the ratio of the medians. They only store what they are sent, and answer before it
 * is on the disk; ours answers when it is, and windows, judges and commits it too. A server that is not installed is
 * named and left out. Debian: apt-get install victoria-metrics influxdb.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { load, measure, type Size } from './end-to-end.ts'
import { measureMachine } from './lib/machine.ts'
import { median } from './lib/measure.ts'
import { openScratch } from './lib/scratch.ts'

const ROUNDS = 3
const START_MS_MAX = 20_000
const SIZE: Size = { linesPerBody: 10_000, warmLines: 3_000_000, lines: 15_000_000, stepMs: 10 }

interface Peer {
  readonly name: string
  readonly program: string
  readonly args: (dir: string, port: number) => readonly string[]
  readonly ready: string
  /** Asked once before the load. */
  readonly prepare: string | null
  readonly writePath: string
  readonly goal: number
}

const PEERS: readonly Peer[] = [
  {
    name: 'VictoriaMetrics',
    program: 'victoria-metrics',
    args: (dir, port) => [
      `-storageDataPath=${dir}`,
      `-httpListenAddr=127.0.0.1:${port}`,
      '-retentionPeriod=100y',
      '-loggerLevel=ERROR',
    ],
    ready: '/health',
    prepare: null,
    writePath: '/write?precision=ms',
    goal: 1.2,
  },
  {
    name: 'InfluxDB 1.x',
    program: 'influxd',
    args: (dir) => ['-config', `${dir}/influxdb.conf`],
    ready: '/ping',
    prepare: '/query?q=CREATE%20DATABASE%20bench',
    writePath: '/write?db=bench&precision=ms',
    goal: 3,
  },
]

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}

function influxConfig(dir: string, port: number, rpcPort: number): string {
  return [
    'reporting-disabled = true',
    `bind-address = "127.0.0.1:${rpcPort}"`,
    `[meta]\n  dir = "${dir}/meta"`,
    `[data]\n  dir = "${dir}/data"\n  wal-dir = "${dir}/wal"\n  query-log-enabled = false`,
    `[http]\n  bind-address = "127.0.0.1:${port}"\n  log-enabled = false`,
    '[monitor]\n  store-enabled = false',
    '[logging]\n  level = "error"',
  ].join('\n')
}

async function measurePeer(peer: Peer): Promise<number> {
  const scratch = openScratch('peer')
  const port = await freePort()
  const dir = `${scratch.path}/data`
  mkdirSync(dir)
  writeFileSync(`${dir}/influxdb.conf`, influxConfig(dir, port, await freePort()))
  const server = spawn(peer.program, peer.args(dir, port), { stdio: 'ignore' })
  try {
    await reachable(server, `http://127.0.0.1:${port}${peer.ready}`)
    if (peer.prepare !== null) await fetch(`http://127.0.0.1:${port}${peer.prepare}`, { method: 'POST' })
    await load(port, 0, SIZE.warmLines, SIZE, peer.writePath)
    const report = await load(port, SIZE.warmLines / 1_000, SIZE.lines, SIZE, peer.writePath)
    const stored = report.statuses['204'] ?? 0
    if (stored * SIZE.linesPerBody !== SIZE.lines)
      throw new Error(`${peer.name}: ${JSON.stringify(report.statuses)}`)
    return report.lines / report.seconds
  } finally {
    const ended = new Promise((resolve) => server.once('exit', resolve))
    server.kill('SIGKILL')
    await ended
    scratch.remove()
  }
}

async function reachable(server: ChildProcess, url: string): Promise<void> {
  const deadline = performance.now() + START_MS_MAX
  for (;;) {
    const answer = await fetch(url).catch(() => null)
    if (answer?.ok) return
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`)
    if (performance.now() > deadline) throw new Error(`${url} did not answer within ${START_MS_MAX} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function main(): Promise<void> {
  const present = PEERS.filter(({ program }) => spawnSync('which', [program]).status === 0)
  for (const { name, program } of PEERS.filter((peer) => !present.includes(peer))) {
    process.stderr.write(`${name} is left out: ${program} is not installed\n`)
  }
  const machine = measureMachine()
  const ours: number[] = []
  const theirs = new Map<Peer, number[]>(present.map((peer) => [peer, []]))
  for (let round = 0; round < ROUNDS; round++) {
    ours.push((await measure(SIZE)).samplesPerSecond)
    for (const peer of present) theirs.get(peer)!.push(await measurePeer(peer))
  }
  const value = median(ours)
  const params = {
    linesPerBody: SIZE.linesPerBody,
    lines: SIZE.lines,
    series: 1_000,
    connections: 8,
    rounds: ROUNDS,
  }
  const print = (figure: string, fields: Record<string, unknown>): void => {
    process.stdout.write(
      `${JSON.stringify({ bench: 'compare-servers', figure, unit: 'lines/s', params, ...fields, machine })}\n`,
    )
  }
  print('millrace', { value })
  for (const [peer, values] of theirs) {
    print(peer.name, { value: median(values), ratio: value / median(values), goal: peer.goal })
  }
}

await main()
