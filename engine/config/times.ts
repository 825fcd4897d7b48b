/** Points in time as people write them. Nothing here throws, and nothing reads a clock. */
import { readDurationMs } from './units.ts'

export const TIME_ALLOWED =
  'epoch milliseconds, a date such as "2026-01-31T12:00:00Z", or how long ago, such as "-15m"'

/** Epoch ms, or null: not a time. */
export function readTimeMs(value: string, nowMs: number): number | null {
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value)
  if (value.startsWith('-')) {
    const reading = readDurationMs(value.slice(1))
    return 'value' in reading ? nowMs - reading.value : null
  }
  // Without a zone a date would mean the server's, which the asker may not know.
  if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2}))?$/.test(value)) return null
  const ms = Date.parse(value)
  return Number.isNaN(ms) ? null : ms
}
