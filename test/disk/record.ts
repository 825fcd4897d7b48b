/**
 * What the shim recorded, and what a disk may hold of it after a power loss.
 *
 * The model of the disk: what a sync covered is there. Of the rest, each 4 KB page independently holds any version it had
 * since (the last one was written back, an earlier one, or none), or a mix of those by 512-byte sectors; a sector is never
 * torn. A file's length lies anywhere between the synced and the last one, and what was not written in between is
 * zero. Entries of directories (create, rename, unlink, mkdir) are there up to some point in their order, as journaling
 * file systems keep it, and for certain only once the directory was synced.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Prng } from '../../engine/util/prng.ts'

const KINDS = [
  '',
  'create',
  'write',
  'synced',
  'truncate',
  'rename',
  'unlink',
  'mkdir',
  'mark',
  'rmdir',
  'failed',
]
const HEAD_BYTES = 28
const PAGE_BYTES = 4_096
const SECTOR_BYTES = 512

export interface DiskEvent {
  readonly kind: string
  readonly path: string
  readonly a: number
  readonly b: number
  readonly data: Buffer
}

export function readRecord(file: string): DiskEvent[] {
  const bytes = readFileSync(file)
  const events: DiskEvent[] = []
  for (let at = 0; at < bytes.length; ) {
    const pathLength = bytes.readUInt32LE(at + 4)
    const dataLength = bytes.readUInt32LE(at + 24)
    const dataAt = at + HEAD_BYTES + pathLength
    events.push({
      kind: KINDS[bytes.readUInt32LE(at)]!,
      path: bytes.toString('utf8', at + HEAD_BYTES, dataAt),
      a: Number(bytes.readBigUInt64LE(at + 8)),
      b: Number(bytes.readBigUInt64LE(at + 16)),
      data: bytes.subarray(dataAt, dataAt + dataLength),
    })
    at = dataAt + dataLength
  }
  return events
}

export interface Counts {
  log: number
  state: number
}

/** Steps acknowledged and begun, by the marks among the events. */
export function countsOf(events: readonly DiskEvent[]): { readonly least: Counts; readonly most: Counts } {
  const counts = { least: { log: 0, state: 0 }, most: { log: 0, state: 0 } }
  for (const event of events) count(event, counts)
  return counts
}

export function count(event: DiskEvent, counts: { readonly least: Counts; readonly most: Counts }): void {
  if (event.kind !== 'mark') return
  const mark = /^(begin|acked) (log|state) (\d+)$/.exec(event.data.toString())
  if (mark === null) return
  const which = mark[1] === 'acked' ? counts.least : counts.most
  which[mark[2] as keyof Counts] = Number(mark[3])
}

/** One file's bytes: what is certain, and every version of each page since. */
class FileBytes {
  synced = Buffer.alloc(0)
  current = Buffer.alloc(0)
  versions = new Map<number, Buffer[]>()
  /** Lengths it was cut to since; the page model does not hold across a cut, so a file that was cut is all or nothing. */
  wasCut = false

  write(offset: number, data: Buffer): void {
    const end = offset + data.length
    if (end > this.current.length) this.#resize(end)
    data.copy(this.current, offset)
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < end; page++) {
      const versions = this.versions.get(page) ?? []
      versions.push(this.#page(this.current, page))
      this.versions.set(page, versions)
    }
  }

  truncate(length: number): void {
    this.wasCut ||= length < this.current.length
    this.#resize(length)
  }

  sync(offset: number, length: number): void {
    if (length === 0) {
      this.synced = Buffer.from(this.current)
      this.versions.clear()
      this.wasCut = false
      return
    }
    // A synced write takes its whole pages with it: that is how the page cache writes.
    for (let page = Math.floor(offset / PAGE_BYTES); page * PAGE_BYTES < offset + length; page++) {
      const bytes = this.#page(this.current, page)
      const from = page * PAGE_BYTES
      const lengthMin = Math.min(from + PAGE_BYTES, this.current.length)
      if (this.synced.length < lengthMin) {
        this.synced = Buffer.concat([this.synced, Buffer.alloc(lengthMin - this.synced.length)])
      }
      bytes.copy(this.synced, from, 0, lengthMin - from)
      this.versions.delete(page)
    }
  }

  afterPowerLoss(prng: Prng): Buffer {
    if (this.wasCut) return prng.below(2) === 0 ? this.synced : this.current
    const growth = Math.max(0, this.current.length - this.synced.length)
    const isWhole = prng.below(2) === 0
    const length = isWhole ? this.synced.length + growth : this.synced.length + prng.below(growth + 1)
    const image = Buffer.alloc(length)
    this.synced.copy(image)
    // How much of the unsynced is there differs from one power loss to the next.
    const share = [0.05, 0.5, 0.95][prng.below(3)]!
    for (const [page, versions] of this.versions) {
      const from = page * PAGE_BYTES
      const to = Math.min(from + PAGE_BYTES, length)
      const isTorn = prng.below(6) === 0
      for (let at = from; at < to; at += isTorn ? SECTOR_BYTES : PAGE_BYTES) {
        if (prng.float() >= share) continue
        const isLast = prng.below(4) > 0
        const version = versions[isLast ? versions.length - 1 : prng.below(versions.length)]!
        const end = Math.min(at + (isTorn ? SECTOR_BYTES : PAGE_BYTES), to)
        version.copy(image, at, at - from, end - from)
      }
    }
    return image
  }

  #page(bytes: Buffer, page: number): Buffer {
    const copy = Buffer.alloc(PAGE_BYTES)
    bytes.copy(copy, 0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
    return copy
  }

  #resize(length: number): void {
    const next = Buffer.alloc(length)
    this.current.copy(next)
    this.current = next
  }
}

type Entries = Map<string, FileBytes | 'directory'>

/** A disk that has seen the events given to it. */
export class Disk {
  #current: Entries = new Map()
  /** Changes of directory entries in order; those a sync has made certain have been applied to `#certain`. */
  #certain: Entries = new Map()
  #pending: { readonly directories: readonly string[]; readonly apply: (entries: Entries) => void }[] = []

  see(event: DiskEvent): void {
    const { kind, path, a, b, data } = event
    const file = this.#current.get(path)
    if (kind === 'create') {
      const made = new FileBytes()
      this.#change([dirname(path)], (entries) => entries.set(path, made))
    } else if (kind === 'mkdir') {
      this.#change([dirname(path)], (entries) => entries.set(path, 'directory'))
    } else if (kind === 'rename') {
      const to = data.toString()
      this.#change([dirname(path), dirname(to)], (entries) => moved(entries, path, to))
    } else if (kind === 'unlink' || kind === 'rmdir') {
      this.#change([dirname(path)], (entries) => entries.delete(path))
    } else if (kind === 'synced' && !(file instanceof FileBytes)) {
      this.#syncDirectory(path)
    } else if (file instanceof FileBytes) {
      if (kind === 'write') file.write(a, data)
      if (kind === 'truncate') file.truncate(a)
      if (kind === 'synced') file.sync(a, b)
    }
  }

  /** Writes what is left after a power loss now, below `dir`. */
  writeImage(dir: string, prng: Prng): void {
    const entries: Entries = new Map(this.#certain)
    for (const change of this.#pending.slice(0, prng.below(this.#pending.length + 1))) change.apply(entries)
    mkdirSync(dir, { recursive: true })
    for (const [path, file] of entries) {
      if (!isReachable(entries, path)) continue
      if (file === 'directory') mkdirSync(join(dir, path), { recursive: true })
      else writeFileSync(join(dir, path), file.afterPowerLoss(prng))
    }
  }

  #change(directories: readonly string[], apply: (entries: Entries) => unknown): void {
    apply(this.#current)
    this.#pending.push({ directories, apply })
  }

  /** What happened in this directory is certain, and so is, in a journal, everything before the last of it. */
  #syncDirectory(path: string): void {
    const last = this.#pending.findLastIndex(({ directories }) => directories.includes(path))
    for (const change of this.#pending.splice(0, last + 1)) change.apply(this.#certain)
  }
}

function moved(entries: Entries, from: string, to: string): void {
  for (const [path, file] of [...entries]) {
    if (path !== from && !path.startsWith(`${from}/`)) continue
    entries.delete(path)
    entries.set(to + path.slice(from.length), file)
  }
}

function isReachable(entries: Entries, path: string): boolean {
  const parent = dirname(path)
  return parent === '.' || (entries.get(parent) === 'directory' && isReachable(entries, parent))
}
