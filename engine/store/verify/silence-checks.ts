/**
 * What silences have done (contract/silences.ts), against the streams they did it to: what is withheld was committed, what waits
 * to be told still stands, and what was told late has a place.
 */
import type { Alert } from '../../contract/alert.ts'
import { LmdbStateReader } from '../state-reader.ts'
import { type Check, type CheckContext, guarded, RECOMPUTE } from './context.ts'
import { partitionsOf, pipelinesOf, placeOf } from './state-checks.ts'

export const silencesCheck: Check = {
  name: 'silences',
  *run(context) {
    const { state } = context
    const reader = new LmdbStateReader(state)
    guarded(context, 'state: silences', () => context.read(reader.silences().length, 0))
    yield
    for (const record of pipelinesOf(context)) {
      guarded(context, placeOf(record), () => {
        // One snapshot: all of it changes with the entries it is about.
        state.env.read(() => {
          const current = checkUnheard(context, reader, record)
          for (const partition of partitionsOf(context, record)) {
            checkStream(context, reader, record, partition, current)
          }
        })
      })
      yield
    }
  },
}

type Place = Parameters<typeof placeOf>[0]

/** Alerts that stand, by id, and those of them that wait to be told. */
interface Current {
  readonly json: ReadonlyMap<string, string>
  readonly waiting: ReadonlySet<string>
}

function checkUnheard(context: CheckContext, reader: LmdbStateReader, record: Place): Current {
  const unheard = reader.unheard(record.id)
  const current = new Map(reader.alerts(record.id).map(({ id, json }) => [id, json]))
  context.read(unheard.length, 0)
  for (const { alertId, partition, seq } of unheard) {
    const place = `${placeOf(record)}, alert ${JSON.stringify(alertId)}`
    if (!current.has(alertId)) context.damage(place, 'it waits to be told, and is over', RECOMPUTE)
    const { firstSeq } = reader.seqRange(record.id, partition)
    const isWithheld = reader.withheld(record.id, partition, seq, seq + 1).length > 0
    if (seq >= firstSeq && !isWithheld) {
      context.damage(place, `it waits to be told of entry ${seq}, which was not withheld`, RECOMPUTE)
    }
  }
  return { json: current, waiting: new Set(unheard.map(({ alertId }) => alertId)) }
}

function checkStream(
  context: CheckContext,
  reader: LmdbStateReader,
  record: Place,
  partition: number,
  { json, waiting }: Current,
): void {
  const nextSeq = reader.progress(record.id, partition)?.nextSeq ?? 0
  const place = `${placeOf(record)}, partition ${partition}`
  const withheld = reader.withheld(record.id, partition, 0, Number.MAX_SAFE_INTEGER)
  for (const { seq } of withheld) {
    if (seq >= nextSeq)
      context.damage(place, `entry ${seq} is withheld, but the stream ends at ${nextSeq}`, RECOMPUTE)
  }
  const retold = reader.retold(record.id, partition, 0, Number.MAX_SAFE_INTEGER)
  for (const { seq, beforeSeq } of retold) {
    if (beforeSeq <= nextSeq && seq < beforeSeq) continue
    context.damage(
      place,
      `entry ${seq} is told before entry ${beforeSeq}, but the stream ends at ${nextSeq}`,
      RECOMPUTE,
    )
  }
  const told = new Set(retold.map(({ seq }) => seq))
  if (told.size < retold.length) context.damage(place, 'an entry is told late twice', RECOMPUTE)
  for (const { seq } of withheld) {
    const [entry] = told.has(seq) ? [] : reader.entries(record.id, partition, seq, { countMax: 1 })
    if (entry?.seq !== seq) continue
    const text = Buffer.from(entry.bytes).toString()
    const { id } = JSON.parse(text) as Alert
    // Its newest transition, and it stands: somebody is to be told of it when the silence ends.
    if (json.get(id) !== text || waiting.has(id)) continue
    const problem = `entry ${seq} is withheld, and its alert stands and does not wait to be told`
    context.damage(place, problem, RECOMPUTE)
  }
  context.read(withheld.length + retold.length, 0)
}
