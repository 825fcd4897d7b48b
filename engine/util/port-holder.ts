/** Which process listens on a TCP port of this machine, as far as /proc tells: for messages, never for decisions. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

const LISTEN = '0A'
/** Looking through more would make a refusal slow. */
const PROCESSES_MAX = 20_000

export interface PortHolder {
  readonly pid: number
  /** Its command line, cut. */
  readonly command: string
}

const COMMAND_LENGTH_MAX = 80

/** Null: nobody, nobody whom this user may see, or a system without /proc. */
export function portHolder(port: number): PortHolder | null {
  try {
    const inodes = listeningInodes(port)
    return inodes.size === 0 ? null : processWith(inodes)
  } catch {
    return null
  }
}

function listeningInodes(port: number): Set<string> {
  const inodes = new Set<string>()
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  for (const file of ['/proc/net/tcp', '/proc/net/tcp6']) {
    let text = ''
    try {
      text = readFileSync(file, 'utf8')
    } catch {
      // No such family here.
    }
    for (const line of text.split('\n')) {
      const fields = line.trim().split(/\s+/)
      if (fields[1]?.endsWith(wanted) === true && fields[3] === LISTEN) inodes.add(fields[9]!)
    }
  }
  return inodes
}

function processWith(inodes: ReadonlySet<string>): PortHolder | null {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  for (const pid of pids.slice(0, PROCESSES_MAX)) {
    try {
      for (const fd of readdirSync(`/proc/${pid}/fd`)) {
        const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
        if (inode === undefined || !inodes.has(inode)) continue
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
        return { pid: Number(pid), command: command.slice(0, COMMAND_LENGTH_MAX) }
      }
    } catch {
      // It has ended, or belongs to somebody else.
    }
  }
  return null
}
