/** Byte strings compare as LMDB compares keys: unsigned, shorter first on a tie. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

export const ALIGN_BYTES = 8

export function alignUp(bytes: number): number {
  return (bytes + (ALIGN_BYTES - 1)) & ~(ALIGN_BYTES - 1)
}
