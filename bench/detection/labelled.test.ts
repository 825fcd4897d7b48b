import { expect, test } from 'vitest'
import { Prng } from '../../engine/util/prng.ts'
import { readLabelled, tallyOf } from './labelled.ts'

const COLUMNS = { time: 'timestamp', values: ['value'], label: 'label' }
const START_S = 1_700_000_000

/** Noise around 50, a value every five minutes, further and further off at the rows named; labelled where `labels` says so. */
function csvOf(far: readonly number[], labels: readonly number[], separator = ','): string {
  const prng = new Prng(5)
  const rows = Array.from({ length: 2_000 }, (_, row) => {
    const value = 50 + prng.normal() + 40 * (far.indexOf(row) + 1) ** 2
    return [START_S + 300 * row, value, labels.includes(row) ? 1 : 0].join(separator)
  })
  return `timestamp,value,label\n`.replaceAll(',', separator) + rows.join('\n')
}

test('an event is found by an alarm in it or just beside it; an alarm that no event explains is false', () => {
  const series = readLabelled(csvOf([800, 1_200, 1_600], [799, 800, 1_202, 1_900]), COLUMNS)
  expect(tallyOf('auto', series)).toMatchObject({
    detector: 'auto',
    series: 1,
    values: 2_000,
    events: 3,
    found: 2,
    alarms: 3,
    false: 1,
  })
})

test('semicolons, times in words and empty values are read; rows are put in order', () => {
  const csv =
    'timestamp;value;label\n2026-01-01 00:10:00;3;0\n2026-01-01 00:00:00;1;1.0\n2026-01-01T00:05:00Z;;0'
  const { timesMs, values, isAnomalous } = readLabelled(csv, COLUMNS)[0]!
  expect([...timesMs].map((ms) => new Date(ms).toISOString().slice(11, 16))).toEqual([
    '00:00',
    '00:05',
    '00:10',
  ])
  expect([...values]).toEqual([1, NaN, 3])
  expect(isAnomalous).toEqual([true, false, false])
  expect(() => readLabelled(csv, { ...COLUMNS, label: 'anomaly' })).toThrow(/anomaly/)
})
