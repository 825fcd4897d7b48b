/** FNV-1a over bytes [from, to), 32 bits, as int32; fastest in JavaScript for keys of tens of bytes. */
export function fnv1a(bytes: Uint8Array, from: number, to: number): number {
  let hash = 0x811c9dc5 | 0
  for (let i = from; i < to; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}

/** Finaliser (MurmurHash3 fmix32): FNV's low bits are weak for near-equal keys, and tables and partitions use low bits. */
export function mix32(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
