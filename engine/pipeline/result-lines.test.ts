import fc from 'fast-check'
import { expect, test } from 'vitest'
import { recordJson } from '../../operators/sinks/record-json.ts'
import type { PipelinePlan } from '../contract/plan.ts'
import { decodeSeriesKey } from '../series/series-key.ts'
import { EntryDecoder } from './entry-decoder.ts'
import { MemoryState, testAlert, testPlan } from './memory-state.ts'
import { ResultLines } from './result-lines.ts'

const cell = fc.oneof(fc.double(), fc.integer().map(Number), fc.constantFrom(-0, 1e21, 1e-7, 0.1 + 0.2))
const host = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 })
const rows = fc.uniqueArray(fc.record({ host, cells: fc.array(cell, { minLength: 10, maxLength: 10 }) }), {
  selector: (row) => row.host,
  minLength: 1,
  maxLength: 12,
})

/** Names that an object puts in an order of its own, or that JSON must escape; two detectors. */
const ODD: PipelinePlan = testPlan({
  name: 'a "b"',
  aggregates: ['z', '7', '__proto', 'ü'].map((name) => ({ name, kind: 'mean', options: {} })),
  detectors: [
    { name: '2', kind: 'ewma', column: 'z', options: {}, holdMs: 0 },
    { name: 'quiet', kind: 'silence', column: null, options: {}, holdMs: 0 },
  ],
})

test.each([
  ['aggregates and detectors', testPlan(), 6],
  ['odd names', ODD, 8],
  ['no detector', testPlan({ detectors: [] }), 2],
])('lines are the JSON that sinks write, byte for byte: %s', (_what, plan, columns) => {
  fc.assert(
    fc.property(rows, fc.nat(2), host, (written, partition, late) => {
      const state = new MemoryState(plan)
      state.results(
        partition,
        -1_000,
        2_000.5,
        written.map((row) => ({ group: { host: row.host }, cells: row.cells.slice(0, columns) })),
      )
      state.alert(partition, testAlert({ group: { host: late }, reason: late }))
      state.late(partition, [
        { series: { __name__: 'cpu', host: late }, timestampMs: 1.25, value: NaN },
        { series: { __name__: 'cpu', host: `${late}x` }, timestampMs: 2, value: -0.5 },
      ])
      const seriesKey = (seriesId: number): Uint8Array | null => state.seriesKeys[seriesId] ?? null
      const decoder = new EntryDecoder(plan, {
        group: (at, groupId) => decodeSeriesKey(state.groupKey(1, at, groupId)!),
        series: (seriesId) => decodeSeriesKey(seriesKey(seriesId)!),
      })
      const lines = new ResultLines({
        plan,
        partition,
        seriesKey,
        alertLine: (id, seq, alert) => recordJson({ id, partition, seq, row: 0, body: alert as never }),
      })
      for (let groupId = 0; groupId < written.length; groupId++) {
        lines.group(groupId, state.groupKey(1, partition, groupId)!)
      }
      for (const entry of state.entries(1, partition, 0)) {
        let text = ''
        const count = lines.write(entry.kind, entry.seq, entry.bytes, entry.bytes.length, (line) => {
          text += line
        })
        const records = [...decoder.records(partition, entry)]
        expect(text).toBe(records.map((record) => `${recordJson(record)}\n`).join(''))
        expect(count).toBe(records.length)
      }
    }),
  )
})
