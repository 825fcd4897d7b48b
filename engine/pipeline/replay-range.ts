/**
 * From `--from` and `--to` to offsets: what a person may write, and which whole records of each partition that is. Times
 * are log times: when a record was stored. Asking for what retention has deleted is OFFSET_GONE, which says what is left.
 * Reads ends and headers only.
 */
import { readTimeMs, TIME_ALLOWED } from '../config/times.ts'
import { type Fault, MillraceError } from '../contract/errors.ts'
import type { LogReader, LogTopic } from '../store/log-contract.ts'

export type ReplayPoint =
  | { readonly point: 'beginning' }
  | { readonly point: 'end' }
  | { readonly point: 'offset'; readonly offset: number }
  | { readonly point: 'time'; readonly timeMs: number }

/** A whole number at or above this is epoch ms (September 2001), below it an offset. */
export const EPOCH_MS_MIN = 1e12
export const POINT_ALLOWED = `beginning, end, an offset such as 1000 or offset:1000, ${TIME_ALLOWED}`

/** Null: neither an offset nor a time. */
export function readReplayPoint(text: string, nowMs: number): ReplayPoint | null {
  if (text === 'beginning' || text === 'end') return { point: text }
  const digits = /^(offset:)?(\d+)$/.exec(text)
  if (digits !== null) {
    const offset = Number(digits[2])
    if (!Number.isSafeInteger(offset)) return null
    if (digits[1] !== undefined || offset < EPOCH_MS_MIN) return { point: 'offset', offset }
  }
  const timeMs = readTimeMs(text, nowMs)
  return timeMs === null ? null : { point: 'time', timeMs }
}

/** Records of one partition: `from` is the base offset of the first, `to` lies past the last one wanted. */
export interface PartitionRange {
  readonly partition: number
  readonly from: number
  readonly to: number
}

type RangeLog = Pick<LogReader, 'startOffset' | 'endOffset' | 'offsetAtTime' | 'oldest'>

/** `end` is where the log ends now: what is stored from here on is not part of it. */
export function replayRanges(
  log: RangeLog,
  topic: LogTopic,
  from: ReplayPoint,
  to: ReplayPoint,
): readonly PartitionRange[] {
  const faults: Fault[] = []
  const ranges: PartitionRange[] = []
  for (let partition = 0; partition < topic.partitions; partition++) {
    const gone = goneFault(log, topic, partition, from)
    if (gone !== null) faults.push(gone)
    const start = offsetOf(log, topic.id, partition, from)
    ranges.push({ partition, from: start, to: Math.max(start, offsetOf(log, topic.id, partition, to)) })
  }
  if (faults.length === 0) return ranges
  throw MillraceError.ofFaults('OFFSET_GONE', 'the log no longer holds what was asked for', faults)
}

function goneFault(log: RangeLog, topic: LogTopic, partition: number, from: ReplayPoint): Fault | null {
  const oldest = log.oldest(topic.id, partition)
  // Where nothing was ever deleted, nothing is missing, however early the time.
  if (oldest === null || oldest.offset === 0) return null
  if (from.point === 'offset' && from.offset >= oldest.offset) return null
  // What was deleted is older than what is left; it may lie on either side of an earlier time.
  if (from.point === 'time' && from.timeMs >= oldest.appendedMs) return null
  if (from.point !== 'offset' && from.point !== 'time') return null
  const storedAt = new Date(oldest.appendedMs).toISOString()
  return {
    place: `topic ${JSON.stringify(topic.name)}, partition ${partition}`,
    value: from.point === 'offset' ? from.offset : new Date(from.timeMs).toISOString(),
    problem: `retention deleted it: the oldest record left has offset ${oldest.offset} and was stored at ${storedAt}`,
    remedy:
      'Write --from beginning for all that is left, or a later point; a backup from before may hold the rest.',
  }
}

function offsetOf(log: RangeLog, topicId: number, partition: number, point: ReplayPoint): number {
  const start = log.startOffset(topicId, partition)
  const end = log.endOffset(topicId, partition)
  if (point.point === 'beginning') return start
  if (point.point === 'end') return end
  if (point.point === 'offset') return Math.min(Math.max(point.offset, start), end)
  return log.offsetAtTime(topicId, partition, point.timeMs)
}
