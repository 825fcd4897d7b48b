/** Ways in which a disk gives back other bytes than it was given. */
import type { Prng } from '../../engine/util/prng.ts'

const SECTOR_BYTES = 512

const PAGE_BYTES = 4_096
const META_BYTES = 168
const FLAGS_AT = 18
const LOWER_AT = 20
const UPPER_AT = 22
const HEADER_BYTES = 24
const BRANCH_OR_LEAF = 3

/** Changes `file` in place and says how. Half of it anywhere, half where it hurts. */
export function damage(file: Buffer, prng: Prng): string {
  if (prng.below(2) === 0) {
    const at =
      prng.below(8) === 0 ? prng.below(2) * PAGE_BYTES + prng.below(META_BYTES) : treeByte(file, prng)
    const bit = prng.below(8)
    file[at]! ^= 1 << bit
    return `bit ${bit} of byte ${at} (page ${Math.floor(at / PAGE_BYTES)}, byte ${at % PAGE_BYTES}) flipped`
  }
  const sector = prng.below(Math.floor(file.length / SECTOR_BYTES))
  const bytes = file.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
  const kind = prng.below(4)
  if (kind === 0) {
    bytes.fill(0)
    return `sector ${sector} zeroed`
  }
  if (kind === 1) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = prng.below(256)
    return `sector ${sector} garbage`
  }
  if (kind === 2) {
    // A misdirected read.
    const other = prng.below(Math.floor(file.length / SECTOR_BYTES)) * SECTOR_BYTES
    file.copy(bytes, 0, other, other + SECTOR_BYTES)
    return `sector ${sector} is that at byte ${other}`
  }
  const at = prng.below(file.length)
  file[at]! ^= 1 << prng.below(8)
  return `a bit of byte ${at} flipped`
}

/** A byte that a page of a tree uses: its head, its places, or the first bytes of one of its nodes (head and key). */
function treeByte(file: Buffer, prng: Prng): number {
  for (;;) {
    const page = 2 + prng.below(file.length / PAGE_BYTES - 2)
    const bytes = file.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
    const lower = bytes.readUInt16LE(LOWER_AT)
    if (
      (bytes.readUInt16LE(FLAGS_AT) & BRANCH_OR_LEAF) === 0 ||
      lower < 2 ||
      lower > bytes.readUInt16LE(UPPER_AT)
    )
      continue
    if (prng.below(3) === 0) return page * PAGE_BYTES + prng.below(HEADER_BYTES + lower)
    const node = HEADER_BYTES + bytes.readUInt16LE(HEADER_BYTES + 2 * prng.below(lower >> 1))
    const at = node + prng.below(8 + bytes.readUInt16LE(node + 6))
    if (at < PAGE_BYTES) return page * PAGE_BYTES + at
  }
}
