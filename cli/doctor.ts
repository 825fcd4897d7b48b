/**
 * `millrace doctor`: would a node do well here? Looks at the machine, the directory of the store, limits, the clock and the
 * port, and says of each what was found and what to change. Changes nothing; a file it writes to time the disk is removed.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { availableParallelism, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { defineCommand } from 'citty'
import type { NodeConfig } from '../engine/config/config.ts'
import { networkFileSystem } from '../engine/store/directory.ts'
import { portHolder } from '../engine/util/port-holder.ts'
import { VERSION } from '../engine/util/version.ts'
import { someSettingFlags } from './arguments.ts'
import { reachNode } from './ask.ts'
import { type Colours, colours, wantsColour } from './colour.ts'
import { loadConfig } from './load-config.ts'
import { NODE_WANTED, nodeIsOld } from './node-version.ts'
import { bytesText, rateText } from './progress.ts'
import { type Command, EXIT_FAILED, EXIT_OK, type Shell, shellOf } from './shell.ts'

const MEMORY_BYTES_MIN = 1e9
const OPEN_FILES_MIN = 4_096
const SYNCS_PER_SECOND_MIN = 50
const SYNCS_TIMED = 16
const SYNC_BYTES = 4_096
/** The log and one copy of what is being committed have to fit beside the reserve. */
const FREE_BYTES_MIN = 1e9
/** Nobody's clock was right before this was written. */
const NOW_MS_MIN = Date.UTC(2025, 0, 1)
const CLOCK_STEP_MS_MAX = 50
const CLOCK_WATCHED_MS = 200

export interface Check {
  readonly name: string
  /** `fail`: a node would not start or would not keep its promises. `warn`: it would do less well. */
  readonly outcome: 'ok' | 'warn' | 'fail'
  readonly found: string
  /** What to change; null: nothing. */
  readonly remedy: string | null
}

export const doctor: Command = {
  definition: defineCommand({
    meta: { name: 'doctor', description: 'Would a node do well here? What to change' },
    args: {
      json: { type: 'boolean', description: 'print the checks as JSON' },
      ...someSettingFlags('config', 'data', 'host', 'port', 'disk-reserve'),
    },
    run: ({ args, data }) => runDoctor(args, shellOf(data)),
  }),
  examples: `EXAMPLES

  millrace doctor                          this machine, ./millrace-data and port 8428
  millrace doctor --data /var/lib/millrace --port 9000
  millrace doctor --json | jq '.checks[] | select(.outcome != "ok")'

Exit codes: 0 nothing is in the way (there may be warnings); 1 something is; 2 the command line is not understood.
`,
}

async function runDoctor(args: Readonly<Record<string, unknown>>, shell: Shell): Promise<number> {
  const config = await loadConfig(args, shell)
  const dir = resolve(shell.cwd, config.data)
  const checks: Check[] = [
    nodeCheck(process.versions.node),
    platformCheck(process.platform, process.arch),
    memoryCheck(totalmem(), availableParallelism()),
    openFilesCheck(readText('/proc/self/limits')),
    ...directoryChecks(dir, config),
    await storeCheck(dir, shell),
    await clockCheck(shell),
    await portCheck(config, dir),
  ]
  const isWell = checks.every(({ outcome }) => outcome !== 'fail')
  if (args.json === true) {
    shell.out(`${JSON.stringify({ ok: isWell, version: VERSION, checks }, null, 2)}\n`)
  } else shell.out(doctorText(checks, colours(wantsColour(shell.outIsTerminal === true, shell.env))))
  return isWell ? EXIT_OK : EXIT_FAILED
}

function ok(name: string, found: string): Check {
  return { name, outcome: 'ok', found, remedy: null }
}

export function nodeCheck(version: string): Check {
  if (!nodeIsOld(version)) return ok('node', `version ${version}`)
  const remedy = `Install node ${NODE_WANTED} or newer.`
  return { name: 'node', outcome: 'fail', found: `version ${version}`, remedy }
}

export function platformCheck(platform: string, arch: string): Check {
  const found = `${platform} ${arch}`
  if (platform === 'linux' && (arch === 'x64' || arch === 'arm64')) return ok('platform', found)
  if (platform === 'darwin') {
    return { name: 'platform', outcome: 'warn', found, remedy: 'Good for development; run it on Linux.' }
  }
  const remedy =
    platform === 'win32' ? 'Run it in WSL 2, on a disk of its own.' : 'Linux on x64 or arm64 is supported.'
  return { name: 'platform', outcome: platform === 'win32' ? 'fail' : 'warn', found, remedy }
}

export function memoryCheck(bytes: number, cores: number): Check {
  const found = `${bytesText(bytes)} of memory, ${cores} ${cores === 1 ? 'core' : 'cores'}`
  if (bytes < MEMORY_BYTES_MIN) {
    return { name: 'machine', outcome: 'warn', found, remedy: 'Give it 1 GB of memory or more.' }
  }
  if (cores > 1) return ok('machine', found)
  return { name: 'machine', outcome: 'warn', found, remedy: 'Two cores keep ingest and pipelines apart.' }
}

/** `limits`: /proc/self/limits, or null where there is none. */
export function openFilesCheck(limits: string | null): Check {
  const soft = limits === null ? null : (/^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? null)
  if (soft === null) return ok('open files', 'the limit is not known here')
  if (soft === 'unlimited' || Number(soft) >= OPEN_FILES_MIN) return ok('open files', `at most ${soft}`)
  const remedy = `Raise it to ${OPEN_FILES_MIN}: ulimit -n ${OPEN_FILES_MIN}, or LimitNOFILE=${OPEN_FILES_MIN} in a systemd unit. Each connection takes one.`
  return { name: 'open files', outcome: 'warn', found: `at most ${soft}`, remedy }
}

function directoryChecks(dir: string, config: NodeConfig): Check[] {
  const fail = (name: string, found: string, remedy: string): Check => {
    return { name, outcome: 'fail', found, remedy }
  }
  const isThere = existsSync(dir)
  // A node makes the directory itself, but not those above it.
  const place = isThere ? dir : dirname(dir)
  if (!existsSync(place)) {
    return [fail('directory', `${place} does not exist`, 'Make it, or choose another directory with --data.')]
  }
  try {
    accessSync(place, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch {
    const remedy = 'Change its owner or mode, or choose another with --data.'
    return [fail('directory', `this user may not write in ${place}`, remedy)]
  }
  const checks = [ok('directory', isThere ? dir : `${dir}, to be made in ${place}`)]
  const { type, bavail, bsize } = statfsSync(place)
  checks.push(fileSystemCheck(type))
  checks.push(roomCheck(bavail * bsize, config.diskReserveBytes))
  checks.push(syncCheck(timeSyncs(place)))
  return checks
}

export function fileSystemCheck(type: number): Check {
  const network = networkFileSystem(type)
  if (network === null) return ok('file system', `local (type 0x${(type >>> 0).toString(16)})`)
  return {
    name: 'file system',
    outcome: 'fail',
    found: `${network}, a network file system, where memory maps and locks cannot be trusted`,
    remedy: 'Choose a directory on a local disk with --data.',
  }
}

export function roomCheck(freeBytes: number, reserveBytes: number): Check {
  const found = `${bytesText(freeBytes)} free`
  if (freeBytes < reserveBytes) {
    const remedy = `A node takes nothing in below ${bytesText(reserveBytes)}: free some room, or lower --disk-reserve.`
    return { name: 'disk', outcome: 'fail', found, remedy }
  }
  if (freeBytes >= reserveBytes + FREE_BYTES_MIN) return ok('disk', found)
  const remedy = `It is near the reserve of ${bytesText(reserveBytes)}: free some room, or lower --retention-size.`
  return { name: 'disk', outcome: 'warn', found, remedy }
}

export function syncCheck(perSecond: number): Check {
  const found = `${rateText(perSecond)} fdatasyncs a second`
  if (perSecond >= SYNCS_PER_SECOND_MIN) return ok('disk speed', found)
  const remedy = 'Each answer to a writer waits for one. Send larger bodies, or use a faster disk.'
  return { name: 'disk speed', outcome: 'warn', found, remedy }
}

function timeSyncs(place: string): number {
  const folder = mkdtempSync(join(place, '.millrace-doctor-'))
  try {
    const fd = openSync(join(folder, 'sync'), 'w')
    try {
      const page = new Uint8Array(SYNC_BYTES)
      const startedMs = performance.now()
      for (let i = 0; i < SYNCS_TIMED; i++) {
        writeSync(fd, page, 0, page.length, i * page.length)
        fdatasyncSync(fd)
      }
      return SYNCS_TIMED / Math.max(1e-6, (performance.now() - startedMs) / 1_000)
    } finally {
      closeSync(fd)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Opens the store with LMDB's native module, which may be missing on a machine that has no build of it. */
async function storeCheck(dir: string, shell: Shell): Promise<Check> {
  const name = 'store'
  try {
    const { storeAt } = await import('../engine/store/place.ts')
    const { liveOwner } = await import('../engine/store/store.ts')
    const { measureStore } = await import('../engine/store/reset.ts')
    try {
      storeAt(dir)
    } catch {
      return ok(name, 'none there yet')
    }
    const owner = await liveOwner(dir, shell.clock)
    if (owner !== null) return ok(name, `in use: ${owner.message.replace(/\. Stop it.*/s, '')}`)
    const { logBytes, stateBytes, pipelines, problem } = await measureStore(dir)
    if (problem !== null) {
      const remedy =
        'Run millrace verify: it says what is damaged. Restore a backup, or choose another --data.'
      return { name, outcome: 'fail', found: problem, remedy }
    }
    const size = `log ${bytesText(logBytes)}, state ${bytesText(stateBytes)}`
    return ok(
      name,
      `${size}, ${pipelines.length} ${pipelines.length === 1 ? 'pipeline' : 'pipelines'}; nobody runs on it`,
    )
  } catch (error) {
    const found = `the store cannot be opened: ${error instanceof Error ? error.message : String(error)}`
    const remedy = "If this names lmdb's native module: install again on this machine, with npm ci."
    return { name, outcome: 'fail', found, remedy }
  }
}

async function clockCheck(shell: Shell): Promise<Check> {
  const wallMs = shell.clock.nowMs()
  const steadyMs = shell.clock.monotonicMs()
  await new Promise((done) => setTimeout(done, CLOCK_WATCHED_MS))
  const stepMs = shell.clock.nowMs() - wallMs - (shell.clock.monotonicMs() - steadyMs)
  return clockVerdict(wallMs, stepMs)
}

export function clockVerdict(nowMs: number, stepMs: number): Check {
  const found = `${new Date(nowMs).toISOString().slice(0, 19)}Z`
  const remedy = 'Set it, and keep it right with chrony or systemd-timesyncd: silence and idleness go by it.'
  if (nowMs < NOW_MS_MIN) return { name: 'clock', outcome: 'fail', found, remedy }
  if (Math.abs(stepMs) <= CLOCK_STEP_MS_MAX) return ok('clock', found)
  const stepped = `${found}, and it was set by ${Math.round(stepMs)} ms within a fifth of a second`
  return { name: 'clock', outcome: 'warn', found: stepped, remedy }
}

async function portCheck({ host, port }: NodeConfig, dir: string): Promise<Check> {
  if (port === 0) return ok('port', 'any that is free')
  const problem = await listenProblem(host, port)
  if (problem === null) return ok('port', `${port} on ${host} is free`)
  const node = await reachNode(`http://${host.includes(':') ? `[${host}]` : host}:${port}`)
  if (node !== null && node.dataDirectory === dir)
    return ok('port', `${port} is held by the node on this store`)
  const holder = portHolder(port)
  const who =
    node !== null
      ? `the node on ${node.dataDirectory}`
      : holder === null
        ? 'a process that this user may not see'
        : `process ${holder.pid} (${holder.command})`
  const found =
    problem === 'EADDRINUSE' ? `${port} on ${host} is held by ${who}` : `${port} on ${host}: ${problem}`
  const remedy =
    problem === 'EADDRINUSE'
      ? 'Stop it, or choose another with --port.'
      : problem === 'EACCES'
        ? 'Choose a port above 1023 with --port.'
        : 'Give an address of this machine with --host.'
  return { name: 'port', outcome: 'fail', found, remedy }
}

function listenProblem(host: string, port: number): Promise<string | null> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => done(error.code ?? error.message))
    server.listen({ host, port }, () => server.close(() => done(null)))
  })
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

export function doctorText(checks: readonly Check[], paint: Colours): string {
  const width = Math.max(...checks.map(({ name }) => name.length))
  const lines = checks.flatMap(({ name, outcome, found, remedy }) => {
    const colour = outcome === 'ok' ? paint.green : outcome === 'warn' ? paint.yellow : paint.red
    const line = `${colour(outcome.padEnd(4))}  ${name.padEnd(width)}  ${found}`
    return remedy === null ? [line] : [line, `${' '.repeat(width + 8)}${remedy}`]
  })
  const failed = checks.filter(({ outcome }) => outcome === 'fail').length
  const warned = checks.filter(({ outcome }) => outcome === 'warn').length
  const verdict =
    failed > 0
      ? `${failed} in the way${warned > 0 ? `, ${warned} to look at` : ''}`
      : warned > 0
        ? `nothing in the way, ${warned} to look at`
        : 'nothing in the way'
  return `${lines.join('\n')}\n${verdict}\n`
}
