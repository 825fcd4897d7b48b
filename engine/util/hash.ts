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

/** 32 bits over all bytes, four at a time (MurmurHash3 x86_32, Appleby, public domain), with a seed. */
export function hashBytes(bytes: Uint8Array, seed: number): number {
  return hashRange(bytes, 0, bytes.length, seed)
}

/** `hashBytes` of bytes [from, to), without a view of them. */
export function hashRange(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let hash = seed
  const whole = from + ((to - from) & ~3)
  for (let i = from; i < whole; i += 4) {
    const word = bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    hash ^= scrambled(word)
    hash = (hash << 13) | (hash >>> 19)
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0
  }
  let rest = 0
  for (let i = to - 1; i >= whole; i--) rest = (rest << 8) | bytes[i]!
  return mix32(hash ^ scrambled(rest) ^ (to - from))
}

function scrambled(word: number): number {
  const k = Math.imul(word, 0xcc9e2d51)
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593)
}
