/**
 * Durations and sizes as people write them. A reading is a whole number in the base unit, or what is wrong in words;
 * nothing here throws except `durationMs`, for callers that have nowhere to collect faults.
 */
import { describeValue, MillraceError } from '../contract/errors.ts'

export type Reading = { readonly value: number } | { readonly problem: string }

const MS_BY_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Above a century a duration is a mistake: most likely nanoseconds. */
export const DURATION_MS_MAX = 100 * 365 * 86_400_000

export const DURATION_ALLOWED =
  'a duration such as "500ms", "5s", "1h30m" or "7d", or a number of milliseconds'
export const BYTES_ALLOWED = 'a size such as "512kB", "64MiB" or "10GB", or a number of bytes'

export function readDurationMs(value: unknown): Reading {
  if (typeof value === 'number') return wholeMs(value)
  if (typeof value !== 'string') return { problem: 'is not a duration' }
  const text = value.trim()
  if (text === '0') return { value: 0 }
  if (!/^(\d+(\.\d+)?(ms|[smhdw]))+$/.test(text)) {
    return { problem: /^\d+(\.\d+)?$/.test(text) ? 'has no unit' : 'is not a duration' }
  }
  let totalMs = 0
  let unitMsBefore = Number.POSITIVE_INFINITY
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdw])/g)) {
    const unitMs = MS_BY_UNIT[unit!]!
    // "1m1h" and "1h1h" are slips of the pen more often than sums.
    if (unitMs >= unitMsBefore) return { problem: 'does not go from large units to small ones' }
    unitMsBefore = unitMs
    totalMs += Number(amount) * unitMs
  }
  return wholeMs(totalMs)
}

function wholeMs(ms: number): Reading {
  if (!Number.isFinite(ms)) return { problem: 'is not finite' }
  if (ms < 0) return { problem: 'is negative' }
  if (ms > DURATION_MS_MAX) return { problem: 'is longer than a century' }
  const rounded = Math.round(ms)
  // Decimal fractions of a unit are not exact in binary: 1.1 s is 1100.0000000000002 ms.
  if (Math.abs(ms - rounded) > 1e-6 * Math.max(1, ms * 1e-6))
    return { problem: 'is not a whole number of milliseconds' }
  return { value: rounded }
}

const BYTES_BY_UNIT: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

export function readBytes(value: unknown): Reading {
  if (typeof value === 'number') return wholeBytes(value)
  if (typeof value !== 'string') return { problem: 'is not a size' }
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?b)$/i.exec(value.trim())
  const unit = match === null ? undefined : BYTES_BY_UNIT[match[2]!.toLowerCase()]
  if (match === null || unit === undefined) {
    return { problem: /^\d+(\.\d+)?$/.test(value.trim()) ? 'has no unit' : 'is not a size' }
  }
  return wholeBytes(Math.round(Number(match[1]) * unit))
}

function wholeBytes(bytes: number): Reading {
  if (!Number.isFinite(bytes)) return { problem: 'is not finite' }
  if (bytes < 0) return { problem: 'is negative' }
  if (!Number.isSafeInteger(bytes)) return { problem: 'is not a whole number of bytes' }
  return { value: bytes }
}

/** Reads a duration or throws CONFIG_INVALID naming `place`, the value and what is allowed. */
export function durationMs(value: unknown, place = 'duration'): number {
  const reading = readDurationMs(value)
  if ('value' in reading) return reading.value
  const fault = { place, value, problem: reading.problem, remedy: `Write ${DURATION_ALLOWED}.` }
  throw MillraceError.ofFaults('CONFIG_INVALID', `${describeValue(value)} is no duration`, [fault])
}

/** The shortest exact way to write it: 90 000 is "1m30s". */
export function durationText(ms: number): string {
  if (!Number.isSafeInteger(ms) || ms <= 0) return `${ms}ms`
  let rest = ms
  let text = ''
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const unitMs = MS_BY_UNIT[unit]!
    const amount = Math.floor(rest / unitMs)
    if (amount > 0) text += `${amount}${unit}`
    rest -= amount * unitMs
  }
  return text
}
