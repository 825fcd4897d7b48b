/**
 * The JSON of a record, the same for every sink: its id first, then its body. Equal records give equal bytes, which is
 * what lets the file sink compare its tail with the stream.
 */
import type { SinkPositions, SinkRecord } from '../../engine/contract/plugins.ts'

/** The position after a record: everything up to and with it is in the target. */
export function positionAfter(record: SinkRecord): SinkPositions[string] {
  return { seq: record.seq, row: record.row + 1 }
}

/** An alert keeps its own identity, the same over its transitions, as `alertId`. */
export function recordJson(record: SinkRecord): string {
  const { id, body } = record
  if (body.kind !== 'alert') return JSON.stringify({ id, ...body })
  const { id: alertId, kind, ...rest } = body
  return JSON.stringify({ id, kind, alertId, ...rest })
}
