/** Ways in which a disk gives back other bytes than it was given. */
import type { Prng } from '../../engine/util/prng.ts'

const SECTOR_BYTES = 512

/** Changes `file` in place and says how. */
export function damage(file: Buffer, prng: Prng): string {
  const kind = prng.below(4)
  const sector = prng.below(Math.floor(file.length / SECTOR_BYTES))
  const bytes = file.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
  if (kind === 0) {
    bytes.fill(0)
    return `sector ${sector} zeroed`
  }
  if (kind === 1) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = prng.below(256)
    return `sector ${sector} garbage`
  }
  if (kind === 2) {
    // The sector of another place: a misdirected read.
    const other = prng.below(Math.floor(file.length / SECTOR_BYTES)) * SECTOR_BYTES
    file.copy(bytes, 0, other, other + SECTOR_BYTES)
    return `sector ${sector} is that at byte ${other}`
  }
  const at = prng.below(file.length)
  file[at]! ^= 1 << prng.below(8)
  return `a bit of byte ${at} flipped`
}
