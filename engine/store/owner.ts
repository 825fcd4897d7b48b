/**
 * Who owns a data directory, and whether that owner still lives. The rule is pure (`isOwnerAlive`); the facts it judges
 * come from /proc on Linux. Same boot and pid namespace: alive iff that pid exists with that start time, so a kill -9 is
 * known at once and a reused pid fools nobody. Otherwise (another container or boot, another system), and for a process
 * that is stopped: alive iff its heartbeat is younger than OWNER_SILENT_MS.
 */
import { readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { MillraceError } from '../contract/errors.ts'
import { killPoint } from '../util/kill-point.ts'

/** Fifteen heartbeats: a machine that is short of everything misses some. */
const SILENT_MS = 15_000
/** Tests that freeze owners wait less; below this a heartbeat that comes late would do. Anything else there is ignored. */
const SILENT_MS_MIN = 3_000
export const OWNER_SILENT_VARIABLE = 'MILLRACE_TEST_OWNER_SILENT_MS'
export const OWNER_SILENT_MS = silentMs(process.env[OWNER_SILENT_VARIABLE])

export interface OwnerRecord {
  readonly pid: number
  /** Field 22 of /proc/PID/stat, in clock ticks since boot; null where there is no /proc. */
  readonly processStart: string | null
  readonly bootId: string | null
  readonly pidNamespace: string | null
  readonly hostname: string
  readonly sinceMs: number
}

/** What DIR/owner.json holds: rewritten at every heartbeat, never by two processes with one fence. */
export interface Heartbeat {
  readonly pid: number
  readonly hostname: string
  readonly sinceMs: number
  readonly fence: number
  readonly heartbeatMs: number
}

/** What this process can see of a pid: null where it cannot look, undefined where there is no such process. */
export type ProcessStartOf = (pid: number) => string | null | undefined

export function thisProcess(nowMs: number): OwnerRecord {
  return {
    pid: process.pid,
    processStart: processStartOf(process.pid) ?? null,
    bootId: textOf(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    pidNamespace: textOf(() => readlinkSync('/proc/self/ns/pid')),
    hostname: hostname(),
    sinceMs: nowMs,
  }
}

export function isOwnerAlive(
  owner: OwnerRecord,
  here: OwnerRecord,
  heartbeatMs: number,
  nowMs: number,
  startOf: ProcessStartOf,
): boolean {
  const fate = fateOf(owner, here, startOf)
  if (fate === 'unknown') return Math.abs(nowMs - heartbeatMs) < OWNER_SILENT_MS
  return fate === 'alive'
}

/** Of an owner that did not let go, and is taken over: it may wake up again, and go on with what it was about to do. */
export function mayReturn(owner: OwnerRecord, here: OwnerRecord, startOf: ProcessStartOf): boolean {
  // The same machine after a reboot: nothing is left of what ran before.
  if (owner.hostname === here.hostname && owner.bootId !== here.bootId) return false
  return fateOf(owner, here, startOf) === 'unknown'
}

/** What can be known of it without believing its heartbeat. */
function fateOf(
  owner: OwnerRecord,
  here: OwnerRecord,
  startOf: ProcessStartOf,
): 'alive' | 'dead' | 'unknown' {
  const sameProcesses =
    owner.bootId === here.bootId &&
    owner.pidNamespace === here.pidNamespace &&
    // Without /proc the host's name is all there is to go by.
    (owner.bootId !== null || owner.hostname === here.hostname)
  if (!sameProcesses) return 'unknown'
  const start = startOf(owner.pid)
  if (start === undefined) return 'dead'
  // The pid exists, but nothing tells whether it is the same process, or whether it runs.
  if (start === null || owner.processStart === null) return 'unknown'
  return start === owner.processStart ? 'alive' : 'dead'
}

/** Start time of a live process; null: it is stopped. A zombie has stopped running: it owns nothing. */
export function processStartOf(pid: number): string | null | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return process.platform === 'linux' ? undefined : existsByName(pid)
  }
  return parseProcStat(stat)
}

/** proc_pid_stat(5): the command in field 2 may hold spaces and parentheses, so fields count from the last `)`. */
export function parseProcStat(stat: string): string | null | undefined {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  if (state === 'Z' || state === 'X') return undefined
  // Stopped (SIGSTOP, a debugger): it is there, but whether it still owns anything only its heartbeat tells.
  if (state === 'T' || state === 't') return null
  return fields[STARTTIME_FIELD - FIRST_FIELD]
}

const FIRST_FIELD = 3
const STARTTIME_FIELD = 22

function existsByName(pid: number): null | undefined {
  try {
    process.kill(pid, 0)
    return null
  } catch (error) {
    // EPERM: it exists and is somebody else's.
    return error instanceof Error && 'code' in error && error.code === 'EPERM' ? null : undefined
  }
}

function silentMs(written: string | undefined): number {
  const ms = Number(written)
  return ms >= SILENT_MS_MIN && ms <= SILENT_MS ? ms : SILENT_MS
}

function textOf(read: () => string): string | null {
  try {
    return read()
  } catch {
    return null
  }
}

export const HEARTBEAT_FILE = 'owner.json'

/** The file, or a draft of it. */
export function isHeartbeatFile(name: string): boolean {
  return name === HEARTBEAT_FILE || name.startsWith(`${HEARTBEAT_FILE}.`)
}

/** Replaces the file as a whole: a reader sees the old one or the new one. Not synced; a lost heartbeat is an older one. */
export function writeHeartbeat(dir: string, heartbeat: Heartbeat): void {
  const path = join(dir, HEARTBEAT_FILE)
  const draft = `${path}.${heartbeat.pid}`
  writeFileSync(draft, `${JSON.stringify(heartbeat)}\n`)
  killPoint('heartbeat-drafted')
  renameSync(draft, path)
  killPoint('heartbeat-written')
}

/**
 * `writeHeartbeat` for a thread that serves others: beside a log writer's fdatasync a rename takes up to 20 ms (ext4), once
 * a second. One call at a time: both write the same draft.
 */
export async function writeHeartbeatAside(dir: string, heartbeat: Heartbeat): Promise<void> {
  const path = join(dir, HEARTBEAT_FILE)
  const draft = `${path}.${heartbeat.pid}`
  await writeFile(draft, `${JSON.stringify(heartbeat)}\n`)
  await rename(draft, path)
}

/** Null: there is none, or it is not readable as one (a power loss may leave it empty). */
export function readHeartbeat(dir: string): Heartbeat | null {
  try {
    const heartbeat: Partial<Heartbeat> = JSON.parse(readFileSync(join(dir, HEARTBEAT_FILE), 'utf8'))
    return Number.isFinite(heartbeat.heartbeatMs) ? (heartbeat as Heartbeat) : null
  } catch {
    return null
  }
}

/**
 * Runs `body`, which opens the store for maintenance, and puts the heartbeat back as it was: what a node takes for its
 * downtime at the next start counts from its own last sign of life.
 */
export async function keepingHeartbeat<T>(dir: string, body: () => Promise<T>): Promise<T> {
  const path = join(dir, HEARTBEAT_FILE)
  const before = textOf(() => readFileSync(path, 'utf8'))
  const result = await body()
  if (before === null) rmSync(path, { force: true })
  else writeFileSync(path, before)
  return result
}

export function storeLocked(dir: string, owner: OwnerRecord, isHere: boolean): MillraceError {
  const since = new Date(owner.sinceMs).toISOString()
  const remedy = isHere
    ? `Stop it (kill ${owner.pid}), or give this one another directory with --data.`
    : `Stop it there, or give this one another directory with --data. If that machine is gone, wait ${OWNER_SILENT_MS / 1000} s.`
  return new MillraceError(
    'STORE_LOCKED',
    `${dir} is owned by process ${owner.pid} on ${owner.hostname} since ${since}. ${remedy}`,
    { retryable: true },
  )
}
